#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/checksum.h"

namespace llmc {
namespace {

TEST(RopeTable, IsWithinHalfAnUlpOfOneOfTheTruth) {
  for (const double theta : {10000.0, 500000.0, 1e6}) {
    const int rotary = 80, positions = 4096;
    const RopeTable table = make_rope_table(theta, rotary, positions);
    ASSERT_EQ(table.cos.size(), size_t{positions} * rotary / 2);
    double worst = 0;
    for (int p = 0; p < positions; p += 7) {
      for (int i = 0; i < rotary / 2; ++i) {
        const long double angle = p * std::pow(static_cast<long double>(theta), -2.0L * i / rotary);
        const size_t at = static_cast<size_t>(p) * rotary / 2 + i;
        worst = std::max<double>(worst, std::fabs(std::cos(angle) - table.cos[at]));
        worst = std::max<double>(worst, std::fabs(std::sin(angle) - table.sin[at]));
      }
    }
    EXPECT_LE(worst, 0x1.0001p-25) << theta;
  }
}

TEST(RopeTable, FunctionsAreAccurate) {
  for (double x = 1; x < 1e12; x *= 1.37) EXPECT_NEAR(stated_log2(x), std::log2(x), 1e-14);
  for (double x = 0; x > -40; x -= 0.0137) EXPECT_NEAR(stated_exp2(x) / std::exp2(x), 1.0, 1e-15);
  EXPECT_EQ(stated_exp2(-3), 0.125);
  EXPECT_EQ(attention_scale(64), 1.44269504088896340736f / 8);
}

// What tools/score/rope.py, written from docs/MODEL.md alone, computes in Python.
TEST(RopeTable, HasTheCommittedBits) {
  const RopeTable table = make_rope_table(1e6, 128, 2048);
  Sha256 hash;
  for (const auto* list : {&table.cos, &table.sin}) {
    hash.update({reinterpret_cast<const uint8_t*>(list->data()), list->size() * sizeof(float)});
  }
  EXPECT_EQ(to_hex(hash.finish()), "54ac0f0d451b1d3f393423e9eba5a938de2bd137f358b7a3ec65c611045bcbd0");
}

}  // namespace
}  // namespace llmc
