// A GPU as the back end sees it: memory, copies, kernels and graphs on one queue of work.
//
// Implemented over libtorch's CUDA (src/torch) and, for tests, by an emulator on the CPU. One thread at a time. Work is
// queued in order and may still run when a call returns; the first error is kept and returned by wait(), and nothing is
// queued after it. Memory lives as long as the Device that gave it and may be read by other Devices of the same GPU
// once wait() has returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "cuda/kernels.h"

namespace llmc {

class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;      // "GPU 0 (NVIDIA H200)"
  virtual int processors() const = 0;        // multiprocessors
  virtual unsigned most_shared_bytes() const = 0;  // of a block
  virtual uint64_t free_bytes() = 0;         // of its memory, that take() may give

  // On the device, at a multiple of 256, not initialised. Throws std::bad_alloc.
  virtual uint8_t* take(size_t bytes) = 0;
  // On the host, in the form that copies run fastest from. Throws std::bad_alloc.
  virtual uint8_t* take_host(size_t bytes) = 0;

  // Host memory of queued copies stays as it is until wait() returns.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  virtual void clear(void* at, size_t bytes) = 0;
  virtual Status wait() = 0;

#define LLMC_DEVICE_METHOD(name, Args) virtual void name(const cuda::Launch& launch, const cuda::Args& args) = 0;
  LLMC_CUDA_KERNELS(LLMC_DEVICE_METHOD)
#undef LLMC_DEVICE_METHOD

  // What is queued between begin_graph() and end_graph() does not run but becomes a graph, which run() queues as one.
  // Its numbers live as long as the Device. No wait() in between.
  virtual bool has_graphs() const = 0;
  virtual void begin_graph() = 0;
  virtual int end_graph() = 0;
  virtual void run(int graph) = 0;
};

// Opens another queue on the same GPU.
using DeviceOpener = std::function<Result<std::unique_ptr<Device>>()>;

}  // namespace llmc
