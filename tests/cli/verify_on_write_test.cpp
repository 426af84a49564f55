// Chunks are decoded again before they are kept: by whom, and what becomes of one that does not come out as it went in.
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "cli/product.h"
#include "commands/chunk_work.h"
#include "commands/compress_job.h"

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

// The chunks that are drawn (docs/FORMAT.md, section 12), as a program in another language says: python3, whole numbers.
TEST(Sample, DrawsAsTheFormatSays) {
  struct Vector {
    uint32_t seed, shard;
    std::vector<uint32_t> below_700;
    int below_100000;
  };
  for (const Vector& v : {Vector{0, 0, {0, 510, 564, 573, 587, 595, 601, 616, 636}, 987}, Vector{1, 0, {18, 157, 225, 251, 336, 507, 594}, 1002},
                          Vector{1, 1, {6, 173, 185, 284, 406, 632, 633, 645, 685}, 941}, Vector{0xdeadbeef, 7, {8, 123, 153, 237, 459, 488}, 1016},
                          Vector{0xffffffff, 999999, {99, 604, 652}, 976}}) {
    const Sample sample{0.01, v.seed};
    std::vector<uint32_t> drawn;
    int all = 0;
    for (uint32_t c = 0; c < 100'000; ++c) {
      if (!sample.picks(v.shard, c)) continue;
      ++all;
      if (c < 700) drawn.push_back(c);
    }
    EXPECT_EQ(drawn, v.below_700) << v.seed << " " << v.shard;
    EXPECT_EQ(all, v.below_100000) << v.seed << " " << v.shard;
  }
  EXPECT_EQ(Sample().rate, 0.01);
}

constexpr const char* formula = R"(
import json, struct, sys
manifest = json.load(open(sys.argv[1]))
plan, seed, rate = bytes.fromhex(manifest['plan']), manifest['verified']['seed'], manifest['verified']['rate']
assert seed == struct.unpack('<I', plan[:4])[0] and rate == 0.01, (seed, rate)
count = 0
for s, shard in enumerate(manifest['shards']):
    for c in range(shard['chunks']):
        x = ((seed * 2**32 + s) * 0x9E3779B97F4A7C15 + c) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        count += (x ^ x >> 31) >> 11 < rate * 2**53
print(count)
)";

TEST_F(VerifyOnWrite, OnePercentByDefault) {
  spill(dir / "large.txt", cut("enwik6", 60000));
  const Outcome outcome = llmc("compress " + (dir / "large.txt") + " -o " + (dir / "set") + " --codec zstd --chunk 64 --shard 30K");
  ASSERT_EXIT_CODE(outcome, 0);
  spill(dir / "formula.py", formula);
  const Outcome count = shell("python3 " + (dir / "formula.py") + " " + (dir / "set/manifest.json"));
  ASSERT_EXIT_CODE(count, 0);
  const int drawn = std::stoi(count.out);
  EXPECT_GT(drawn, 0);
  EXPECT_NE(outcome.out.find("; " + std::to_string(drawn) + " decoded again\n"), std::string::npos) << drawn << "\n" << outcome.out;
  // The same ones are drawn afterwards, by the seed that the manifest keeps.
  const std::string seed = std::to_string(nlohmann::json::parse(slurp(dir / "set/manifest.json"))["verified"]["seed"].get<uint32_t>());
  const Outcome later = llmc("verify " + (dir / "set") + " --sample 1% --seed " + seed + " --json");
  ASSERT_EXIT_CODE(later, 0);
  EXPECT_EQ(nlohmann::json::parse(later.out)["chunks_decoded"], drawn);
}

// A job in this process: what its workers send back is the test's to decide.
class FalseWorker : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir_ / "in.txt", cut("enwik6", 7000));
    struct stat found = {};
    ASSERT_EQ(::stat((dir_ / "in.txt").c_str(), &found), 0);
    Entry entry;
    entry.name = "in.txt";
    entry.mode = 0644;
    entry.source = dir_ / "in.txt";
    entry.size = entry.source_size = 7000;
    entry.mtime_ns = entry.source_mtime_ns = int64_t{found.st_mtim.tv_sec} * 1'000'000'000 + found.st_mtim.tv_nsec;
    entry.source_inode = found.st_ino;
    PlanOptions options;
    options.chunk_bytes = 4096;
    options.parameters = parameters_.serialize();
    auto plan = Plan::make({entry}, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    auto set = SetWriter::open(dir_ / "set", std::move(*plan));
    ASSERT_TRUE(set.ok()) << set.status().message();
    set_ = std::move(*set);
    job_ = std::make_unique<CompressJob>(set_->plan(), ShardRange{0, 1}, parameters_, Sample{1, 0}, *set_, workers_);
  }
  // One task as a worker does it: codes, or decodes and compares.
  Bytes work_on(const Task& task) {
    class One : public WorkQueue {
     public:
      explicit One(const Task& task) : task_(task) {}
      bool next(Task* task, int, bool) override { return !std::exchange(taken_, true) && (*task = task_, true); }
      void finished(uint64_t, Result<Bytes> outcome) override { result = std::move(outcome); }
      void progress(uint64_t) override {}
      bool stopped() const override { return false; }
      Result<Bytes> result = Status(Code::failure, "nothing came back");

     private:
      const Task& task_;
      bool taken_ = false;
    } queue(task);
    ChunkProcessor processor(nullptr, parameters_, 1, 1);
    EXPECT_TRUE(processor.run(queue, 0).ok());
    EXPECT_TRUE(queue.result.ok()) << queue.result.status().message();
    return queue.result.ok() ? std::move(*queue.result) : Bytes();
  }
  // A frame that says it is the chunk's, whose checksums fit, and in which another text stands.
  Bytes with_another_text(const Task& task) {
    ChunkTask work = *unpack_task(task.payload);
    Frame frame = *parse_frame(work_on(task), work.seed);
    const uint32_t crc = frame.text_crc;
    for (size_t i = 100; i < work.bytes.size(); i += 300) work.bytes[i] ^= 1;
    const Bytes other = work_on({task.id, pack_task(work), task.size});
    frame = *parse_frame(other, work.seed);
    frame.text_crc = crc;
    return make_frame(frame, work.seed);
  }
  Task next() {
    auto task = job_->next();
    EXPECT_TRUE(task.ok() && *task) << task.status().message();
    return task.ok() && *task ? std::move(**task) : Task();
  }
  ChunkTask::Kind kind(const Task& task) { return unpack_task(task.payload)->kind; }
  void give_back(const Task& task, Bytes result, int worker) {
    const Status status = job_->finished(task.id, std::move(result), worker);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  const TempDir dir_;
  CodecParameters parameters_{Codec::zstd, 0, 0};
  const std::vector<std::string> workers_{"rank 0", "rank 1 (h1, old card)", "rank 2 (h2)", "rank 3 (h3)"};
  std::unique_ptr<SetWriter> set_;
  std::unique_ptr<CompressJob> job_;
};

TEST_F(FalseWorker, WhoCodedWronglyIsNamedAndItsFrameIsNotKept) {
  const Task first = next(), second = next();
  give_back(first, with_another_text(first), 1);
  give_back(second, work_on(second), 2);
  const Task check = next();
  ASSERT_EQ(kind(check), ChunkTask::Kind::check);
  EXPECT_EQ(check.not_on_worker, 1) << "another worker checks";
  give_back(check, work_on(check), 2);  // it really decodes, and finds another text
  ASSERT_EQ(job_->totals().mismatches.size(), 1u);
  EXPECT_NE(job_->totals().mismatches[0].find("shard 0 chunk 0: coded by rank 1 (h1, old card), does not decode again on rank 2 (h2): "), std::string::npos)
      << job_->totals().mismatches[0];
  EXPECT_FALSE(set_->have(0, 0)) << "nothing is kept that was not sound";

  const Task again = next();
  ASSERT_EQ(kind(again), ChunkTask::Kind::encode);
  EXPECT_EQ(again.not_on_worker, 1) << "another worker codes";
  give_back(again, work_on(again), 3);
  ASSERT_EQ(job_->totals().mismatches.size(), 2u);
  EXPECT_EQ(job_->totals().mismatches[1], "shard 0 chunk 0: coded again by rank 3 (h3): another frame, so rank 1 (h1, old card) coded wrongly");
  while (!job_->ended()) {
    const Task task = next();
    ASSERT_EQ(kind(task), ChunkTask::Kind::check);
    give_back(task, work_on(task), task.not_on_worker == 3 ? 2 : 3);
  }
  EXPECT_TRUE(job_->totals().failures.empty());
  EXPECT_EQ(job_->totals().checked_chunks, 2u);
  ASSERT_TRUE(set_->finish().ok());
  EXPECT_EXIT_CODE(llmc("verify --data " + (dir_ / "set")), 0);
  EXPECT_TRUE(llmc("extract " + (dir_ / "set") + " -o -").out == slurp(dir_ / "in.txt"));
}

TEST_F(FalseWorker, WhatNobodyCodesRightIsAFailureAndNeverInTheArchive) {
  const Task first = next(), second = next();
  give_back(second, work_on(second), 2);
  Task task = first;
  for (int coding = 0; coding < 3; ++coding) {
    give_back(task, with_another_text(task), 1 + coding % 2);
    Task check = next();
    while (unpack_task(check.payload)->chunk != 0) {
      give_back(check, work_on(check), 3);
      check = next();
    }
    give_back(check, work_on(check), 3);
    if (coding < 2) task = next();
  }
  EXPECT_TRUE(job_->ended());
  ASSERT_EQ(job_->totals().failures.size(), 1u);
  EXPECT_NE(job_->totals().failures[0].find("shard 0 chunk 0: coded by rank 1 (h1, old card), does not decode again on rank 3 (h3)"), std::string::npos)
      << job_->totals().failures[0];
  EXPECT_FALSE(set_->have(0, 0));
  EXPECT_TRUE(set_->have(0, 1));
  EXPECT_EQ(set_->finish().status().code(), Code::partial);
  EXPECT_FALSE(fs::exists(dir_ / "set/manifest.json"));
}

}  // namespace
}  // namespace llmc::test
