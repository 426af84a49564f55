// The worker's queue: filled by the rank's main thread, emptied by its compute threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "dispatch/job.h"
#include "dispatch/protocol.h"

namespace llmc {

class TaskQueue {
 public:
  TaskQueue();
  ~TaskQueue();

  // Makes the compute threads' sides. Once, before view().
  void open(int threads);
  // Owned by the queue; for thread `thread` alone.
  WorkQueue& view(int thread);
  // `thread` takes nothing any more. Called by that thread.
  void leave(int thread);

  // The rest: the main thread.
  // A task that is held already is not queued again, but counts as the new lease from now on.
  void add(uint64_t lease, Task task);
  // Drops the tasks under these leases that no thread has begun.
  void forget(const std::vector<uint64_t>& leases);
  // Drops all that no thread has begun.
  void forget_waiting();
  // No more will come, and what is held is of no use: next() is false, stopped() is true.
  void stop();
  bool stopped() const { return stopped_; }

  // What has been finished since the last call. A task is held until it has been taken here.
  std::vector<protocol::Outcome> take_finished();
  // What is held, and each thread's signs of life.
  void describe(protocol::Heartbeat* heartbeat) const;

 private:
  class View;
  struct Entry {
    uint64_t lease = 0;
    uint32_t thread = 0;  // 0: waits; else 1 + thread
    bool done = false;    // in finished_
    Task task;            // while it waits
  };
  bool next(int thread, Task* task, int held, bool wait);
  void finished(int thread, uint64_t id, Result<Bytes> outcome);
  void progress(int thread, uint64_t tokens);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<uint64_t> waiting_;  // ids, in order of arrival
  std::unordered_map<uint64_t, Entry> entries_;  // by id
  std::vector<protocol::Outcome> finished_;
  std::vector<std::unique_ptr<View>> views_;
  std::vector<int> held_;  // per thread; -1: has left
  std::vector<uint64_t> life_;
  uint64_t tokens_ = 0;
  std::atomic<bool> stopped_{false};  // asked between steps, so without the lock
};

}  // namespace llmc
