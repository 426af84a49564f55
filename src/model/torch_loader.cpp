#include "model/torch_loader.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace llmc {

namespace {

struct Side {
  const char* library;
  const char* variable;
  const char* name;
  const char* advice;
};
constexpr Side kCpu = {"libllmc_torch.so", "LLMC_TORCH_LIBRARY", "the libtorch back end",
                       "build with -DLLMC_TORCH=ON, or use the native engine, which gives the same bits"};
constexpr Side kCuda = {"libllmc_torch_cuda.so", "LLMC_TORCH_CUDA_LIBRARY", "the CUDA back end",
                        "build it where nvcc and a libtorch with CUDA are (docs/PERFORMANCE.md), or use --device cpu, which "
                        "gives the same bits"};

}  // namespace

std::vector<std::filesystem::path> torch_library_places(bool cuda) {
  const Side& side = cuda ? kCuda : kCpu;
  std::vector<std::filesystem::path> places;
  if (const char* given = std::getenv(side.variable); given != nullptr && *given != 0) return {given};
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path folder = program.parent_path();
    for (const char* relative : {"", "../lib", "../lib/llmc-batch"}) {
      places.push_back((folder / relative / side.library).lexically_normal());
    }
  }
  places.emplace_back(side.library);
  return places;
}

Result<std::unique_ptr<Engine>> open_torch_engine(std::shared_ptr<const Model> model, const TorchOptions& options) {
  const bool cuda = options.device >= 0;
  const Side& side = cuda ? kCuda : kCpu;
  const auto places = options.library.empty() ? torch_library_places(cuda) : std::vector{options.library};
  void* library = nullptr;
  std::string tried;
  for (const std::filesystem::path& place : places) {
    std::error_code ignored;
    const bool plain_name = !place.has_parent_path();
    if (plain_name || std::filesystem::exists(place, ignored)) {
      library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) break;
      // A library that is there but does not load is the reason that counts.
      const char* reason = dlerror();
      if (!plain_name) {
        return Status(Code::missing, fmt::format("{} could not be loaded ({}); {}", side.name,
                                                 reason ? reason : place.string(), side.advice));
      }
    }
    tried += fmt::format("{}{}", tried.empty() ? "" : ", ", place.string());
  }
  if (library == nullptr) {
    return Status(Code::missing, fmt::format("{} is not there (looked for {}); {}", side.name, tried, side.advice));
  }
  const auto factory = reinterpret_cast<TorchFactory>(dlsym(library, kTorchFactoryName));
  if (factory == nullptr) {
    return Status(Code::failure, fmt::format("{} is not {} of this program; {}", side.library, side.name, side.advice));
  }
  TorchRequest request;
  request.model = std::move(model);
  request.isa = options.isa;
  request.device = options.device;
  request.devices = options.devices;
  Result<std::unique_ptr<Engine>> engine = Status(Code::failure, "the libtorch back end gave no answer");
  factory(&request, &engine);
  return engine;
}

}  // namespace llmc
