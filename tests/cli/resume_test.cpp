// Killed at any point, nothing that was finished is lost, and the repeated run ends with the same archive.
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in/a.txt", cut("enwik6", 12000));
    spill(dir / "in/b.txt", cut("fra.txt", 12000));
    fs::create_directories(dir / "in/empty");
    ASSERT_EXIT_CODE(llmc(arguments(dir / "whole")), 0);
  }
  std::string arguments(const std::string& out) const {
    return "compress " + (dir / "in") + " -o " + out + " --chunk 2K --shard 12K --streams 2 --engine native --parity 10% --verify 50%";
  }
  // The next run ends with the undisturbed set.
  void expect_completes(const std::string& out, const std::string& what, const std::string& how = " --resume") {
    const Outcome outcome = llmc(arguments(out) + how);
    ASSERT_EXIT_CODE(outcome, 0) << what;
    EXPECT_EQ(shell("diff -r " + (dir / "whole") + " " + out).code, 0) << what;
  }
  const TempDir dir;
};

TEST_F(Resume, KilledAtEveryFaultPoint) {
  const Outcome list = llmc("faults");
  ASSERT_EXIT_CODE(list, 0);
  std::istringstream names(list.out);
  // What a run passes once, and what only sets pass that are appended to or large (append_test.cpp).
  const std::set<std::string> once = {"archive.committed", "archive.manifest", "plan.saved", "spool.created"};
  int kills = 0, number = 0;
  for (std::string name; names >> name;) {
    for (const int hit : {1, 2}) {
      const std::string out = dir / ("set" + std::to_string(number++)), what = name + ":" + std::to_string(hit);
      const Outcome killed = shell("LLMC_FAULT=" + what + ":kill " + product() + " " + arguments(out));
      const bool met = name != "archive.names" && (hit == 1 || !once.contains(name));
      EXPECT_EXIT_CODE(killed, met ? 128 + SIGKILL : 0) << what;
      kills += killed.code != 0;
      // Whether the moment lies behind the commit, as docs/FORMAT.md has it.
      const bool committed = !met || name == "archive.committed" || name == "archive.tidy";
      EXPECT_EQ(fs::exists(out + "/manifest.json"), committed) << what;
      EXPECT_EXIT_CODE(llmc("verify " + out), committed ? 0 : 10) << what;
      // The same command, word for word, goes on as --resume does.
      expect_completes(out, what, hit == 1 && !committed ? "" : " --resume");
      fs::remove_all(out);
    }
  }
  std::printf("tally: %d kills at fault points, each resumed to identical bytes\n", kills);
}

TEST_F(Resume, FailedAtEveryFaultPoint) {
  std::istringstream names(llmc("faults").out);
  int number = 0;
  for (std::string name; names >> name;) {
    if (name == "archive.names") continue;  // of appended and of large sets: append_test.cpp
    if (name == "verify.mismatch") continue;  // no failure, but another try: verify_on_write_test.cpp
    const std::string out = dir / ("set" + std::to_string(number++));
    const Outcome failed = shell("LLMC_FAULT=" + name + ":1:error " + product() + " " + arguments(out));
    EXPECT_NE(failed.err.find("injected"), std::string::npos) << name << failed.err;
    if (name == "corpus.read") {
      // An input that cannot be read is left out by name, and the rest is archived.
      EXPECT_EXIT_CODE(failed, 3);
    } else {
      EXPECT_EXIT_CODE(failed, 1) << name;
      EXPECT_EQ(fs::exists(out + "/manifest.json"), name == "archive.committed" || name == "archive.tidy") << name;
      expect_completes(out, name);
    }
    fs::remove_all(out);
  }
}

TEST_F(Resume, AnotherPlanIsRefused) {
  const std::string out = dir / "set";
  shell("LLMC_FAULT=archive.manifest:1:kill " + product() + " " + arguments(out));
  spill(dir / "in/b.txt", cut("deu.txt", 12000));
  const Outcome outcome = llmc(arguments(out) + " --resume");
  EXPECT_EXIT_CODE(outcome, 1);
  EXPECT_NE(outcome.err.find("b.txt"), std::string::npos) << outcome.err;
  // Given up on purpose, it is made anew.
  EXPECT_EXIT_CODE(llmc(arguments(out) + " --force"), 0);
}

// Edited between the runs, with size, times and inode as they were: what the earlier run has coded is held against the text. The
// kill comes long before the file's end, so that its SHA-256 is not known yet, and the shard's begin stays as it was.
TEST_F(Resume, AChangeThatOnlyTheTextShowsIsRefused) {
  const std::string text = cut("enwik6", 400000), file = dir / "long/a.txt", out = dir / "set";
  spill(file, text);
  const std::string command = "compress " + (dir / "long") + " -o " + out + " --chunk 2K --codec zstd";
  ASSERT_EXIT_CODE(shell("LLMC_FAULT=spool.append:8:kill " + product() + " " + command), 128 + SIGKILL);
  const auto put = [&](const std::string& bytes) {
    ASSERT_EXIT_CODE(shell("touch -r " + file + " " + (dir / "then")), 0);
    std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << bytes;
    ASSERT_EXIT_CODE(shell("touch -r " + (dir / "then") + " " + file), 0);
  };
  std::string changed = text;
  for (size_t at = 3000; at < changed.size(); at += 2048) changed[at] ^= 1;
  put(changed);
  for (const char* how : {"", " --resume"}) {
    const Outcome outcome = llmc(command + how);
    EXPECT_EXIT_CODE(outcome, 1);
    EXPECT_NE(outcome.err.find("a.txt: has changed since"), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(out + "/manifest.json"));
  }
  put(text);
  ASSERT_EXIT_CODE(llmc(command), 0);
  EXPECT_EXIT_CODE(llmc("verify --data " + out), 0);
}

TEST_F(Resume, DrainsOnRequest) {
  const std::string out = dir / "set";
  const Outcome drained = shell("LLMC_FAULT=dispatch.result:2:delay " + product() + " " + arguments(out) + " & p=$!; sleep 1; kill -USR1 $p; wait $p");
  // A fast machine may be done before the signal comes.
  if (drained.code != 0) {
    EXPECT_EXIT_CODE(drained, 75);
  }
  expect_completes(out, "drained");
}

TEST_F(Resume, TwoAtOnceAreKeptApart) {
  const std::string out = dir / "set";
  const Outcome second = shell("LLMC_FAULT=dispatch.result:1:delay " + product() + " " + arguments(out) + " & p=$!; sleep 1; " +
                               product() + " " + arguments(out) + "; code=$?; wait $p; exit $code");
  EXPECT_EXIT_CODE(second, 11);
  EXPECT_NE(second.err.find("in use by process"), std::string::npos) << second.err;
  expect_completes(out, "locked");
}

// At random times of the whole run, start-up and commit included.
TEST_F(Resume, RandomKillsOfARankAndOfMpirun) {
  const bool longer = std::getenv("LLMC_LONG") != nullptr;
  const std::string run = "mpirun --oversubscribe -n 3 " + product() + " ";
  const auto seconds_of_a_run = [&] {
    const auto begin = std::chrono::steady_clock::now();
    const Outcome outcome = shell(run + arguments(dir / "measured"));
    EXPECT_EXIT_CODE(outcome, 0);
    fs::remove_all(dir / "measured");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const double length = std::min(seconds_of_a_run(), seconds_of_a_run());
  std::mt19937_64 random(23);
  // A run that was faster than its killer does not count in the long tier.
  int killed = 0, in_progress = 0, rounds = 0;
  for (int i = 0; longer ? killed < 200 : i < 20 || (in_progress < 2 && i < 80); ++i, ++rounds) {
    ASSERT_LT(i, 1000) << "hardly any run lives long enough to be killed";
    const std::string out = dir / "set";
    const std::string wait = "sleep " + std::to_string(length * static_cast<double>(random() >> 11) / 9007199254740992.0) + "; ";
    // Ranks are mpirun's children, in their order: the coordinator, then the workers.
    const uint64_t who = random() % 4;
    const std::string victim = who == 0 ? "kill -9 $p" : "kill -9 $(pgrep -P $p | sed -n " + std::to_string(who) + "p)";
    const Outcome outcome = shell(run + arguments(out) + " & p=$!; " + wait + victim +
                                  // mpirun 4.1.4 itself sometimes stays for ever when a rank dies while it starts.
                                  " 2>/dev/null; (sleep 20; kill -9 $p) 2>/dev/null & dog=$!; wait $p; code=$?; kill $dog; exit $code");
    ASSERT_EQ(outcome.err.find("run as root"), std::string::npos) << "mpirun did not start at all";
    killed += outcome.code != 0;
    // Did it meet work: frames in the spool or shards, and no finished set?
    const bool committed = fs::exists(out + "/manifest.json");
    const Outcome status = llmc("status --json " + out);
    if (outcome.code != 0 && !committed && status.code == 0) {
      const auto found = nlohmann::json::parse(status.out);
      in_progress += found.value("chunks_in_spool", 0) + found.value("shards_committed", 0) > 0;
    }
    // What mpirun leaves behind ends by itself; the lock goes with it.
    Outcome again;
    for (int tries = 0; tries < 100; ++tries) {
      again = llmc(arguments(out) + " --resume");
      if (again.code != 11) break;
      shell("sleep 0.1");
    }
    ASSERT_EXIT_CODE(again, 0) << "round " << i;
    EXPECT_EQ(shell("diff -r " + (dir / "whole") + " " + out).code, 0) << "round " << i;
    fs::remove_all(out);
  }
  std::printf("tally: %d of %d runs of %.1f s were killed before their end, %d of them with frames in the spool or shards and no manifest; none lost anything\n",
              killed, rounds, length, in_progress);
  EXPECT_GE(killed, longer ? 200 : 8);
  EXPECT_GE(in_progress, longer ? 20 : 2) << "kills before the first frame and after the commit prove little";
}

}  // namespace
}  // namespace llmc::test
