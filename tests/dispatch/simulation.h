// A whole dispatch in one thread and in virtual time: the real Coordinator, Workers and
// TaskQueues over a ThreadWorld with a clock of its own; only the computing is played.
// A seed decides everything, so that a failing one repeats exactly.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "comm/thread_comm.h"
#include "dispatch/coordinator.h"
#include "dispatch/worker.h"

namespace llmc::sim {

using namespace std::chrono_literals;
using Duration = Comm::Duration;
using Time = ThreadWorld::Time;

// Checks what a Job is promised.
class CheckedJob : public Job {
 public:
  std::vector<uint64_t> sizes;  // of the tasks, by id
  std::map<uint64_t, int> finished_by, failed_by;
  std::vector<int> started_on;  // worker by order of finishing
  Status stop_with;             // what finished() says from now on
  std::map<uint64_t, int> not_on;  // Task::not_on_worker
  uint64_t next_id = 0;

  static Bytes payload(uint64_t id, uint64_t size) {
    return Bytes(std::min<uint64_t>(size, 16), static_cast<uint8_t>(id));
  }
  static Bytes result(uint64_t id, ByteView payload) {
    Bytes bytes(payload.rbegin(), payload.rend());
    bytes.push_back(static_cast<uint8_t>(id >> 8));
    return bytes;
  }

  Result<std::optional<Task>> next() override {
    EXPECT_FALSE(said_end_) << "asked again after the end";
    if (next_id == sizes.size()) {
      said_end_ = true;
      return std::optional<Task>();
    }
    Task task{next_id, payload(next_id, sizes[next_id]), sizes[next_id]};
    if (const auto at = not_on.find(next_id); at != not_on.end()) task.not_on_worker = at->second;
    ++next_id;
    return std::optional<Task>(std::move(task));
  }
  Status finished(uint64_t id, Bytes bytes, int worker) override {
    EXPECT_LT(id, next_id);
    EXPECT_TRUE(bytes == result(id, payload(id, sizes[id])));
    EXPECT_TRUE(!failed_by.contains(id) && finished_by.emplace(id, worker).second) << "task " << id << " twice";
    return stop_with;
  }
  Status failed(uint64_t id, const Status& why, int worker) override {
    EXPECT_LT(id, next_id);
    EXPECT_FALSE(why.ok());
    EXPECT_TRUE(!finished_by.contains(id) && failed_by.emplace(id, worker).second) << "task " << id << " twice";
    return {};
  }

 private:
  bool said_end_ = false;
};

// How a worker computes.
struct Machine {
  int threads = 1;
  int streams = 1;
  double speed = 1;         // plain bytes per second and stream
  Duration load_time{0};    // of start()
  Status start_failure;
  std::function<bool(uint64_t)> fails = [](uint64_t) { return false; };
  // The thread that has such a task stands still until the end.
  std::function<bool(uint64_t)> hangs = [](uint64_t) { return false; };
  Duration fatal_at = Duration::max();
};

class PlayedWorker {
 public:
  PlayedWorker(ThreadWorld& world, int rank, Machine machine, const WorkerOptions& options, std::function<Time()> clock)
      : world_(world), rank_(rank), machine_(std::move(machine)), comm_(world.endpoint(rank)), clock_(clock),
        worker_(*comm_, queue_, options, clock), begun_(clock()), threads_(machine_.threads) {}

  bool gone() const { return gone_ || worker_.left(); }
  bool left() const { return worker_.left(); }
  uint64_t most_held() const { return most_held_; }
  uint64_t computed() const { return computed_; }

  void step(Duration dt) {
    if (gone() || world_.frozen(rank_)) return;
    if (const Status s = worker_.turn(0s); !s.ok()) {
      gone_ = true;
      why_ = s;
      return;
    }
    const Time now = clock_();
    if (!ready_ && now - begun_ >= machine_.load_time) {
      ready_ = true;
      if (!machine_.start_failure.ok()) {
        worker_.fail(machine_.start_failure);
      } else if (!queue_.stopped()) {
        queue_.open(machine_.threads);
        worker_.ready(machine_.streams);
        computing_ = true;
      }
    }
    if (now - begun_ >= machine_.fatal_at) worker_.fail({Code::model, "the model does not fit"});
    if (queue_.stopped()) {
      threads_.clear();
      worker_.computing_ended();
    } else if (computing_) {
      for (size_t i = 0; i < threads_.size(); ++i) compute(static_cast<int>(i), dt);
    }
  }
  Status why() const { return why_; }

 private:
  struct Running {
    uint64_t id;
    Bytes payload;
    double left;
  };
  struct Thread {
    std::vector<Running> running;
    bool hung = false;
  };

  void compute(int index, Duration dt) {
    Thread& thread = threads_[index];
    if (thread.hung) return;
    WorkQueue& queue = queue_.view(index);
    Task task;
    const size_t most = static_cast<size_t>((machine_.streams + machine_.threads - 1) / machine_.threads);
    while (thread.running.size() < most && queue.next(&task, static_cast<int>(thread.running.size()), false)) {
      if (machine_.hangs(task.id)) {
        thread.hung = true;
        return;
      }
      thread.running.push_back({task.id, std::move(task.payload), static_cast<double>(task.size)});
    }
    most_held_ = std::max<uint64_t>(most_held_, thread.running.size());
    for (size_t i = 0; i < thread.running.size();) {
      Running& r = thread.running[i];
      r.left -= machine_.speed * std::chrono::duration<double>(dt).count();
      queue.progress(1);
      if (r.left > 0) {
        ++i;
        continue;
      }
      ++computed_;
      if (machine_.fails(r.id)) {
        queue.finished(r.id, Status(Code::failure, "cannot code task " + std::to_string(r.id)));
      } else {
        queue.finished(r.id, CheckedJob::result(r.id, r.payload));
      }
      thread.running.erase(thread.running.begin() + static_cast<long>(i));
    }
  }

  ThreadWorld& world_;
  const int rank_;
  const Machine machine_;
  TaskQueue queue_;
  std::unique_ptr<Comm> comm_;
  std::function<Time()> clock_;
  Worker worker_;
  Time begun_;
  std::vector<Thread> threads_;
  bool ready_ = false, computing_ = false, gone_ = false;
  uint64_t most_held_ = 0, computed_ = 0;
  Status why_;
};

struct Simulation {
  CheckedJob job;
  std::vector<Machine> machines;  // of ranks 1, 2, ...
  CommFaults faults;
  CoordinatorOptions options;
  WorkerOptions worker_options;
  Duration dt = 20ms;
  Duration limit = 4h;
  Duration drain_at = Duration::max(), stop_at = Duration::max();
  std::function<void(Coordinator&, Duration)> each_step;

  // Results.
  Status status;
  CoordinatorReport report;
  Duration took{0};
  std::vector<std::unique_ptr<PlayedWorker>> workers;

  Simulation() {
    options.lease_timeout = 10s;
    options.worker_timeout = 25s;
    options.ping_interval = 2s;
    options.drain_limit = 60s;
    options.leave_limit = 20s;
    worker_options.heartbeat = 1s;
    worker_options.coordinator_timeout = 100s;
  }

  void run() {
    Time now{};
    const auto clock = [&now] { return now; };
    const int size = static_cast<int>(machines.size()) + 1;
    ThreadWorld world(size, faults, clock);
    options.drain = [&] { return now - Time{} >= drain_at; };
    options.stop = [&] { return now - Time{} >= stop_at; };
    worker_options.drain = worker_options.stop = [] { return false; };
    const auto comm = world.endpoint(0);
    Coordinator coordinator(*comm, job, options, clock);
    for (int rank = 1; rank < size; ++rank) {
      workers.push_back(std::make_unique<PlayedWorker>(world, rank, machines[rank - 1], worker_options, clock));
    }
    const Duration step = std::min<Duration>(options.lease_timeout / 10, 1s);
    uint64_t largest = 0;
    for (const uint64_t s : job.sizes) largest = std::max(largest, s);
    while (!coordinator.ended() && now - Time{} < limit) {
      now += dt;
      coordinator.turn(0s);
      for (auto& worker : workers) worker->step(dt);
      EXPECT_LE(coordinator.oldest_lease(), options.lease_timeout + step + 2 * dt);
      EXPECT_LE(coordinator.leased_bytes(), std::max(options.in_flight_bytes, largest));
      if (each_step) each_step(coordinator, now - Time{});
    }
    EXPECT_TRUE(coordinator.ended()) << "does not end";
    took = now - Time{};
    status = coordinator.status();
    report = coordinator.report();
    for (const Time end = now + 400s; now < end;) {
      now += dt;
      for (auto& worker : workers) worker->step(dt);
    }
  }
};

}  // namespace llmc::sim
