#include "model/native_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace llmc {

namespace {

class NativeOps final : public Ops {
 public:
  NativeOps(const NativeWeights& weights, int streams, int context)
      : weights_(weights),
        model_(*weights.model),
        c_(model_.config()),
        k_(weights.kernels),
        shape_(attention_shape(model_, context)),
        max_rows_(session_rows(streams)),
        head_rows_(session_head_rows(model_)),
        cache_bytes_(k_.kv_bytes(shape_)),
        caches_(streams),
        answers_(k_, c_.vocab, model_.symbols()) {
    for (const Place place : {Place::stream, Place::qkv, Place::mixed, Place::gate_up, Place::active, Place::last, Place::logits}) {
      const size_t rows = place == Place::logits ? head_rows_ : max_rows_;
      places_[static_cast<int>(place)] = AlignedBytes(rows * stride(place) * sizeof(float));
    }
    int widest = 0;
    for (const auto& linear : model_.linears()) widest = std::max({widest, linear->k, linear->n});
    size_t row_bytes = 0;
    for (const auto& linear : model_.linears()) {
      row_bytes = std::max(row_bytes, k_.quantised_bytes(linear->bits, linear->k));
    }
    normed_ = AlignedBytes(max_rows_ * stride(Place::stream) * sizeof(float));
    quantised_ = AlignedBytes(max_rows_ * row_bytes);
    scales_.resize(max_rows_);
    scratch_ = AlignedBytes(std::max<size_t>(k_.attention_scratch_bytes(shape_), 64));
    range_.resize(static_cast<size_t>(c_.layers + 1) * max_rows_);
  }

  int max_rows() const override { return max_rows_; }
  int head_rows() const override { return head_rows_; }

  Status begin(const Batch& batch) override {
    batch_ = &batch;
    rows_ = static_cast<int>(batch.ids.size());
    asking_ = 0;
    std::fill(range_.begin(), range_.end(), 0);
    for (const Run& run : batch.runs) {
      AlignedBytes& cache = caches_[run.slot];
      if (cache) continue;
      try {
        cache = AlignedBytes(cache_bytes_ * c_.layers);
      } catch (const std::bad_alloc&) {
        return {Code::failure, fmt::format("there is no memory for a stream's cache of {} bytes", cache_bytes_ * c_.layers)};
      }
    }
    return {};
  }

  void layer(int layer) override { layer_ = layer; }

  void embed() override {
    k_.embed(rows_, c_.vocab, c_.width, batch_->ids.data(), weights_.embedding_packed, model_.embedding().scale,
             floats(Place::stream), stride(Place::stream));
  }

  void norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) override {
    const size_t ld = stride(Place::stream);
    k_.rms_norm(count, 1, c_.width, floats(in) + first * stride(in), stride(in), norm.g.data(), c_.eps, normed_.as<float>(), ld,
                range_row() + first);
    this->linear(count, normed_.as<float>(), ld, linear, floats(out), stride(out), range_row() + first);
  }

  void turn_and_store(const Norm* q_norm, const Norm* k_norm) override {
    const size_t ld = stride(Place::qkv);
    float* q = floats(Place::qkv);
    float* k = q + c_.q_width();
    if (q_norm != nullptr) k_.rms_norm(rows_, c_.heads, c_.head_dim, q, ld, q_norm->g.data(), c_.eps, q, ld, range_row());
    if (k_norm != nullptr) k_.rms_norm(rows_, c_.kv_heads, c_.head_dim, k, ld, k_norm->g.data(), c_.eps, k, ld, range_row());
    // q and k heads lie side by side: one call turns both.
    k_.rope(rows_, c_.heads + c_.kv_heads, c_.head_dim, c_.rotary, c_.rope_pairs, batch_->positions.data(),
            model_.rope_cos().data(), model_.rope_sin().data(), q, ld);
    const float* v = k + c_.kv_width();
    for (const Run& run : batch_->runs) {
      const size_t at = run.first_row * ld;
      k_.kv_store(shape_, cache(run.slot), run.position, run.rows, k + at, ld, v + at, ld, range_row() + run.first_row);
    }
  }

  void attend() override {
    const size_t ldq = stride(Place::qkv), ldo = stride(Place::mixed);
    for (const Run& run : batch_->runs) {
      k_.attention(shape_, cache(run.slot), run.position, run.rows, floats(Place::qkv) + run.first_row * ldq, ldq,
                   floats(Place::mixed) + run.first_row * ldo, ldo, range_row() + run.first_row, scratch_.data());
    }
  }

  void linear_add(Place in, const Linear& linear) override {
    const size_t ld = stride(Place::stream);
    this->linear(rows_, floats(in), stride(in), linear, normed_.as<float>(), ld, range_row());
    k_.add(rows_, c_.width, floats(Place::stream), ld, normed_.as<float>(), ld);
  }

  void silu_mul() override {
    const float* gate = floats(Place::gate_up);
    const size_t ld = stride(Place::gate_up);
    k_.silu_mul(rows_, c_.ffn, gate, ld, gate + c_.ffn, ld, floats(Place::active), stride(Place::active));
  }

  void gather(std::span<const int32_t> rows) override {
    const size_t ld = stride(Place::stream);
    asking_ = static_cast<int>(rows.size());
    for (int i = 0; i < asking_; ++i) {
      std::memcpy(floats(Place::last) + i * ld, floats(Place::stream) + rows[i] * ld, c_.width * sizeof(float));
    }
  }

  void frequencies(int first, std::span<const int32_t> symbols, Ask ask) override {
    if (first == 0) answers_.begin(asking_, ask);
    for (size_t i = 0; i < symbols.size(); ++i) {
      const float* logits = floats(Place::logits) + i * stride(Place::logits);
      if (!answers_.add(first + static_cast<int>(i), logits, symbols[i])) range_row()[first + i] = 1;
    }
  }

  Status finish() override { return {}; }
  std::span<const uint8_t> range(int layer) override {
    return {range_.data() + static_cast<size_t>(layer) * max_rows_, static_cast<size_t>(layer == c_.layers ? asking_ : rows_)};
  }

  Interval interval(int i) override { return answers_.interval(i); }
  uint32_t rank(int i) override { return answers_.rank(i); }
  uint64_t total(int i) override { return answers_.total(i); }
  Symbol find(int i, uint64_t target, Interval* interval) override { return answers_.find(i, target, interval); }
  Symbol symbol_of_rank(int i, uint32_t rank) override { return answers_.symbol_of_rank(i, rank); }
  std::span<const uint32_t> weights(int i) override { return answers_.weights(i); }

  std::vector<float> read(Place place, int rows) override {
    const int w = width(place);
    std::vector<float> out(static_cast<size_t>(rows) * w);
    for (int i = 0; i < rows; ++i) std::memcpy(&out[static_cast<size_t>(i) * w], floats(place) + i * stride(place), w * sizeof(float));
    return out;
  }

 private:
  int width(Place place) const {
    switch (place) {
      case Place::stream:
      case Place::last: return c_.width;
      case Place::qkv: return c_.q_width() + 2 * c_.kv_width();
      case Place::mixed: return c_.q_width();
      case Place::gate_up: return 2 * c_.ffn;
      case Place::active: return c_.ffn;
      case Place::logits: return c_.vocab;
    }
    return 0;
  }
  // Whole cache lines, and not a power of two: rows of 1,024 floats would share cache sets.
  size_t stride(Place place) const { return (static_cast<size_t>(width(place)) + 15) / 16 * 16 + 16; }
  float* floats(Place place) const { return places_[static_cast<int>(place)].as<float>(); }
  uint8_t* range_row() { return range_.data() + static_cast<size_t>(layer_) * max_rows_; }
  void* cache(int slot) const { return caches_[slot].data() + static_cast<size_t>(layer_) * cache_bytes_; }

  void linear(int rows, const float* x, size_t ldx, const Linear& linear, float* y, size_t ldy, uint8_t* range) {
    const bool eight = linear.bits == 8;
    const void* packed = weights_.linears[linear.index].data();
    const float* sw = weights_.scales[linear.index].data();
    (eight ? k_.quantise8 : k_.quantise16)(rows, linear.k, x, ldx, quantised_.data(), scales_.data(), range);
    (eight ? k_.linear8 : k_.linear16)(rows, linear.n, linear.k, quantised_.data(), scales_.data(), packed, sw, nullptr, y, ldy);
  }

  const NativeWeights& weights_;
  const Model& model_;
  const ModelConfig& c_;
  const Kernels& k_;
  const AttentionShape shape_;
  const int max_rows_, head_rows_;
  const size_t cache_bytes_;  // of one layer

  AlignedBytes places_[7];
  AlignedBytes normed_;     // a norm's result on its way into a linear, or a linear's on its way into the stream
  AlignedBytes quantised_;  // rows of the linear in hand
  std::vector<float> scales_;
  AlignedBytes scratch_;
  std::vector<AlignedBytes> caches_;  // by slot, all layers; taken at first use
  std::vector<uint8_t> range_;        // [layers + 1][max_rows]
  HostAnswers answers_;

  const Batch* batch_ = nullptr;
  int rows_ = 0;
  int asking_ = 0;
  int layer_ = 0;
};

}  // namespace

NativeWeights::NativeWeights(std::shared_ptr<const Model> m, const Kernels& k) : model(std::move(m)), kernels(k) {
  for (const auto& linear : model->linears()) {
    linears.emplace_back(packed_linear_bytes(kernels, *linear));
    pack_linear(kernels, *linear, linears.back().data());
    scales.push_back(linear_scales(*linear));
  }
  if (model->config().tied) {
    embedding_packed = linears.back().data();
    return;
  }
  const Matrix& e = model->embedding();
  embedding = AlignedBytes(kernels.packed_bytes(e.n, e.k));
  kernels.pack(e.n, e.k, e.w, embedding.data());
  embedding_packed = embedding.data();
}

std::unique_ptr<Ops> make_native_ops(const NativeWeights& weights, int streams, int context) {
  return std::make_unique<NativeOps>(weights, streams, context);
}

}  // namespace llmc
