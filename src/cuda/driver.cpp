#include "cuda/driver.h"

#include <dlfcn.h>

namespace llmc {

namespace {

// Of cuda.h, as the driver has had them since CUDA 2: results are 0 for success.
using Init = int (*)(unsigned);
using GetInt = int (*)(int*);
using GetDevice = int (*)(int*, int);
using GetName = int (*)(char*, int, int);
constexpr int kNoDevice = 100;

CudaDriver ask() {
  CudaDriver out;
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    out.status = {Code::missing, "there is no CUDA driver on this machine (libcuda.so.1)"};
    return out;
  }
  const auto init = reinterpret_cast<Init>(::dlsym(library, "cuInit"));
  const auto version = reinterpret_cast<GetInt>(::dlsym(library, "cuDriverGetVersion"));
  const auto count = reinterpret_cast<GetInt>(::dlsym(library, "cuDeviceGetCount"));
  const auto device = reinterpret_cast<GetDevice>(::dlsym(library, "cuDeviceGet"));
  const auto name = reinterpret_cast<GetName>(::dlsym(library, "cuDeviceGetName"));
  if (!init || !version || !count || !device || !name) {
    out.status = {Code::missing, "libcuda.so.1 is not a CUDA driver"};
    return out;
  }
  int result = init(0), devices = 0;
  version(&out.version);
  if (result == 0) result = count(&devices);
  for (int i = 0; result == 0 && i < devices; ++i) {
    int handle = 0;
    char text[256] = {};
    result = device(&handle, i);
    if (result == 0) result = name(text, sizeof text - 1, handle);
    out.devices.emplace_back(text);
  }
  if (result == kNoDevice || (result == 0 && devices == 0)) {
    out.status = {Code::missing, "the CUDA driver shows this process no device (CUDA_VISIBLE_DEVICES?)"};
  } else if (result != 0) {
    out.status = {Code::missing, "the CUDA driver gives error " + std::to_string(result)};
  }
  if (!out.status.ok()) out.devices.clear();
  return out;
}

}  // namespace

const CudaDriver& cuda_driver() {
  static const CudaDriver driver = ask();
  return driver;
}

}  // namespace llmc
