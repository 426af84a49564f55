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
};

// The fastest here.
const MixKernels& mix_kernels();
const MixKernels& plain_mix_kernels();

}  // namespace llmc
