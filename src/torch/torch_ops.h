// Ops on libtorch, CPU: tensors for weights, activations and KV caches; libtorch's memory, gathers and
// residual additions; the exact kernels on the tensors' storage for everything that ATen does not
// compute bit for bit (docs/NUMERICS.md). Of ATen only copies, selections and single correctly
// rounded elementwise operations are used.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/host_ops.h"

namespace llmc {

// Bytes as tensors of libtorch's allocator.
class TorchMemory final : public HostMemory {
 public:
  uint8_t* take(size_t bytes) override;
  // [rows][columns] floats at p, which lies in a block of this memory, `stride` floats from row to row.
  at::Tensor floats(float* p, int64_t rows, int64_t columns, int64_t stride) const;

 private:
  std::vector<at::Tensor> blocks_;
};

// The embedding as tensors over the model file's own bytes.
struct TorchEmbedding {
  explicit TorchEmbedding(const Model& model);
  at::Tensor weight;  // int8 [vocab][width]
  at::Tensor scale;   // float [vocab, 1]
};

class TorchOps final : public HostOps {
 public:
  // weights and embedding outlive this.
  TorchOps(const HostWeights& weights, const TorchEmbedding& embedding, int streams, int context,
           std::unique_ptr<TorchMemory> memory);

  Status begin(const Batch& batch) override;
  void embed() override;
  void gather(std::span<const int32_t> rows) override;
  Status finish() override { return status_; }

 protected:
  void add_to_stream() override;

 private:
  // libtorch throws; the first complaint of a pass is kept for finish().
  template <class F>
  void guarded(const F& f);

  const TorchEmbedding& embedding_;
  at::Tensor stream_, last_, delta_;
  Status status_;
};

}  // namespace llmc
