// The engine over a GPU: weights on the device, start-up check, and how many streams its memory carries.
#pragma once

#include <memory>

#include "cuda/device.h"
#include "model/model.h"
#include "model/session.h"

namespace llmc {

struct DeviceEngineOptions {
  bool check = true;      // compute known answers first
  int most_rows = 0;      // of a pass; 0: what suits the device
  int most_head_rows = 0;
};

// `open` gives queues on one GPU, for the weights and for each session; it is called from any thread. Code::failure names
// the device where memory is short or the check finds it wrong.
Result<std::unique_ptr<Engine>> make_device_engine(std::shared_ptr<const Model> model, DeviceOpener open,
                                                   const DeviceEngineOptions& options = {});

}  // namespace llmc
