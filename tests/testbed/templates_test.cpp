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
class Ends : public testing::Test {
 protected:
  Ends() {
    spill(dir / "bin/mpirun", "#!/bin/bash\n[ -z \"$SAYS\" ] || echo \"{ \\\"state\\\": \\\"$SAYS\\\" }\" >" + (dir / "status.json") + "\nexit $ENDS_WITH\n");
    spill(dir / "bin/squeue", "#!/bin/bash\necho $JOB_STATE\n");
    spill(dir / "bin/scontrol", "#!/bin/bash\necho \"$@\" >>" + (dir / "asked") + "\n");
    spill(dir / "bin/llmc-batch", "#!/bin/bash\necho \"$@\" >" + (dir / "alone") + "\nexit $ENDS_WITH\n");
    shell("chmod +x " + (dir / "bin") + "/*");
  }
  // What Slurm is asked for where the launcher ends with `code` and the program has said `says`, and the job with `ends`.
  std::string run(const std::string& name, int code, const std::string& says, int ends, int restarts = 0, const std::string& state = "RUNNING",
                  const std::string& more = "") {
    fs::remove(dir / "asked");
    const std::string file = dir / name;
    spill(file, std::regex_replace(slurp(LLMC_SOURCE_DIR "/slurm/" + name), std::regex("\nSTATUS=[^\n]*"), "\nSTATUS=" + (dir / "status.json")));
    const Outcome out = shell("PATH=" + (dir / "bin") + ":$PATH SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS_PER_NODE=2 ENDS_WITH=" +
                              std::to_string(code) + " JOB_STATE=" + state + " SLURM_RESTART_COUNT=" + std::to_string(restarts) + " SAYS=" + says +
                              " " + more + " bash " + quoted(file));
    EXPECT_EXIT_CODE(out, ends);
    return fs::exists(dir / "asked") ? slurp(dir / "asked") : "";
  }
  const TempDir dir;
};

TEST_F(Ends, ComeBackAfterADrainOrALossAndOtherwiseNot) {
  const auto compress = [&](int code, const std::string& says, int restarts, const std::string& state) {
    return run("compress.sbatch", code, says, code, restarts, state);
  };
  EXPECT_EQ(compress(0, "done", 0, "RUNNING"), "");
  EXPECT_EQ(compress(75, "drained", 0, "RUNNING"), "requeue 7\n");
  EXPECT_EQ(compress(130, "running", 0, "RUNNING"), "requeue 7\n");  // srun ended the ranks that were left
  EXPECT_EQ(compress(137, "running", 3, "RUNNING"), "requeue 7\n");
  EXPECT_EQ(compress(205, "running", 0, "RUNNING"), "requeue 7\n");
  for (const int code : {1, 2, 3, 12, 20}) EXPECT_EQ(compress(code, "failed", 0, "RUNNING"), "") << code;
  EXPECT_EQ(compress(75, "drained", 0, "COMPLETING"), "");
  EXPECT_EQ(compress(75, "drained", 100, "RUNNING"), "");
}

// srun ends with 0 although it could not start the ranks.
TEST_F(Ends, NothingStartedIsNotDone) {
  for (const std::string name : {"compress.sbatch", "extract.sbatch", "verify.sbatch", "array.sbatch"}) {
    const std::string element = "SLURM_ARRAY_TASK_ID=3";
    EXPECT_EQ(run(name, 0, "done", 0, 0, "RUNNING", element), "") << name;
    ASSERT_TRUE(fs::exists(dir / "status.json"));  // an earlier start's, which counts no more
    EXPECT_EQ(run(name, 0, "", 75, 0, "RUNNING", element), "requeue 7\n") << name;
    EXPECT_EQ(run(name, 0, "running", 75, 0, "RUNNING", element), "requeue 7\n") << name;
    EXPECT_EQ(run(name, 0, "", 75, 100, "RUNNING", element), "") << name << ": is given up in the end";
  }
  // A status file that cannot be written is told before anything runs: without it every end would look like this.
  fs::remove(dir / "status.json");
  fs::create_directory(dir / "status.json");
  EXPECT_EQ(run("compress.sbatch", 0, "done", 2), "");
  fs::remove(dir / "status.json");
  // The merge is one process and needs no launcher: its own code counts.
  EXPECT_EQ(run("array.sbatch", 0, "", 0, 0, "RUNNING", "SLURM_ARRAY_TASK_ID=0"), "");
  EXPECT_EQ(slurp(dir / "alone").rfind("merge ", 0), 0u);
  EXPECT_EQ(run("array.sbatch", 3, "", 3, 0, "RUNNING", "SLURM_ARRAY_TASK_ID=0"), "");
}

}  // namespace
}  // namespace llmc::test
