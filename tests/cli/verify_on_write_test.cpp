// Chunks are decoded again before they are kept: by whom, and what becomes of one that does not come out as it went in.
#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class VerifyOnWrite : public testing::Test {
 protected:
  void SetUp() override { spill(dir / "in.txt", cut("enwik6", 20000)); }
  Outcome compress(const std::string& out, const std::string& rate, int ranks, const std::string& fault = "") {
    const std::string env = fault.empty() ? "" : "LLMC_FAULT=" + fault + " ";
    const std::string mpi = ranks ? "mpirun -n " + std::to_string(ranks) + " " : "";
    return shell(env + mpi + product() + " compress " + (dir / "in.txt") + " -o " + (dir / out) + " --chunk 4K --engine native --verify " + rate);
  }
  const TempDir dir;
};

TEST_F(VerifyOnWrite, AnotherRankChecks) {
  const Outcome outcome = compress("a.h5", "all", 3);
  ASSERT_EXIT_CODE(outcome, 0);
  EXPECT_NE(outcome.out.find("5 decoded again\n"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("coded them as well"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.err.find("5/5 chunks"), std::string::npos) << "a check is no chunk: " << outcome.err;
}

TEST_F(VerifyOnWrite, OneWorkerChecksWithAnotherEngine) {
  for (const int ranks : {0, 2}) {
    const Outcome outcome = compress("a" + std::to_string(ranks) + ".h5", "all", ranks);
    ASSERT_EXIT_CODE(outcome, 0);
    EXPECT_NE(outcome.out.find(", checking with native "), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.err.find("5/5 chunks"), std::string::npos) << outcome.err;
  }
  EXPECT_TRUE(slurp(dir / "a0.h5") == slurp(dir / "a2.h5"));
  // Where there is no second one: said as it is.
  const Outcome zstd = llmc("compress " + (dir / "in.txt") + " -o " + (dir / "z.h5") + " --codec zstd --verify all");
  ASSERT_EXIT_CODE(zstd, 0);
  EXPECT_NE(zstd.out.find(", which had coded them as well"), std::string::npos) << zstd.out;
}

TEST_F(VerifyOnWrite, NothingIsCheckedWithoutBeingAsked) {
  const Outcome outcome = compress("a.h5", "none", 0);
  ASSERT_EXIT_CODE(outcome, 0);
  EXPECT_NE(outcome.out.find("0 decoded again\n"), std::string::npos) << outcome.out;
}

TEST_F(VerifyOnWrite, AMismatchIsCodedAgainElsewhereAndNamed) {
  ASSERT_EXIT_CODE(compress("sound.h5", "none", 0), 0);
  for (const int ranks : {0, 3}) {
    const std::string out = "m" + std::to_string(ranks) + ".h5";
    const Outcome outcome = compress(out, "all", ranks, "verify.mismatch:1:error");
    ASSERT_EXIT_CODE(outcome, 0);
    EXPECT_NE(outcome.out.find("does not decode again on "), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("it is coded again elsewhere"), std::string::npos) << outcome.out;
    // The second coding gave the same frame: the one that checked is at fault, by name.
    EXPECT_NE(outcome.out.find(": the same frame, so " + std::string(ranks ? "rank " : "this process (")), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.err.find("does not decode again"), std::string::npos) << "a warning, also where nobody reads the report";
    EXPECT_NE(outcome.err.find("5/5 chunks"), std::string::npos) << outcome.err;
    EXPECT_TRUE(slurp(dir / out) == slurp(dir / "sound.h5"));
  }
}

}  // namespace
}  // namespace llmc::test
