#include "cuda/parallel_ops.h"

#include <exception>
#include <mutex>

namespace llmc {

namespace {

// Nothing may leave a thread, and the others wait for what this one exchanges.
void run(DeviceOps& ops, const std::function<void(DeviceOps&)>& work) {
  try {
    work(ops);
  } catch (const std::exception& error) {
    ops.fail(error.what());
  }
}

}  // namespace

ParallelOps::ParallelOps(std::vector<std::unique_ptr<DeviceOps>> parts, std::shared_ptr<const void> keep, std::mutex* turn)
    : keep_(std::move(keep)), turn_(turn ? std::unique_lock(*turn, std::defer_lock) : std::unique_lock<std::mutex>()), parts_(std::move(parts)), start_(static_cast<ptrdiff_t>(parts_.size())), end_(static_cast<ptrdiff_t>(parts_.size())) {
  for (size_t i = 1; i < parts_.size(); ++i) {
    threads_.emplace_back([this, i] {
      const FloatState exact;
      for (;;) {
        start_.arrive_and_wait();
        if (work_ == nullptr) return;
        run(*parts_[i], *work_);
        end_.arrive_and_wait();
      }
    });
  }
}

ParallelOps::~ParallelOps() {
  work_ = nullptr;
  start_.arrive_and_wait();
  for (std::thread& thread : threads_) thread.join();
}

void ParallelOps::on_all(const std::function<void(DeviceOps&)>& work) {
  work_ = &work;
  start_.arrive_and_wait();
  run(*parts_[0], work);
  end_.arrive_and_wait();
}

Status ParallelOps::on_all_of(const std::function<Status(DeviceOps&)>& work) {
  std::mutex mutex;
  Status first;
  on_all([&](DeviceOps& ops) {
    Status status = work(ops);
    const std::lock_guard lock(mutex);
    if (first.ok()) first = std::move(status);
  });
  return first;
}

Status ParallelOps::set_leaves(const LeafOrder& order) {
  return on_all_of([&](DeviceOps& ops) { return ops.set_leaves(order); });
}
Status ParallelOps::begin(const Batch& batch) {
  if (turn_.mutex() != nullptr) turn_.lock();
  const Status begun = on_all_of([&](DeviceOps& ops) { return ops.begin(batch); });
  if (!begun.ok() && turn_.owns_lock()) turn_.unlock();
  return begun;
}
void ParallelOps::layer(int layer) {
  for (const auto& part : parts_) part->layer(layer);
}
void ParallelOps::embed() {
  on_all([](DeviceOps& ops) { ops.embed(); });
}
void ParallelOps::norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) {
  on_all([&](DeviceOps& ops) { ops.norm_linear(in, first, count, norm, linear, out); });
}
void ParallelOps::turn_and_store(const Norm* q_norm, const Norm* k_norm) {
  on_all([&](DeviceOps& ops) { ops.turn_and_store(q_norm, k_norm); });
}
void ParallelOps::attend() {
  on_all([](DeviceOps& ops) { ops.attend(); });
}
void ParallelOps::linear_add(Place in, const Linear& linear) {
  on_all([&](DeviceOps& ops) { ops.linear_add(in, linear); });
}
void ParallelOps::activate() {
  on_all([](DeviceOps& ops) { ops.activate(); });
}
void ParallelOps::gather(std::span<const int32_t> rows) {
  on_all([&](DeviceOps& ops) { ops.gather(rows); });
}
void ParallelOps::frequencies(int first, std::span<const int32_t> symbols, Ask ask) {
  on_all([&](DeviceOps& ops) { ops.frequencies(first, symbols, ask); });
  // A single device has answered already.
  if (ask == Ask::tables && parts_.size() > 1) parts_[0]->answer_tables(first, symbols);
}
Status ParallelOps::finish() {
  const Status finished = on_all_of([](DeviceOps& ops) { return ops.finish(); });
  if (turn_.owns_lock()) turn_.unlock();
  return finished;
}

}  // namespace llmc
