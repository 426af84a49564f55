// The limits of the machine: a clear sentence, the documented exit code, nothing half-committed, and resuming works.
#include <sys/mount.h>

#include <functional>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path, const std::string& size) : path_(path) {
    fs::create_directories(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool remount(const std::string& options, unsigned long flags = 0) {
    return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | flags, options.c_str()) == 0;
  }

 private:
  const std::string path_;
  bool mounted_ = false;
};

TEST(Limits, FullDisk) {
  const TempDir dir;
  spill(dir / "in/a.bin", noise(9 << 20, 4));
  spill(dir / "in/b.bin", noise(9 << 20, 5));
  SmallDisk disk(dir / "disk", "16m");
  if (!disk.mounted()) GTEST_SKIP() << "not run: this user may not mount a tmpfs";
  const std::string compress = "compress " + (dir / "in") + " --codec stored --shard 4M -q --parity 2% -o ";
  ASSERT_EXIT_CODE(llmc(compress + (dir / "whole")), 0);
  for (const int ranks : {0, 3}) {
    const Outcome full = llmc(compress + (dir / "disk/set"), ranks);
    EXPECT_EXIT_CODE(full, 1);
    EXPECT_NE(full.err.find("No space left on device"), std::string::npos) << full.err;
    EXPECT_NE(full.err.find("disk/set"), std::string::npos) << "names the file: " << full.err;
    EXPECT_EXIT_CODE(llmc("verify " + (dir / "disk/set")), 10) << "never finished";
    EXPECT_EXIT_CODE(llmc("status " + (dir / "disk/set")), 0);
  }
  ASSERT_TRUE(disk.remount("size=64m"));
  EXPECT_EXIT_CODE(llmc(compress + (dir / "disk/set") + " --resume"), 0);
  expect_same(dir / "whole", dir / "disk/set");
  // Extracting to a full disk: no file half there under its name.
  ASSERT_TRUE(disk.remount("size=24m"));
  const Outcome extract = llmc("extract " + (dir / "whole") + " -o " + (dir / "disk/out"));
  EXPECT_EXIT_CODE(extract, 1);
  EXPECT_NE(extract.err.find("No space left on device"), std::string::npos) << extract.err;
  for (const char* name : {"a.bin", "b.bin"}) {
    const std::string path = dir / (std::string("disk/out/in/") + name);
    EXPECT_TRUE(!fs::exists(path) || slurp(path) == slurp(dir / (std::string("in/") + name))) << name;
  }
}

TEST(Limits, ReadOnlyTarget) {
  const TempDir dir;
  spill(dir / "in.txt", cut("law.txt", 5000));
  SmallDisk disk(dir / "disk", "1m");
  if (!disk.mounted()) GTEST_SKIP() << "not run: this user may not mount a tmpfs";
  ASSERT_TRUE(disk.remount("", MS_RDONLY));
  for (const char* out : {"disk/set", "disk/a.h5"}) {
    const Outcome outcome = llmc("compress " + (dir / "in.txt") + " --codec zstd -o " + (dir / out));
    EXPECT_EXIT_CODE(outcome, 1);
    EXPECT_NE(outcome.err.find("Read-only file system"), std::string::npos) << outcome.err;
  }
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " --codec zstd -q -o " + (dir / "a.h5")), 0);
  EXPECT_EXIT_CODE(llmc("extract " + (dir / "a.h5") + " -o " + (dir / "disk/out")), 1);
  // Reading from one works: the archive of an archivist stands on write-protected media.
  ASSERT_TRUE(disk.remount("size=1m"));
  fs::copy(dir / "a.h5", dir / "disk/a.h5");
  ASSERT_TRUE(disk.remount("", MS_RDONLY));
  EXPECT_EXIT_CODE(llmc("verify --data " + (dir / "disk/a.h5")), 0);
  EXPECT_TRUE(llmc("extract " + (dir / "disk/a.h5") + " -o -").out == slurp(dir / "in.txt"));
}

// An address space too small for the work: a sentence and exit 1, nothing half there, and resuming works.
TEST(Limits, NoMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "not run: AddressSanitizer takes more addresses than the limit leaves";
#endif
  const TempDir dir;
  spill(dir / "noise", noise(24 << 20, 6));
  spill(dir / "text", cut("enwik6", 12000));
  struct Case {
    const char* name;
    std::string in, options, how;
  };
  for (const Case& c : {Case{"stored", dir / "noise", "--codec stored --chunk 8M", "--threads 1"}, Case{"zstd", dir / "text", "--codec zstd", "--threads 1"},
                        Case{"range", dir / "text", "--codec range --chunk 2K", "--engine native --threads 1 --streams 4"},
                        Case{"mix", dir / "text", "--codec mix --chunk 2K", "--engine native --threads 1 --streams 4"}}) {
    const std::string whole = dir / (std::string(c.name) + ".h5");
    ASSERT_EXIT_CODE(llmc("compress " + c.in + " " + c.options + " " + c.how + " -q -o " + whole), 0);
    // Limits from "hardly starts" on, until there is enough. Returns how often the program itself refused.
    const auto climb = [&](const std::string& command, const std::function<void(int)>& refused) {
      int refusals = 0;
      for (int mib = 40;; mib = mib * 5 / 4) {
        ASSERT_LT(mib, 4000) << command;
        const Outcome outcome = shell("ulimit -v " + std::to_string(mib << 10) + "; exec " + product() + " " + command);
        const std::string what = std::string(c.name) + ", " + std::to_string(mib) + " MiB: " + explain(outcome);
        if (outcome.code == 0) break;
        if (outcome.code == 127 || outcome.code == 126) {
          // Not the program's own: it was never started, and that is what is said.
          EXPECT_TRUE(outcome.err.find("error while loading shared libraries") != std::string::npos ||
                      outcome.err.find("Cannot allocate memory") != std::string::npos) << what;
          continue;
        }
        EXPECT_EQ(outcome.code, 1) << what;
        EXPECT_TRUE(outcome.err.find("memory") != std::string::npos || outcome.err.find("a thread cannot be started") != std::string::npos) << what;
        ++refusals;
        refused(mib);
      }
      EXPECT_GT(refusals, 0) << command;
      std::printf("tally: %s: refused for want of memory %d times\n", c.name, refusals);
    };
    const std::string out = dir / "out.h5";
    climb("compress " + c.in + " " + c.options + " " + c.how + " -q -o " + out, [&](int mib) {
      EXPECT_FALSE(fs::exists(out)) << mib;
      EXPECT_EXIT_CODE(llmc("compress " + c.in + " " + c.options + " " + c.how + " -q --resume -o " + out), 0);
      EXPECT_TRUE(slurp(out) == slurp(whole)) << mib;
      fs::remove(out);
    });
    fs::remove(out);
    const std::string name = fs::path(c.in).filename(), back = dir / "back";
    climb("extract " + whole + " " + c.how + " -q -o " + back, [&](int mib) {
      EXPECT_FALSE(fs::exists(back + "/" + name)) << mib;
      EXPECT_EXIT_CODE(llmc("extract " + whole + " " + c.how + " -q --resume -o " + back), 0);
      EXPECT_TRUE(slurp(back + "/" + name) == slurp(c.in)) << mib;
      EXPECT_EQ(shell("ls -A " + back).out, name + "\n") << "nothing else is left";
      fs::remove_all(back);
    });
    fs::remove_all(back);
  }
}

// Resident memory of all ranks of one run, at its highest, in KiB. `mark`: words that stand in the command line of each rank.
long peak_of_ranks(const std::string& command, const std::string& mark, Outcome* outcome) {
  const TempDir dir;
  *outcome = shell("( " + command + " ) & p=$!; top=0; while kill -0 $p 2>/dev/null; do sum=0; for s in $(pgrep -x llmc-batch); do "
                   "tr '\\0' ' ' </proc/$s/cmdline 2>/dev/null | grep -qF " + quoted(mark) + " || continue; "
                   "r=$(awk '/^VmRSS/ {print $2}' /proc/$s/status 2>/dev/null); "
                   "sum=$((sum + ${r:-0})); done; [ $sum -gt $top ] && top=$sum; sleep 0.1; done; wait $p; code=$?; echo $top >" +
                   (dir / "top") + "; cat " + (dir / "top") + "; exit $code");
  return std::atol(outcome->out.c_str());
}

// A checkpoint of one narrow layer, with the tokenizer of the embedded model: fast, and its weights are noise.
constexpr const char* tiny_checkpoint = R"(
import json, os, random, struct, sys, shutil
source, out = sys.argv[1], sys.argv[2]
os.makedirs(out)
shutil.copy(source + '/tokenizer.json', out)
config = json.load(open(source + '/config.json'))
config.update(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=32)
json.dump(config, open(out + '/config.json', 'w'))
layer = 'model.layers.0.'
shapes = {'model.embed_tokens.weight': [config['vocab_size'], 32], 'model.norm.weight': [32]}
for name in ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj', 'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'):
    shapes[layer + name + '.weight'] = [32, 32]
for name in ('self_attn.q_norm', 'self_attn.k_norm', 'input_layernorm', 'post_attention_layernorm'):
    shapes[layer + name + '.weight'] = [32]
random.seed(1)
header, data = {}, bytearray()
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    begin = len(data)
    for _ in range(count):
        data += struct.pack('<f', 1.0 if len(shape) == 1 else random.gauss(0, 0.05))[2:]
    header[name] = {'dtype': 'BF16', 'shape': shape, 'data_offsets': [begin, len(data)]}
text = json.dumps(header).encode()
open(out + '/model.safetensors', 'wb').write(struct.pack('<Q', len(text)) + text + data)
)";

// Compressed, verified and given back by three ranks; what comes back is compared as it streams.
void expect_little_memory(const TempDir& dir, uint64_t bytes, const std::string& text, const std::string& options, const std::string& model,
                          long reduced_limit_kib) {
  // text: a command whose output, after a number, is written again and again.
  const std::string in = dir / "in", out = dir / "out.set";
  ASSERT_EXIT_CODE(shell("i=0; while [ $i -lt 10000 ] && echo $i; do " + text + "; i=$((i + 1)); done 2>/dev/null | head -c " +
                         std::to_string(bytes) + " >" + in), 0);
  ASSERT_EQ(fs::file_size(in), bytes);
  const std::string ranks = "mpirun --oversubscribe -n 3 " + product();
  const std::pair<const char*, std::string> steps[] = {
      {"compress", ranks + " compress " + in + " -q " + options + model + " -o " + out},
      {"verify", ranks + " verify " + out},
      {"extract", "set -o pipefail; " + ranks + " extract " + out + " -q --engine native --threads 1" + model + " -o - | cmp - " + in}};
  for (const auto& [step, command] : steps) {
    Outcome outcome;
    const long peak = peak_of_ranks(command, out, &outcome);
    ASSERT_EXIT_CODE(outcome, 0) << step;
    std::printf("tally: %llu bytes, %s, %s: %ld MiB resident over all ranks\n", static_cast<unsigned long long>(bytes), options.c_str(), step, peak >> 10);
    if (step != std::string("verify")) {  // that may be done before it is looked at
      EXPECT_GT(peak, 1000) << step;
    }
    EXPECT_LE(peak, 1L << 20) << step;
#ifndef __SANITIZE_ADDRESS__
    // A reduced input is small enough to be held whole below that limit: here it must not be.
    if (!std::getenv("LLMC_LONG")) {
      EXPECT_LE(peak, reduced_limit_kib) << step;
    }
#endif
  }
  fs::remove_all(out);
}

TEST(Limits, MemoryIsBoundedWhateverTheInputsSize) {
  const uint64_t bytes = std::getenv("LLMC_LONG") ? uint64_t{3} << 30 : uint64_t{64} << 20;
  expect_little_memory(TempDir(), bytes, "seq $((i * 9000)) $((i * 9000 + 80000))", "--codec zstd", "", 140L << 10);
}

TEST(Limits, MemoryIsBoundedWithAModel) {
  const TempDir dir;
  spill(dir / "make.py", tiny_checkpoint);
  ASSERT_EXIT_CODE(shell("python3 " + (dir / "make.py") + " " + quoted(LLMC_SOURCE_DIR "/models/e0-hf") + " " + (dir / "tiny")), 0);
  ASSERT_EXIT_CODE(llmc("model import " + (dir / "tiny") + " -o " + (dir / "tiny.model")), 0);
  const uint64_t bytes = std::getenv("LLMC_LONG") ? uint64_t{256} << 20 : uint64_t{2} << 20;
  expect_little_memory(dir, bytes, "cat " + quoted(text_file("")) + "/*", "--codec range --engine native --threads 1", " --model " + (dir / "tiny.model"),
                       140L << 10);
}

}  // namespace
}  // namespace llmc::test
