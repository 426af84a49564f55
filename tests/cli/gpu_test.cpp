// Machines with GPUs, as the whole program meets them: emulated ones (tests/cuda/emulated_*), which need no GPU here.
#include "cli/product.h"
#include "model/import.h"

namespace llmc::test {
namespace {

constexpr char kShape[] = R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "hidden_act": "silu",
  "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000, "bos_token_id": 0})";

class Gpu : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    kept = new TempDir;
    ASSERT_TRUE(import_shape(kShape, "shape", *kept / "tiny.model", {}).ok());
    spill(*kept / "in/a.txt", cut("alice29.txt", 700));
    spill(*kept / "in/b.txt", cut("code.txt", 500) + noise(100, 3));
    ASSERT_EXIT_CODE(llmc(compress(*kept / "cpu.h5")), 0);
  }
  static void TearDownTestSuite() { delete kept; }

  static std::string compress(const std::string& out) {
    return "compress " + (*kept / "in") + " -o " + out + " --model " + (*kept / "tiny.model") + " --chunk 256 --window 64 --streams 2 --threads 1";
  }
  // A rank on a machine with so many GPUs.
  static std::string on(int gpus, const std::string& arguments) {
    const std::string folder = LLMC_BINARY_DIR "/emulated_gpu";
    return "-n 1 env LLMC_EMULATED_GPUS=" + std::to_string(gpus) + " LD_LIBRARY_PATH=" + quoted(folder) + "${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" +
           " LLMC_TORCH_CUDA_LIBRARY=" + quoted(folder + "/libemulated_cuda_back_end.so") + " " + product() + " " + arguments;
  }
  static std::string without(const std::string& arguments) { return "-n 1 " + product() + " " + arguments; }
  static Outcome mpi(const std::vector<std::string>& ranks) {
    std::string line = "mpirun --oversubscribe";
    for (size_t i = 0; i < ranks.size(); ++i) line += (i ? " : " : " ") + ranks[i];
    return shell(line);
  }

  static inline TempDir* kept = nullptr;
  TempDir dir;
};

TEST_F(Gpu, RanksWithAndWithoutOneMakeTheSameArchive) {
  const std::string verb = compress(dir / "a.h5");
  const Outcome mixed = mpi({without(verb), on(2, verb + " --device cuda"), on(2, verb + " --device cuda"), without(verb)});
  ASSERT_EXIT_CODE(mixed, 0);
  expect_same(*kept / "cpu.h5", dir / "a.h5");
  // The workers of a machine take its GPUs in turn.
  for (const char* device : {"GPU 0 (emulated)", "GPU 1 (emulated)"}) EXPECT_NE(mixed.err.find(device), std::string::npos) << mixed.err;

  const std::string extract = "extract " + (*kept / "cpu.h5") + " --model " + (*kept / "tiny.model") + " --streams 2 --threads 1 -o ";
  ASSERT_EXIT_CODE(mpi({without(extract + (dir / "out")), on(1, extract + (dir / "out") + " --device cuda"), without(extract + (dir / "out"))}), 0);
  expect_same(*kept / "in", dir / "out/in");
}

TEST_F(Gpu, SeveralOfARankShareTheModel) {
  const std::string verb = compress(dir / "a.h5") + " --gpus-per-rank 2";
  const Outcome two = mpi({without(compress(dir / "a.h5")), on(5, verb), on(5, verb), on(5, verb)});
  ASSERT_EXIT_CODE(two, 0);
  expect_same(*kept / "cpu.h5", dir / "a.h5");
  // The fifth does not make a pair: the third worker goes to the first pair again.
  EXPECT_NE(two.err.find("GPU 2 (emulated)"), std::string::npos) << two.err;
  EXPECT_EQ(two.err.find("GPU 4 (emulated)"), std::string::npos) << two.err;

  const Outcome few = mpi({without(compress(dir / "b.h5")), on(1, compress(dir / "b.h5") + " --gpus-per-rank 2")});
  EXPECT_EXIT_CODE(few, 1);
  EXPECT_NE(few.err.find("this process sees 1 GPU"), std::string::npos) << few.err;
}

TEST_F(Gpu, OneThatComputesWrongIsRefusedByNameAndTheJobEnds) {
  const std::string verb = compress(dir / "a.h5");
  const Outcome wrong = mpi({without(verb), "-x LLMC_CORRUPT_DEVICE=1 " + on(2, verb + " --device cuda:1"), without(verb)});
  EXPECT_EXIT_CODE(wrong, 1);
  EXPECT_NE(wrong.err.find("GPU 1 (emulated) failed its start-up check"), std::string::npos) << wrong.err;
  ASSERT_EXIT_CODE(mpi({without(verb), without(verb)}), 0);
  expect_same(*kept / "cpu.h5", dir / "a.h5");
}

TEST_F(Gpu, WhereThereIsNoneItIsMissed) {
  const Outcome none = mpi({on(0, compress(dir / "a.h5") + " --device cuda")});
  EXPECT_EXIT_CODE(none, 1);
  EXPECT_NE(none.err.find("shows this process no device"), std::string::npos) << none.err;
  EXPECT_NE(mpi({on(2, "--version")}).out.find("GPU 0 (emulated), GPU 1 (emulated), driver for CUDA 13.0"), std::string::npos);
}

}  // namespace
}  // namespace llmc::test
