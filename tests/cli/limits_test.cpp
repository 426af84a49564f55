// The limits of the machine: a clear sentence, the documented exit code, nothing half-committed, and resuming works.
#include <sys/mount.h>

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

// An address space too small for the work: a sentence and exit 1, and resuming works.
TEST(Limits, NoMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "not run: AddressSanitizer takes more addresses than the limit leaves";
#endif
  const TempDir dir;
  spill(dir / "in.bin", noise(24 << 20, 6));
  int refused = 0;
  for (const int mib : {120, 160, 220, 300}) {
    const std::string out = dir / ("a" + std::to_string(mib) + ".h5");
    const Outcome outcome = shell("ulimit -v " + std::to_string(mib << 10) + "; " + product() + " compress " + (dir / "in.bin") +
                                  " --codec stored --chunk 8M --threads 1 -q -o " + out);
    if (outcome.code == 0) continue;
    ++refused;
    EXPECT_TRUE(outcome.code == 1 || outcome.code == 127) << mib << explain(outcome);  // 127: the loader found no room
    EXPECT_FALSE(outcome.err.empty());
    EXPECT_FALSE(fs::exists(out));
    EXPECT_EXIT_CODE(llmc("compress " + (dir / "in.bin") + " --codec stored --chunk 8M -q --resume -o " + out), 0);
    EXPECT_EXIT_CODE(llmc("verify " + out), 0);
  }
  EXPECT_GT(refused, 0);
}

// Resident memory of all processes of one run, at its highest, in KiB.
long peak_of_ranks(const std::string& command, Outcome* outcome) {
  const TempDir dir;
  *outcome = shell("( " + command + " ) & p=$!; top=0; while kill -0 $p 2>/dev/null; do sum=0; "
                   "for s in $(pgrep -g 0 llmc-batch; pgrep -P $p llmc-batch; pgrep -x llmc-batch); do echo $s; done | sort -u >" +
                   (dir / "pids") + "; for s in $(cat " + (dir / "pids") + "); do tr '\\0' ' ' </proc/$s/cmdline 2>/dev/null | grep -q " +
                   quoted(command.substr(command.find(" -o ") + 4)) + " || continue; r=$(awk '/^VmRSS/ {print $2}' /proc/$s/status 2>/dev/null); "
                   "sum=$((sum + ${r:-0})); done; [ $sum -gt $top ] && top=$sum; sleep 0.2; done; wait $p; code=$?; echo $top >" +
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

TEST(Limits, MemoryIsBoundedWhateverTheInputsSize) {
  if (!std::getenv("LLMC_LONG")) GTEST_SKIP() << "not run: 3 GiB of input, long tier only";
  const TempDir dir;
  spill(dir / "make.py", tiny_checkpoint);
  ASSERT_EXIT_CODE(shell("python3 " + (dir / "make.py") + " " + quoted(LLMC_SOURCE_DIR "/models/e0-hf") + " " + (dir / "tiny")), 0);
  ASSERT_EXIT_CODE(llmc("model import " + (dir / "tiny") + " -o " + (dir / "tiny.model")), 0);
  struct Case {
    std::string bytes, text, options;  // text: a command whose output, after a number, is written again and again
  };
  for (const Case& c : {Case{"3221225472", "seq $((i * 9000)) $((i * 9000 + 80000))", "--codec zstd"},
                        Case{"268435456", "cat " + quoted(text_file("")) + "/*",
                             "--codec range --engine native --threads 1 --model " + (dir / "tiny.model")}}) {
    ASSERT_EXIT_CODE(shell("i=0; while [ $i -lt 10000 ] && echo $i; do " + c.text + "; i=$((i + 1)); done 2>/dev/null | head -c " + c.bytes +
                           " >" + (dir / "in")), 0);
    ASSERT_EQ(std::to_string(fs::file_size(dir / "in")), c.bytes);
    const std::string out = dir / "out.set";
    Outcome outcome;
    const long peak = peak_of_ranks("mpirun -n 3 " + product() + " compress " + (dir / "in") + " -q " + c.options + " -o " + out, &outcome);
    ASSERT_EXIT_CODE(outcome, 0);
    std::printf("tally: %s bytes, %s: %ld MiB resident over all ranks\n", c.bytes.c_str(), c.options.c_str(), peak >> 10);
    EXPECT_GT(peak, 1000);
    EXPECT_LE(peak, 1L << 20);
    fs::remove_all(out);
  }
}

}  // namespace
}  // namespace llmc::test
