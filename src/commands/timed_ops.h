// Ops that measures the time of each operation of the Ops it stands before. For back ends that run an operation when
// it is called; one thread.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string_view>

#include "model/ops.h"

namespace llmc {

class TimedOps final : public Ops {
 public:
  enum Kind { embed_, qkv_, turn_, attend_, out_, up_, activate_, down_, head_, frequencies_, kinds };
  static constexpr std::array<std::string_view, kinds> names = {
      "embedding",      "norm, q k v",     "rope, kv store", "attention", "attention out",
      "norm, gate up",  "activation",      "down",           "norm, head", "frequencies"};
  using Seconds = std::array<double, kinds>;

  TimedOps(std::unique_ptr<Ops> ops, Seconds* seconds) : ops_(std::move(ops)), seconds_(*seconds) {}

  int max_rows() const override { return ops_->max_rows(); }
  int head_rows() const override { return ops_->head_rows(); }
  Status set_leaves(const LeafOrder& order) override { return ops_->set_leaves(order); }
  Status begin(const Batch& batch) override { return ops_->begin(batch); }
  void layer(int layer) override { ops_->layer(layer); }
  void embed() override {
    time(embed_, [&] { ops_->embed(); });
  }
  void norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) override {
    const Kind kind = out == Place::qkv ? qkv_ : out == Place::logits ? head_ : up_;
    time(kind, [&] { ops_->norm_linear(in, first, count, norm, linear, out); });
  }
  void turn_and_store(const Norm* q_norm, const Norm* k_norm) override {
    time(turn_, [&] { ops_->turn_and_store(q_norm, k_norm); });
  }
  void attend() override {
    time(attend_, [&] { ops_->attend(); });
  }
  void linear_add(Place in, const Linear& linear) override {
    time(in == Place::mixed ? out_ : down_, [&] { ops_->linear_add(in, linear); });
  }
  void activate() override {
    time(activate_, [&] { ops_->activate(); });
  }
  void gather(std::span<const int32_t> rows) override { ops_->gather(rows); }
  void frequencies(int first, std::span<const int32_t> symbols, Ask ask) override {
    time(frequencies_, [&] { ops_->frequencies(first, symbols, ask); });
  }
  Status finish() override { return ops_->finish(); }
  std::span<const uint8_t> range(int layer) override { return ops_->range(layer); }

  Interval interval(int i) override { return ops_->interval(i); }
  uint32_t rank(int i) override { return ops_->rank(i); }
  std::span<const uint32_t> path(int i) override { return ops_->path(i); }
  LeafWeights leaves(int i) override { return ops_->leaves(i); }
  uint64_t total(int i) override { return ops_->total(i); }
  Symbol find(int i, uint64_t target, Interval* interval) override { return ops_->find(i, target, interval); }
  Symbol symbol_of_rank(int i, uint32_t rank) override { return ops_->symbol_of_rank(i, rank); }
  Symbol found(int i, Interval* interval) override { return ops_->found(i, interval); }
  std::span<const uint32_t> weights(int i) override { return ops_->weights(i); }
  std::vector<float> read(Place place, int rows) override { return ops_->read(place, rows); }

 private:
  template <class Run>
  void time(Kind kind, Run run) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    seconds_[kind] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  std::unique_ptr<Ops> ops_;
  Seconds& seconds_;
};

}  // namespace llmc
