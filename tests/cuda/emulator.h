// A GPU on the CPU: runs the kernels of src/cuda block after block, each of a block's threads as a fiber that gives way at
// barriers. A few thousand times slower than the real thing, but the same code, and what it computes can be compared.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cuda/device.h"

namespace llmc::test {

// In which order the threads of a block run between two barriers: the result must not depend on it.
enum class ThreadOrder { up, down, mixed };

// Runs `body` as every thread of every block. Ends the program where a barrier is not reached by all.
void run_blocks(const cuda::Launch& launch, ThreadOrder order, const std::function<void()>& body);

struct EmulatorOptions {
  ThreadOrder order = ThreadOrder::up;
  uint64_t memory = uint64_t{1} << 32;
  bool graphs = true;
  int processors = 4;
  unsigned shared_bytes = 99 << 10;
  int index = 0;  // in its name
};
// Device memory is filled with a pattern that is NaN as float, so that what was never written is noticed.
std::unique_ptr<Device> make_emulator(const EmulatorOptions& options = {});

}  // namespace llmc::test
