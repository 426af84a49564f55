#include "dispatch/task_queue.h"

#include <algorithm>
#include <climits>
#include <utility>

namespace llmc {

class TaskQueue::View : public WorkQueue {
 public:
  View(TaskQueue* queue, int thread) : queue_(queue), thread_(thread) {}
  bool next(Task* task, int held, bool wait) override { return queue_->next(thread_, task, held, wait); }
  void finished(uint64_t id, Result<Bytes> outcome) override { queue_->finished(thread_, id, std::move(outcome)); }
  void progress(uint64_t tokens) override { queue_->progress(thread_, tokens); }
  bool stopped() const override { return queue_->stopped_; }

 private:
  TaskQueue* const queue_;
  const int thread_;
};

TaskQueue::TaskQueue() = default;
TaskQueue::~TaskQueue() = default;

void TaskQueue::open(int threads) {
  std::lock_guard lock(mutex_);
  for (int i = 0; i < threads; ++i) views_.push_back(std::make_unique<View>(this, i));
  held_.assign(threads, 0);
  life_.assign(threads, 0);
}

WorkQueue& TaskQueue::view(int thread) {
  std::lock_guard lock(mutex_);
  return *views_[thread];
}

void TaskQueue::leave(int thread) {
  std::lock_guard lock(mutex_);
  held_[thread] = -1;
  changed_.notify_all();
}

void TaskQueue::add(uint64_t lease, Task task) {
  std::lock_guard lock(mutex_);
  const auto [at, is_new] = entries_.try_emplace(task.id);
  at->second.lease = lease;
  if (!is_new) return;
  waiting_.push_back(task.id);
  at->second.task = std::move(task);
  changed_.notify_all();
}

void TaskQueue::forget(const std::vector<uint64_t>& leases) {
  std::lock_guard lock(mutex_);
  for (const uint64_t lease : leases) {
    const auto at = std::find_if(entries_.begin(), entries_.end(), [lease](const auto& e) {
      return e.second.lease == lease && e.second.thread == 0;
    });
    if (at == entries_.end()) continue;
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), at->first));
    entries_.erase(at);
  }
}

void TaskQueue::forget_waiting() {
  std::lock_guard lock(mutex_);
  for (const uint64_t id : waiting_) entries_.erase(id);
  waiting_.clear();
}

void TaskQueue::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

std::vector<protocol::Outcome> TaskQueue::take_finished() {
  std::lock_guard lock(mutex_);
  for (auto& outcome : finished_) {
    const auto at = entries_.find(outcome.id);
    outcome.lease = at->second.lease;
    entries_.erase(at);
  }
  return std::exchange(finished_, {});
}

void TaskQueue::describe(protocol::Heartbeat* heartbeat) const {
  std::lock_guard lock(mutex_);
  heartbeat->tokens = tokens_;
  heartbeat->life = life_;
  heartbeat->held.clear();
  for (const auto& [id, entry] : entries_) heartbeat->held.push_back({entry.lease, entry.thread});
}

bool TaskQueue::next(int thread, Task* task, int held, bool wait) {
  std::unique_lock lock(mutex_);
  held_[thread] = held;
  for (;;) {
    if (stopped_) return false;
    if (!waiting_.empty()) {
      int least = INT_MAX;
      for (const int h : held_) {
        if (h >= 0) least = std::min(least, h);
      }
      // A waiting caller does nothing else: refusing it would only idle it.
      if (wait || held <= least) break;
    }
    if (!wait) return false;
    changed_.wait(lock);
  }
  Entry& entry = entries_[waiting_.front()];
  waiting_.pop_front();
  entry.thread = static_cast<uint32_t>(thread) + 1;
  *task = std::move(entry.task);
  ++held_[thread];
  ++life_[thread];
  return true;
}

void TaskQueue::finished(int thread, uint64_t id, Result<Bytes> outcome) {
  std::lock_guard lock(mutex_);
  const auto at = entries_.find(id);
  if (at == entries_.end() || at->second.done || at->second.thread != static_cast<uint32_t>(thread) + 1) return;
  at->second.done = true;
  protocol::Outcome out;
  out.id = id;
  if (outcome.ok()) {
    out.result = *std::move(outcome);
  } else {
    out.status = outcome.status();
  }
  finished_.push_back(std::move(out));
  if (held_[thread] > 0) --held_[thread];
  ++life_[thread];
}

void TaskQueue::progress(int thread, uint64_t tokens) {
  std::lock_guard lock(mutex_);
  tokens_ += tokens;
  ++life_[thread];
}


}  // namespace llmc
