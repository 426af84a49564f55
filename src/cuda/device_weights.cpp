#include "cuda/device_weights.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "cuda/shapes.h"

namespace llmc {

namespace {

int round_up(int n, int step) { return (n + step - 1) / step * step; }

}  // namespace

Result<std::unique_ptr<DeviceWeights>> DeviceWeights::make(std::shared_ptr<const Model> model,
                                                           std::unique_ptr<Device> device, ModelShare shard) {
  const ModelConfig& c = model->config();
  if (c.kv_heads % shard.count != 0 || c.ffn % shard.count != 0 || c.vocab < shard.count) {
    return Status(Code::usage, "a model with " + std::to_string(c.kv_heads) + " heads for keys and values and " +
                                   std::to_string(c.ffn) + " feed-forward rows cannot be split over " +
                                   std::to_string(shard.count) + " devices");
  }
  std::unique_ptr<DeviceWeights> out(new DeviceWeights(std::move(model), std::move(device), shard));
  try {
    LLMC_TRY(out->load());
  } catch (const std::bad_alloc&) {
    return Status(Code::failure, out->device_->name() + " has no memory for the weights of " + out->model_->name());
  }
  return out;
}

Status DeviceWeights::load() {
  const Model& m = *model_;
  const ModelConfig& c = m.config();
  linears_.resize(m.linears().size());
  const auto even = [&](const Linear& linear) {
    std::vector<Piece> pieces;
    for (const llmc::Matrix& part : linear.parts) {
      const int rows = part.n / shard_.count;
      pieces.push_back({&part, rows * shard_.index, rows});
    }
    return pieces;
  };
  const auto whole = [](const llmc::Matrix& matrix) { return std::vector<Piece>{{&matrix, 0, matrix.n}}; };
  const auto by_columns = [&](const Linear& linear) {
    linears_[linear.index] = put(even(linear), 0, linear.k, linear.bits, false, true);
  };
  const auto by_rows = [&](const Linear& linear) {
    const int k = linear.k / shard_.count;
    linears_[linear.index] = put(whole(linear.parts[0]), k * shard_.index, k, linear.bits, shard_.count > 1, true);
  };
  for (const Layer& layer : m.layers()) {
    by_columns(*layer.attn_in);
    by_rows(*layer.attn_out);
    by_columns(*layer.mlp_in);
    by_rows(*layer.mlp_out);
  }
  const llmc::Matrix& head = m.head().parts[0];
  linears_[m.head().index] = put({{&head, first_id(), ids()}}, 0, m.head().k, m.head().bits, false, true);
  const bool shared = c.tied && shard_.count == 1 && head.scale == m.embedding().scale;  // not so where adapted
  embedding_ = shared ? linears_[m.head().index] : put(whole(m.embedding()), 0, c.width, 8, false, false);

  for (const auto& norm : m.norms()) norms_.push_back({put(norm->g), put(norm->b)});
  cos_ = put(m.rope_cos());
  sin_ = put(m.rope_sin());
  positions_ = put(m.positions());

  // For the test of the start-up check: one weight as a broken memory would hold it.
  if (const char* corrupt = std::getenv("LLMC_CORRUPT_DEVICE"); corrupt != nullptr && *corrupt != 0) {
    const Matrix& victim = linears_[m.layers()[0].mlp_out->index];
    int8_t value = 0;
    auto* at = const_cast<int8_t*>(victim.w) + victim.k / 2;
    device_->download(&value, at, 1);
    LLMC_TRY(device_->wait());
    value = static_cast<int8_t>(value ^ 0x40);
    device_->upload(at, &value, 1);
    return device_->wait();
  }
  return device_->wait();
}

DeviceWeights::Matrix DeviceWeights::put(const std::vector<Piece>& pieces, int column, int k, int bits, bool split_k,
                                         bool biases) {
  Matrix out;
  out.k = k;
  out.k_stride = round_up(k, cuda::kTileK);
  out.limbs = bits / 8;
  out.split_k = split_k;
  std::vector<float> scales, bias;
  for (const Piece& piece : pieces) {
    out.n += piece.rows;
    scales.insert(scales.end(), piece.matrix->scale + piece.row, piece.matrix->scale + piece.row + piece.rows);
    if (biases && piece.matrix->bias) {
      bias.insert(bias.end(), piece.matrix->bias + piece.row, piece.matrix->bias + piece.row + piece.rows);
    }
  }
  const size_t stride = out.k_stride;
  std::vector<int8_t> w(static_cast<size_t>(round_up(out.n, cuda::kLargestTile)) * stride);
  int8_t* to = w.data();
  for (const Piece& piece : pieces) {
    for (int row = piece.row; row < piece.row + piece.rows; ++row, to += stride) {
      std::memcpy(to, piece.matrix->w + static_cast<size_t>(row) * piece.matrix->k + column, k);
    }
  }
  uint8_t* on_device = device_->take(w.size());
  device_->upload(on_device, w.data(), w.size());
  out.w = reinterpret_cast<const int8_t*>(on_device);
  (void)device_->wait();  // w goes; an error stays with the device and is reported by load()
  out.scale = put(scales);
  out.bias = put(bias);
  return out;
}

const float* DeviceWeights::put(std::span<const float> values) {
  if (values.empty()) return nullptr;
  uint8_t* at = device_->take(values.size_bytes());
  device_->upload(at, values.data(), values.size_bytes());
  (void)device_->wait();
  return reinterpret_cast<const float*>(at);
}

}  // namespace llmc
