// The engine over several GPUs that hold a share of the model each (tensor parallelism); the same bits as over one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cuda/device_engine.h"
#include "model/collective.h"

namespace llmc {

// One for each of these queues, in their order.
using CollectiveMaker = std::function<Result<std::vector<std::unique_ptr<Collective>>>(const std::vector<Device*>& queues)>;

// open: one for each GPU, at least one. Code::usage where the model cannot be split into so many shares, Code::failure as of
// make_device_engine. The start-up check is that of known answers: it goes through all GPUs and what they exchange.
// Passes of several sessions take turns.
Result<std::unique_ptr<Engine>> make_parallel_engine(std::shared_ptr<const Model> model, std::vector<DeviceOpener> open,
                                                     CollectiveMaker collectives, const DeviceEngineOptions& options = {});

}  // namespace llmc
