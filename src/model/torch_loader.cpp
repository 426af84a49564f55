#include "model/torch_loader.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace llmc {

namespace {

constexpr char kLibrary[] = "libllmc_torch.so";
constexpr char kAdvice[] = "build with -DLLMC_TORCH=ON, or use the native engine, which gives the same bits";

}  // namespace

std::vector<std::filesystem::path> torch_library_places() {
  std::vector<std::filesystem::path> places;
  if (const char* given = std::getenv("LLMC_TORCH_LIBRARY"); given != nullptr && *given != 0) return {given};
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path folder = program.parent_path();
    for (const char* relative : {"", "../lib", "../lib/llmc-batch"}) {
      places.push_back((folder / relative / kLibrary).lexically_normal());
    }
  }
  places.emplace_back(kLibrary);
  return places;
}

Result<std::unique_ptr<Engine>> open_torch_engine(std::shared_ptr<const Model> model, const TorchOptions& options) {
  const auto places = options.library.empty() ? torch_library_places() : std::vector{options.library};
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
        return Status(Code::missing, fmt::format("the libtorch back end could not be loaded ({}); {}",
                                                 reason ? reason : place.string(), kAdvice));
      }
    }
    tried += fmt::format("{}{}", tried.empty() ? "" : ", ", place.string());
  }
  if (library == nullptr) {
    return Status(Code::missing, fmt::format("the libtorch back end is not there (looked for {}); {}", tried, kAdvice));
  }
  const auto factory = reinterpret_cast<TorchFactory>(dlsym(library, kTorchFactoryName));
  if (factory == nullptr) {
    return Status(Code::failure, fmt::format("{} is not the libtorch back end of this program; {}", kLibrary, kAdvice));
  }
  TorchRequest request;
  request.model = std::move(model);
  request.isa = options.isa;
  Result<std::unique_ptr<Engine>> engine = Status(Code::failure, "the libtorch back end gave no answer");
  factory(&request, &engine);
  return engine;
}

}  // namespace llmc
