#include "commands/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "cuda/driver.h"
#include "model/torch_loader.h"

namespace llmc {

namespace {

// The CUDA back end has never run on a GPU (docs/PERFORMANCE.md): until it has, only who asks for it gets it.
constexpr bool kAutoTakesCuda = false;

Status cuda_unusable() {
  if (!torch_library_present(true)) {
    return {Code::missing, "libllmc_torch_cuda.so is not in this build"};
  }
  return cuda_driver().status;
}

// N of cuda:N, or -1.
int number_of(const std::string& device) {
  int number = -1;
  if (!device.starts_with("cuda:")) return -1;
  const char* const end = device.data() + device.size();
  const auto [stop, error] = std::from_chars(device.data() + 5, end, number);
  return error == std::errc() && stop == end ? number : -1;
}

}  // namespace

bool torch_library_present(bool cuda) {
  for (const auto& place : torch_library_places(cuda)) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(place, ignored)) return true;
  }
  return false;
}

Status check_device_word(const std::string& device, const std::string& engine, int gpus) {
  if (gpus < 1 || gpus > 64) return {Code::usage, "--gpus-per-rank is 1 to 64"};
  if (gpus > 1 && (device == "cpu" || engine == "native")) {
    return {Code::usage, "--gpus-per-rank " + std::to_string(gpus) + " computes on GPUs: it does not go with " +
                             (device == "cpu" ? "--device cpu" : "--engine native")};
  }
  if (device == "cpu" || device == "auto") return {};
  if (device != "cuda" && number_of(device) < 0) {
    return {Code::usage, "--device is auto, cpu, cuda or cuda:N, not '" + device + "'"};
  }
  if (engine == "native") {
    return {Code::usage, "--engine native computes on the CPU only; leave it out for --device " + device};
  }
  return {};
}

Result<int> choose_device(const std::string& device, const std::string& engine, const Placement& placement, int gpus) {
  LLMC_TRY(check_device_word(device, engine, gpus));
  if (device == "cpu") return -1;
  const bool automatic = device == "auto" && gpus == 1;
  const std::string asked = gpus > 1 ? fmt::format("--gpus-per-rank {}", gpus) : "--device " + device;
  if (automatic && (!kAutoTakesCuda || engine == "native" || !cuda_unusable().ok())) return -1;
  const Status unusable = cuda_unusable();
  if (!unusable.ok()) {
    return Status(Code::failure, asked + ": " + unusable.message() + "; --device cpu" + (gpus > 1 ? " alone" : "") + " gives the same bits");
  }
  const int visible = static_cast<int>(cuda_driver().devices.size());
  const int number = number_of(device);
  if (number >= visible) {
    return Status(Code::failure, fmt::format("--device {}: this process sees {} GPU{}, numbered from 0", device, visible,
                                             visible == 1 ? "" : "s"));
  }
  if (std::max(number, 0) + gpus > visible) {
    return Status(Code::failure, fmt::format("{}{}: this process sees {} GPU{}; ask for fewer, or give each rank more", asked,
                                             number > 0 ? " from " + device : "", visible, visible == 1 ? "" : "s"));
  }
  if (number >= 0) return number;
  const int turn = device_of(placement, visible, gpus);
  return turn < 0 && !automatic ? 0 : turn;
}

std::string cuda_text() {
  const bool built = torch_library_present(true);
  const CudaDriver& driver = cuda_driver();
  if (!driver.status.ok()) {
    return built ? driver.status.message() : "not in this build; " + driver.status.message();
  }
  std::string names;
  for (size_t i = 0; i < driver.devices.size(); ++i) {
    names += fmt::format("{}GPU {} ({})", i ? ", " : "", i, driver.devices[i]);
  }
  names += fmt::format(", driver for CUDA {}.{}", driver.version / 1000, driver.version % 1000 / 10);
  return built ? names + "; --device cuda uses it" : "not in this build, which finds " + names;
}

}  // namespace llmc
