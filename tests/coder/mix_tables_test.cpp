#include "coder/mix_tables.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/checksum.h"

namespace llmc {
namespace {

const MixTables& tables() { return MixTables::get(); }

TEST(MixTables, StretchIsTheLogOfTheOdds) {
  for (uint64_t p = 1; p < uint64_t{1} << 31; p += 1 + p / 97) {
    const double odds = std::log2(double(p) / (2147483648.0 - double(p)));
    EXPECT_NEAR(tables().stretch(static_cast<uint32_t>(p)) / 1024.0, std::clamp(odds, -18.0, 18.0), 2.0 / 1024) << p;
  }
}

TEST(MixTables, SquashIsItsInverse) {
  uint32_t before = 0;
  for (int32_t x = -mix_most; x <= mix_most; ++x) {
    const uint32_t p = tables().squash(x);
    ASSERT_GE(p, before);
    ASSERT_NEAR(tables().squash(-x) + p, 2147483648.0, 1) << x;
    ASSERT_NEAR(p / 2147483648.0 * (1 + std::exp2(-x / 1024.0)), 1, 0.0003) << x;
    before = p;
  }
}

// The numbers that archives depend on.
TEST(MixTables, Golden) {
  EXPECT_EQ(tables().squash(-mix_most), 8192u);
  EXPECT_EQ(tables().squash(0), 1u << 30);
  EXPECT_EQ(tables().stretch(1), -mix_most);
  Bytes all;
  const auto add = [&](uint32_t v) {
    for (int i = 0; i < 4; ++i) all.push_back(static_cast<uint8_t>(v >> 8 * i));
  };
  for (int32_t x = -mix_most; x <= mix_most; ++x) add(tables().squash(x));
  for (uint32_t i = 0; i < 4096; ++i) add(static_cast<uint32_t>(tables().stretch12(i)));
  for (uint32_t i = 0; i < 1 << 16; ++i) add(static_cast<uint32_t>(tables().stretch((2 * i + 1) << 14)));
  for (uint32_t n = 0; n < 1024; ++n) add(tables().pace(n));
  EXPECT_EQ(to_hex(sha256(all)).substr(0, 16), "e2e66dc40c14d695");
}

TEST(MixChance, GoesWhereItIsTaughtAndStaysInside) {
  for (const bool right : {false, true}) {
    MixChance chance(1 << 21, 0);
    for (int i = 0; i < 100000; ++i) chance.update(right, 255, tables());
    EXPECT_LT(right ? 4194303 - chance.chance22() : chance.chance22(), 600u);
    for (int i = 0; i < 100000; ++i) chance.update(!right, 1023, tables());
    EXPECT_LT(!right ? 4194303 - chance.chance22() : chance.chance22(), 2100u);
  }
}

}  // namespace
}  // namespace llmc
