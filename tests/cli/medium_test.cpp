// An archive on a medium that fails, through the built program: what cannot be read is named, the rest is given.
#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class FailingMedium : public testing::Test {
 protected:
  void make(const std::string& options) {
    for (int i = 0; i < 9; ++i) {
      const std::string name = "f" + std::to_string(i) + ".txt";
      files_[name] = noise(2000 + 900 * static_cast<size_t>(i), static_cast<uint64_t>(i));
      spill(dir_ / ("in/" + name), files_[name]);
    }
    ASSERT_EXIT_CODE(shell("cd " + dir_.path().string() + " && " + product() + " compress in -o set --codec zstd --chunk 1K --shard 30K --bare -q " + options), 0);
    const std::string chunks = llmc("list --chunks --json " + (dir_ / "set/shard-000000.h5")).out;
    size_t at = 0;
    for (int i = 0; i < 7; ++i) at = chunks.find("\"frame_offset\":", at + 1);  // of chunk 6
    begin_ = std::stoul(chunks.substr(at + 15)) + 100;
  }
  // With 20 bytes in the middle of the first shard that give EIO.
  Outcome llmc_failing(const std::string& arguments, int ranks = 0) {
    return shell("export LLMC_UNREADABLE=shard-000000.h5:" + std::to_string(begin_) + "-" + std::to_string(begin_ + 20) + "; " +
                 (ranks ? "mpirun --oversubscribe -n " + std::to_string(ranks) + " " : "") + product() + " " + arguments);
  }
  const TempDir dir_;
  std::map<std::string, std::string> files_;
  size_t begin_ = 0;
};

TEST_F(FailingMedium, VerifyNamesAndExtractAndSalvageGiveTheRest) {
  make("");
  EXPECT_EXIT_CODE(llmc("verify " + (dir_ / "set")), 0);
  const Outcome verify = llmc_failing("verify " + (dir_ / "set"));
  EXPECT_EXIT_CODE(verify, 20);
  EXPECT_NE(verify.out.find("shard 0: 4096 bytes cannot be read from the medium"), std::string::npos) << explain(verify);
  EXPECT_NE(verify.out.find("shard 0, chunk 6: cannot be read from the medium at byte"), std::string::npos) << explain(verify);
  EXPECT_NE(verify.out.find("lost with it: in/f2.txt"), std::string::npos) << explain(verify);
  EXPECT_NE(verify.out.find("2 findings"), std::string::npos) << "the chunks beside it are sound, and were looked at: " << explain(verify);
  EXPECT_NE(verify.err.find("4096 bytes cannot be read from the medium"), std::string::npos) << explain(verify);
  EXPECT_NE(llmc_failing("verify --json " + (dir_ / "set")).out.find("\"unreadable_bytes\": 4096"), std::string::npos);
  EXPECT_EXIT_CODE(llmc_failing("verify --data " + (dir_ / "set"), 3), 20);

  for (const int ranks : {0, 3}) {
    const std::string out = dir_ / ("out" + std::to_string(ranks));
    const Outcome extract = llmc_failing("extract " + (dir_ / "set") + " -o " + out, ranks);
    EXPECT_EXIT_CODE(extract, 3);
    EXPECT_NE(extract.err.find("cannot be read from the medium"), std::string::npos) << explain(extract);
    EXPECT_NE(extract.err.find("in/f2.txt"), std::string::npos) << explain(extract);
    for (const auto& [name, text] : files_) {
      EXPECT_EQ(fs::exists(out + "/in/" + name), name != "f2.txt") << name;
      EXPECT_TRUE(name == "f2.txt" || slurp(out + "/in/" + name) == text) << name;
    }

    const std::string won = dir_ / ("won" + std::to_string(ranks));
    const Outcome salvage = llmc_failing("salvage " + (dir_ / "set") + " -o " + won, ranks);
    EXPECT_EXIT_CODE(salvage, 3);
    EXPECT_NE(salvage.err.find("4096 bytes could not be read from the medium"), std::string::npos) << explain(salvage);
    size_t bytes = 0;
    for (const auto& item : fs::directory_iterator(won + "/in")) {
      const std::string name = item.path().filename(), part = slurp(item.path());
      const size_t at = name.find(".bytes-");
      const std::string& whole = files_.at(name.substr(0, at));
      EXPECT_TRUE(part == (at == std::string::npos ? whole : whole.substr(std::stoul(name.substr(at + 7)), part.size()))) << name;
      bytes += part.size();
    }
    size_t all = 0;
    for (const auto& [name, text] : files_) all += text.size();
    EXPECT_GE(bytes + 6 * 1024, all) << "a sector and the chunks that reach into it";
    EXPECT_LT(bytes, all);
  }
}

TEST_F(FailingMedium, ParityBringsItBack) {
  make("--parity 30%");
  ASSERT_EXIT_CODE(shell("cp -a " + (dir_ / "set") + " " + (dir_ / "good")), 0);
  const Outcome verify = llmc_failing("verify " + (dir_ / "set"));
  EXPECT_EXIT_CODE(verify, 20);
  EXPECT_NE(verify.err.find("'llmc-batch repair' can make it whole"), std::string::npos) << explain(verify);
  const Outcome repair = llmc_failing("repair " + (dir_ / "set"));
  EXPECT_EXIT_CODE(repair, 0);
  EXPECT_NE(repair.out.find("repaired: "), std::string::npos) << explain(repair);
  expect_same(dir_ / "good", dir_ / "set");
}

// Without its index a shard is lost, and no other one.
TEST_F(FailingMedium, AnIndexThatCannotBeReadCostsItsShard) {
  make("");
  begin_ = number_at(dir_ / "set/shard-000000.h5", 64, 8);
  const Outcome verify = llmc_failing("verify " + (dir_ / "set"));
  EXPECT_EXIT_CODE(verify, 20);
  const Outcome extract = llmc_failing("extract " + (dir_ / "set") + " -o " + (dir_ / "out"));
  EXPECT_EXIT_CODE(extract, 3);
  EXPECT_TRUE(slurp(dir_ / "out/in/f8.txt") == files_["f8.txt"]) << explain(extract);
  begin_ = 100;  // the user block
  EXPECT_EXIT_CODE(llmc_failing("verify " + (dir_ / "set")), 20);
  EXPECT_EXIT_CODE(llmc_failing("extract " + (dir_ / "set") + " -o " + (dir_ / "again")), 3);
  EXPECT_TRUE(slurp(dir_ / "again/in/f8.txt") == files_["f8.txt"]);
}

}  // namespace
}  // namespace llmc::test
