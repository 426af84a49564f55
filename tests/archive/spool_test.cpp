// The spool: what was added comes back, torn and damaged ends are cut, space is given back.
#include "archive/spool.h"

#include <cstdio>

#include "fixture.h"

namespace llmc::test {
namespace {

// Adds all of a corpus and returns the sizes of the file after each record.
std::vector<uint64_t> fill(Spool& spool, const Corpus& c, const Plan& plan) {
  std::vector<uint64_t> ends;
  auto added = [&](const Status& status) {
    EXPECT_TRUE(status.ok()) << status.message();
    ends.push_back(spool.bytes_on_disk());
  };
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    added(spool.add_seed(s, test_seed(c, plan, s)));
    for (uint32_t k = 0; k < plan.shard_chunks(s); ++k) added(spool.add_frame(s, k, test_frame(c, plan, s, k)));
    for (size_t p = 0; p < plan.shards()[s].pieces; ++p) {
      const size_t piece = plan.shards()[s].first_piece + p;
      if (plan.has_digest(plan.pieces()[piece])) added(spool.add_digest(piece, piece_digest(c, plan, piece)));
    }
  }
  return ends;
}

// How many records are there, and that each is what was put in.
size_t check(const Spool& spool, const Corpus& c, const Plan& plan) {
  size_t found = 0;
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    if (spool.seed(s)) {
      ++found;
      EXPECT_EQ(*spool.seed(s), test_seed(c, plan, s));
    }
    for (uint32_t k = 0; k < plan.shard_chunks(s); ++k) {
      if (!spool.has_frame(s, k)) continue;
      ++found;
      auto frame = spool.read_frame(s, k);
      EXPECT_TRUE(frame.ok()) << frame.status().message();
      EXPECT_TRUE(frame.ok() && *frame == test_frame(c, plan, s, k)) << s << " " << k;
    }
    for (size_t p = 0; p < plan.shards()[s].pieces; ++p) {
      const size_t piece = plan.shards()[s].first_piece + p;
      if (!spool.digest(piece)) continue;
      ++found;
      EXPECT_EQ(*spool.digest(piece), piece_digest(c, plan, piece));
    }
  }
  return found;
}

Corpus small() {
  Corpus c;
  c.options = options(150, 40);
  c.add_file("a", random_text(1, 90));
  c.add_file("b", random_text(2, 100));
  return c;
}

TEST(Spool, TornAtEveryByte) {
  TempDir dir;
  const Corpus c = small();
  const Plan plan = c.plan();
  fs::create_directory(dir / "s");
  std::vector<uint64_t> ends;
  {
    auto spool = Spool::open(dir / "s", plan);
    ASSERT_TRUE(spool.ok());
    ends = fill(*spool, c, plan);
    EXPECT_EQ(check(*spool, c, plan), ends.size());
  }
  const Bytes whole = *read_file(dir / "s/spool-000000");
  ASSERT_EQ(whole.size(), ends.back());
  for (size_t size = 0; size <= whole.size(); ++size) {
    overwrite(dir / "s/spool-000000", ByteView(whole).first(size));
    auto spool = Spool::open(dir / "s", plan);
    ASSERT_TRUE(spool.ok()) << size;
    const size_t expected = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), size) - ends.begin());
    ASSERT_EQ(check(*spool, c, plan), expected) << size;
    if (size % 7 != 0 && size + 1 < whole.size()) continue;
    // What was lost is added again behind the cut, and is there next time.
    fill(*spool, c, plan);
    spool = Spool::open(dir / "s", plan);
    ASSERT_TRUE(spool.ok());
    ASSERT_EQ(check(*spool, c, plan), ends.size()) << size;
    ASSERT_EQ(spool->bytes_cut(), 0u);
    LLMC_ASSERT_OK(spool->remove());
    ASSERT_TRUE(fs::is_empty(dir / "s"));
  }
}

TEST(Spool, FlippedAtEveryByte) {
  TempDir dir;
  const Corpus c = small();
  const Plan plan = c.plan();
  fs::create_directory(dir / "s");
  std::vector<uint64_t> ends;
  {
    auto spool = Spool::open(dir / "s", plan);
    ends = fill(*spool, c, plan);
  }
  const Bytes whole = *read_file(dir / "s/spool-000000");
  for (size_t at = 0; at < whole.size(); ++at) {
    Bytes bad = whole;
    bad[at] ^= static_cast<uint8_t>(1 << (at % 8));
    overwrite(dir / "s/spool-000000", bad);
    auto spool = Spool::open(dir / "s", plan);
    ASSERT_TRUE(spool.ok());
    const size_t intact = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), at) - ends.begin());
    ASSERT_EQ(check(*spool, c, plan), at < 48 ? 0 : intact) << at;
    ASSERT_GT(spool->bytes_cut(), 0u);
    LLMC_ASSERT_OK(spool->remove());
  }
}

TEST(Spool, DamageAfterTheScanIsFoundOnReading) {
  TempDir dir;
  const Corpus c = small();
  const Plan plan = c.plan();
  auto spool = Spool::open(dir.path(), plan);
  fill(*spool, c, plan);
  Bytes bytes = *read_file(dir / "spool-000000");
  bytes[150] ^= 1;
  auto file = File::open_update(dir / "spool-000000");
  LLMC_ASSERT_OK(file->write_at(0, bytes));
  EXPECT_EQ(spool->read_frame(0, 0).status().code(), Code::corrupt);
}

TEST(Spool, AnotherPlansSpoolIsNotBelieved) {
  TempDir dir;
  Corpus c = small();
  const Plan plan = c.plan();
  {
    auto spool = Spool::open(dir.path(), plan);
    fill(*spool, c, plan);
  }
  c.entries[0].mode = 0600;
  const Plan other = c.plan();
  auto spool = Spool::open(dir.path(), other);
  ASSERT_TRUE(spool.ok());
  EXPECT_EQ(check(*spool, c, other), 0u);
}

TEST(Spool, SegmentsGoWithTheirShards) {
  TempDir dir;
  const Corpus c = mixed_corpus(2000, 256);
  const Plan plan = c.plan();
  SpoolOptions small_segments;
  small_segments.segment_bytes = 1500;
  auto files = [&] { return static_cast<size_t>(std::distance(fs::directory_iterator(dir.path()), {})); };
  {
    auto spool = Spool::open(dir.path(), plan, small_segments);
    fill(*spool, c, plan);
    EXPECT_GT(files(), 5u);
  }
  auto spool = Spool::open(dir.path(), plan, small_segments);
  const size_t all = check(*spool, c, plan);
  uint64_t before = spool->bytes_on_disk();
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    LLMC_ASSERT_OK(spool->drop(s));
    EXPECT_FALSE(spool->seed(s));
    EXPECT_LT(spool->bytes_on_disk(), before);
    before = spool->bytes_on_disk();
  }
  EXPECT_EQ(files(), 0u);
  EXPECT_GT(all, 0u);
  EXPECT_EQ(check(*spool, c, plan), 0u);
  // It goes on after that.
  LLMC_ASSERT_OK(spool->add_seed(0, 5));
  EXPECT_EQ(files(), 1u);
}

TEST(Spool, SyncsWhenDue) {
  TempDir dir;
  const Corpus c = small();
  const Plan plan = c.plan();
  double clock = 100;
  SpoolOptions o;
  o.now = [&] { return clock; };
  auto spool = Spool::open(dir.path(), plan, o);
  LLMC_ASSERT_OK(spool->add_seed(0, test_seed(c, plan, 0)));
  clock += 9.5;
  LLMC_ASSERT_OK(spool->add_frame(0, 0, test_frame(c, plan, 0, 0)));
  EXPECT_EQ(spool->syncs(), 0u);
  clock += 0.5;
  LLMC_ASSERT_OK(spool->sync_if_due());
  EXPECT_EQ(spool->syncs(), 1u);
  clock += 100;
  LLMC_ASSERT_OK(spool->sync_if_due());
  EXPECT_EQ(spool->syncs(), 1u) << "nothing new";
  LLMC_ASSERT_OK(spool->add_frame(0, 1, test_frame(c, plan, 0, 1)));
  EXPECT_EQ(spool->syncs(), 2u) << "due with the record itself";
}

}  // namespace
}  // namespace llmc::test
