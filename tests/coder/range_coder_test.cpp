#include "coder/range_coder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace llmc {
namespace {

struct Symbol3 {
  uint64_t cum, weight, total;
};

Bytes encode_all(const std::vector<Symbol3>& symbols) {
  RangeEncoder encoder;
  for (const auto& s : symbols) encoder.encode(s.cum, s.weight, s.total);
  return encoder.finish();
}

// Decodes with nothing but totals and intervals looked up by target.
void expect_decodes(const std::vector<Symbol3>& symbols, ByteView code) {
  RangeDecoder decoder(code);
  for (size_t i = 0; i < symbols.size(); ++i) {
    const auto& s = symbols[i];
    const uint64_t target = decoder.target(s.total);
    ASSERT_GE(target, s.cum) << i;
    ASSERT_LT(target, s.cum + s.weight) << i;
    decoder.take(s.cum, s.weight, s.total);
  }
  EXPECT_TRUE(decoder.at_end());
}

double bits_of(const std::vector<Symbol3>& symbols) {
  double bits = 0;
  for (const auto& s : symbols) bits -= std::log2(double(s.weight) / double(s.total));
  return bits;
}

TEST(RangeCoder, NothingIsNoBytes) {
  RangeEncoder encoder;
  EXPECT_TRUE(encoder.finish().empty());
  EXPECT_TRUE(RangeDecoder({}).at_end());
}

// The bits of stored archives.
TEST(RangeCoder, GoldenBytes) {
  RangeEncoder encoder;
  encoder.encode(1, 1, 4);
  encoder.encode(255, 1, 256);
  encoder.encode(0, 3, 1000);
  const Bytes code = encoder.finish();
  // The interval begins near 1/4 + 255/1024 = 0.7FC0... (hex) and is 3/1024000 wide.
  RangeDecoder decoder(code);
  EXPECT_EQ(decoder.target(4), 1u);
  decoder.take(1, 1, 4);
  EXPECT_EQ(decoder.decode_byte(), 255);
  EXPECT_LT(decoder.target(1000), 3u);
  EXPECT_EQ(to_hex(code), "7fc0");
}

class RandomSymbols : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomSymbols, RoundTripAndCost) {
  const uint64_t largest = GetParam();
  std::mt19937_64 random(largest);
  std::vector<Symbol3> symbols;
  for (int i = 0; i < 300000; ++i) {
    // Three totals in four near the largest; weights from 1 to nearly all, evenly over their logarithm.
    const uint64_t total = random() % 4 ? largest - random() % std::min<uint64_t>(largest, 1000)
                                        : 1 + random() % largest;
    const int bits = std::bit_width(total);
    const uint64_t weight = std::clamp<uint64_t>((random() >> (64 - bits)) >> random() % bits, 1, total);
    uint64_t cum = total - weight;
    if (random() % 8) cum = cum ? random() % (cum + 1) : 0;
    if (random() % 16 == 0) cum = 0;
    symbols.push_back({cum, weight, total});
  }
  const Bytes code = encode_all(symbols);
  expect_decodes(symbols, code);
  // The share of a truncated division that is lost goes to the last symbol: at most 2^-7 / ln 2 bits each.
  EXPECT_LT(code.size() * 8, bits_of(symbols) + symbols.size() * 0.0115 + 16);
}

INSTANTIATE_TEST_SUITE_P(Totals, RandomSymbols,
                         testing::Values(1, 2, 3, 255, 256, 65537, (1u << 30) + 4097, uint64_t{1} << 42, max_total));

TEST(RangeCoder, WithinTwoHundredthsOfAPercentOfEntropy) {
  // Frequencies of the kind that a model gives: 2^30 for the first choice, a long tail, Tot from 2^30 to 2^35;
  // and the flattest table there is, of 2^19 ids that all weigh 2^30.
  std::mt19937_64 random(7);
  std::vector<uint64_t> table(4096);
  for (size_t i = 0; i < table.size(); ++i) table[i] = 1 + static_cast<uint64_t>((1u << 30) / std::pow(i + 1, 1.3));
  std::vector<uint64_t> cum{0};
  for (uint64_t w : table) cum.push_back(cum.back() + w);
  std::vector<Symbol3> symbols;
  for (int i = 0; i < 2'000'000; ++i) {
    const uint64_t at = random() % cum.back();
    const size_t s = std::upper_bound(cum.begin(), cum.end(), at) - cum.begin() - 1;
    symbols.push_back({cum[s], table[s], cum.back()});
  }
  Bytes code = encode_all(symbols);
  expect_decodes(symbols, code);
  EXPECT_LT(code.size() * 8, bits_of(symbols) * 1.0002);
  EXPECT_GT(code.size() * 8, bits_of(symbols) * 0.9998);

  symbols.clear();
  for (int i = 0; i < 300'000; ++i) {
    const uint64_t id = random() % (1u << 19);
    symbols.push_back({id * ((uint64_t{1} << 30) + 1), (uint64_t{1} << 30) + 1, max_total});
  }
  code = encode_all(symbols);
  expect_decodes(symbols, code);
  EXPECT_LT(code.size() * 8, bits_of(symbols) * 1.0002);
}

// Symbols chosen so that the interval keeps the point 1/2 inside: the bytes written are 7F FF FF ..., until the last
// symbol lies above it and the carry makes them 80 00 00 ....
TEST(RangeCoder, CarryRunsThroughLongRunsOfFF) {
  for (int steps : {1, 7, 8, 9, 100, 5000}) {
    for (bool above : {false, true}) {
      std::vector<Symbol3> symbols;
      uint64_t range = ~uint64_t{0};
      uint64_t distance = uint64_t{1} << 63;  // of the point from low, 0 < distance < range
      const auto add = [&](uint64_t cum, uint64_t total) {
        const uint64_t r = range / total;
        symbols.push_back({cum, 1, total});
        range = cum + 1 == total ? range - r * cum : r;
        distance -= r * cum;
        while (range < uint64_t{1} << 56) {
          range <<= 8;
          distance <<= 8;
        }
      };
      for (int i = 0; i < steps; ++i) {
        uint64_t total = 200 + i % 50;
        while (distance % (range / total) == 0) ++total;
        add(std::min(distance / (range / total), total - 1), total);
        ASSERT_TRUE(distance > 0 && distance < range);
      }
      symbols.push_back({above ? uint64_t{999} : 0, 1, 1000});
      const Bytes code = encode_all(symbols);
      const auto run = std::find_if(code.begin() + 1, code.end(), [&](uint8_t b) { return b != (above ? 0 : 0xFF); });
      if (steps > 8) {
        EXPECT_EQ(code[0], above ? 0x80 : 0x7F);
        EXPECT_GT(run - code.begin(), steps / 2);
      }
      expect_decodes(symbols, code);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(RangeCoder, WeightsOfOne) {
  std::mt19937_64 random(5);
  std::vector<Symbol3> symbols;
  for (int i = 0; i < 100000; ++i) symbols.push_back({random() % max_total, 1, max_total});
  const Bytes code = encode_all(symbols);
  expect_decodes(symbols, code);
  EXPECT_LT(code.size(), symbols.size() * 49.02 / 8);
}

TEST(RangeCoder, ZerosAtTheEndAreDropped) {
  // A million certain symbols at the bottom of the line cost one byte in all.
  RangeEncoder encoder;
  for (int i = 0; i < 1000000; ++i) encoder.encode(0, max_total - 1, max_total);
  const Bytes code = encoder.finish();
  EXPECT_LE(code.size(), 2u);
  RangeDecoder decoder(code);
  for (int i = 0; i < 1000000; ++i) {
    ASSERT_LT(decoder.target(max_total), max_total - 1);
    decoder.take(0, max_total - 1, max_total);
  }
  EXPECT_TRUE(decoder.at_end());
}

TEST(RangeCoder, BinaryDecisions) {
  std::mt19937_64 random(3);
  std::vector<std::pair<bool, uint32_t>> bits;
  double cost = 0;
  for (int i = 0; i < 1000000; ++i) {
    uint32_t chance = 0;
    switch (random() % 4) {
      case 0: chance = 1; break;
      case 1: chance = chance_one - 1; break;
      default: chance = 1 + random() % (chance_one - 1);
    }
    const bool right = random() % chance_one < chance;
    bits.emplace_back(right, chance);
    cost -= std::log2((right ? chance : chance_one - chance) / double(chance_one));
  }
  bits.emplace_back(true, 1);  // the least likely both ways
  bits.emplace_back(false, chance_one - 1);
  RangeEncoder encoder;
  for (const auto& [right, chance] : bits) encoder.encode_bit(right, chance);
  const Bytes code = encoder.finish();
  EXPECT_LT(code.size() * 8, (cost + 62) * 1.0002 + 16);
  RangeDecoder decoder(code);
  for (const auto& [right, chance] : bits) ASSERT_EQ(decoder.decode_bit(chance), right);
  EXPECT_TRUE(decoder.at_end());
}

TEST(RangeCoder, AnyBytesDecodeToSymbolsWithinTheTotals) {
  std::mt19937_64 random(17);
  for (int trial = 0; trial < 3000; ++trial) {
    Bytes code(random() % 40);
    for (auto& b : code) b = trial % 3 == 0 ? 0xFF : trial % 3 == 1 ? 0 : static_cast<uint8_t>(random());
    RangeDecoder decoder(code);
    for (int i = 0; i < 200; ++i) {
      const uint64_t total = 1 + random() % max_total;
      const uint64_t target = decoder.target(total);
      ASSERT_LT(target, total);
      // Any interval that holds the target.
      const uint64_t cum = random() % (target + 1);
      decoder.take(cum, target - cum + 1 + random() % (total - target), total);
    }
  }
}

TEST(RangeCoder, TrailingBytesAreNoticed) {
  std::vector<Symbol3> symbols(100, {7, 2, 100});
  Bytes code = encode_all(symbols);
  for (uint8_t extra : {0, 1}) {
    Bytes longer = code;
    longer.push_back(extra);
    RangeDecoder decoder(longer);
    for (const auto& s : symbols) {
      decoder.target(s.total);
      decoder.take(s.cum, s.weight, s.total);
    }
    EXPECT_FALSE(decoder.at_end());
  }
}

}  // namespace
}  // namespace llmc
