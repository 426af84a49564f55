// One small example of each operation with its committed answer: what a machine must reproduce
// before it may code (check_arithmetic). Private to this folder and its tests.
#pragma once

#include <cstdint>
#include <vector>

#include "exact/kernels.h"

namespace llmc::exact {

struct Example {
  const char* operation;
  uint64_t hash;  // FNV-1a 64 over the 32-bit words of the results
};

// Takes well under a millisecond. Call inside a FloatState.
std::vector<Example> run_examples(const Kernels& kernels);
// The answers, in the same order.
const std::vector<Example>& expected_examples();

}  // namespace llmc::exact
