// What the parity promises: any damage within its measure comes back byte for byte, none beyond it comes back wrong.
#include <cstdio>
#include <cstdlib>

#include "archive/parity.h"
#include "archive/repair_archive.h"
#include "archive/verify.h"
#include "fixture.h"

namespace llmc::test {
namespace {

Bytes noise(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (auto& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

class Parity : public testing::Test {
 protected:
  void make(size_t size, double rate) {
    good_ = noise(size, size);
    overwrite(file_, good_);
    auto facts = write_parity(file_, rate, parity_);
    ASSERT_TRUE(facts.ok()) << facts.status().message();
    parity_bytes_ = *read_file(parity_);
    EXPECT_EQ(facts->bytes, parity_bytes_.size());
    EXPECT_EQ(facts->sha256, sha256(parity_bytes_));
    shape_ = ParityShape::make(size, rate);
  }
  void expect_repaired(const Bytes& damaged, const std::string& context) {
    overwrite(file_, damaged);
    auto report = examine_parity(file_, parity_);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->file_sound, damaged == good_) << context;
    ASSERT_TRUE(report->possible()) << context << ": " << report->describe();
    auto repaired = repair_file(file_, parity_, out_);
    ASSERT_TRUE(repaired.ok()) << context << ": " << repaired.status().message();
    EXPECT_TRUE(*read_file(out_) == good_) << context;
  }
  void expect_refused(const Bytes& damaged, const std::string& context) {
    overwrite(file_, damaged);
    auto report = examine_parity(file_, parity_);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_FALSE(report->possible()) << context;
    fs::remove(out_);
    EXPECT_EQ(repair_file(file_, parity_, out_).status().code(), Code::corrupt) << context;
    EXPECT_FALSE(fs::exists(out_)) << context;
  }
  TempDir dir_;
  const fs::path file_ = dir_ / "file", parity_ = dir_ / "file.parity", out_ = dir_ / "out";
  Bytes good_, parity_bytes_;
  ParityShape shape_;
};

TEST_F(Parity, ShapesOfAllSizes) {
  for (const double rate : {0.001, 0.02, 0.1, 0.5, 1.0}) {
    for (uint64_t size : {uint64_t{1}, uint64_t{511}, uint64_t{512}, uint64_t{513}, uint64_t{130'000}, uint64_t{140'000},
                          uint64_t{5} << 20, uint64_t{1} << 30, uint64_t{1} << 42}) {
      const ParityShape s = ParityShape::make(size, rate);
      EXPECT_LE(s.data + s.parity, 255u);
      EXPECT_GE(s.parity, 2u);
      EXPECT_GE(s.parity + 1e-6, s.data * rate);
      EXPECT_GE(s.stripes() * s.data, s.blocks());
      EXPECT_LT(s.stripes() * (s.data - 1), s.blocks());
    }
  }
}

TEST_F(Parity, ASoundFileStaysAsItIs) {
  for (const size_t size : {size_t{1}, size_t{512}, size_t{700}, size_t{131'073}, size_t{3'000'001}}) {
    make(size, 0.02);
    expect_repaired(good_, std::to_string(size));
    auto again = rewrite_parity(file_, shape_.file == Digest{} ? ParityTable::load(parity_)->shape : shape_, out_);
    ASSERT_TRUE(again.ok());
    EXPECT_TRUE(*read_file(out_) == parity_bytes_) << "the same bytes for the same file";
  }
  EXPECT_LT(parity_bytes_.size(), good_.size() * 35 / 1000) << "2 % of parity and what tells it apart";
}

TEST_F(Parity, FlippedLostAndCutRegions) {
  make(400'000, 0.05);
  const uint64_t most = uint64_t{shape_.parity} * shape_.stripes();  // blocks in one place
  Bytes bad = good_;
  for (size_t i = 0; i < (most - 1) * shape_.block_bytes; ++i) bad[50'001 + i] ^= 0x55;
  expect_repaired(bad, "a region");
  bad = good_;
  bad.resize(bad.size() - (most - 1) * shape_.block_bytes);
  expect_repaired(bad, "its end cut off");
  bad = good_;
  bad.erase(bad.begin() + 123'457, bad.begin() + 123'457 + static_cast<ptrdiff_t>((most - 2) * shape_.block_bytes));
  expect_repaired(bad, "cut out of the middle");
  bad = good_;
  bad.insert(bad.begin() + 77'777, 12'345, 0xAA);
  expect_repaired(bad, "bytes put in");
  bad = good_;
  bad.insert(bad.end(), 5, 0);
  expect_repaired(bad, "bytes behind it");
  bad = good_;
  bad.erase(bad.begin());
  expect_repaired(bad, "the first byte lost");
  bad = good_;
  for (size_t i = 0; i < (most + shape_.stripes()) * shape_.block_bytes; ++i) bad[50'000 + i] ^= 0x55;
  expect_refused(bad, "more than there is parity");
  expect_refused({}, "nothing left");
  fs::remove(file_);
  EXPECT_FALSE(examine_parity(file_, parity_)->possible());
}

TEST_F(Parity, ItsOwnDamage) {
  make(300'000, 0.1);
  std::mt19937_64 random(5);
  const int rounds = std::getenv("LLMC_LONG") ? 400 : 60;
  int repaired = 0;
  for (int i = 0; i < rounds; ++i) {
    Bytes parity = parity_bytes_, bad = good_;
    const size_t from = random() % parity.size();
    const size_t length = std::min<size_t>(1 + random() % 3000, parity.size() - from);
    switch (random() % 4) {
      case 0: for (size_t k = 0; k < length; ++k) parity[from + k] ^= 1; break;
      case 1: parity.erase(parity.begin() + static_cast<ptrdiff_t>(from), parity.begin() + static_cast<ptrdiff_t>(from + length)); break;
      case 2: parity.insert(parity.begin() + static_cast<ptrdiff_t>(from), length, 7); break;
      default: parity.resize(parity.size() - parity.size() / 4);
    }
    bad[random() % bad.size()] ^= 1;
    overwrite(parity_, parity);
    overwrite(file_, bad);
    auto report = examine_parity(file_, parity_);
    ASSERT_TRUE(report.ok()) << i;
    EXPECT_FALSE(report->parity_sound) << i;
    ASSERT_TRUE(report->possible()) << i << " " << report->describe();
    expect_repaired(bad, std::to_string(i));
    ++repaired;
  }
  std::printf("tally: %d of %d times the file came back with its parity damaged\n", repaired, rounds);
  overwrite(parity_, {});
  EXPECT_EQ(examine_parity(file_, parity_).status().code(), Code::corrupt);
  fs::remove(parity_);
  EXPECT_EQ(examine_parity(file_, parity_).status().code(), Code::missing);
}

// Whatever is done to both: the file comes back as it was, or not at all.
TEST_F(Parity, NeverAWrongByte) {
  make(60'000, 0.1);
  std::mt19937_64 random(9);
  const int rounds = std::getenv("LLMC_LONG") ? 3000 : 150;
  int repaired = 0, refused = 0;
  for (int i = 0; i < rounds; ++i) {
    Bytes bad = good_, parity = parity_bytes_;
    for (int k = static_cast<int>(random() % 14); k >= 0; --k) bad[random() % bad.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    for (int k = static_cast<int>(random() % 4); k > 0; --k) parity[random() % parity.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    if (random() % 8 == 0) bad.resize(random() % bad.size());
    overwrite(file_, bad);
    overwrite(parity_, parity);
    auto report = repair_file(file_, parity_, out_);
    if (report.ok()) {
      ASSERT_TRUE(*read_file(out_) == good_) << i;
      ++repaired;
    } else {
      ASSERT_EQ(report.status().code(), Code::corrupt) << report.status().message();
      ++refused;
    }
  }
  EXPECT_GT(repaired, rounds / 4);
  EXPECT_GT(refused, 0);
  std::printf("tally: %d damaged files: %d came back, %d were refused, none came back wrong\n", rounds, repaired, refused);
}

TEST(ParityOfSets, IsWrittenVerifiedAndUsed) {
  ::setenv("LLMC_TEST_PARITY", "0.1", 1);
  struct Unset {
    ~Unset() { ::unsetenv("LLMC_TEST_PARITY"); }
  } const unset;
  TempDir dir;
  for (const std::string layout : {"set", "one.h5"}) {
    const fs::path out = dir / layout;
    const bool single = layout != "set";
    const Corpus c = mixed_corpus(single ? 0 : 6000, 1024);
    LLMC_ASSERT_OK(compress(out, c, 3));
    const auto good = contents(out);
    auto report = verify_archive(out);
    ASSERT_TRUE(report.ok() && report->sound());
    EXPECT_EQ(report->parity_files, single ? 1u : 4u);
    const fs::path shard = single ? out : out / "shard-000001.h5";
    Bytes bad = *read_file(shard);
    std::fill(bad.begin(), bad.begin() + 600, uint8_t{0});
    overwrite(shard, bad);
    report = verify_archive(out);
    ASSERT_TRUE(report.ok());
    EXPECT_FALSE(report->sound());
    EXPECT_EQ(report->repairable, 1u);
    EXPECT_NE(report->findings.back().message.find("can be repaired"), std::string::npos);
    ASSERT_TRUE(repair_file(shard, parity_path(shard), dir / "fixed").ok());
    fs::rename(dir / "fixed", shard);
    EXPECT_TRUE(contents(out) == good);
    // The parity file itself.
    bad = *read_file(parity_path(shard));
    bad[100] ^= 1;
    overwrite(parity_path(shard), bad);
    report = verify_archive(out);
    EXPECT_EQ(report->findings.size(), 1u);
    EXPECT_EQ(report->repairable + report->beyond_repair, 0u);
    fs::remove(parity_path(shard));
    EXPECT_EQ(verify_archive(out)->findings.size(), single ? 0u : 1u) << "a set knows that there was one";
    if (single) continue;
    fs::remove(parity_path(out / "manifest.json"));
    EXPECT_EQ(verify_archive(out)->findings.size(), 2u) << "and that of the manifest";
    const auto repaired = repair_archive(out, false);
    ASSERT_TRUE(repaired.ok()) << repaired.status().message();
    EXPECT_EQ(repaired->repaired.size(), 2u);
    EXPECT_TRUE(contents(out) == good);
  }
}

}  // namespace
}  // namespace llmc::test
