// Ops over several devices that hold a share of the model each (tensor parallelism): every operation runs on all of them,
// one thread a device; what crosses between them is in DeviceOps, through its Collective.
#pragma once

#include <barrier>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda/device_ops.h"

namespace llmc {

class ParallelOps final : public Ops {
 public:
  // parts: by shard, at least one. `keep` is what they use and do not own: it goes after them.
  // A part that fails or throws ends the pass of all (Collective::failure): finish() says which it was.
  // `turn`, which outlives this, is held from begin() to finish(): passes that share devices must not wait for each other's exchanges.
  explicit ParallelOps(std::vector<std::unique_ptr<DeviceOps>> parts, std::shared_ptr<const void> keep = nullptr,
                       std::mutex* turn = nullptr);
  ~ParallelOps() override;

  int max_rows() const override { return parts_[0]->max_rows(); }
  int head_rows() const override { return parts_[0]->head_rows(); }
  Status set_leaves(const LeafOrder& order) override;
  Status begin(const Batch& batch) override;
  void layer(int layer) override;
  void embed() override;
  void norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) override;
  void turn_and_store(const Norm* q_norm, const Norm* k_norm) override;
  void attend() override;
  void linear_add(Place in, const Linear& linear) override;
  void activate() override;
  void gather(std::span<const int32_t> rows) override;
  void frequencies(int first, std::span<const int32_t> symbols, Ask ask) override;
  Status finish() override;

  // The first device has all answers.
  std::span<const uint8_t> range(int layer) override { return parts_[0]->range(layer); }
  Interval interval(int i) override { return parts_[0]->interval(i); }
  uint32_t rank(int i) override { return parts_[0]->rank(i); }
  std::span<const uint32_t> path(int i) override { return parts_[0]->path(i); }
  LeafWeights leaves(int i) override { return parts_[0]->leaves(i); }
  uint64_t total(int i) override { return parts_[0]->total(i); }
  Symbol find(int i, uint64_t target, Interval* interval) override { return parts_[0]->find(i, target, interval); }
  Symbol symbol_of_rank(int i, uint32_t rank) override { return parts_[0]->symbol_of_rank(i, rank); }
  Symbol found(int i, Interval* interval) override { return parts_[0]->found(i, interval); }
  std::span<const uint32_t> weights(int i) override { return parts_[0]->weights(i); }
  std::vector<float> read(Place place, int rows) override { return parts_[0]->read(place, rows); }

 private:
  void on_all(const std::function<void(DeviceOps&)>& work);
  Status on_all_of(const std::function<Status(DeviceOps&)>& work);

  const std::shared_ptr<const void> keep_;
  std::unique_lock<std::mutex> turn_;
  const std::vector<std::unique_ptr<DeviceOps>> parts_;
  std::barrier<> start_, end_;
  const std::function<void(DeviceOps&)>* work_ = nullptr;  // null: leave
  std::vector<std::thread> threads_;                       // of all parts but the first
};

}  // namespace llmc
