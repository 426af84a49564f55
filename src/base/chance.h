// Chances of binary decisions as integers p, 0 < p < 2^31, meaning p / 2^31: how the sums of a model's weights become
// what a coder takes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace llmc {

inline constexpr int chance_bits = 31;
inline constexpr uint32_t chance_one = 1u << chance_bits;

// part / whole, part <= whole < 2^50 (docs/MIX.md 1).
inline uint32_t chance_of(uint64_t part, uint64_t whole) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(whole)) - 32);
  const uint64_t divisor = std::max<uint64_t>(whole >> shift, 1);
  return static_cast<uint32_t>(std::clamp<uint64_t>(((part >> shift) << chance_bits) / divisor, 1, chance_one - 1));
}

// Weights in the order of a tree's leaves come with the sums of so many at a time: a walk reads few of them.
inline constexpr uint32_t leaf_block = 64;
inline constexpr uint32_t leaf_blocks(uint32_t leaves) { return (leaves + leaf_block - 1) / leaf_block; }

}  // namespace llmc
