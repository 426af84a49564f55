// libcuda.so.1 of a machine with LLMC_EMULATED_GPUS GPUs: what src/cuda/driver.cpp asks, and no more.
#include <cstdio>
#include <cstdlib>

#pragma GCC visibility push(default)
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) {
  const char* const given = std::getenv("LLMC_EMULATED_GPUS");
  *count = given ? std::atoi(given) : 0;
  return *count > 0 ? 0 : 100;
}
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, 0; }
int cuDeviceGetName(char* name, int size, int) { return std::snprintf(name, static_cast<size_t>(size), "emulated"), 0; }
}
