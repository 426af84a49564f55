// The engine over a GPU: weights on the device, start-up check, and how many streams its memory carries.
#pragma once

#include <memory>

#include "cuda/device.h"
#include "cuda/device_ops.h"
#include "model/model.h"
#include "model/session.h"

namespace llmc {

struct DeviceEngineOptions {
  bool check = true;      // compute known answers first
  int most_rows = 0;      // of a pass; 0: what suits the device
  int most_head_rows = 0;
};
inline constexpr int most_device_streams = 4096;  // more do not make a GPU faster
inline constexpr int device_sessions = 2;         // one computes while the other's answers become bits
DeviceLimits device_limits(const Model& model, const DeviceEngineOptions& options, int streams, int context);
// Streams of so many tokens that `bytes` of the device's memory carry; 0: not even one.
int64_t fitting_streams(const DeviceWeights& weights, const DeviceEngineOptions& options, uint64_t bytes, int context);

// `open` gives queues on one GPU, for the weights and for each session; it is called from any thread. Code::failure names
// the device where memory is short or the check finds it wrong.
Result<std::unique_ptr<Engine>> make_device_engine(std::shared_ptr<const Model> model, DeviceOpener open,
                                                   const DeviceEngineOptions& options = {});

}  // namespace llmc
