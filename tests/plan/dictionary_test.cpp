// The choice of a dictionary's text: what it must contain, how large it is, and that nothing else decides it.
#include "plan/dictionary.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace llmc::test {
namespace {

Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }

std::string noise(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST(Dictionary, CandidatesLieInTheTextAndAreSpread) {
  for (const uint64_t size : {1ull, 1023ull, 1024ull, 1025ull, 100000ull, 4ull << 20, (4ull << 20) + 1, 300000001ull, 1ull << 50}) {
    const auto offsets = dictionary_candidates(size, 1024);
    ASSERT_FALSE(offsets.empty());
    EXPECT_LE(offsets.size(), most_candidates);
    EXPECT_EQ(offsets.front(), 0u);
    const double step = static_cast<double>(size) / static_cast<double>(offsets.size());
    for (size_t i = 0; i < offsets.size(); ++i) {
      ASSERT_LT(offsets[i], size);
      ASSERT_TRUE(i == 0 || offsets[i] >= offsets[i - 1] + 1024);
      ASSERT_NEAR(static_cast<double>(offsets[i]), step * static_cast<double>(i), 1024 + step);
    }
  }
  EXPECT_TRUE(dictionary_candidates(0, 1024).empty());
}

TEST(Dictionary, TakesWhatComesBackAndEachThingOnce) {
  const std::string common = "2026-11-21 10:00:00 INFO server: connection accepted from ";
  const std::string other = "{\"id\": 0, \"kind\": \"measurement\", \"unit\": \"kelvin\", \"value\": ";
  std::vector<Bytes> blocks;
  for (int i = 0; i < 40; ++i) {
    const std::string& phrase = i % 2 ? common : other;
    blocks.push_back(bytes_of(i % 4 < 2 ? phrase + noise(static_cast<uint64_t>(i), 200) : noise(static_cast<uint64_t>(i), 256)));
  }
  const Bytes chosen = choose_dictionary(blocks, 600);
  const std::string text(chosen.begin(), chosen.end());
  EXPECT_LE(text.size(), 600u);
  EXPECT_NE(text.find(common), std::string::npos);
  EXPECT_NE(text.find(other), std::string::npos);
  EXPECT_EQ(text.find(common, text.find(common) + 1), std::string::npos) << "the same phrase twice";
}

TEST(Dictionary, NothingComesBackInNoise) {
  std::vector<Bytes> blocks;
  for (uint64_t i = 0; i < 50; ++i) blocks.push_back(bytes_of(noise(i, 1024)));
  EXPECT_TRUE(choose_dictionary(blocks, 16384).empty());
  EXPECT_TRUE(choose_dictionary({}, 16384).empty());
  EXPECT_TRUE(choose_dictionary({bytes_of("short"), {}}, 16384).empty());
}

TEST(Dictionary, SizeAndSample) {
  EXPECT_EQ(dictionary_size(1 << 20, 1, 65536, false), 0u) << "one chunk";
  EXPECT_EQ(dictionary_size(1 << 20, 2, 65536, false), 65536u);
  EXPECT_EQ(dictionary_size(1 << 10, 2, 65536, false), 256u) << "a quarter of the text";
  EXPECT_EQ(dictionary_size(1 << 20, 15, 65536, true), 0u) << "too few to measure on";
  EXPECT_EQ(dictionary_size(1 << 18, 16, 65536, true), 16384u);
  EXPECT_EQ(dictionary_size(uint64_t{1} << 40, 1 << 24, 65536, true), 65536u);
  EXPECT_EQ(dictionary_block(100), 64u);
  EXPECT_EQ(dictionary_block(1024), 128u);
  EXPECT_EQ(dictionary_block(65536), 1024u);
  for (const uint32_t chunks : {16u, 100u, 1000u, 0xFFFFFFFEu}) {
    const auto sample = dictionary_sample(chunks);
    EXPECT_GE(sample.size(), 2u);
    EXPECT_LE(sample.size(), 8u);
    for (size_t i = 0; i < sample.size(); ++i) EXPECT_TRUE(sample[i] < chunks && (i == 0 || sample[i] > sample[i - 1]));
  }
}

}  // namespace
}  // namespace llmc::test
