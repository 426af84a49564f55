// One plan, many jobs: parts of a set that are made apart become the set of one run, and interrupted extractions go on.
#include <csignal>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class Parts : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in/a.txt", cut("enwik6", 9000));
    spill(dir / "in/b.txt", cut("fra.txt", 9000));
    spill(dir / "in/c/d.txt", cut("code.txt", 9000));
    fs::create_directories(dir / "in/empty");
    ASSERT_EXIT_CODE(llmc("plan " + (dir / "in") + " -o " + (dir / "plan") + " --chunk 2K --shard 6K"), 0);
  }
  Outcome part(const std::string& shards, const std::string& out, const std::string& more = "") {
    return llmc("compress --plan " + (dir / "plan") + " --shards " + shards + " -o " + (dir / out) + " --engine native -q " + more);
  }
  const TempDir dir;
};

TEST_F(Parts, MakeTheSetOfOneRun) {
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "whole") + " --chunk 2K --shard 6K --engine native -q"), 0);
  ASSERT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " -o " + (dir / "planned") + " --engine native -q"), 0);
  expect_same(dir / "whole", dir / "planned");
  for (const char* k : {"1", "2", "3"}) EXPECT_EXIT_CODE(part(std::string(k) + "/3", std::string("part") + k), 0);
  ASSERT_EXIT_CODE(llmc("merge " + (dir / "part1") + " " + (dir / "part2") + " " + (dir / "part3") + " -o " + (dir / "merged")), 0);
  expect_same(dir / "whole", dir / "merged");
  EXPECT_EXIT_CODE(llmc("merge " + (dir / "part1") + " -o " + (dir / "merged")), 1) << "it exists";
  EXPECT_EXIT_CODE(llmc("merge " + (dir / "part1") + " -o " + (dir / "merged") + " --resume"), 0);
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "merged") + " --data"), 0);
}

TEST_F(Parts, WithParityAndUnderMpirun) {
  const std::string how = " --parity 20% --verify all";
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "whole") + " --chunk 2K --shard 6K --engine native -q" + how), 0);
  for (const char* k : {"1", "2"}) {
    EXPECT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " --shards " + k + "/2 -o " + (dir / (std::string("part") + k)) + " -q" + how, 3), 0);
  }
  ASSERT_EXIT_CODE(llmc("merge " + (dir / "part1") + " " + (dir / "part2") + " -o " + (dir / "merged")), 0);
  expect_same(dir / "whole", dir / "merged");
}

TEST_F(Parts, WhatIsMissingIsNamed) {
  EXPECT_EXIT_CODE(part("0-1", "p"), 0);
  const Outcome early = llmc("merge " + (dir / "p") + " -o " + (dir / "set"));
  EXPECT_EXIT_CODE(early, 3);
  EXPECT_NE(early.err.find("shards 2-"), std::string::npos) << early.err;
  EXPECT_EXIT_CODE(llmc("list " + (dir / "set")), 10);
  EXPECT_EXIT_CODE(part("2-99", "q"), 2);
  EXPECT_EXIT_CODE(part("2-5", "q", "--resume"), 0);
  EXPECT_EXIT_CODE(llmc("merge " + (dir / "p") + " " + (dir / "q") + " -o " + (dir / "set") + " --resume"), 0);
}

TEST_F(Parts, AnInterruptedPartGoesOn) {
  const Outcome killed = shell("LLMC_FAULT=spool.append:6:kill " + product() + " compress --plan " + (dir / "plan") + " --shards 2-4 -o " +
                               (dir / "p") + " --engine native -q");
  EXPECT_EXIT_CODE(killed, 128 + SIGKILL);
  EXPECT_EXIT_CODE(part("2-4", "p", "--resume"), 0);
  EXPECT_EXIT_CODE(part("2-4", "p", "--resume"), 0) << "nothing is left to do";
  EXPECT_EQ(shell("ls " + (dir / "p") + " | grep -c '^shard.*h5$'").out, "3\n");
}

TEST_F(Parts, ADamagedOrForeignShardIsRefused) {
  EXPECT_EXIT_CODE(part("1/2", "p"), 0);
  EXPECT_EXIT_CODE(part("2/2", "q"), 0);
  shell("printf x | dd of=" + (dir / "p/shard-000001.h5") + " bs=1 seek=2500 conv=notrunc");
  const Outcome damaged = llmc("merge " + (dir / "p") + " " + (dir / "q") + " -o " + (dir / "set"));
  EXPECT_EXIT_CODE(damaged, 20);
  EXPECT_NE(damaged.err.find("shard-000001"), std::string::npos) << damaged.err;
  // Of another plan.
  ASSERT_EXIT_CODE(llmc("plan " + (dir / "in") + " -o " + (dir / "plan") + " --chunk 1K --shard 6K"), 0);
  EXPECT_EXIT_CODE(part("1/2", "r"), 0);
  const Outcome foreign = llmc("merge " + (dir / "q") + " " + (dir / "r") + " -o " + (dir / "set2"));
  EXPECT_EXIT_CODE(foreign, 1);
  EXPECT_NE(foreign.err.find("another plan"), std::string::npos) << foreign.err;
}

TEST_F(Parts, AChangedInputIsRefusedByName) {
  spill(dir / "in/b.txt", cut("deu.txt", 9000));
  const Outcome changed = llmc("compress --plan " + (dir / "plan") + " -o " + (dir / "set") + " -q");
  EXPECT_EXIT_CODE(changed, 1);
  EXPECT_NE(changed.err.find("b.txt"), std::string::npos) << changed.err;
}

TEST_F(Parts, WrongWords) {
  for (const std::string& words : std::vector<std::string>{"--shards 1/2", "--plan " + (dir / "plan") + " --codec mix", "--plan " + (dir / "plan") + " " + (dir / "in"),
                                  "--plan " + (dir / "plan") + " --shards 0,2", "--plan " + (dir / "plan") + " --shards 3/2"}) {
    EXPECT_EXIT_CODE(llmc("compress " + words + " -o " + (dir / "x")), 2) << words;
  }
  EXPECT_EXIT_CODE(llmc("compress --plan " + (dir / "none") + " -o " + (dir / "x")), 1);
  EXPECT_EXIT_CODE(llmc("compress --plan " + (dir / "in/a.txt") + " -o " + (dir / "x")), 20);
  EXPECT_EXIT_CODE(llmc("merge " + (dir / "in") + " -o " + (dir / "x")), 1);
}

// Part 2 of 16 of an archive with fewer shards has none: a success with nothing in it.
TEST_F(Parts, MorePartsThanShards) {
  std::string parts;
  for (int k = 1; k <= 16; ++k) {
    const std::string name = "part" + std::to_string(k);
    EXPECT_EXIT_CODE(part(std::to_string(k) + "/16", name), 0);
    parts += " " + (dir / name);
  }
  EXPECT_EXIT_CODE(llmc("merge" + parts + " -o " + (dir / "set")), 0);
  EXPECT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --shard 1/2"), 0);
  EXPECT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out2") + " --shard 99/100"), 0);
}

TEST_F(Parts, AnInterruptedExtractionGoesOn) {
  ASSERT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " -o " + (dir / "set") + " --engine native -q"), 0);
  const std::string extract = "extract " + (dir / "set") + " -o " + (dir / "out");
  const Outcome killed = shell("LLMC_FAULT=dispatch.result:9:kill " + product() + " " + extract + " --resume --streams 1 --threads 1");
  EXPECT_EXIT_CODE(killed, 128 + SIGKILL);
  EXPECT_NE(shell("ls -A " + (dir / "out/in") + " | grep part").out, "") << "the kill left an unfinished file";
  const auto before = fs::last_write_time(dir / "out/in/a.txt");
  const Outcome again = llmc(extract + " --resume");
  EXPECT_EXIT_CODE(again, 0);
  EXPECT_NE(again.err.find("1 files of an earlier run"), std::string::npos) << again.err;
  EXPECT_EQ(fs::last_write_time(dir / "out/in/a.txt"), before);
  expect_same(dir / "in", dir / "out/in");
  EXPECT_EXIT_CODE(llmc(extract + " --resume"), 0);
  EXPECT_EXIT_CODE(llmc(extract), 1) << "without --resume nothing is replaced";
  // A file that is not what the archive holds stands in the way, as without --resume.
  spill(dir / "out/in/b.txt", cut("deu.txt", 9000));
  const Outcome other = llmc(extract + " --resume");
  EXPECT_EXIT_CODE(other, 1);
  EXPECT_NE(other.err.find("b.txt"), std::string::npos) << other.err;
}

}  // namespace
}  // namespace llmc::test
