// The start-up check of a device: does it compute what the arithmetic asks for, with this model's weights and shapes?
#pragma once

#include <functional>

#include "cuda/device_ops.h"

namespace llmc {

// Freivalds' check of every shape of linear layer, and of as many layers as a second or so allows: the sums that the device
// gives for random and for extreme integers, multiplied by random vectors, against the model file. Wrong sums pass with a
// chance below 2^-40.
Status check_products(const DeviceWeights& weights, DeviceOps& ops);

// A short text of random tokens through the model, in passes of several sizes, against the native engine on this CPU;
// for a model too large for that, the passes against each other.
Status check_answers(const DeviceWeights& weights, const std::function<Result<std::unique_ptr<Session>>(int streams)>& open);

}  // namespace llmc
