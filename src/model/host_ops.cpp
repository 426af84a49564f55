#include "model/host_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace llmc {

namespace {

AttentionShape attention_shape(const ModelConfig& c, int context) {
  AttentionShape shape;
  shape.heads = c.heads;
  shape.kv_heads = c.kv_heads;
  shape.head_dim = c.head_dim;
  shape.context = context;
  shape.scale = c.attention_scale;
  shape.kv_bits = c.kv_bits;
  return shape;
}

// 64 rows amortise the reading of the weights; more would only push activations out of the cache.
int rows_at_once(int streams) { return std::max(64, streams); }

// Logits of some 256 KiB stay in a core's own cache until they have become frequencies.
int logits_at_once(const ModelConfig& c) { return std::clamp((64 << 10) / c.vocab, 8, 64); }

}  // namespace

HostWeights::HostWeights(std::shared_ptr<const Model> model, const Kernels& kernels, std::unique_ptr<HostMemory> memory)
    : model_(std::move(model)), kernels_(kernels), memory_(std::move(memory)) {
  for (const auto& linear : model_->linears()) {
    linears_.push_back(pack(*linear));
    std::vector<float>& scales = scales_.emplace_back();
    std::vector<float>& biases = biases_.emplace_back();
    for (const Matrix& part : linear->parts) {
      scales.insert(scales.end(), part.scale, part.scale + part.n);
      if (part.bias != nullptr) biases.insert(biases.end(), part.bias, part.bias + part.n);
    }
  }
  if (model_->config().tied) {
    embedding_ = packed(model_->head());
  } else {
    const Matrix& e = model_->embedding();
    uint8_t* packed = memory_->take(kernels_.packed_bytes(e.n, e.k));
    kernels_.pack(e.n, e.k, e.w, packed);
    embedding_ = packed;
  }
}

// The parts of a linear one below the other.
void* HostWeights::pack(const Linear& linear) {
  uint8_t* packed = memory_->take(kernels_.packed_bytes(linear.n, linear.k));
  std::vector<int8_t> joined;
  const int8_t* w = linear.parts[0].w;
  if (linear.parts.size() > 1) {
    joined.reserve(static_cast<size_t>(linear.n) * linear.k);
    for (const Matrix& part : linear.parts)
      joined.insert(joined.end(), part.w, part.w + static_cast<size_t>(part.n) * part.k);
    w = joined.data();
  }
  kernels_.pack(linear.n, linear.k, w, packed);
  return packed;
}

HostOps::HostOps(const HostWeights& weights, int streams, int context, std::unique_ptr<HostMemory> memory)
    : weights_(weights),
      model_(weights.model()),
      c_(model_.config()),
      k_(weights.kernels()),
      memory_(std::move(memory)),
      shape_(attention_shape(c_, context)),
      max_rows_(rows_at_once(streams)),
      head_rows_(logits_at_once(c_)),
      cache_bytes_(k_.kv_bytes(shape_)),
      caches_(streams, nullptr),
      answers_(k_, c_.vocab, model_.symbols()) {
  const auto take_floats = [&](size_t count) { return reinterpret_cast<float*>(memory_->take(count * sizeof(float))); };
  for (const Place place :
       {Place::stream, Place::qkv, Place::mixed, Place::gate_up, Place::active, Place::last, Place::logits}) {
    const size_t rows = place == Place::logits ? head_rows_ : max_rows_;
    places_[static_cast<int>(place)] = take_floats(rows * stride(place));
  }
  size_t row_bytes = 0;
  for (const auto& linear : model_.linears())
    row_bytes = std::max(row_bytes, k_.quantised_bytes(linear->bits, linear->k));
  normed_ = take_floats(max_rows_ * stride(Place::stream));
  quantised_ = memory_->take(max_rows_ * row_bytes);
  scales_.resize(max_rows_);
  scratch_ = memory_->take(std::max<size_t>(k_.attention_scratch_bytes(shape_), 64));
  range_.resize(static_cast<size_t>(c_.layers + 1) * max_rows_);
}

int HostOps::width(Place place) const {
  switch (place) {
    case Place::stream:
    case Place::last:
      return c_.width;
    case Place::qkv:
      return c_.q_width() + 2 * c_.kv_width();
    case Place::mixed:
      return c_.q_width();
    case Place::gate_up:
      return (c_.gated ? 2 : 1) * c_.ffn;
    case Place::active:
      return c_.ffn;
    case Place::logits:
      return c_.vocab;
  }
  return 0;
}

// Whole cache lines, but not a power of two: rows of 1,024 floats would all share the same cache sets.
size_t HostOps::stride(Place place) const { return (static_cast<size_t>(width(place)) + 15) / 16 * 16 + 16; }

Status HostOps::begin(const Batch& batch) {
  batch_ = &batch;
  rows_ = static_cast<int>(batch.ids.size());
  asking_ = 0;
  std::fill(range_.begin(), range_.end(), 0);
  for (const Run& run : batch.runs) {
    if (caches_[run.slot] != nullptr) continue;
    try {
      caches_[run.slot] = memory_->take(cache_bytes_ * c_.layers);
    } catch (const std::bad_alloc&) {
      return {Code::failure,
              fmt::format("there is no memory for a stream's cache of {} bytes", cache_bytes_ * c_.layers)};
    }
  }
  return {};
}

void HostOps::embed() {
  k_.embed(rows_, c_.vocab, c_.width, batch_->ids.data(), weights_.embedding(), model_.embedding().scale,
           floats(Place::stream), stride(Place::stream));
  add_positions();
}

void HostOps::add_positions() {
  if (!c_.learned_positions) return;
  const size_t ld = stride(Place::stream), width = c_.width;
  for (const Run& run : batch_->runs) {
    k_.add(run.rows, c_.width, floats(Place::stream) + run.first_row * ld, ld,
           model_.positions().data() + run.position * width, width);
  }
}

AttentionShape HostOps::layer_shape() const {
  AttentionShape shape = shape_;
  shape.window = model_.layers()[layer_].window;
  return shape;
}

void HostOps::norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) {
  const size_t ld = stride(Place::stream);
  uint8_t* range = range_row() + first;
  const float* x = floats(in) + first * stride(in);
  if (norm.b.empty()) {
    k_.rms_norm(count, 1, c_.width, x, stride(in), norm.g.data(), c_.eps, normed_, ld, range);
  } else {
    k_.layer_norm(count, c_.width, x, stride(in), norm.g.data(), norm.b.data(), c_.eps, normed_, ld, range);
  }
  this->linear(count, normed_, ld, linear, floats(out), stride(out), range);
}

void HostOps::turn_and_store(const Norm* q_norm, const Norm* k_norm) {
  const size_t ld = stride(Place::qkv);
  float* q = floats(Place::qkv);
  float* k = q + c_.q_width();
  const float* v = k + c_.kv_width();
  if (q_norm != nullptr) k_.rms_norm(rows_, c_.heads, c_.head_dim, q, ld, q_norm->g.data(), c_.eps, q, ld, range_row());
  if (k_norm != nullptr)
    k_.rms_norm(rows_, c_.kv_heads, c_.head_dim, k, ld, k_norm->g.data(), c_.eps, k, ld, range_row());
  // The heads of q and k lie side by side: one call turns them all.
  if (!c_.learned_positions) {
    k_.rope(rows_, c_.heads + c_.kv_heads, c_.head_dim, c_.rotary, c_.rope_pairs, batch_->positions.data(),
            model_.rope_cos().data(), model_.rope_sin().data(), q, ld);
  }
  for (const Run& run : batch_->runs) {
    const size_t at = run.first_row * ld;
    k_.kv_store(shape_, cache(run.slot), run.position, run.rows, k + at, ld, v + at, ld, range_row() + run.first_row);
  }
}

void HostOps::attend() {
  const size_t ldq = stride(Place::qkv), ldo = stride(Place::mixed);
  for (const Run& run : batch_->runs) {
    k_.attention(layer_shape(), cache(run.slot), run.position, run.rows, floats(Place::qkv) + run.first_row * ldq, ldq,
                 floats(Place::mixed) + run.first_row * ldo, ldo, range_row() + run.first_row, scratch_);
  }
}

void HostOps::linear_add(Place in, const Linear& linear) {
  this->linear(rows_, floats(in), stride(in), linear, delta(), stride(Place::stream), range_row());
  add_to_stream();
}

void HostOps::add_to_stream() {
  const size_t ld = stride(Place::stream);
  k_.add(rows_, c_.width, floats(Place::stream), ld, delta(), ld);
}

void HostOps::activate() {
  const float* gate = floats(Place::gate_up);
  const float* up = c_.gated ? gate + c_.ffn : nullptr;
  const size_t ld = stride(Place::gate_up), ldy = stride(Place::active);
  float* y = floats(Place::active);
  if (c_.activation == Activation::silu) {
    k_.silu_mul(rows_, c_.ffn, gate, ld, up, ld, y, ldy);
  } else {
    const Gelu kind = c_.activation == Activation::gelu ? Gelu::erf : Gelu::tanh;
    k_.gelu(kind, rows_, c_.ffn, gate, ld, up, ld, y, ldy);
  }
}

void HostOps::gather(std::span<const int32_t> rows) {
  const size_t ld = stride(Place::stream);
  set_asking(static_cast<int>(rows.size()));
  for (int i = 0; i < asking_; ++i) {
    std::memcpy(floats(Place::last) + i * ld, floats(Place::stream) + rows[i] * ld, c_.width * sizeof(float));
  }
}

void HostOps::frequencies(int first, std::span<const int32_t> symbols, Ask ask) {
  if (first == 0) answers_.begin(asking_, ask);
  for (size_t i = 0; i < symbols.size(); ++i) {
    const float* logits = floats(Place::logits) + i * stride(Place::logits);
    const size_t row = first + i;
    if (!answers_.add(static_cast<int>(row), logits, symbols[i], batch_->states[row])) range_row()[row] = 1;
  }
}

std::span<const uint8_t> HostOps::range(int layer) {
  return {range_.data() + static_cast<size_t>(layer) * max_rows_,
          static_cast<size_t>(layer == c_.layers ? asking_ : rows_)};
}

std::vector<float> HostOps::read(Place place, int rows) {
  const int w = width(place);
  std::vector<float> out(static_cast<size_t>(rows) * w);
  for (int i = 0; i < rows; ++i) {
    std::memcpy(&out[static_cast<size_t>(i) * w], floats(place) + i * stride(place), w * sizeof(float));
  }
  return out;
}

void HostOps::linear(int rows, const float* x, size_t ldx, const Linear& linear, float* y, size_t ldy, uint8_t* range) {
  const bool eight = linear.bits == 8;
  (eight ? k_.quantise8 : k_.quantise16)(rows, linear.k, x, ldx, quantised_, scales_.data(), range);
  (eight ? k_.linear8 : k_.linear16)(rows, linear.n, linear.k, quantised_, scales_.data(), weights_.packed(linear),
                                     weights_.scales(linear), weights_.bias(linear), y, ldy);
}

}  // namespace llmc
