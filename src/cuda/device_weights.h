// One model's weights on one device, or the share of them that a device of several holds (docs/NUMERICS.md 7):
//
// columns: q, k, v by heads, gate and up by rows of both, the head by ids: outputs of the layer are split
// rows: the inputs of o and down are split likewise; their sums are added over the devices
//
// Matrices lie [n][k] as in the model file, padded with zeros to full tiles of the kernels. Immutable after make().
#pragma once

#include <memory>
#include <vector>

#include "cuda/device.h"
#include "model/model.h"

namespace llmc {

struct ModelShare {
  int index = 0;
  int count = 1;
};

class DeviceWeights {
 public:
  struct Matrix {
    const int8_t* w = nullptr;
    const float* scale = nullptr;
    const float* bias = nullptr;
    int n = 0, k = 0, k_stride = 0;  // of this share
    int limbs = 1;
    bool split_k = false;
  };
  struct Gains {
    const float* g = nullptr;
    const float* b = nullptr;
  };

  // `device` keeps the memory and is used during make() only. Code::failure where there is not enough memory,
  // Code::usage where the model cannot be split like that.
  static Result<std::unique_ptr<DeviceWeights>> make(std::shared_ptr<const Model> model, std::unique_ptr<Device> device,
                                                     ModelShare shard = {});

  const Model& model() const { return *model_; }
  const std::shared_ptr<const Model>& shared_model() const { return model_; }
  const ModelShare& shard() const { return shard_; }
  Device& device() const { return *device_; }
  const Matrix& linear(const Linear& linear) const { return linears_[linear.index]; }
  const Gains& norm(const Norm& norm) const { return norms_[norm.index]; }
  const Matrix& embedding() const { return embedding_; }
  const float* rope_cos() const { return cos_; }  // null: none
  const float* rope_sin() const { return sin_; }
  const float* positions() const { return positions_; }  // null: none

  // This share's part of the model.
  int heads() const { return model_->config().heads / shard_.count; }
  int kv_heads() const { return model_->config().kv_heads / shard_.count; }
  int ffn() const { return model_->config().ffn / shard_.count; }
  int first_id() const { return first_id(shard_.index); }
  int ids() const { return first_id(shard_.index + 1) - first_id(); }

 private:
  DeviceWeights(std::shared_ptr<const Model> model, std::unique_ptr<Device> device, ModelShare shard)
      : model_(std::move(model)), device_(std::move(device)), shard_(shard) {}
  int first_id(int shard) const {
    return static_cast<int>(static_cast<int64_t>(model_->config().vocab) * shard / shard_.count);
  }
  Status load();
  // Rows [row_of(part), + rows_of(part)) of each part, columns [column, column + k).
  struct Piece {
    const llmc::Matrix* matrix;
    int row, rows;
  };
  Matrix put(const std::vector<Piece>& pieces, int column, int k, int bits, bool split_k, bool biases);
  const float* put(std::span<const float> values);

  const std::shared_ptr<const Model> model_;
  const std::unique_ptr<Device> device_;
  const ModelShare shard_;
  std::vector<Matrix> linears_;
  std::vector<Gains> norms_;
  Matrix embedding_;
  const float *cos_ = nullptr, *sin_ = nullptr, *positions_ = nullptr;
};

}  // namespace llmc
