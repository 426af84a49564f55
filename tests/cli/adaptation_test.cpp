// model adapt and --adapt: fitted once, stored in every shard, the same archive whoever makes it, and a clear word where
// it is another or lost.
#include <csignal>
#include <map>

#include "base/checksum.h"
#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

// A log that no model has read.
std::string log_lines(uint32_t from, size_t bytes) {
  std::string text;
  for (uint32_t i = from; text.size() < bytes; ++i) {
    text += "2026-11-21 04:" + std::to_string(10 + i % 50) + ":" + std::to_string(10 + i * 7 % 50) + " WARN dfs.DataNode$PacketResponder: blk_" +
            std::to_string(i * 2654435761u) + " terminating, src: /10.251." + std::to_string(i * 37 % 256) + "\n";
  }
  return text.substr(0, bytes);
}

std::string sha256_of(const std::string& path) { return to_hex(sha256(as_bytes(slurp(path)))); }

class Adapting : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    kept = new TempDir;
    spill(*kept / "sample.log", log_lines(100000, 20000));
    spill(*kept / "other.log", log_lines(7, 17000));
    for (const char* name : {"sample", "other"}) {
      const std::string base = *kept / name;
      report[name] = llmc("model adapt " + base + ".log -o " + base + ".adapt --json");
    }
  }
  static void TearDownTestSuite() { delete kept; }
  void SetUp() override {
    ASSERT_EXIT_CODE(report["sample"], 0);
    ASSERT_EXIT_CODE(report["other"], 0);
    spill(dir / "in/a.log", log_lines(0, 5000));
    spill(dir / "in/b.bin", noise(600, 5));
    spill(dir / "in/c.log", log_lines(5000, 4000));
  }
  static std::string adapt_file(const std::string& name = "sample") { return *kept / (name + ".adapt"); }
  // Two shards.
  std::string arguments(const std::string& out, const std::string& more = "", const std::string& file = "sample") const {
    return "compress " + (dir / "in") + " -o " + (dir / out) + " --chunk 1K --shard 6K --engine native -q --adapt " + adapt_file(file) + " " + more;
  }
  void make(const std::string& out, const std::string& more = "", int ranks = 0) { ASSERT_EXIT_CODE(llmc(arguments(out, more), ranks), 0); }
  static inline TempDir* kept = nullptr;
  static inline std::map<std::string, Outcome> report;
  const TempDir dir;
};

TEST_F(Adapting, FitsAndSaysWhatIsGained) {
  const std::string out = report["sample"].out;
  EXPECT_NE(out.find("\"held_back\""), std::string::npos) << out;
  const size_t at = out.find("\"change_percent\": ");
  ASSERT_NE(at, std::string::npos) << out;
  EXPECT_LT(std::stod(out.substr(at + 18)), -3.0) << out;  // range
  const Outcome again = llmc("model adapt " + *kept / "sample.log" + " -o " + (dir / "again") + " --threads 1");
  ASSERT_EXIT_CODE(again, 0);
  EXPECT_TRUE(slurp(dir / "again") == slurp(adapt_file()));
  EXPECT_NE(again.out.find("bits per byte"), std::string::npos) << again.out;
  EXPECT_EXIT_CODE(llmc("model adapt " + *kept / "sample.log" + " -o " + (dir / "again")), 1);  // exists
  spill(dir / "short", log_lines(0, 9000));
  const Outcome little = llmc("model adapt " + (dir / "short") + " -o " + (dir / "x"));
  EXPECT_EXIT_CODE(little, 1);
  EXPECT_NE(little.err.find("16 KiB"), std::string::npos) << little.err;
  for (const std::string& verb : {"model adapt " + *kept / "sample.log", std::string("model import " LLMC_SOURCE_DIR "/models/e0-hf")}) {
    for (const std::string& bad : {dir / std::string(300, 'x'), dir / std::string(253, 'x'), dir / "nowhere/x", dir / "in"}) {
      const Outcome outcome = llmc(verb + " --force -o " + bad);
      EXPECT_EXIT_CODE(outcome, 1);
      EXPECT_NE(outcome.err.find(bad == dir / "nowhere/x" ? dir / "nowhere" : bad), std::string::npos) << outcome.err;
      EXPECT_EQ(outcome.err.find("internal error"), std::string::npos) << outcome.err;
    }
  }
  EXPECT_EXIT_CODE(llmc("model adapt -o " + (dir / "x")), 2);
  EXPECT_EXIT_CODE(llmc("model adapt " + *kept / "sample.log"), 2);
}

// As compress does: what cannot be read is named, the rest is used, and the exit code tells.
TEST_F(Adapting, ASampleThatIsPartlyUnreadable) {
  if (geteuid() == 0 && shell("command -v setpriv").code != 0) GTEST_SKIP() << "not run: no setpriv to give up root with";
  spill(dir / "sample/a.log", slurp(*kept / "sample.log"));
  spill(dir / "sample/closed.log", log_lines(1, 20000));
  fs::permissions(dir / "sample/closed.log", fs::perms(0));
  fs::permissions(dir.path(), fs::perms(0777));
  const std::string as_nobody = geteuid() == 0 ? "setpriv --reuid 65534 --regid 65534 --clear-groups " : "";
  const Outcome outcome = shell(as_nobody + product() + " model adapt " + (dir / "sample") + " -o " + (dir / "x"));
  EXPECT_EXIT_CODE(outcome, 3);
  EXPECT_NE(outcome.err.find("closed.log"), std::string::npos) << explain(outcome);
  EXPECT_TRUE(slurp(dir / "x") == slurp(adapt_file())) << explain(outcome);
  const std::string hidden = dir / "closed/x";
  fs::create_directory(dir / "closed");
  fs::permissions(dir / "closed", fs::perms(0));
  const Outcome no_way = shell(as_nobody + product() + " model adapt " + (dir / "sample/a.log") + " -o " + hidden);
  EXPECT_EXIT_CODE(no_way, 1);
  EXPECT_NE(no_way.err.find(hidden), std::string::npos) << explain(no_way);
  EXPECT_EQ(no_way.err.find("internal error"), std::string::npos) << explain(no_way);
}

// The file of a run before is no part of the sample that it lies beside.
TEST_F(Adapting, AgainInTheFolderOfTheSample) {
  spill(dir / "sample/a.log", slurp(*kept / "sample.log"));
  for (int i = 0; i < 2; ++i) {
    ASSERT_EXIT_CODE(llmc("model adapt " + (dir / "sample") + " --force -o " + (dir / "sample/x")), 0);
    EXPECT_TRUE(slurp(dir / "sample/x") == slurp(adapt_file())) << i;
  }
}

TEST_F(Adapting, TheSameArchiveOnAnyNumberOfRanks) {
  make("set", "--verify all");
  for (const int ranks : {1, 2, 3}) {
    const std::string out = "set" + std::to_string(ranks);
    make(out, "--streams 3 --threads 2 --verify all", ranks);
    expect_same(dir / "set", dir / out);
  }
  const std::string info = llmc("info --json " + (dir / "set")).out;
  EXPECT_NE(info.find("\"adaptation_sha256\": \"" + sha256_of(adapt_file())), std::string::npos) << info;
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --quiet", 3), 0);
  expect_same(dir / "in", dir / "out/in");
  EXPECT_EXIT_CODE(llmc("verify --data " + (dir / "set")), 0);
  const Outcome range = llmc("extract " + (dir / "set") + " -o - --range 3100:3900 --quiet");
  EXPECT_TRUE(range.out == slurp(dir / "in/a.log").substr(3100, 800)) << explain(range);
  // One shard alone has all it needs.
  const Outcome alone = llmc("extract " + (dir / "set/shard-000001.h5") + " -o - --quiet");
  EXPECT_EXIT_CODE(alone, 0);
  // Frames are smaller than without.
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "off") + " --chunk 1K --shard 6K --engine native -q"), 0);
  const auto frames = [&](const std::string& set) {
    const std::string text = llmc("info --json " + (dir / set)).out;
    return std::stoull(text.substr(text.find("\"frame_bytes\": ") + 15));
  };
  EXPECT_LT(frames("set"), frames("off"));
}

TEST_F(Adapting, WithEveryCodecAndWithDictionaries) {
  for (const std::string how : {"--codec range", "--codec rank", "--dictionary 2K"}) {
    const std::string out = "x" + std::to_string(how.size());
    make(out, how);
    const Outcome back = llmc("extract " + (dir / out) + " -o " + (dir / (out + ".out")) + " --quiet");
    ASSERT_EXIT_CODE(back, 0);
    expect_same(dir / "in", dir / (out + ".out/in"));
    EXPECT_EXIT_CODE(llmc("verify " + (dir / out)), 0);
  }
}

TEST_F(Adapting, AnInterruptedRunGoesOnWithTheSameOnly) {
  make("whole");
  for (const int hit : {1, 4}) {
    const std::string out = "set" + std::to_string(hit);
    const Outcome killed = shell("LLMC_FAULT=spool.append:" + std::to_string(hit) + ":kill " + product() + " " + arguments(out));
    EXPECT_EXIT_CODE(killed, 128 + SIGKILL);
    const Outcome other = llmc(arguments(out, "--resume", "other"));
    EXPECT_EXIT_CODE(other, 1);
    EXPECT_NE(other.err.find("adaptation"), std::string::npos) << explain(other);
    const Outcome none = llmc("compress " + (dir / "in") + " -o " + (dir / out) + " --chunk 1K --shard 6K --engine native -q --resume");
    EXPECT_EXIT_CODE(none, 1);
    make(out, "--resume");
    expect_same(dir / "whole", dir / out);
  }
}

TEST_F(Adapting, PartsMakeTheSetOfOneRun) {
  make("whole");
  ASSERT_EXIT_CODE(llmc("plan " + (dir / "in") + " -o " + (dir / "plan") + " --chunk 1K --shard 6K --adapt " + adapt_file()), 0);
  for (const char* k : {"1", "2"}) {
    ASSERT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " --shards " + k + "/2 -o " + (dir / (std::string("p") + k)) + " --engine native -q"), 0);
  }
  ASSERT_EXIT_CODE(llmc("merge " + (dir / "p1") + " " + (dir / "p2") + " -o " + (dir / "merged")), 0);
  expect_same(dir / "whole", dir / "merged");
  EXPECT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " --adapt " + adapt_file() + " -o " + (dir / "x")), 2);
}

TEST_F(Adapting, WhatIsAppendedIsCodedWithIt) {
  make("set");
  spill(dir / "new/d.log", log_lines(9000, 3000));
  ASSERT_EXIT_CODE(llmc("append " + (dir / "new") + " -o " + (dir / "set") + " --engine native -q"), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --quiet", 2), 0);
  expect_same(dir / "in", dir / "out/in");
  expect_same(dir / "new", dir / "out/new");
  EXPECT_EXIT_CODE(llmc("verify --data " + (dir / "set")), 0);
}

TEST_F(Adapting, DamageToItIsNamedRepairedAndOutlived) {
  make("set", "--parity 10%");
  shell("cp -r " + (dir / "set") + " " + (dir / "good"));
  const std::string first = "set/shard-000000.h5", second = "set/shard-000001.h5";
  damage(dir / first, number_at(dir / first, 264, 8) + 60);
  const Outcome verified = llmc("verify " + (dir / "set"));
  EXPECT_EXIT_CODE(verified, 20);
  EXPECT_NE((verified.out + verified.err).find("the adaptation in shard 0"), std::string::npos) << explain(verified);
  // The other shard has a copy.
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --quiet"), 0);
  expect_same(dir / "in", dir / "out/in");
  const Outcome alone = llmc("extract " + (dir / first) + " -o - --quiet");
  EXPECT_EXIT_CODE(alone, 20);
  EXPECT_NE(alone.err.find("adaptation"), std::string::npos) << explain(alone);
  // Salvage of the damaged shard alone needs the file.
  const Outcome lost = llmc("salvage " + (dir / first) + " -o " + (dir / "lost"));
  EXPECT_NE(lost.code, 0);
  EXPECT_NE(lost.err.find(sha256_of(adapt_file())), std::string::npos) << explain(lost);
  EXPECT_NE(lost.err.find("--adapt"), std::string::npos) << explain(lost);
  const Outcome won = llmc("salvage " + (dir / first) + " -o " + (dir / "won") + " --adapt " + adapt_file());
  EXPECT_TRUE(slurp(dir / "won/in/a.log") == slurp(dir / "in/a.log")) << explain(won);
  EXPECT_EXIT_CODE(llmc("repair " + (dir / "set")), 0);
  expect_same(dir / "good", dir / "set");
  // The user block and the index are gone, the adaptation is not.
  damage(dir / second, 0, 512);
  damage(dir / second, number_at(dir / "good/shard-000001.h5", 64, 8), 40);
  const Outcome blind = llmc("salvage " + (dir / second) + " -o " + (dir / "blind"));
  EXPECT_NE(shell("cat " + (dir / "blind") + "/*").out.find(slurp(dir / "in/c.log").substr(1500, 1500)), std::string::npos) << explain(blind);
}

TEST_F(Adapting, FilesAndOptionsThatCannotBe) {
  const std::string command = "compress " + (dir / "in") + " -o " + (dir / "x") + " --adapt ";
  EXPECT_EXIT_CODE(llmc(command + adapt_file() + " --codec zstd"), 2);
  EXPECT_EXIT_CODE(llmc(command + (dir / "nowhere")), 1);
  EXPECT_NE(llmc(command + (dir / "in/a.log")).code, 0);
  std::string bad = slurp(adapt_file());
  bad[70] = static_cast<char>(bad[70] ^ 1);
  spill(dir / "bad.adapt", bad);
  const Outcome damaged = llmc(command + (dir / "bad.adapt"));
  EXPECT_NE(damaged.code, 0);
  EXPECT_NE(damaged.err.find("damaged"), std::string::npos) << explain(damaged);
  EXPECT_FALSE(fs::exists(dir / "x"));
}

}  // namespace
}  // namespace llmc::test
