// Ops on the CPU: the exact kernels over memory that a HostMemory gives. All of the native back
// end, and what the libtorch back end builds on. See model/ops.h.
#pragma once

#include <memory>
#include <vector>

#include "exact/kernels.h"
#include "model/host_answers.h"
#include "model/host_memory.h"
#include "model/ops.h"

namespace llmc {

// The weights of one model in one kernel table's layout; made once per engine, shared by its
// sessions, immutable.
class HostWeights {
 public:
  HostWeights(std::shared_ptr<const Model> model, const Kernels& kernels, std::unique_ptr<HostMemory> memory);

  const Model& model() const { return *model_; }
  const Kernels& kernels() const { return kernels_; }
  const void* packed(const Linear& linear) const { return linears_[linear.index]; }
  const float* scales(const Linear& linear) const { return scales_[linear.index].data(); }
  // Null where it has none.
  const float* bias(const Linear& linear) const {
    return biases_[linear.index].empty() ? nullptr : biases_[linear.index].data();
  }
  const void* embedding() const { return embedding_; }

 private:
  void* pack(const Linear& linear);

  std::shared_ptr<const Model> model_;
  const Kernels& kernels_;
  std::unique_ptr<HostMemory> memory_;
  std::vector<const void*> linears_;  // by Linear::index
  std::vector<std::vector<float>> scales_, biases_;
  const void* embedding_ = nullptr;
};

class HostOps : public Ops {
 public:
  // weights outlive this; context: positions of a stream's cache. Throws std::bad_alloc.
  HostOps(const HostWeights& weights, int streams, int context, std::unique_ptr<HostMemory> memory);

  int max_rows() const override { return max_rows_; }
  int head_rows() const override { return head_rows_; }
  Status set_leaves(const LeafOrder& order) override {
    answers_.set_leaves(order);
    return {};
  }
  Status begin(const Batch& batch) override;
  void layer(int layer) override { layer_ = layer; }
  void embed() override;
  void norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) override;
  void turn_and_store(const Norm* q_norm, const Norm* k_norm) override;
  void attend() override;
  void linear_add(Place in, const Linear& linear) override;
  void activate() override;
  void gather(std::span<const int32_t> rows) override;
  void frequencies(int first, std::span<const int32_t> symbols, Ask ask) override;
  Status finish() override { return {}; }
  std::span<const uint8_t> range(int layer) override;

  Interval interval(int i) override { return answers_.interval(i); }
  uint32_t rank(int i) override { return answers_.rank(i); }
  std::span<const uint32_t> path(int i) override { return answers_.path(i); }
  LeafWeights leaves(int i) override { return answers_.leaves(i); }
  uint64_t total(int i) override { return answers_.total(i); }
  Symbol find(int i, uint64_t target, Interval* interval) override { return answers_.find(i, target, interval); }
  Symbol symbol_of_rank(int i, uint32_t rank) override { return answers_.symbol_of_rank(i, rank); }
  Symbol found(int i, Interval* interval) override { return answers_.found(i, interval); }
  std::span<const uint32_t> weights(int i) override { return answers_.weights(i); }
  std::vector<float> read(Place place, int rows) override;

 protected:
  // stream += the first rows() rows of delta().
  virtual void add_to_stream();
  // stream += the learned positions of the rows, where the model has such: the end of embed().
  void add_positions();

  const HostMemory& memory() const { return *memory_; }
  const Batch& batch() const { return *batch_; }
  int rows() const { return rows_; }
  int width(Place place) const;
  size_t stride(Place place) const;  // floats from row to row
  float* floats(Place place) const { return places_[static_cast<int>(place)]; }
  float* delta() const { return normed_; }  // rows as wide and as far apart as those of stream
  void set_asking(int count) { asking_ = count; }

 private:
  uint8_t* range_row() { return range_.data() + static_cast<size_t>(layer_) * max_rows_; }
  AttentionShape layer_shape() const;
  void* cache(int slot) const { return caches_[slot] + static_cast<size_t>(layer_) * cache_bytes_; }
  void linear(int rows, const float* x, size_t ldx, const Linear& linear, float* y, size_t ldy, uint8_t* range);

  const HostWeights& weights_;
  const Model& model_;
  const ModelConfig& c_;
  const Kernels& k_;
  const std::unique_ptr<HostMemory> memory_;
  const AttentionShape shape_;
  const int max_rows_, head_rows_;
  const size_t cache_bytes_;  // of one layer

  float* places_[7];
  float* normed_;       // a norm's result on its way into a linear, or a linear's on its way into the stream
  uint8_t* quantised_;  // rows of the linear in hand
  std::vector<float> scales_;
  uint8_t* scratch_;
  std::vector<uint8_t*> caches_;  // by slot, all layers; taken at first use
  std::vector<uint8_t> range_;    // [layers + 1][max_rows]
  HostAnswers answers_;

  const Batch* batch_ = nullptr;
  int rows_ = 0;
  int asking_ = 0;
  int layer_ = 0;
};

}  // namespace llmc
