// The fixed tables of the mix codec: logarithms, the logistic curve, and adaptive chances.
//
// Log-odds are in base 2: stretch(p) = log2(p / (1 - p)) in units of 1/1024, at most 18 each
// way. All tables come from integer arithmetic, the same on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace llmc {

inline constexpr int mix_unit = 1024;
inline constexpr int mix_most = 18 * mix_unit;  // |log-odds| at most
// Chances are looked at through 37 knots at equal steps of log-odds.
inline constexpr int mix_knots = 37;
inline constexpr int mix_knot_step = mix_unit;

class MixTables {
 public:
  static const MixTables& get();

  // 0 < p < 2^31, meaning p / 2^31.
  int32_t stretch(uint32_t p) const {
    return std::clamp(log2_of(p) - log2_of((1u << 31) - p), -mix_most, mix_most);
  }
  // p of 12 bits: the middle of its 1/4096.
  int32_t stretch12(uint32_t p) const { return stretch12_[p]; }
  // |x| <= mix_most. In 1 / 2^31, never 0 or 2^31.
  uint32_t squash(int32_t x) const {
    const auto y = static_cast<uint32_t>(x + mix_most);
    const uint32_t i = y >> 5;
    return squash_[i] + ((squash_[i + 1] - squash_[i]) * (y & 31) >> 5);
  }
  // 2^17 / (2n + 3): how far the n-th sight of something moves its chance, in 1 / 2^16.
  uint32_t pace(uint32_t n) const { return pace_[n]; }

 private:
  MixTables();
  int32_t log2_of(uint32_t x) const {
    const int n = 31 - std::countl_zero(x);
    const auto m = static_cast<uint32_t>((static_cast<uint64_t>(x) << (31 - n)) >> 19) & 4095;
    return n * mix_unit + log2_[m];
  }

  std::array<int16_t, 4096> log2_;  // log2(1 + i / 4096)
  std::array<uint32_t, 36 * 32 + 2> squash_;
  std::array<int16_t, 4096> stretch12_;
  std::array<uint32_t, 1024> pace_;
};

// A chance that learns: 22 bits of it above 10 bits of how often it was used.
class MixChance {
 public:
  MixChance() = default;
  constexpr MixChance(uint32_t chance22, uint32_t seen) : v_(chance22 << 10 | seen) {}
  uint32_t chance22() const { return v_ >> 10; }
  uint32_t chance12() const { return v_ >> 20; }
  void update(bool right, uint32_t limit, const MixTables& tables) {
    const uint32_t seen = v_ & 1023;
    const int64_t gap = (right ? 4194303 : 0) - static_cast<int64_t>(v_ >> 10);
    v_ += static_cast<uint32_t>(gap * tables.pace(seen) >> 16) << 10;
    v_ += seen < limit;
  }

 private:
  uint32_t v_ = 0;
};

// 32 bits out of two numbers; every context of the codec is named by such hashes.
inline uint32_t mix_hash(uint32_t a, uint32_t b) {
  uint32_t h = a * 0x9E3779B1u ^ (b + 0x7F4A7C15u) * 0x85EBCA6Bu;
  h ^= h >> 15;
  h *= 0x2C1B3C6Du;
  return h ^ h >> 13;
}

}  // namespace llmc
