// Launchers of the kernels on a CUDA stream; what kernels.cu defines. Arguments are copied at the call. Any thread, on
// the device that is current for it.
#pragma once

#include <cuda_runtime_api.h>

#include "cuda/kernels.h"

namespace llmc::cuda {

#define LLMC_LAUNCHER_DECLARED(name, Args) \
  cudaError_t launch_##name(const Launch& launch, const Args& args, cudaStream_t stream);
LLMC_CUDA_KERNELS(LLMC_LAUNCHER_DECLARED)
#undef LLMC_LAUNCHER_DECLARED

}  // namespace llmc::cuda
