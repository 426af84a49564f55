// A GPU through libtorch's CUDA: memory from its caching allocators, a stream of its pool, our kernels on it. See
// cuda/device.h.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "cuda/device.h"

namespace llmc {

// A queue on GPU `index`. Code::missing where there is no such device, Code::failure where it is too old or fails.
Result<std::unique_ptr<Device>> open_cuda_device(int index);

// What one of these is to CUDA.
struct CudaQueue {
  int index = 0;
  std::string name;
  cudaStream_t stream = nullptr;
};
CudaQueue queue_of(Device& device);

}  // namespace llmc
