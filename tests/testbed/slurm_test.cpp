// slurm/*.sbatch as users run them: edited in the head alone, on a real Slurm, with everything that happens to jobs.
#include <regex>
#include <thread>

#include "testbed/corpus.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const std::string script = quoted(LLMC_SOURCE_DIR "/tools/testbed/slurm.sh");

std::string word_after(const std::string& text, const std::string& key) {
  std::smatch found;
  return std::regex_search(text, found, std::regex("\\b" + key + "=(\\S*)")) ? found[1].str() : "";
}

class Slurm : public testing::Test {
 protected:
  // What is missing here; nothing: a Slurm runs.
  std::string start() {
    std::string why = shell(script + " missing").out;
    if (!why.empty() && long_tier() && shell("test $(id -u) = 0").code == 0) {
      shell(script + " install");
      why = shell(script + " missing").out;
    }
    if (!why.empty()) return "no Slurm (" + why.substr(0, why.find('\n')) + ")";
    const Outcome started = shell(script + " start " + slurm);
    EXPECT_EQ(started.code, 0) << started.out << started.err;
    running_ = true;
    return "";
  }
  void TearDown() override {
    if (!running_) return;
    if (HasFailure()) {
      for (const auto& item : fs::directory_iterator(dir.path())) {
        if (item.path().extension() == ".log") std::printf("--- %s\n%s", item.path().c_str(), slurp(item.path()).c_str());
      }
      std::printf("%s\n", shell("tail -n 40 " + slurm + "/log/slurmctld").out.c_str());
    }
    shell(script + " stop " + slurm);
  }

  Outcome run(const std::string& command) { return shell("cd " + dir.path().string() + "; " + script + " run " + slurm + " " + command); }

  // A template with other values in its head.
  std::string edited(const std::string& name, std::map<std::string, std::string> values) {
    values.emplace("PROGRAM", LLMC_BINARY_DIR "/llmc-batch");
    std::string text = slurp(LLMC_SOURCE_DIR "/slurm/" + name);
    for (const auto& [key, value] : values) {
      const std::regex line("(^|\n)" + key + "=[^\n]*");
      EXPECT_TRUE(std::regex_search(text, line)) << name << " has no " << key;
      text = std::regex_replace(text, line, "$1" + key + "=" + std::regex_replace(value, std::regex("\\$"), "$$$$"));
    }
    const std::string path = dir / name;
    spill(path, text);
    return path;
  }

  std::string submit(const std::string& options, const std::string& file) {
    const Outcome sent = run("sbatch --parsable --export=ALL " + options + " " + file);
    EXPECT_EQ(sent.code, 0) << sent.err;
    return sent.out.substr(0, sent.out.find_first_of("\n;"));
  }
  std::string show(const std::string& job) { return run("scontrol show job -o " + job).out; }
  std::string state(const std::string& job) { return word_after(show(job), "JobState"); }

  // Until the job is in one of these states. A job that was put back and waits for its time does not wait.
  bool reaches(const std::string& job, const std::string& states, std::chrono::seconds limit = 400s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      const std::string now = show(job), is = word_after(now, "JobState");
      if (!is.empty() && (" " + states + " ").find(" " + is + " ") != std::string::npos) return true;
      if (is == "PENDING" && word_after(now, "Reason") == "BeginTime") {
        // A start within the second of the requeue is refused by slurmd ("credential revoked").
        std::this_thread::sleep_for(3s);
        run("scontrol update JobId=" + job + " StartTime=now");
      }
      std::this_thread::sleep_for(500ms);
    }
    ADD_FAILURE() << "job " << job << " did not become " << states << ":\n" << show(job);
    return false;
  }
  void expect_success(const std::string& job) {
    ASSERT_TRUE(reaches(job, "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL"));
    EXPECT_EQ(state(job), "COMPLETED") << show(job);
  }
  // Until the spool of an output has grown to so many bytes: the job is in the middle of its work.
  bool is_under_way(const std::string& out, uintmax_t bytes = 2000) {
    for (int i = 0; i < 600; ++i) {
      uintmax_t sum = 0;
      std::error_code error;
      for (const auto& item : fs::recursive_directory_iterator(out, error)) {
        if (item.is_regular_file(error) && item.path().filename().string().starts_with("spool-")) sum += item.file_size(error);
      }
      if (sum >= bytes) return true;
      std::this_thread::sleep_for(100ms);
    }
    ADD_FAILURE() << out << ": nothing is being done";
    return false;
  }
  std::map<std::string, std::string> compress_head(const std::string& launcher, const std::string& out) {
    return {{"LAUNCHER", launcher}, {"INPUTS", "(" + (dir / "in") + ")"}, {"ARCHIVE", out}, {"OPTIONS", "(" + coding + ")"}};
  }

  const TempDir dir;
  const std::string slurm = dir / "slurm";
  const std::string two_nodes = "--nodes=2 --ntasks-per-node=2 --gpus-per-node=2 --output=" + (dir / "job-%j.log");

 private:
  bool running_ = false;
};

#define START_SLURM()                                     \
  if (const std::string why = start(); !why.empty()) {    \
    GTEST_SKIP() << "not run: " << why;                   \
  }
#define LONG_TIER_ONLY() \
  if (!long_tier()) GTEST_SKIP() << "not run: long test (./test.sh --all)"

// Compress and extract on two nodes of three ranks in all: in the fast tier too, where a Slurm is installed.
TEST_F(Slurm, Smoke) {
  START_SLURM();
  make_corpus(dir / "in", 2);
  make_reference(dir / "in", dir / "reference");
  expect_success(submit(two_nodes, edited("compress.sbatch", compress_head("mpirun", dir / "set"))));
  expect_same(dir / "reference", dir / "set");
  expect_success(submit(two_nodes, edited("extract.sbatch", {{"ARCHIVE", dir / "set"}, {"OUTPUT", dir / "out"}})));
  expect_same(dir / "in", dir / "out/in");
}

class Launched : public Slurm, public testing::WithParamInterface<const char*> {
 protected:
  const std::string launcher = GetParam();
};

TEST_P(Launched, EveryTemplateToItsEnd) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 5);
  make_reference(dir / "in", dir / "reference");
  expect_success(submit(two_nodes, edited("compress.sbatch", compress_head(launcher, dir / "set"))));
  expect_same(dir / "reference", dir / "set");
  expect_success(submit(two_nodes, edited("extract.sbatch", {{"LAUNCHER", launcher}, {"ARCHIVE", dir / "set"}, {"OUTPUT", dir / "out"}})));
  expect_same(dir / "in", dir / "out/in");
  expect_success(submit(two_nodes, edited("verify.sbatch", {{"LAUNCHER", launcher}, {"ARCHIVE", dir / "set"}})));
  const std::string array = submit(two_nodes + " --array=1-2", edited("verify.sbatch", {{"LAUNCHER", launcher}, {"ARCHIVE", dir / "set"}}));
  expect_success(array + "_1");
  expect_success(array + "_2");
  // Damage is an end, and no reason to come back.
  shell("printf x | dd of=" + (dir / "set/shard-000000.h5") + " bs=1 seek=3000 conv=notrunc");
  const std::string job = submit(two_nodes, edited("verify.sbatch", {{"LAUNCHER", launcher}, {"ARCHIVE", dir / "set"}}));
  ASSERT_TRUE(reaches(job, "COMPLETED FAILED"));
  EXPECT_EQ(word_after(show(job), "ExitCode"), "20:0");
  EXPECT_EQ(word_after(show(job), "Restarts"), "0");
}

// Slurm's own signal before its own time limit, as --signal asks for it.
TEST_P(Launched, TheTimeLimitDrainsAndTheJobComesBack) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 300);  // more than a fast machine codes before the signal
  make_reference(dir / "in", dir / "reference");
  const std::string job = submit(two_nodes + " --time=2 --signal=B:USR1@90", edited("compress.sbatch", compress_head(launcher, dir / "set")));
  ASSERT_TRUE(reaches(job, "RUNNING"));
  expect_success(job);
  const std::string log = slurp(dir / ("job-" + job + ".log"));
  EXPECT_NE(log.find("draining"), std::string::npos) << log;
  EXPECT_NE(log.find("exit 75"), std::string::npos) << log;
  EXPECT_NE(word_after(show(job), "Restarts"), "0");
  expect_same(dir / "reference", dir / "set");
}

TEST_P(Launched, ALostNodeBringsTheJobBack) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 24);
  make_reference(dir / "in", dir / "reference");
  const std::string job = submit(two_nodes, edited("compress.sbatch", compress_head(launcher, dir / "set")));
  ASSERT_TRUE(is_under_way(dir / "set"));
  shell(script + " kill-node " + slurm + " n2");
  // Lost for longer than SlurmdTimeout, then repaired.
  std::this_thread::sleep_for(25s);
  shell(script + " node " + slurm + " n2");
  expect_success(job);
  EXPECT_NE(word_after(show(job), "Restarts"), "0");
  expect_same(dir / "reference", dir / "set");
}

TEST_P(Launched, ACancelledJobStaysCancelledAndCanBeSentAgain) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 20);
  make_reference(dir / "in", dir / "reference");
  const std::string file = edited("compress.sbatch", compress_head(launcher, dir / "set"));
  const std::string job = submit(two_nodes, file);
  ASSERT_TRUE(is_under_way(dir / "set"));
  run("scancel " + job);
  ASSERT_TRUE(reaches(job, "CANCELLED"));
  std::this_thread::sleep_for(10s);
  EXPECT_EQ(state(job), "CANCELLED");
  EXPECT_FALSE(fs::exists(dir / "set/manifest.json"));
  expect_success(submit(two_nodes, file));
  expect_same(dir / "reference", dir / "set");
}

TEST_P(Launched, AnExtractionIsInterruptedAndGoesOn) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 24);
  make_reference(dir / "in", dir / "set");
  const std::string job = submit(two_nodes, edited("extract.sbatch", {{"LAUNCHER", launcher}, {"ARCHIVE", dir / "set"},
      {"OUTPUT", dir / "out"}, {"OPTIONS", "(--threads 1 --streams 2)"}}));
  for (int i = 0; i < 600 && shell("ls " + (dir / "out/in") + " | grep -c '^1'").out < "2"; ++i) std::this_thread::sleep_for(100ms);
  run("scancel --signal=USR1 --batch " + job);
  expect_success(job);
  EXPECT_NE(word_after(show(job), "Restarts"), "0");  // more than one where Slurm could not launch a step at once
  expect_same(dir / "in", dir / "out/in");
}

TEST_P(Launched, AnArrayWithAKilledElementMakesTheSameSet) {
  LONG_TIER_ONLY();
  START_SLURM();
  make_corpus(dir / "in", 24);
  make_reference(dir / "in", dir / "reference");
  ASSERT_EXIT_CODE(llmc("plan " + (dir / "in") + " -o " + (dir / "plan") + " --chunk 4K --shard 128K"), 0);
  fs::create_directories(dir / "parts");
  const std::string file = edited("array.sbatch", {{"LAUNCHER", launcher}, {"PLAN", dir / "plan"}, {"PARTS", dir / "parts"},
      {"ARCHIVE", dir / "set"}, {"ELEMENTS", "3"}, {"RESTARTS", "0"},
      {"OPTIONS", "(--threads 1 --streams 4 --engine native --verify none)"}});
  const std::string one_node = "--nodes=1 --ntasks-per-node=2 --output=" + (dir / "job-%A-%a.log");
  const std::string array = submit(one_node + " --array=1-3", file);
  ASSERT_TRUE(is_under_way(dir / "parts/2"));
  run("scancel --signal=KILL --full " + array + "_2");
  expect_success(array + "_1");
  expect_success(array + "_3");
  ASSERT_TRUE(reaches(array + "_2", "FAILED CANCELLED NODE_FAIL"));
  // Put together too early, the merge says what is missing.
  const std::string early = submit(one_node + " --array=0", file);
  ASSERT_TRUE(reaches(early + "_0", "FAILED"));
  EXPECT_NE(slurp(dir / ("job-" + early + "-0.log")).find("are in none of the parts"), std::string::npos);
  expect_success(submit(one_node + " --array=2", file) + "_2");
  expect_success(submit(one_node + " --array=0", file) + "_0");
  expect_same(dir / "reference", dir / "set");
}

INSTANTIATE_TEST_SUITE_P(By, Launched, testing::Values("mpirun", "srun"), [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace llmc::test
