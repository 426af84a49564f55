// A job for real threads and real ranks: turns letters into capitals.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "dispatch/coordinator.h"
#include "dispatch/worker.h"

namespace llmc::toy {

inline Bytes text(uint64_t id) {
  Bytes bytes(id * 137 % 5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>('a' + (id + i) % 26);
  return bytes;
}

inline Bytes capitals(Bytes bytes) {
  for (auto& b : bytes) b = static_cast<uint8_t>(std::toupper(b));
  return bytes;
}

class ToyJob : public Job {
 public:
  explicit ToyJob(uint64_t count) : count_(count) {}
  std::map<uint64_t, int> done, failed_tasks;
  int ticks = 0;
  std::function<void()> on_finished = [] {};

  Result<std::optional<Task>> next() override {
    if (next_ == count_) return std::optional<Task>();
    Task task{next_, text(next_), 0};
    task.size = task.payload.size();
    ++next_;
    return std::optional<Task>(std::move(task));
  }
  Status finished(uint64_t id, Bytes result, int worker) override {
    EXPECT_TRUE(result == capitals(text(id))) << id;
    EXPECT_TRUE(done.emplace(id, worker).second) << id;
    on_finished();
    return {};
  }
  Status failed(uint64_t id, const Status& why, int worker) override {
    EXPECT_TRUE(failed_tasks.emplace(id, worker).second) << id;
    return {};
  }
  void tick() override { ++ticks; }

 private:
  const uint64_t count_;
  uint64_t next_ = 0;
};

class ToyProcessor : public Processor {
 public:
  int thread_count = 2;
  int stream_count = 4;
  std::chrono::microseconds per_task{0};
  Status start_status;
  std::function<Status(uint64_t)> outcome = [](uint64_t) { return Status(); };  // may throw
  std::atomic<int> runs{0};

  Status start() override { return start_status; }
  int threads() const override { return thread_count; }
  int streams() const override { return stream_count; }
  Status run(WorkQueue& queue, int) override {
    ++runs;
    Task task;
    while (queue.next(&task, 0, true)) {
      const auto end = std::chrono::steady_clock::now() + per_task;
      while (std::chrono::steady_clock::now() < end && !queue.stopped()) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        queue.progress(1);
      }
      queue.progress(1);
      const Status s = outcome(task.id);
      if (s.ok()) {
        queue.finished(task.id, capitals(std::move(task.payload)));
      } else if (s.code() == Code::model) {
        return s;
      } else {
        queue.finished(task.id, s);
      }
    }
    return {};
  }
};

// Nothing from outside: a test's own switches.
inline CoordinatorOptions coordinator_options() {
  CoordinatorOptions options;
  options.drain = options.stop = [] { return false; };
  return options;
}
inline WorkerOptions worker_options() {
  WorkerOptions options;
  options.drain = options.stop = [] { return false; };
  return options;
}

}  // namespace llmc::toy
