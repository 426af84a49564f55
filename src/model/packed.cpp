#include "model/packed.h"

#include <algorithm>
#include <cstring>

namespace llmc {

size_t packed_linear_bytes(const Kernels& kernels, const Linear& linear) {
  return kernels.packed_bytes(linear.n, linear.k);
}

void pack_linear(const Kernels& kernels, const Linear& linear, void* packed) {
  if (linear.parts.size() == 1) {
    kernels.pack(linear.n, linear.k, linear.parts[0].w, packed);
    return;
  }
  std::vector<int8_t> rows;
  rows.reserve(static_cast<size_t>(linear.n) * linear.k);
  for (const Matrix& part : linear.parts) rows.insert(rows.end(), part.w, part.w + static_cast<size_t>(part.n) * part.k);
  kernels.pack(linear.n, linear.k, rows.data(), packed);
}

std::vector<float> linear_scales(const Linear& linear) {
  std::vector<float> scales;
  for (const Matrix& part : linear.parts) scales.insert(scales.end(), part.scale, part.scale + part.n);
  return scales;
}

AttentionShape attention_shape(const Model& model, int context) {
  const ModelConfig& c = model.config();
  AttentionShape shape;
  shape.heads = c.heads;
  shape.kv_heads = c.kv_heads;
  shape.head_dim = c.head_dim;
  shape.context = context;
  shape.scale = c.attention_scale;
  return shape;
}

// 64 rows amortise the reading of the weights; more only push activations out of the cache.
int session_rows(int streams) { return std::max(64, streams); }

// Logits of some 256 KiB stay in a core's own cache until they have become frequencies.
int session_head_rows(const Model& model) { return std::clamp((64 << 10) / model.config().vocab, 8, 64); }

}  // namespace llmc
