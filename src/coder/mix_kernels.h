// The two inner loops of the mixer, for the instruction set at hand: integers, the same
// results on each. Any thread.
#pragma once

#include <cstdint>

namespace llmc {

inline constexpr int32_t mix_weight_most = 1 << 20;

struct MixKernels {
  // For each of MixModel::sets rows of MixModel::inputs weights: the clamped sum of w * x >> 16.
  void (*dots)(const int32_t* weights, const uint32_t* rows, const int32_t* x, int32_t* dots);
  // w += (x * error + 8192) >> 14, within +- mix_weight_most.
  void (*train)(int32_t* weights, const uint32_t* rows, const int32_t* x, const int32_t* errors);
  // Lanes: `groups` times four lists of eight places, leaf << 8 | count, 0: none (32-byte aligned). For each
  // list: the sum of its counts << 16 | the sum of those at bound (leaf << 8) or above.
  void (*sides)(const uint32_t* lanes, int groups, uint32_t bound, uint32_t* sums);
  // Empties the places on the other side.
  void (*descend)(uint32_t* lanes, int groups, uint32_t bound, bool right);
};

// The fastest here.
const MixKernels& mix_kernels();
const MixKernels& plain_mix_kernels();

}  // namespace llmc
