// Which GPUs this process may use, asked of the CUDA driver itself: no CUDA library is linked or needed for that.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace llmc {

struct CudaDriver {
  Status status;  // Code::missing: no driver, or no device that this process may see
  int version = 0;  // 13000: CUDA 13.0
  std::vector<std::string> devices;  // names, in the order of the numbers that CUDA_VISIBLE_DEVICES leaves
};

// Asks once per process. Any thread.
const CudaDriver& cuda_driver();

}  // namespace llmc
