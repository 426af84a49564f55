// Ops on a GPU: the kernels of this folder over one Device. What docs/PERFORMANCE.md says of the GPU back end is decided
// here: which kernel runs on how many blocks, where the buffers lie, when a pass becomes a graph.
//
// One upload at the start of a pass (tokens, positions, questions), one download at its end (answers and range errors).
// Questions for tables are answered on the host, from logits that are downloaded.
#pragma once

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "cuda/device_weights.h"
#include "cuda/shapes.h"
#include "model/collective.h"
#include "model/host_answers.h"
#include "model/ops.h"

namespace llmc {

struct DeviceLimits {
  int streams = 1;
  int context = 1;    // positions of a stream's cache
  int max_rows = 1;   // of a pass
  int head_rows = 1;  // rows of logits at once
};

class DeviceOps final : public Ops {
 public:
  // weights, collective (null: alone) and host_logits outlive this. host_logits: [head_rows][vocabulary] on the host, shared
  // by the devices of one model. Throws std::bad_alloc.
  DeviceOps(const DeviceWeights& weights, std::unique_ptr<Device> device, const DeviceLimits& limits,
            Collective* collective = nullptr, float* host_logits = nullptr);

  // Rows of a pass that keep the GPU busy, within what memory allows.
  static DeviceLimits limits(const Model& model, int streams, int context);
  // Device memory of a session, in all and for each of its streams.
  static uint64_t bytes_per_stream(const DeviceWeights& weights, int context);
  static uint64_t fixed_bytes(const DeviceWeights& weights, const DeviceLimits& limits);

  int max_rows() const override { return limits_.max_rows; }
  int head_rows() const override { return limits_.head_rows; }
  Status set_leaves(const LeafOrder& order) override;
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
  Status finish() override;
  std::span<const uint8_t> range(int layer) override;

  Interval interval(int i) override;
  uint32_t rank(int i) override;
  std::span<const uint32_t> path(int i) override;
  LeafWeights leaves(int i) override;
  uint64_t total(int i) override { return tables_.total(i); }
  Symbol find(int i, uint64_t target, Interval* interval) override { return tables_.find(i, target, interval); }
  Symbol symbol_of_rank(int i, uint32_t rank) override { return tables_.symbol_of_rank(i, rank); }
  Symbol found(int i, Interval* interval) override;
  std::span<const uint32_t> weights(int i) override { return tables_.weights(i); }
  std::vector<float> read(Place place, int rows) override;

  // Answers asking rows first.. from the logits on the host, once all devices have written theirs. frequencies() of a
  // device that is alone does it by itself.
  void answer_tables(int first, std::span<const int32_t> symbols);

  // For the start-up check: the sums of a linear layer, [rows][n], for given integers [limbs][rows][k].
  Result<std::vector<int64_t>> products(const Linear& linear, int rows, const std::vector<int8_t>& q);
  // An exception has ended an operation: the pass is lost, here and for the other members of the collective.
  void fail(const char* what);
  // How many graphs were recorded, for tests.
  int graphs() const { return graph_count_; }

 private:
  // Offsets in the block that is uploaded, and in the one that is downloaded, for a padded number of rows.
  struct Layout {
    size_t ids, positions, slots, items, asking, symbols, states, bytes;
    size_t bad, head_bad, answers, paths, result_bytes;
  };
  void weigh_leaves(int first, int rows, int count);
  void download_leaves(int first, int count);
  Status take_leaves();
  static Layout layout(int rows, int items, int asking, int depth);
  // device_->wait(), and the other members are told of its failure and this one of theirs.
  Status wait();
  enum class Mode { at_once, recorded, replayed };

  int local_width(Place place) const;
  size_t stride(Place place) const;
  float* floats(Place place) const { return places_[static_cast<int>(place)]; }
  template <class T>
  T* input(size_t offset) const { return reinterpret_cast<T*>(inputs_ + offset); }
  template <class T>
  T* result(size_t offset) const { return reinterpret_cast<T*>(results_ + offset); }
  bool idle() const { return mode_ == Mode::replayed; }
  uint32_t mark() const { return static_cast<uint32_t>(layer_count_ + 1 - layer_); }
  cuda::Quantised quantised(const DeviceWeights::Matrix& matrix) const;
  void linear(const DeviceWeights::Matrix& matrix, int rows, cuda::LinearArgs::Into into, float* y, size_t y_stride);
  void make_items(std::span<const Run> runs);
  int padded(int count, bool asking) const;

  const DeviceWeights& weights_;
  const ModelConfig& c_;
  const std::unique_ptr<Device> device_;
  Collective* const collective_;
  const DeviceLimits limits_;
  const int layer_count_;
  cuda::CacheShape cache_shape_{};
  cuda::AttendPlan attend_plan_;

  float* places_[7] = {};
  int8_t* quantised_ = nullptr;
  size_t plane_ = 0;
  float* scales_ = nullptr;
  uint32_t* largest_ = nullptr;
  int64_t* acc_ = nullptr;
  uint8_t *inputs_ = nullptr, *results_ = nullptr, *host_inputs_ = nullptr, *host_results_ = nullptr;
  std::vector<uint8_t*> caches_;  // by layer: all slots
  float* scratch_ = nullptr;
  uint32_t *peaks_ = nullptr, *orders_ = nullptr;
  uint64_t *totals_ = nullptr, *sums_ = nullptr, *branches_ = nullptr;
  const int depth_;  // of the tree
  // Null until a tree is set, and until its leaves are asked for.
  uint32_t *leaf_of_ = nullptr, *symbol_of_ = nullptr;
  uint32_t *leaf_weights_ = nullptr, *host_leaf_weights_ = nullptr;
  uint64_t *leaf_sums_ = nullptr, *host_leaf_sums_ = nullptr;
  int host_leaf_rows_ = 0;
  int groups_ = 0;
  float* host_logits_ = nullptr;
  HostAnswers tables_;

  Ask ask_ = Ask::intervals;             // of the last pass
  bool searching_ = false;               // there are range decoders' states among the questions
  int rows_ = 0, asking_ = 0;            // as asked for
  int padded_rows_ = 0, padded_asking_ = 0;  // as computed
  std::vector<cuda::Item> items_;
  Layout at_{};
  int layer_ = 0;
  Mode mode_ = Mode::at_once;
  std::tuple<int, int, int> key_{};
  std::map<std::tuple<int, int, int>, int> graph_of_;  // -1: seen once
  int graph_count_ = 0;
  std::vector<uint8_t> host_bad_;  // asking rows whose logits the host found out of range
  std::vector<uint8_t> range_;
  Status status_;  // of what was waited for before finish()
  Status failed_;  // see fail()
};

}  // namespace llmc
