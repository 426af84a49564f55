// What can be said of slurm/*.sbatch without a Slurm; slurm_test.cpp runs them.
#include <regex>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

const std::string border = "# ---- Nothing to edit below this line.";

TEST(Templates, ShareAllBelowTheHead) {
  std::string tail;
  int count = 0;
  for (const auto& item : fs::directory_iterator(LLMC_SOURCE_DIR "/slurm")) {
    const std::string text = slurp(item.path());
    const size_t at = text.find(border);
    ASSERT_NE(at, std::string::npos) << item.path();
    if (tail.empty()) tail = text.substr(at);
    EXPECT_EQ(text.substr(at), tail) << item.path();
    EXPECT_EQ(shell("bash -n " + quoted(item.path().string())).code, 0) << item.path();
    ++count;
  }
  EXPECT_EQ(count, 4);
}

// The signal leaves more time than the drain takes, and every job that ends in its middle may come back.
TEST(Templates, LeaveTimeForTheDrain) {
  for (const auto& item : fs::directory_iterator(LLMC_SOURCE_DIR "/slurm")) {
    const std::string text = slurp(item.path());
    std::smatch signal, grace;
    ASSERT_TRUE(std::regex_search(text, signal, std::regex("#SBATCH --signal=B:USR1@(\\d+)"))) << item.path();
    ASSERT_TRUE(std::regex_search(text, grace, std::regex("\nGRACE=(\\d+)"))) << item.path();
    EXPECT_GE(std::stoi(signal[1]), std::stoi(grace[1]) + 30) << item.path();
    EXPECT_NE(text.find("#SBATCH --requeue"), std::string::npos) << item.path();
    EXPECT_NE(text.find("#SBATCH --open-mode=append"), std::string::npos) << item.path();
  }
}

// The tail without a Slurm: a stand-in for mpirun plays each end, stand-ins for squeue and scontrol listen.
TEST(Templates, ComeBackAfterADrainOrALossAndOtherwiseNot) {
  const TempDir dir;
  spill(dir / "bin/mpirun", "#!/bin/bash\nexit $ENDS_WITH\n");
  spill(dir / "bin/squeue", "#!/bin/bash\necho $JOB_STATE\n");
  spill(dir / "bin/scontrol", "#!/bin/bash\necho \"$@\" >>" + (dir / "asked") + "\n");
  shell("chmod +x " + (dir / "bin") + "/*");
  const auto run = [&](int code, int restarts, const std::string& state) {
    fs::remove(dir / "asked");
    const Outcome out = shell("PATH=" + (dir / "bin") + ":$PATH SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS_PER_NODE=2 ENDS_WITH=" +
                              std::to_string(code) + " JOB_STATE=" + state + " SLURM_RESTART_COUNT=" + std::to_string(restarts) +
                              " bash " + quoted(LLMC_SOURCE_DIR "/slurm/compress.sbatch"));
    EXPECT_EXIT_CODE(out, code);
    return fs::exists(dir / "asked") ? slurp(dir / "asked") : "";
  };
  EXPECT_EQ(run(0, 0, "RUNNING"), "");
  EXPECT_EQ(run(75, 0, "RUNNING"), "requeue 7\n");
  EXPECT_EQ(run(130, 0, "RUNNING"), "requeue 7\n");  // srun ended the ranks that were left
  EXPECT_EQ(run(137, 3, "RUNNING"), "requeue 7\n");
  EXPECT_EQ(run(205, 0, "RUNNING"), "requeue 7\n");
  for (const int code : {1, 2, 3, 12, 20}) EXPECT_EQ(run(code, 0, "RUNNING"), "") << code;
  EXPECT_EQ(run(75, 0, "COMPLETING"), "");
  EXPECT_EQ(run(75, 100, "RUNNING"), "");
}

}  // namespace
}  // namespace llmc::test
