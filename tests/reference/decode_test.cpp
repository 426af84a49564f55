// tools/reference/decode.py, written from the documents, reads what the program writes; and both
// read the archives that are committed here, for ever.
#include <gtest/gtest.h>

#include <filesystem>

#include "python.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

const std::string kModules = "numpy, zstandard";

std::string product() { return quoted(LLMC_BINARY_DIR "/llmc-batch"); }

Outcome compress(const std::string& input, const std::string& output, const std::string& options) {
  return shell(product() + " compress " + quoted(input) + " -o " + quoted(output) + " --quiet " + options);
}

Outcome decode(const std::string& python, const std::string& archive, const std::string& options) {
  return shell(python + " " + quoted(repository("tools/reference/decode.py")) + " " + quoted(archive) + " " + options);
}

std::string cut(const std::string& name, size_t begin, size_t bytes) {
  return slurp(repository("tests/data/text/" + name)).substr(begin, bytes);
}

constexpr const char* kCodecs[] = {"stored", "zstd", "range", "rank", "mix"};

TEST(ReferenceDecoder, ReadsEveryCodec) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  // Two windows and a bit, so that tokens are carried; bytes that are no text; a chunk that begins inside a character.
  const std::string odd("\0\xff\xfe <|endoftext|>\r\n", 19);
  const std::string text = cut("alice29.txt", 2000, 700) + odd + cut("deu.txt", 500, 400);
  spill(dir / "in.txt", text);
  for (const std::string codec : kCodecs) {
    const std::string archive = dir / (codec + ".h5");
    const std::string windows = codec != "stored" && codec != "zstd" ? " --window 128 --carry 32" : "";
    const Outcome made = compress(dir / "in.txt", archive, "--codec " + codec + " --chunk 801" + windows);
    ASSERT_EQ(made.code, 0) << made.err;
    const Outcome outcome = decode(python, archive, "-o " + quoted(dir / "out.txt"));
    ASSERT_EQ(outcome.code, 0) << codec << ": " << outcome.err;
    EXPECT_TRUE(slurp(dir / "out.txt") == text) << codec;
    EXPECT_NE(outcome.err.find("the whole archive checked"), std::string::npos) << outcome.err;
  }
}

TEST(ReferenceDecoder, ReadsDictionaries) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  // Two shards, each with its own; one chunk is stored and needs none.
  std::string noise;
  for (uint32_t state = 1; noise.size() < 300; noise += static_cast<char>(state >> 24)) state = state * 1664525 + 1013904223;
  spill(dir / "in/a.txt", cut("code.txt", 300, 900) + noise);
  spill(dir / "in/b.txt", cut("alice29.txt", 300, 600));
  const Outcome made = compress(dir / "in", dir / "set", "--shard 1200 --chunk 300 --dictionary 1K");
  ASSERT_EQ(made.code, 0) << made.err;
  const std::string info = shell(product() + " info " + quoted(dir / "set") + " --json").out;
  EXPECT_NE(info.find("\"primed\": 4"), info.npos) << info;
  EXPECT_NE(info.find("\"stored\": 1"), info.npos) << info;
  EXPECT_NE(info.find("\"dictionaries\": 2"), info.npos) << info;
  const Outcome outcome = decode(python, dir / "set", "-o " + quoted(dir / "out.txt"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(slurp(dir / "out.txt") == slurp(dir / "in/a.txt") + slurp(dir / "in/b.txt"));
}

TEST(ReferenceDecoder, ReadsAppendedSets) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  spill(dir / "in/a.txt", cut("code.txt", 300, 900));
  spill(dir / "new/b.txt", cut("alice29.txt", 300, 1100));
  spill(dir / "before.txt", cut("law.txt", 0, 700));
  ASSERT_EQ(compress(dir / "in", dir / "set", "--shard 600 --chunk 300 --codec zstd").code, 0);
  for (const char* more : {"new", "before.txt"}) {
    const Outcome outcome = shell(product() + " append " + quoted(dir / more) + " -o " + quoted(dir / "set") + " --quiet");
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  // The decoder that the set carries is this one.
  for (const std::string& program : {repository("tools/reference/decode.py"), dir / "set/decoder/decode.py"}) {
    const Outcome outcome = shell(python + " " + quoted(program) + " " + quoted(dir / "set") + " -o " + quoted(dir / "out.txt"));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("the whole archive checked"), std::string::npos) << outcome.err;
    EXPECT_TRUE(slurp(dir / "out.txt") == slurp(dir / "in/a.txt") + slurp(dir / "new/b.txt") + slurp(dir / "before.txt"));
  }
  EXPECT_EQ(decode(python, dir / "set", "-o - --document before.txt").out, slurp(dir / "before.txt"));
  EXPECT_EQ(decode(python, dir / "set", "-o - --shard 3").out,
            shell(product() + " extract " + quoted(dir / "set") + " -o - --shard 3 --quiet").out);
  ASSERT_EQ(decode(python, dir / "set", "--files " + quoted(dir / "python")).code, 0);
  EXPECT_EQ(shell("diff -r " + quoted(dir / "new") + " " + quoted(dir / "python/new")).out, "");
}

TEST(ReferenceDecoder, ReadsAdaptations) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  spill(dir / "sample", cut("irc.txt", 0, 17000));
  const Outcome fitted = shell(product() + " model adapt " + quoted(dir / "sample") + " -o " + quoted(dir / "fit"));
  ASSERT_EQ(fitted.code, 0) << fitted.err;
  const std::string text = cut("irc.txt", 20000, 900);
  spill(dir / "in.txt", text);
  for (const std::string how : {"range", "mix --dictionary 1K"}) {
    const std::string archive = dir / "x.h5";
    const Outcome made = compress(dir / "in.txt", archive, "--force --chunk 300 --adapt " + quoted(dir / "fit") + " --codec " + how);
    ASSERT_EQ(made.code, 0) << made.err;
    const Outcome outcome = decode(python, archive, "-o " + quoted(dir / "out.txt"));
    ASSERT_EQ(outcome.code, 0) << how << ": " << outcome.err;
    EXPECT_TRUE(slurp(dir / "out.txt") == text) << how;
    std::string damaged = slurp(archive);
    damaged[damaged.find("\x8cLCA") + 60] ^= 1;
    spill(dir / "y.h5", damaged);
    const Outcome refused = decode(python, dir / "y.h5", "-o -");
    EXPECT_EQ(refused.code, 1);
    EXPECT_EQ(refused.err.find("Traceback"), std::string::npos) << refused.err;
  }
}

// Random weights say little, and all of it must be the same.
TEST(ReferenceDecoder, ReadsModelsWithEveryFeature) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  const char* const features[] = {
      "norm=layer activation=gelu gated=false positions=learned attention_bias=true output_bias=true mlp_bias=true "
      "tied=true kv=16 attn_in=16 mlp_out=16 head=16",
      "norm=layer activation=gelu_tanh parallel=true rope_pairs=neighbours rotary=8 windows=[0,5,17] mlp_bias=true "
      "kv=16",
      "qk_norm=true activation=gelu attn_out=16 windows=[3,0,1]",
      "mlp_in=16 attention_bias=true",
  };
  TempDir dir;
  const std::string text = cut("alice29.txt", 3000, 800), model = dir / "test.model";
  spill(dir / "in.txt", text);
  int seed = 0;
  for (const std::string feature : features) {
    const Outcome made = shell(python + " " + quoted(repository("tests/reference/make_model.py")) + " " +
                               quoted(repository("models/e0.safetensors")) + " " + quoted(model) + " " +
                               std::to_string(++seed) + " " + feature);
    ASSERT_EQ(made.code, 0) << made.err;
    const Outcome coded =
        compress(dir / "in.txt", dir / "x.h5", "--force --codec range --chunk 500 --carry 20 --model " + quoted(model));
    ASSERT_EQ(coded.code, 0) << coded.err;
    const std::string info = shell(product() + " info " + quoted(dir / "x.h5")).out;
    ASSERT_NE(info.find("{\"range\":2}"), info.npos) << feature;
    const Outcome outcome = decode(python, dir / "x.h5", "-o - --model " + quoted(model));
    ASSERT_EQ(outcome.code, 0) << feature << ": " << outcome.err;
    EXPECT_TRUE(outcome.out == text) << feature;
  }
}

// SmolLM2's vocabulary lacks 21 bytes.
TEST(ReferenceDecoder, ReadsEscapes) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  const std::string odd("\xc0\0\xff\xff", 4);
  const std::string text = "\xf5" + cut("alice29.txt", 3000, 300) + odd + " and on" + "\xf8";
  const std::string model = dir / "test.model";
  spill(dir / "in.txt", text);
  const Outcome made = shell(python + " " + quoted(repository("tests/reference/make_model.py")) + " " +
                             quoted(repository("models/e0.safetensors")) + " " + quoted(model) + " 9 vocab=49152 " +
                             "width=16 ffn=24 tied=true tokenizer=" +
                             quoted(repository("tests/data/tokenizers/smollm2.json")));
  ASSERT_EQ(made.code, 0) << made.err;
  for (const std::string codec : {"range", "rank", "mix"}) {
    const Outcome coded =
        compress(dir / "in.txt", dir / "x.h5", "--force --codec " + codec + " --model " + quoted(model));
    ASSERT_EQ(coded.code, 0) << coded.err;
    const std::string info = shell(product() + " info " + quoted(dir / "x.h5")).out;
    EXPECT_NE(info.find("{\"" + codec + "\":1}"), info.npos) << info;
    const Outcome outcome = decode(python, dir / "x.h5", "-o - --model " + quoted(model));
    ASSERT_EQ(outcome.code, 0) << codec << ": " << outcome.err;
    EXPECT_TRUE(outcome.out == text) << codec;
  }
}

TEST(ReferenceDecoder, GivesBackTheFilesOfASet) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  const fs::path in = dir.path() / "in";
  spill(in / "a/one.txt", cut("code.txt", 0, 500));
  spill(in / "a/two \xc3\xa9\xff.txt", cut("fra.txt", 300, 250));
  spill(in / "b/empty", "");
  std::string noise;  // cut over shards, and stored
  for (uint32_t state = 1; noise.size() < 1500; noise += static_cast<char>(state >> 24)) {
    state = state * 1664525 + 1013904223;
  }
  spill(in / "b/noise", noise);
  fs::create_directories(in / "c/nothing");
  fs::create_symlink("../a/one.txt", in / "b/link");
  fs::permissions(in / "a/one.txt", fs::perms(0640));
  ASSERT_EQ(compress(in.string(), dir / "set", "--shard 600 --chunk 400").code, 0);
  const Outcome outcome = decode(python, dir / "set", "--files " + quoted(dir / "python"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  ASSERT_EQ(shell(product() + " extract " + quoted(dir / "set") + " -o " + quoted(dir / "cpp") + " --quiet").code, 0);
  const std::string listed = " && find . -mindepth 1 -printf '%P %y %m %l %T@\\n' | sort";
  EXPECT_EQ(shell("cd " + quoted(dir / "python") + listed).out, shell("cd " + quoted(dir / "cpp") + listed).out);
  const Outcome same = shell("diff -r --no-dereference " + quoted(dir / "python") + " " + quoted(dir / "cpp"));
  EXPECT_EQ(same.code, 0) << same.out << same.err;

  // A document alone, a shard alone, the list.
  EXPECT_EQ(decode(python, dir / "set", "-o - --document in/a/one.txt").out, cut("code.txt", 0, 500));
  EXPECT_EQ(decode(python, dir / "set", "-o - --shard 1").out,
            shell(product() + " extract " + quoted(dir / "set") + " -o - --shard 1 --quiet").out);
  EXPECT_NE(decode(python, dir / "set", "--list").out.find("l\t0\tin/b/link\n"), std::string::npos);
  EXPECT_NE(decode(python, dir / "set", "-o - --document in/nowhere").code, 0);
}

TEST(ReferenceDecoder, ReadsThroughHdf5) {
  const std::string python = python_with(kModules + ", h5py");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules << ", h5py";
  TempDir dir;
  const std::string text = cut("irc.txt", 0, 5000);
  spill(dir / "in.txt", text);
  ASSERT_EQ(compress(dir / "in.txt", dir / "x.h5", "--codec zstd --chunk 2000").code, 0);
  EXPECT_EQ(decode(python, dir / "x.h5", "--hdf5 -o -").out, text);
}

TEST(ReferenceDecoder, FindsDamageAndTheWrongModel) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  TempDir dir;
  spill(dir / "in.txt", cut("law.txt", 0, 300));
  ASSERT_EQ(compress(dir / "in.txt", dir / "x.h5", "--chunk 200").code, 0);
  const std::string whole = slurp(dir / "x.h5");
  for (const size_t at : {size_t{40}, whole.size() - 20, whole.size() / 2, size_t{300}}) {
    std::string damaged = whole;
    damaged[at] ^= 4;
    spill(dir / "y.h5", damaged);
    const Outcome outcome = decode(python, dir / "y.h5", "-o -");
    EXPECT_EQ(outcome.code, 1) << at;
    EXPECT_EQ(outcome.err.find("Traceback"), std::string::npos) << outcome.err;
  }
  spill(dir / "y.h5", whole.substr(0, whole.size() - 1));
  EXPECT_EQ(decode(python, dir / "y.h5", "-o -").code, 1);
  std::string other = slurp(repository("models/e0.safetensors"));
  other.back() ^= 1;
  spill(dir / "other.safetensors", other);
  const Outcome refused = decode(python, dir / "x.h5", "-o - --model " + quoted(dir / "other.safetensors"));
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_NE(refused.err.find("SHA-256"), std::string::npos) << refused.err;
}

// Written once by this format version; never written anew.
struct Golden {
  const char* archive;
  const char* text;
  size_t begin, bytes;
};
constexpr Golden kGolden[] = {{"version1-range.h5", "alice29.txt", 3000, 1500},
                              {"version1-rank.h5", "alice29.txt", 3000, 1500},
                              {"version1-mix.h5", "irc.txt", 2000, 1800},
                              {"version1-dictionary.h5", "med.txt", 0, 2600},
                              {"version1-adaptation.h5", "irc.txt", 20000, 1800}};

TEST(GoldenArchives, TheProgramReadsThem) {
  for (const Golden& golden : kGolden) {
    const std::string path = repository(std::string("tests/reference/archives/") + golden.archive);
    const Outcome outcome = shell(product() + " extract " + quoted(path) + " -o - --quiet");
    ASSERT_EQ(outcome.code, 0) << golden.archive << ": " << outcome.err;
    EXPECT_TRUE(outcome.out == cut(golden.text, golden.begin, golden.bytes)) << golden.archive;
    const Outcome verified = shell(product() + " verify " + quoted(path) + " --data --quiet");
    EXPECT_EQ(verified.code, 0) << verified.out << verified.err;
  }
}

TEST(GoldenArchives, TheReferenceReadsThem) {
  const std::string python = python_with(kModules);
  if (python.empty()) GTEST_SKIP() << "not run: no Python with " << kModules;
  for (const Golden& golden : kGolden) {
    const std::string path = repository(std::string("tests/reference/archives/") + golden.archive);
    const Outcome outcome = decode(python, path, "-o -");
    ASSERT_EQ(outcome.code, 0) << golden.archive << ": " << outcome.err;
    EXPECT_TRUE(outcome.out == cut(golden.text, golden.begin, golden.bytes)) << golden.archive;
  }
  for (const std::string name : {"version1", "version1.h5"}) {
    const std::string path = repository("tests/archive/data/" + name);
    const Outcome outcome = decode(python, path, "-o -");
    ASSERT_EQ(outcome.code, 0) << name << ": " << outcome.err;
    EXPECT_EQ(outcome.out.find("A short file.\r\n"), 0u) << name;
  }
  // Of two parts: the numbers of make_appended.sh, then the short file.
  const Outcome outcome = decode(python, repository("tests/archive/data/version1-appended"), "-o -");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(outcome.out == shell("seq 1 150; seq 900 -1 800; seq 2000 3 2400; printf 'A short file.\\r\\n\\0 With a NUL.'").out);
}

}  // namespace
}  // namespace llmc::test
