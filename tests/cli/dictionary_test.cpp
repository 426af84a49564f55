// --dictionary: the same archive whoever makes it, independent chunks, and a clear word when the dictionary is lost.
#include <csignal>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

// Lines of a log that no model has read.
std::string log_lines(uint32_t from, size_t bytes) {
  std::string text;
  for (uint32_t i = from; text.size() < bytes; ++i) {
    text += "node" + std::to_string(i * 7919 % 17) + " slurmctld: sched: Allocate JobId=" + std::to_string(40000 + i) +
            " NodeList=gpu[" + std::to_string(i * 2654435761u >> 28) + "] #CPUs=" + std::to_string(8 << i % 3) + " Partition=batch\n";
  }
  return text.substr(0, bytes);
}

class Dictionary : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in/a.log", log_lines(0, 9000));
    spill(dir / "in/b.bin", noise(1024, 5));
    spill(dir / "in/c.log", log_lines(5000, 7000));
    spill(dir / "in/d.txt", cut("alice29.txt", 3000));
  }
  // Shards: a and b, c and d.
  std::string arguments(const std::string& out, const std::string& more = "") const {
    return "compress " + (dir / "in") + " -o " + (dir / out) + " --chunk 1K --shard 12K --dictionary 2K --engine native -q " + more;
  }
  void make(const std::string& out, const std::string& more = "", int ranks = 0) {
    ASSERT_EXIT_CODE(llmc(arguments(out, more), ranks), 0);
  }
  const TempDir dir;
};

TEST_F(Dictionary, TheSameArchiveOnAnyNumberOfRanks) {
  make("set");
  for (const int ranks : {1, 2, 3}) {
    const std::string out = "set" + std::to_string(ranks);
    make(out, "--streams 3 --threads 2", ranks);
    expect_same(dir / "set", dir / out);
  }
  const std::string info = llmc("info --json " + (dir / "set")).out;
  EXPECT_NE(info.find("\"dictionaries\": 2"), std::string::npos) << info;
  EXPECT_NE(info.find("\"primed\":"), std::string::npos) << info;
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --quiet", 3), 0);
  expect_same(dir / "in", dir / "out/in");
  EXPECT_EXIT_CODE(llmc("verify --data " + (dir / "set")), 0);
  // Less than without, small as it is.
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "off") + " --chunk 1K --shard 12K --engine native -q --bare"), 0);
  const auto bytes = [&](const std::string& set) { return fs::file_size(dir / (set + "/shard-000000.h5")); };
  EXPECT_LT(bytes("set"), bytes("off"));
}

TEST_F(Dictionary, EveryChunkIsCheckedWithIt) { make("set", "--verify all", 3); }

TEST_F(Dictionary, AutoDecidesByTheText) {
  spill(dir / "logs", log_lines(0, 20000));
  spill(dir / "prose", cut("alice29.txt", 20000));
  spill(dir / "few", log_lines(0, 3000));
  for (const auto& [name, expected] : {std::pair<std::string, int>{"logs", 1}, {"prose", 0}, {"few", 0}}) {
    const std::string how = " --chunk 1K --dictionary auto --engine native -q";
    ASSERT_EXIT_CODE(llmc("compress " + (dir / name) + " -o " + (dir / (name + ".h5")) + how), 0);
    ASSERT_EXIT_CODE(llmc("compress " + (dir / name) + " -o " + (dir / (name + "3.h5")) + how, 3), 0);
    EXPECT_TRUE(slurp(dir / (name + ".h5")) == slurp(dir / (name + "3.h5"))) << name;
    const std::string info = llmc("info --json " + (dir / (name + ".h5"))).out;
    EXPECT_NE(info.find("\"dictionaries\": " + std::to_string(expected)), std::string::npos) << name << info;
    const Outcome back = llmc("extract " + (dir / (name + ".h5")) + " -o - --quiet");
    EXPECT_TRUE(back.out == slurp(dir / name)) << name;
  }
}

TEST_F(Dictionary, AnInterruptedRunGoesOn) {
  make("whole");
  for (const int hit : {1, 2, 4, 12}) {
    const std::string out = "set" + std::to_string(hit);
    const Outcome killed = shell("LLMC_FAULT=spool.append:" + std::to_string(hit) + ":kill " + product() + " " + arguments(out));
    EXPECT_EXIT_CODE(killed, 128 + SIGKILL);
    make(out, "--resume");
    expect_same(dir / "whole", dir / out);
  }
}

TEST_F(Dictionary, PartsMakeTheSetOfOneRun) {
  make("whole");
  ASSERT_EXIT_CODE(llmc("plan " + (dir / "in") + " -o " + (dir / "plan") + " --chunk 1K --shard 12K --dictionary 2K"), 0);
  for (const char* k : {"1", "2"}) {
    ASSERT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " --shards " + k + "/2 -o " + (dir / (std::string("p") + k)) + " --engine native -q"), 0);
  }
  ASSERT_EXIT_CODE(llmc("merge " + (dir / "p1") + " " + (dir / "p2") + " -o " + (dir / "merged")), 0);
  expect_same(dir / "whole", dir / "merged");
  EXPECT_EXIT_CODE(llmc("compress --plan " + (dir / "plan") + " --dictionary 4K -o " + (dir / "x")), 2);
}

TEST_F(Dictionary, ARangeNeedsItsChunksAndTheDictionaryAlone) {
  make("set");
  // Every other frame of the shard is destroyed.
  const std::string chunks = llmc("list --chunks --json " + (dir / "set")).out;
  std::vector<uint64_t> offsets;
  for (size_t at = 0; (at = chunks.find("\"frame_offset\":", at)) != std::string::npos;) offsets.push_back(std::stoull(chunks.substr(at += 15)));
  ASSERT_GE(offsets.size(), 10u);
  for (size_t i = 0; i < 10; ++i) {
    if (i != 3) damage(dir / "set/shard-000000.h5", offsets[i] + 34);
  }
  const Outcome range = llmc("extract " + (dir / "set") + " -o - --range 3100:3900 --quiet");
  EXPECT_EXIT_CODE(range, 0);
  EXPECT_EQ(range.out, slurp(dir / "in/a.log").substr(3100, 800));
}

TEST_F(Dictionary, DamageToItIsNamedRepairedAndOutlived) {
  make("set", "--parity 10%");
  shell("cp -r " + (dir / "set") + " " + (dir / "good"));
  const uint64_t offset = number_at(dir / "set/shard-000000.h5", 216, 8);
  damage(dir / "set/shard-000000.h5", offset + 50);
  const Outcome verified = llmc("verify " + (dir / "set"));
  EXPECT_EXIT_CODE(verified, 20);
  EXPECT_NE((verified.out + verified.err).find("the dictionary of shard 0"), std::string::npos) << explain(verified);
  const Outcome extracted = llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " --quiet");
  EXPECT_NE(extracted.code, 0);
  EXPECT_NE(extracted.err.find("dictionary of shard 0"), std::string::npos) << explain(extracted);
  // What does not begin with it is there: the other shard.
  EXPECT_TRUE(slurp(dir / "out/in/c.log") == slurp(dir / "in/c.log"));
  EXPECT_FALSE(fs::exists(dir / "out/in/a.log"));
  const Outcome salvaged = llmc("salvage " + (dir / "set") + " -o " + (dir / "won"));
  EXPECT_EXIT_CODE(salvaged, 3);
  EXPECT_NE(salvaged.err.find("its dictionary is lost"), std::string::npos) << explain(salvaged);
  EXPECT_TRUE(slurp(dir / "won/in/d.txt") == slurp(dir / "in/d.txt"));
  EXPECT_EXIT_CODE(llmc("repair " + (dir / "set")), 0);
  expect_same(dir / "good", dir / "set");
  // The user block and the index are gone, the dictionary is not: salvage decodes all.
  damage(dir / "set/shard-000000.h5", 0, 512);
  damage(dir / "set/shard-000000.h5", number_at(dir / "good/shard-000000.h5", 64, 8), 40);
  const Outcome blind = llmc("salvage " + (dir / "set/shard-000000.h5") + " -o " + (dir / "blind"));
  EXPECT_EQ(blind.out.find("dictionary is lost"), std::string::npos) << explain(blind);
  EXPECT_NE(shell("cat " + (dir / "blind") + "/*").out.find(slurp(dir / "in/a.log").substr(0, 5000)), std::string::npos);
}

TEST_F(Dictionary, OptionsThatCannotBe) {
  const std::string command = "compress " + (dir / "in") + " -o " + (dir / "x") + " --dictionary ";
  EXPECT_EXIT_CODE(llmc(command + "2K --codec range"), 2);
  EXPECT_EXIT_CODE(llmc(command + "2K --chunk 2M"), 2);
  EXPECT_EXIT_CODE(llmc(command + "300K"), 2);
  EXPECT_EXIT_CODE(llmc(command + "1"), 2);
  EXPECT_EXIT_CODE(llmc(command + "much"), 2);
  EXPECT_FALSE(fs::exists(dir / "x"));
}

}  // namespace
}  // namespace llmc::test
