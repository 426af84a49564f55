#include "coder/rank_coder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <vector>

namespace llmc {
namespace {

Bytes encode_all(const std::vector<uint32_t>& ranks) {
  RankEncoder encoder;
  for (uint32_t rank : ranks) encoder.encode(rank);
  return encoder.finish();
}

void expect_round_trip(const std::vector<uint32_t>& ranks) {
  const Bytes code = encode_all(ranks);
  RankDecoder decoder(code);
  for (size_t i = 0; i < ranks.size(); ++i) ASSERT_EQ(decoder.decode(), ranks[i]) << i;
  EXPECT_TRUE(decoder.at_end());
}

double order0_bits(const std::vector<uint32_t>& ranks) {
  std::map<uint32_t, int> counts;
  for (uint32_t rank : ranks) ++counts[rank];
  double bits = 0;
  for (const auto& [rank, n] : counts) bits -= n * std::log2(double(n) / ranks.size());
  return bits;
}

// Zipf-like, as ranks under a language model are.
std::vector<uint32_t> zipf(size_t n, double exponent, uint32_t vocab, uint64_t seed) {
  std::vector<double> weights(vocab);
  for (uint32_t i = 0; i < vocab; ++i) weights[i] = std::pow(i + 1, -exponent);
  std::discrete_distribution<uint32_t> pick(weights.begin(), weights.end());
  std::mt19937_64 random(seed);
  std::vector<uint32_t> ranks(n);
  for (auto& rank : ranks) rank = pick(random);
  return ranks;
}

TEST(RankCoder, EveryRankOfTheRange) {
  std::vector<uint32_t> ranks{0, 1, 2, 3, 6, 7, 4095, 4096, 49151, 49152, 1u << 19, max_rank - 1, max_rank, 0};
  expect_round_trip(ranks);
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) ranks.push_back((random() % (max_rank + 1)) >> random() % 21);
  expect_round_trip(ranks);
  expect_round_trip({});
}

TEST(RankCoder, SkewedStreamsComeNearTheirEntropy) {
  for (double exponent : {1.2, 1.5, 2.0, 3.0}) {
    const auto ranks = zipf(20000, exponent, 4096, 9);
    expect_round_trip(ranks);
    // The empirical entropy knows every count beforehand; the coder learns them as it goes.
    EXPECT_LT(encode_all(ranks).size() * 8, order0_bits(ranks) * 1.03 + 200) << exponent;
  }
}

TEST(RankCoder, LearnsFromTheRanksBefore) {
  // Two sources by turns, of 500 ranks each: better than the entropy of their mixture.
  const auto easy = zipf(20000, 3.0, 4096, 2);
  const auto hard = zipf(20000, 0.8, 4096, 3);
  std::vector<uint32_t> ranks;
  for (size_t i = 0; i < 40000; ++i) ranks.push_back(i / 500 % 2 ? hard[i / 2] : easy[i / 2]);
  expect_round_trip(ranks);
  EXPECT_LT(encode_all(ranks).size() * 8, order0_bits(ranks) * 0.95);
}

TEST(RankCoder, ASureThingCostsNearlyNothing) {
  const std::vector<uint32_t> ranks(100000, 0);
  expect_round_trip(ranks);
  EXPECT_LT(encode_all(ranks).size(), 40u);
}

TEST(RankCoder, BytesBetweenRanks) {
  RankEncoder encoder;
  for (int i = 0; i < 1000; ++i) {
    encoder.encode(i % 5);
    encoder.encode_byte(i & 255);
  }
  const Bytes code = encoder.finish();
  RankDecoder decoder(code);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(decoder.decode(), uint32_t(i % 5));
    ASSERT_EQ(decoder.decode_byte(), i & 255);
  }
  EXPECT_TRUE(decoder.at_end());
}

// The bits of stored archives: a change of the adaptive model must not pass unseen.
TEST(RankCoder, GoldenBytes) {
  std::vector<uint32_t> ranks;
  for (uint32_t i = 0; i < 40; ++i) ranks.push_back(i % 3 ? 0 : i * i % 100);
  EXPECT_EQ(to_hex(encode_all(ranks)), "4bada8ffb39321ff4a1e29f33c3cadc77975");
}

TEST(RankCoder, AnyBytesDecodeToRanks) {
  std::mt19937_64 random(23);
  for (int trial = 0; trial < 2000; ++trial) {
    Bytes code(random() % 64);
    for (auto& b : code) b = trial % 4 == 0 ? 0xFF : static_cast<uint8_t>(random());
    RankDecoder decoder(code);
    for (int i = 0; i < 300; ++i) ASSERT_LE(decoder.decode(), max_rank);
  }
}

}  // namespace
}  // namespace llmc
