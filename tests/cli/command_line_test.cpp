// Options, help, configuration files, exit codes, progress: what scripts rely on.
#include <nlohmann/json.hpp>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

void expect_usage_error(const std::string& arguments, const std::string& mention) {
  const Outcome outcome = llmc(arguments);
  EXPECT_EXIT_CODE(outcome, 2) << arguments;
  EXPECT_NE(outcome.err.find(mention), std::string::npos) << arguments << "\n" << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(CommandLine, SeveralGpusOfARankAreRefusedWhereThereAreNone) {
  expect_usage_error("compress x -o y --gpus-per-rank 2 --device cpu", "--gpus-per-rank 2 computes on GPUs");
  expect_usage_error("compress x -o y --gpus-per-rank 2 --engine native", "--engine native");
  expect_usage_error("compress x -o y --gpus-per-rank 0", "1 to 64");
  const TempDir dir;
  spill(dir / "in.txt", "some text");
  const std::string arguments = "compress " + (dir / "in.txt") + " -o " + (dir / "out.h5") + " -q --gpus-per-rank ";
  const Outcome outcome = llmc(arguments + "2");
  if (outcome.code == 0) GTEST_SKIP() << "not run: this machine has GPUs";
  EXPECT_EXIT_CODE(outcome, 1);
  EXPECT_NE(outcome.err.find("--gpus-per-rank 2: "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("--device cpu"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir / "out.h5"));
  EXPECT_EXIT_CODE(llmc(arguments + "1"), 0);
}

TEST(CommandLine, HelpOfEveryVerb) {
  const Outcome all = llmc("--help");
  ASSERT_EXIT_CODE(all, 0);
  for (const char* verb : {"compress", "extract", "list", "info", "verify", "model", "selftest"}) {
    EXPECT_NE(all.out.find(verb), std::string::npos);
    const Outcome help = llmc(std::string(verb) + " --help");
    EXPECT_EXIT_CODE(help, 0);
    EXPECT_EQ(help.out.rfind("Usage: llmc-batch ", 0), 0u) << verb << help.out;
  }
}

TEST(CommandLine, VersionNamesWhatTheBuildHolds) {
  const Outcome version = llmc("--version");
  ASSERT_EXIT_CODE(version, 0);
  for (const char* part : {"llmc-batch ", "LLMC-X1", "native", "torch", "HDF5", "Open MPI", "sha256"}) {
    EXPECT_NE(version.out.find(part), std::string::npos) << version.out;
  }
}

TEST(CommandLine, WrongOptionsNameTheNearest) {
  expect_usage_error("compress x -o y --chnk 64K", "--chunk");
  expect_usage_error("extract x -o y --documnt z", "--document");
  expect_usage_error("compres x", "compress");
  expect_usage_error("model imprt", "import");
  expect_usage_error("", "--help");
}

TEST(CommandLine, ContradictionsAndBadValues) {
  expect_usage_error("compress x", "-o");
  expect_usage_error("compress -o y", "input");
  expect_usage_error("compress x -o y.h5 --shard 1M", "--shard");
  expect_usage_error("compress x -o y --chunk 64Q", "64Q");
  expect_usage_error("compress x -o y --chunk 0", "--chunk");
  expect_usage_error("compress x -o y --codec gzip", "gzip");
  expect_usage_error("compress x -o y --codec zstd --model m", "--model");
  expect_usage_error("compress x -o y --verify most", "most");
  expect_usage_error("compress x -o y --resume --force", "--resume");
  expect_usage_error("compress x -o y --documents words", "words");
  expect_usage_error("compress x -o y --engine magic", "magic");
  expect_usage_error("compress x -o y --device gpu", "cuda:N");
  expect_usage_error("compress x -o y --device cuda:", "cuda:N");
  expect_usage_error("compress x -o y --device cuda --engine native", "--engine native");
  expect_usage_error("extract x", "-o");
  expect_usage_error("extract x -o out --range 1:2", "-o -");
  expect_usage_error("extract x -o - --range 2:1", "2:1");
  expect_usage_error("extract x -o - --shard 1-", "1-");
  expect_usage_error("list x --documents --chunks", "--chunks");
  expect_usage_error("verify x --threads 2", "--data");
  expect_usage_error("list x y", "too many");
  // Boost's own placeholders, which it would replace by themselves for ever.
  expect_usage_error("compress x -o y --threads %value%", "'%value%'");
  expect_usage_error("compress x -o y --threads=%canonical_option%", "'%canonical_option%'");
}

TEST(CommandLine, ConfigFile) {
  const TempDir dir;
  spill(dir / "in.txt", cut("tldr.txt", 9000));
  spill(dir / "job.ini", "# a comment\nchunk = 4K\ncodec = zstd\n");
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --config " + (dir / "job.ini")), 0);
  const std::string info = llmc("info --json " + (dir / "a.h5")).out;
  EXPECT_NE(info.find("\"chunk_bytes\": 4096"), std::string::npos) << info;
  EXPECT_NE(info.find("\"codec\": \"zstd\""), std::string::npos) << info;
  // The command line wins.
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "b.h5") + " --chunk 3K --config " + (dir / "job.ini")), 0);
  EXPECT_NE(llmc("info --json " + (dir / "b.h5")).out.find("\"chunk_bytes\": 3072"), std::string::npos);
  spill(dir / "bad.ini", "chnk = 4K\n");
  expect_usage_error("compress x -o y --config " + (dir / "bad.ini"), "chnk");
  expect_usage_error("compress x -o y --config " + (dir / "none.ini"), "none.ini");
  spill(dir / "endless.ini", "chunk = 4K\nthreads = %value%\n");
  expect_usage_error("compress x -o y --config " + (dir / "endless.ini"), "endless.ini:2: the argument ('%value%')");
}

TEST(CommandLine, ProgressLinesAndJson) {
  const TempDir dir;
  spill(dir / "in.txt", cut("med.txt", 20000));
  const std::string compress = "compress " + (dir / "in.txt") + " --chunk 4K --verify none -o ";
  const Outcome lines = llmc(compress + (dir / "a.h5"));
  ASSERT_EXIT_CODE(lines, 0);
  EXPECT_NE(lines.err.find("0/5 chunks"), std::string::npos) << lines.err;
  EXPECT_NE(lines.err.find("5/5 chunks"), std::string::npos) << lines.err;
  const Outcome json = llmc(compress + (dir / "b.h5") + " --progress-json", 2);
  ASSERT_EXIT_CODE(json, 0);
  EXPECT_NE(json.err.find("\"message_type\""), std::string::npos) << json.err;
  const Outcome quiet = llmc(compress + (dir / "c.h5") + " --quiet");
  ASSERT_EXIT_CODE(quiet, 0);
  EXPECT_EQ(quiet.err + quiet.out, "");
}

TEST(CommandLine, InfoAndVerifyAsJson) {
  const TempDir dir;
  spill(dir / "in.txt", cut("tldr.txt", 9000));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5")), 0);
  for (const char* verb : {"info", "verify", "verify --data"}) {
    const Outcome outcome = shell("set -o pipefail; " + product() + " " + verb + " --json " + (dir / "a.h5") + " 2>/dev/null | python3 -m json.tool");
    EXPECT_EXIT_CODE(outcome, 0) << verb;
  }
}

// Of a large set: nothing but the manifest is opened, so that 50,000 shards take no minutes.
TEST(CommandLine, InfoOfManyShardsReadsTheManifestAlone) {
  const TempDir dir;
  for (int i = 0; i < 70; ++i) spill(dir / ("in/" + std::to_string(1000 + i)), std::string(900, 'a' + i % 26));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "set") + " --codec stored --chunk 1K --shard 1K --bare --quiet"), 0);
  std::filesystem::resize_file(dir / "set/shard-000069.h5", 0);
  const Outcome info = llmc("info --json " + (dir / "set"));
  ASSERT_EXIT_CODE(info, 0);
  const auto told = nlohmann::json::parse(info.out);
  EXPECT_EQ(told["shards"], 70);
  EXPECT_EQ(told["text_bytes"], 70 * 900);
  EXPECT_EQ(told["frame_bytes"], 70 * (900 + 32));
  EXPECT_FALSE(told.contains("chunks_by_codec")) << "these stand in no manifest";
}

TEST(CommandLine, Selftest) {
  const Outcome outcome = llmc("selftest");
  ASSERT_EXIT_CODE(outcome, 0);
  EXPECT_NE(outcome.out.find("arithmetic, scalar"), std::string::npos);
  EXPECT_NE(outcome.out.find("engine, native"), std::string::npos);
}

TEST(CommandLine, BenchAsJson) {
  const Outcome outcome = shell("set -o pipefail; " + product() +
                                " bench --engine native --seconds 0.02 --streams 2 --json | python3 -c '"
                                "import json, sys; r = json.load(sys.stdin); assert [x[\"mode\"] for x in r[\"rows\"]] == [\"score\", \"decode\"]; "
                                "assert all(x[\"tokens_per_second\"] > 0 for x in r[\"rows\"]); assert r[\"operations\"][\"decode\"][\"streams\"] == 2'");
  EXPECT_EXIT_CODE(outcome, 0);
  EXPECT_EXIT_CODE(llmc("bench --streams 0"), 2);
}

// Drawn weights in place of a model: by a known name, by a config.json, and refusals.
TEST(CommandLine, BenchOfAShape) {
  const TempDir dir;
  spill(dir / "config.json", R"({"architectures": ["GPT2LMHeadModel"], "vocab_size": 700, "n_embd": 32, "n_layer": 2, "n_head": 2,
                                "n_positions": 64, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "bos_token_id": 0})");
  const auto rows = [](const std::string& options, const std::string& check) {
    return shell("set -o pipefail; " + product() + " bench --engine native --seconds 0.02 --streams 2 --json " + options +
                 " | python3 -c 'import json, sys; r = json.load(sys.stdin); assert all(x[\"tokens_per_second\"] > 0 for x in r[\"rows\"]); " +
                 check + "'");
  };
  EXPECT_EXIT_CODE(rows("--shape " + (dir / "config.json") + " --activations 8", "assert r[\"profile\"].startswith(\"W8A8\"), r"), 0);
  EXPECT_EXIT_CODE(rows("--shape smollm2-135m", "assert 134e6 < r[\"parameters\"] < 135e6, r; assert r[\"profile\"] == \"W8A16\""), 0);
  const Outcome unknown = llmc("bench --shape llama-8");
  EXPECT_EXIT_CODE(unknown, 2);
  EXPECT_NE(unknown.err.find("llama-8b"), std::string::npos) << unknown.err;
  EXPECT_EXIT_CODE(llmc("bench --shape llama-8b --model x"), 2);
  EXPECT_EXIT_CODE(llmc("bench --activations 8 --seconds 0.02"), 2);
  spill(dir / "config.json", R"({"architectures": ["MixtralForCausalLM"], "vocab_size": 700})");
  const Outcome refused = llmc("bench --shape " + (dir / "config.json"));
  EXPECT_NE(refused.code, 0);
  EXPECT_NE(refused.err.find("MixtralForCausalLM"), std::string::npos) << refused.err;
}

TEST(CommandLine, AStoppedBenchLeavesNoDrawnModel) {
  const TempDir dir;
  for (const std::string signal : {"INT", "TERM"}) {
    const Outcome outcome = shell("TMPDIR=" + quoted(dir.path()) + " " + product() + " bench --engine native --shape llama-8b & p=$!; " +
                                  "for i in $(seq 1200); do ls " + quoted(dir.path()) + "/*/model.tmp >/dev/null 2>&1 && break; sleep 0.05; done; " +
                                  "kill -" + signal + " $p; wait $p");
    EXPECT_EXIT_CODE(outcome, 130);
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << explain(outcome);
  }
}

TEST(CommandLine, ImportReproducesTheEmbeddedModel) {
  const TempDir dir;
  ASSERT_EXIT_CODE(llmc("model import " + quoted(LLMC_SOURCE_DIR "/models/e0-hf") + " --activations 8 -o " + (dir / "e0")), 0);
  EXPECT_TRUE(slurp(dir / "e0") == slurp(LLMC_SOURCE_DIR "/models/e0.safetensors"));
}

TEST(CommandLine, ModelInfoNamesTheFamily) {
  EXPECT_NE(llmc("model info").out.find("\nfamily        qwen3\n"), std::string::npos);
  const TempDir dir;
  ASSERT_EXIT_CODE(llmc("model import " + quoted(LLMC_SOURCE_DIR "/tests/model/families/gpt2") + " -o " + (dir / "m")), 0);
  EXPECT_NE(llmc("model info " + (dir / "m")).out.find("\nfamily        gpt2\n"), std::string::npos);
  EXPECT_NE(llmc("model info --json " + (dir / "m")).out.find("\"family\": \"gpt2\""), std::string::npos);
}

}  // namespace
}  // namespace llmc::test
