#include "torch/cuda_device.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <new>
#include <vector>

#include "cuda/launch.h"

namespace llmc {

namespace {

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, const cudaDeviceProp& properties)
      : index_(static_cast<c10::DeviceIndex>(index)),
        name_("GPU " + std::to_string(index) + " (" + properties.name + ")"),
        processors_(properties.multiProcessorCount),
        shared_bytes_(static_cast<unsigned>(properties.sharedMemPerBlockOptin)),
        stream_(c10::cuda::getStreamFromPool(false, index_)) {}

  ~CudaDevice() override {
    // Nothing may still run on memory that goes.
    const c10::cuda::CUDAGuard guard(index_);
    (void)cudaStreamSynchronize(stream_.stream());
    for (const cudaGraphExec_t graph : graphs_) (void)cudaGraphExecDestroy(graph);
  }

  CudaQueue queue() const { return {index_, name_, stream_.stream()}; }
  std::string name() const override { return name_; }
  int processors() const override { return processors_; }
  unsigned most_shared_bytes() const override { return shared_bytes_; }

  uint64_t free_bytes() override {
    const c10::cuda::CUDAGuard guard(index_);
    size_t free = 0, total = 0;
    keep(cudaMemGetInfo(&free, &total));
    // What libtorch holds without using it can be given too.
    try {
      const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(index_);
      const auto held = stats.reserved_bytes[0].current - stats.allocated_bytes[0].current;
      return free + (held > 0 ? static_cast<uint64_t>(held) : 0);
    } catch (const std::exception&) {
      return free;
    }
  }

  uint8_t* take(size_t bytes) override {
    return take(bytes, at::TensorOptions().dtype(at::kByte).device(at::Device(at::kCUDA, index_)));
  }
  uint8_t* take_host(size_t bytes) override {
    return take(bytes, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  }

  void upload(void* to, const void* from, size_t bytes) override { copy(to, from, bytes, cudaMemcpyHostToDevice); }
  void download(void* to, const void* from, size_t bytes) override { copy(to, from, bytes, cudaMemcpyDeviceToHost); }
  void clear(void* at, size_t bytes) override {
    if (failed() || bytes == 0) return;
    const c10::cuda::CUDAGuard guard(index_);
    keep(cudaMemsetAsync(at, 0, bytes, stream_.stream()));
  }

  Status wait() override {
    const c10::cuda::CUDAGuard guard(index_);
    keep(cudaStreamSynchronize(stream_.stream()));
    if (error_ == cudaSuccess) return {};
    return {Code::failure, name_ + ": " + cudaGetErrorString(error_)};
  }

#define LLMC_CUDA_METHOD(kernel, Args)                                        \
  void kernel(const cuda::Launch& launch, const cuda::Args& args) override {  \
    if (failed()) return;                                                     \
    const c10::cuda::CUDAGuard guard(index_);                                 \
    keep(cuda::launch_##kernel(launch, args, stream_.stream()));              \
  }
  LLMC_CUDA_KERNELS(LLMC_CUDA_METHOD)
#undef LLMC_CUDA_METHOD

  bool has_graphs() const override { return true; }
  void begin_graph() override {
    if (failed()) return;
    const c10::cuda::CUDAGuard guard(index_);
    // Other threads go on allocating on other streams.
    keep(cudaStreamBeginCapture(stream_.stream(), cudaStreamCaptureModeThreadLocal));
  }
  int end_graph() override {
    const c10::cuda::CUDAGuard guard(index_);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    keep(cudaStreamEndCapture(stream_.stream(), &graph));
    if (!failed()) keep(cudaGraphInstantiate(&ready, graph, 0));
    if (graph) (void)cudaGraphDestroy(graph);
    if (ready) graphs_.push_back(ready);
    return static_cast<int>(graphs_.size()) - 1;
  }
  void run(int graph) override {
    if (failed()) return;
    const c10::cuda::CUDAGuard guard(index_);
    keep(cudaGraphLaunch(graphs_[graph], stream_.stream()));
  }

 private:
  bool failed() const { return error_ != cudaSuccess; }
  void keep(cudaError_t error) {
    if (error == cudaSuccess) return;
    (void)cudaGetLastError();
    if (!failed()) error_ = error;
  }

  uint8_t* take(size_t bytes, const at::TensorOptions& options) {
    const c10::cuda::CUDAGuard guard(index_);
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    try {
      blocks_.push_back(at::empty({static_cast<int64_t>(bytes)}, options));
    } catch (const std::exception&) {
      throw std::bad_alloc();
    }
    return blocks_.back().data_ptr<uint8_t>();
  }

  void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (failed() || bytes == 0) return;
    const c10::cuda::CUDAGuard guard(index_);
    keep(cudaMemcpyAsync(to, from, bytes, kind, stream_.stream()));
  }

  const c10::DeviceIndex index_;
  const std::string name_;
  const int processors_;
  const unsigned shared_bytes_;
  const c10::cuda::CUDAStream stream_;
  std::vector<at::Tensor> blocks_;
  std::vector<cudaGraphExec_t> graphs_;
  cudaError_t error_ = cudaSuccess;  // the first
};

}  // namespace

CudaQueue queue_of(Device& device) { return static_cast<CudaDevice&>(device).queue(); }

Result<std::unique_ptr<Device>> open_cuda_device(int index) {
  try {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && index >= count) {
      return Status(Code::missing, "there is no GPU " + std::to_string(index) + "; this process sees " + std::to_string(count));
    }
    cudaDeviceProp properties{};
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, index);
    if (error != cudaSuccess) {
      (void)cudaGetLastError();
      return Status(Code::missing, std::string("CUDA: ") + cudaGetErrorString(error));
    }
    if (properties.major < 8) {
      return Status(Code::failure, "GPU " + std::to_string(index) + " (" + properties.name + ") has compute capability " +
                                       std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                       "; 8.0 or later is needed");
    }
    return std::unique_ptr<Device>(std::make_unique<CudaDevice>(index, properties));
  } catch (const std::exception& e) {
    return Status(Code::failure, std::string("libtorch: ") + e.what());
  }
}

}  // namespace llmc
