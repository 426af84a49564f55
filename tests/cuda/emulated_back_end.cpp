// libllmc_torch_cuda.so with emulated GPUs: the program opens it where LLMC_TORCH_CUDA_LIBRARY names it.
#include <algorithm>
#include <vector>

#include "cuda/parallel_engine.h"
#include "emulated_team.h"
#include "emulator.h"
#include "model/torch_loader.h"

namespace llmc {

extern "C" __attribute__((visibility("default"))) void llmc_torch_engine(const TorchRequest* request,
                                                                         Result<std::unique_ptr<Engine>>* out) {
  if (!request->fits()) {
    *out = Status(Code::failure, "the emulated GPUs belong to another build of llmc-batch");
    return;
  }
  std::vector<DeviceOpener> open;
  for (int i = 0; i < std::max(request->devices, 1); ++i) {
    test::EmulatorOptions options;
    options.memory = 256 << 20;
    options.index = request->device + i;
    open.push_back([options]() -> Result<std::unique_ptr<Device>> { return test::make_emulator(options); });
  }
  const auto team = [](const std::vector<Device*>& queues) -> Result<std::vector<std::unique_ptr<Collective>>> {
    return test::make_team(static_cast<int>(queues.size()));
  };
  *out = request->devices > 0 ? make_parallel_engine(request->model, std::move(open), team)
                              : make_device_engine(request->model, open[0]);
}

}  // namespace llmc
