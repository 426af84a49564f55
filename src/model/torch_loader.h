// Opens the libtorch back ends at run time, libllmc_torch.so for CPUs and libllmc_torch_cuda.so for
// GPUs: a program that only reads archives needs no torch, and one that computes finds them beside itself.
#pragma once

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/model.h"
#include "model/session.h"

namespace llmc {

struct TorchOptions {
  std::string isa;                     // kernels on a CPU; as for make_native_engine
  int device = -1;                     // GPU, as CUDA numbers those that the process sees; -1: the CPU
  std::filesystem::path library = {};  // empty: the places of torch_library_places()
  int devices = 0;                     // so many GPUs from `device` on share the model, through NCCL; 0: one, without
};

// Where the library is looked for, in order: $LLMC_TORCH_LIBRARY ($LLMC_TORCH_CUDA_LIBRARY), the program's own
// folder, ../lib and ../lib/llmc-batch from there, then whatever the dynamic linker finds.
std::vector<std::filesystem::path> torch_library_places(bool cuda = false);

// Code::missing where the library is nowhere or cannot be loaded (the message says where it was
// looked for and what to do), Code::failure where it belongs to another build or the device fails its
// start-up check. The library stays
// loaded until the process ends. Any thread.
Result<std::unique_ptr<Engine>> open_torch_engine(std::shared_ptr<const Model> model, const TorchOptions& options = {});

// ---- the border between the two sides (src/torch/factory.cpp)

// Both sides are C++ and share class layouts, so they have to come from one build.
inline constexpr char kTorchAbi[] = "llmc-torch 3, " __VERSION__;
struct TorchRequest {
  uint64_t size = sizeof(TorchRequest);
  uint64_t model_size = sizeof(Model);
  const char* abi = kTorchAbi;
  std::shared_ptr<const Model> model;
  std::string isa;
  int device = -1;
  int devices = 0;

  bool fits() const {
    return size == sizeof(TorchRequest) && std::strcmp(abi, kTorchAbi) == 0 && model_size == sizeof(Model);
  }
};
// Never throws. Fills *out, which holds a failure when it is called.
using TorchFactory = void (*)(const TorchRequest* request, Result<std::unique_ptr<Engine>>* out);
inline constexpr char kTorchFactoryName[] = "llmc_torch_engine";

}  // namespace llmc
