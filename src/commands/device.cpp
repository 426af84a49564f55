#include "commands/device.h"

#include <fmt/format.h>

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

Status check_device_word(const std::string& device, const std::string& engine) {
  if (device == "cpu" || device == "auto") return {};
  if (device != "cuda" && number_of(device) < 0) {
    return {Code::usage, "--device is auto, cpu, cuda or cuda:N, not '" + device + "'"};
  }
  if (engine == "native") {
    return {Code::usage, "--engine native computes on the CPU only; leave it out for --device " + device};
  }
  return {};
}

Result<int> choose_device(const std::string& device, const std::string& engine, const Placement& placement) {
  LLMC_TRY(check_device_word(device, engine));
  if (device == "cpu") return -1;
  const bool automatic = device == "auto";
  if (automatic && (!kAutoTakesCuda || engine == "native" || !cuda_unusable().ok())) return -1;
  const Status unusable = cuda_unusable();
  if (!unusable.ok()) {
    return Status(Code::failure, "--device " + device + ": " + unusable.message() + "; --device cpu gives the same bits");
  }
  const int visible = static_cast<int>(cuda_driver().devices.size());
  const int number = number_of(device);
  if (number >= visible) {
    return Status(Code::failure, fmt::format("--device {}: this process sees {} GPU{}, numbered from 0", device, visible,
                                             visible == 1 ? "" : "s"));
  }
  if (number >= 0) return number;
  const int turn = device_of(placement, visible);
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
