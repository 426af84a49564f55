#include "coder/mix_tables.h"

namespace llmc {
namespace {

using Wide = unsigned __int128;

// floor(sqrt(x)) for x < 2^124.
uint64_t root(Wide x) {
  uint64_t r = 0;
  for (int bit = 61; bit >= 0; --bit) {
    const uint64_t t = r | uint64_t{1} << bit;
    if (static_cast<Wide>(t) * t <= x) r = t;
  }
  return r;
}

}  // namespace

const MixTables& MixTables::get() {
  static const MixTables tables;
  return tables;
}

MixTables::MixTables() {
  // One binary digit of the logarithm for each squaring, 16 of them, rounded to ten.
  for (uint64_t i = 0; i < 4096; ++i) {
    uint64_t m = (4096 + i) << 19;
    uint32_t digits = 0;
    for (int b = 0; b < 16; ++b) {
      m = static_cast<uint64_t>(static_cast<Wide>(m) * m >> 31);
      digits <<= 1;
      if (m >> 32) {
        digits |= 1;
        m >>= 1;
      }
    }
    log2_[i] = static_cast<int16_t>((digits + 32) >> 6);
  }
  // 2^(-1/32) in 1 / 2^62: 1/2 under five square roots.
  uint64_t step = uint64_t{1} << 61;
  for (int i = 0; i < 5; ++i) step = root(static_cast<Wide>(step) << 62);
  uint64_t e = uint64_t{1} << 62;  // 2^(-k/32)
  for (int k = 0; k <= 18 * 32; ++k) {
    const auto p = static_cast<uint32_t>((static_cast<Wide>(1) << 93) / ((static_cast<Wide>(1) << 62) + e));
    squash_[18 * 32 + k] = p;
    squash_[18 * 32 - k] = (1u << 31) - p;
    e = static_cast<uint64_t>(static_cast<Wide>(e) * step >> 62);
  }
  squash_[36 * 32 + 1] = squash_[36 * 32];
  for (uint32_t i = 0; i < 4096; ++i) stretch12_[i] = static_cast<int16_t>(stretch((2 * i + 1) << 18));
  for (uint32_t n = 0; n < 1024; ++n) pace_[n] = (1u << 17) / (2 * n + 3);
}

}  // namespace llmc
