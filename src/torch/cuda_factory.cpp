// The one door of libllmc_torch_cuda.so: see "the border between the two sides" in model/torch_loader.h.
#include <cstring>

#include "cuda/device_engine.h"
#include "model/torch_loader.h"
#include "torch/cuda_device.h"

namespace llmc {

extern "C" __attribute__((visibility("default"))) void llmc_torch_engine(const TorchRequest* request,
                                                                         Result<std::unique_ptr<Engine>>* out) {
  try {
    if (!request->fits()) {
      *out = Status(Code::failure, "libllmc_torch_cuda.so belongs to another build of llmc-batch; rebuild both together");
      return;
    }
    const int device = request->device;
    *out = make_device_engine(request->model, [device] { return open_cuda_device(device); });
  } catch (const std::exception& error) {
    *out = Status(Code::failure, std::string("libtorch: ") + error.what());
  }
}

}  // namespace llmc
