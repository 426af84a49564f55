// Ops on plain memory. See model/ops.h.
#pragma once

#include <memory>
#include <vector>

#include "model/aligned.h"
#include "model/host_answers.h"
#include "model/ops.h"
#include "model/packed.h"

namespace llmc {

// The weights of one model in one kernel table's layout; shared by the sessions of an engine.
struct NativeWeights {
  NativeWeights(std::shared_ptr<const Model> model, const Kernels& kernels);

  std::shared_ptr<const Model> model;
  const Kernels& kernels;
  std::vector<AlignedBytes> linears;  // by Linear::index
  std::vector<std::vector<float>> scales;
  AlignedBytes embedding;  // where the head is not tied to it
  const void* embedding_packed = nullptr;
};

std::unique_ptr<Ops> make_native_ops(const NativeWeights& weights, int streams, int context);

}  // namespace llmc
