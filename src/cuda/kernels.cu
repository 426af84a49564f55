// The kernels for CUDA: each body of the headers as a __global__ function with its launcher.
#include "cuda/answer_kernels.h"
#include "cuda/attention_kernels.h"
#include "cuda/launch.h"
#include "cuda/linear_kernel.h"
#include "cuda/row_kernels.h"

namespace llmc::cuda {

namespace {

// Largest blocks, so that registers suffice.
#define LLMC_KERNEL(name, Args, most)                                              \
  __global__ void __launch_bounds__(most) kernel_##name(const Args a) { name(a); }
#define LLMC_KERNEL_256(name, Args) LLMC_KERNEL(name, Args, 256)
LLMC_CUDA_KERNELS(LLMC_KERNEL_256)

// More shared memory than 48 KiB has to be asked for once per kernel and device.
template <class Kernel>
cudaError_t start(Kernel kernel, const Launch& launch, cudaStream_t stream, void* args) {
  if (launch.x == 0 || launch.y == 0) return cudaSuccess;
  if (launch.shared_bytes > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize, launch.shared_bytes);
    if (error != cudaSuccess) return error;
  }
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(launch.x, launch.y), dim3(launch.threads), &args,
                          launch.shared_bytes, stream);
}

}  // namespace

#define LLMC_LAUNCHER(name, Args)                                                          \
  cudaError_t launch_##name(const Launch& launch, const Args& args, cudaStream_t stream) { \
    return start(kernel_##name, launch, stream, const_cast<Args*>(&args));                 \
  }
LLMC_CUDA_KERNELS(LLMC_LAUNCHER)

}  // namespace llmc::cuda
