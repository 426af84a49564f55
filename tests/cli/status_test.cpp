// status: how far an archive is, who works on it; and what a resumed run does again.
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class StatusOf : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 4; ++i) spill(dir_ / ("in/f" + std::to_string(i)), cut("wiki.txt", 25'000));
  }
  std::string compress(const std::string& out, const std::string& more) {
    return product() + " compress " + (dir_ / "in") + " -q --codec zstd --chunk 1K -o " + (dir_ / out) + " " + more;
  }
  Outcome status(const std::string& out) { return llmc("status " + (dir_ / out)); }
  const TempDir dir_;
};

TEST_F(StatusOf, FinishedInterruptedAndNothing) {
  EXPECT_EXIT_CODE(status("nowhere"), 10);
  const Outcome killed = shell("LLMC_FAULT=spool.append:90:kill " + compress("set", "--shard 25K"));
  ASSERT_NE(killed.code, 0);
  const Outcome interrupted = status("set");
  ASSERT_EXIT_CODE(interrupted, 0);
  EXPECT_NE(interrupted.out.find(": interrupted\n"), std::string::npos) << interrupted.out;
  EXPECT_NE(interrupted.out.find("of 4 shards"), std::string::npos) << interrupted.out;
  EXPECT_NE(interrupted.out.find("of 100 chunks: shard "), std::string::npos) << interrupted.out;
  EXPECT_NE(interrupted.out.find("which no longer runs"), std::string::npos) << interrupted.out;
  // It only looks: the torn record is still there for the next run to deal with.
  EXPECT_EQ(status("set").out, interrupted.out);
  const std::string json = llmc("status --json " + (dir_ / "set")).out;
  EXPECT_NE(json.find("\"state\": \"interrupted\""), std::string::npos) << json;
  EXPECT_NE(json.find("\"host\""), std::string::npos) << json;
  ASSERT_EXIT_CODE(shell(compress("set", "--shard 25K --resume")), 0);
  EXPECT_NE(status("set").out.find(": finished\nlock: nobody\n"), std::string::npos) << status("set").out;
}

// Who holds the lock: host, process, job, since when.
TEST_F(StatusOf, InWork) {
  char host[256] = {};
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  for (const std::string job : {"", "4711"}) {
    const std::string out = "set" + job;
    // A holder that lives: it waits for two seconds, with some of its work done.
    const Outcome outcome = shell((job.empty() ? "unset SLURM_JOB_ID; " : "export SLURM_JOB_ID=" + job + "; ") + "date -u +%s >" + (dir_ / "before") +
                                  "; LLMC_FAULT=dispatch.result:3:delay " + compress(out, "") + " & p=$!; while [ ! -s " + (dir_ / (out + "/.work/spool-000000")) +
                                  " ] && kill -0 $p; do sleep 0.02; done; echo $p >" + (dir_ / "pid") + "; " + product() + " status " + (dir_ / out) + "; " +
                                  product() + " status --json " + (dir_ / out) + " >" + (dir_ / "json") + "; wait $p");
    ASSERT_EXIT_CODE(outcome, 0);
    EXPECT_EQ(outcome.out.rfind((dir_ / out) + ": in work\n", 0), 0u) << outcome.out;
    const std::string pid = std::to_string(std::stol(slurp(dir_ / "pid")));
    std::smatch found;
    const std::regex line("\nlock: process ([0-9]+) on ([^,\n]+)(, Slurm job ([^,\n]+))?, since ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n");
    ASSERT_TRUE(std::regex_search(outcome.out, found, line)) << outcome.out;
    EXPECT_EQ(found[1], pid);
    EXPECT_EQ(found[2], host);
    EXPECT_EQ(found[4], job);
    std::tm since = {};
    ASSERT_NE(::strptime(found[5].str().c_str(), "%Y-%m-%dT%H:%M:%SZ", &since), nullptr);
    const long begun = std::stol(slurp(dir_ / "before"));
    EXPECT_GE(::timegm(&since), begun);
    EXPECT_LE(::timegm(&since), ::time(nullptr));
    const auto lock = nlohmann::json::parse(slurp(dir_ / "json"))["lock"];
    EXPECT_EQ(lock["host"], host);
    EXPECT_EQ(std::to_string(lock["pid"].get<long>()), pid);
    EXPECT_EQ(lock["slurm_job"], job);
    EXPECT_EQ(lock["since"], found[5].str());
    EXPECT_EQ(lock["runs"], true);
    EXPECT_NE(llmc("status " + (dir_ / out)).out.find(": finished\nlock: nobody\n"), std::string::npos) << "and nobody once it is done";
  }
}

// Of two runs: an input whose time and inode are as they were, and whose size is not; one whose bytes alone are others.
TEST_F(StatusOf, AChangedInputIsRefusedByName) {
  const std::string input = dir_ / "in/f2";
  const auto time = fs::last_write_time(input);
  const std::string whole = slurp(input);
  int number = 0;
  for (const std::string& changed : {whole + "x", whole.substr(1), std::string(), whole}) {
    const std::string out = "set" + std::to_string(number++);
    ASSERT_NE(shell("LLMC_FAULT=spool.append:60:kill " + compress(out, "")).code, 0);
    {
      std::ofstream file(input, std::ios::binary | std::ios::trunc);  // the same inode
      file << changed;
    }
    fs::last_write_time(input, changed == whole ? time + std::chrono::seconds(1) : time);
    for (const char* how : {"", "--resume"}) {
      const Outcome refused = shell(compress(out, how));
      EXPECT_EXIT_CODE(refused, 1) << changed.size();
      EXPECT_NE(refused.err.find("in/f2"), std::string::npos) << refused.err;
    }
    EXPECT_FALSE(fs::exists(dir_ / (out + "/manifest.json")));
    // Put back as it was, the run goes on; so it is that very change that was refused.
    {
      std::ofstream file(input, std::ios::binary | std::ios::trunc);
      file << whole;
    }
    fs::last_write_time(input, time);
    EXPECT_EXIT_CODE(shell(compress(out, "--resume")), 0);
    EXPECT_EXIT_CODE(llmc("verify --data " + (dir_ / out)), 0);
  }
}

TEST_F(StatusOf, AJobKilledAtNineTenthsDoesLittleAgain) {
  // One shard: nothing is committed before the end, all stands in the spool. 100 chunks, a seed, 4 digests.
  const Outcome killed = shell("LLMC_FAULT=spool.append:95:kill " + compress("a.h5", ""));
  ASSERT_NE(killed.code, 0);
  const Outcome resumed = shell(product() + " compress " + (dir_ / "in") + " --codec zstd --chunk 1K -o " + (dir_ / "a.h5") + " --resume 2>/dev/null");
  ASSERT_EXIT_CODE(resumed, 0);
  const size_t at = resumed.out.find("; ", resumed.out.find("decoded again"));
  ASSERT_NE(at, std::string::npos) << resumed.out;
  const int kept = std::stoi(resumed.out.substr(at + 2));
  EXPECT_GT(kept, 85) << resumed.out;
  EXPECT_LT(kept, 100) << resumed.out;
}

TEST_F(StatusOf, SettingsOfTheManifestStayAsTheyWere) {
  ASSERT_NE(shell("LLMC_FAULT=archive.manifest:1:kill " + compress("set", "--verify 50% --parity 5%")).code, 0);
  const Outcome other = shell(compress("set", "--verify none --parity 5%"));
  EXPECT_EXIT_CODE(other, 1);
  EXPECT_NE(other.err.find("--verify and --parity as then"), std::string::npos) << other.err;
  ASSERT_EXIT_CODE(shell(compress("set", "--verify 50% --parity 5%")), 0);
  const std::string manifest = slurp(dir_ / "set/manifest.json");
  EXPECT_NE(manifest.find("\"verified\": {\"rate\":0.5,\"seed\":"), std::string::npos) << manifest;
  EXPECT_NE(manifest.find("\"parity\": 0.05"), std::string::npos) << manifest;
}

// Of a job on another host Slurm knows whether it still runs.
TEST_F(StatusOf, ALockOfAnEndedSlurmJobIsTakenOver) {
  spill(dir_ / "bin/squeue", "#!/bin/sh\n[ \"$3\" = 42 ] || exit 1\ncat " + (dir_ / "answer") + "\nexit $(cat " + (dir_ / "code") + ")\n");
  fs::permissions(dir_ / "bin/squeue", fs::perms(0755));
  const auto answer = [&](const std::string& text, int code) {
    spill(dir_ / "answer", text);
    spill(dir_ / "code", std::to_string(code));
  };
  const std::string path = "PATH=" + (dir_ / "bin") + ":$PATH ";
  spill(dir_ / "set/.work/lock", R"({"host":"elsewhere","pid":7,"process_start":1,"boot":"x","slurm_job":"42","since":"then"})" "\n");
  answer("RUNNING\n", 0);
  EXPECT_EXIT_CODE(shell(path + compress("set", "")), 11);
  answer("squeue: error: cannot reach the controller\n", 1);
  EXPECT_EXIT_CODE(shell(path + compress("set", "")), 11);
  answer("COMPLETED\n", 0);
  EXPECT_EXIT_CODE(shell(path + compress("set", "")), 0);
  spill(dir_ / "set2/.work/lock", R"({"host":"elsewhere","pid":7,"process_start":1,"boot":"x","slurm_job":"42","since":"then"})" "\n");
  answer("slurm_load_jobs error: Invalid job id specified\n", 1);
  EXPECT_EXIT_CODE(shell(path + compress("set2", "")), 0);
  // Without Slurm's word, only by hand.
  spill(dir_ / "set3/.work/lock", R"({"host":"elsewhere","pid":7,"process_start":1,"boot":"x","slurm_job":"","since":"then"})" "\n");
  EXPECT_EXIT_CODE(shell(compress("set3", "")), 11);
  EXPECT_EXIT_CODE(shell(compress("set3", "--break-lock")), 0);
}

}  // namespace
}  // namespace llmc::test
