// What mpirun's first screen says about the workers.
#include "cli/product.h"
#include "commands/start_table.h"

namespace llmc::test {
namespace {

TEST(Start, TheWorkersComeFirst) {
  const TempDir dir;
  spill(dir / "in.txt", cut("wiki.txt", 3000));
  const std::string compress = "compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --force --threads 1 ";
  const Outcome two = llmc(compress, 3);
  ASSERT_EXIT_CODE(two, 0);
  EXPECT_NE(two.err.find(" rank  host"), std::string::npos) << two.err;
  EXPECT_NE(two.err.find("\n    1  "), std::string::npos) << two.err;
  EXPECT_NE(two.err.find("\n    2  "), std::string::npos) << two.err;
  EXPECT_EQ(llmc(compress + "--quiet", 3).err.find("rank  host"), std::string::npos);
  EXPECT_EQ(llmc(compress).err.find("rank  host"), std::string::npos) << "one process has nobody to tell apart";
}

TEST(Start, FactsTravelAndSlowWorkersAreNamed) {
  std::vector<WorkerFacts> workers(4);
  for (size_t i = 0; i < workers.size(); ++i) {
    const WorkerFacts sent{"node" + std::to_string(i), "native avx2", 8, 16, uint64_t{64} << 30, i == 2 ? 900.0 : 2000.0 + i};
    ByteWriter out;
    sent.write(out);
    const Bytes bytes = out.take();
    ByteReader in(bytes);
    workers[i] = WorkerFacts::read(in);
    ASSERT_TRUE(in.done());
    EXPECT_EQ(workers[i].place(), sent.place());
    EXPECT_EQ(workers[i].tokens_per_second, sent.tokens_per_second);
  }
  const std::vector<std::string> slow = slow_workers(workers);
  ASSERT_EQ(slow.size(), 1u);
  EXPECT_EQ(slow[0], "rank 3 (node2, native avx2) is slow: 900 tokens a second, where 2001 are the median");
  EXPECT_NE(start_table(workers).find("    3  node2  native avx2        8       16      68.7 GB       900\n"), std::string::npos)
      << start_table(workers);
  workers.resize(2);
  EXPECT_TRUE(slow_workers(workers).empty()) << "of two nobody knows which is wrong";
}

TEST(Start, SpeedIsMeasuredForJobsOfSomeSize) {
  const TempDir dir;
  spill(dir / "in.txt", cut("enwik6", 140000) + cut("wiki.txt", 125000));
  const std::string compress = "compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --verify none --force ";
  const auto last_column = [](const Outcome& run) {
    const size_t row = run.err.find("\n    1  ") + 1, end = run.err.find('\n', row);
    return run.err.substr(run.err.rfind(' ', end) + 1, end - run.err.rfind(' ', end) - 1);
  };
  const Outcome run = llmc(compress + "--codec range", 2);
  ASSERT_EXIT_CODE(run, 0);
  EXPECT_GT(std::atof(last_column(run).c_str()), 0) << run.err;
  const Outcome lines = llmc(compress + "--codec zstd --progress-json", 2);
  EXPECT_EQ(lines.err.find("rank  host"), std::string::npos) << "JSON lines have no table between them";
}

}  // namespace
}  // namespace llmc::test
