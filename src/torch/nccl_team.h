// What the GPUs of one rank exchange, through NCCL (libnccl.so.2, which libtorch's CUDA packages bring; opened when it is asked
// for). Integer maxima and sums only, so that NCCL's choice of algorithm and order cannot change a bit.
#pragma once

#include <memory>
#include <vector>

#include "base/status.h"
#include "cuda/device.h"
#include "model/collective.h"

namespace llmc {

// One member for each of these queues, which open_cuda_device gave, each on another GPU. Code::missing where there is no NCCL.
// A member that fails, or whose GPU gives no answer for five minutes, ends the others (ncclCommAbort).
Result<std::vector<std::unique_ptr<Collective>>> make_nccl_team(const std::vector<Device*>& queues);

}  // namespace llmc
