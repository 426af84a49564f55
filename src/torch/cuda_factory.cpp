// The one door of libllmc_torch_cuda.so: see "the border between the two sides" in model/torch_loader.h.
#include <algorithm>
#include <vector>

#include "cuda/parallel_engine.h"
#include "model/torch_loader.h"
#include "torch/cuda_device.h"
#include "torch/nccl_team.h"

namespace llmc {

extern "C" __attribute__((visibility("default"))) void llmc_torch_engine(const TorchRequest* request,
                                                                         Result<std::unique_ptr<Engine>>* out) {
  try {
    if (!request->fits()) {
      *out = Status(Code::failure, "libllmc_torch_cuda.so belongs to another build of llmc-batch; rebuild both together");
      return;
    }
    std::vector<DeviceOpener> openers;
    for (int i = 0; i < std::max(request->devices, 1); ++i) {
      openers.push_back([device = request->device + i] { return open_cuda_device(device); });
    }
    if (request->devices > 0) {
      *out = make_parallel_engine(request->model, std::move(openers), make_nccl_team);
    } else {
      *out = make_device_engine(request->model, openers[0]);
    }
  } catch (const std::exception& error) {
    *out = Status(Code::failure, std::string("libtorch: ") + error.what());
  }
}

}  // namespace llmc
