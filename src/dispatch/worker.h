// A worker's part: the calling thread does all messaging, threads of its own do the work.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <unordered_set>

#include "base/signals.h"
#include "comm/comm.h"
#include "dispatch/job.h"
#include "dispatch/protocol.h"
#include "dispatch/task_queue.h"

namespace llmc {

struct WorkerOptions {
  using Duration = Comm::Duration;

  Duration heartbeat = std::chrono::seconds(2);
  Duration coordinator_timeout = std::chrono::seconds(900);  // no word for so long: rank 0 is gone
  Duration stop_limit = std::chrono::seconds(60);  // for the threads to end after the end of the job
  std::string identity;  // as CoordinatorOptions
  uint32_t session = 0;  // as CoordinatorOptions
  std::function<bool()> drain = drain_requested;
  std::function<bool()> stop = stop_requested;
};

// Works until the coordinator says that everybody leaves; called by the main thread of every
// rank but 0. OK: left in good order, whatever became of the job: its Status is rank 0's,
// and so is the program's exit code. A failure: the coordinator is gone or a compute thread
// does not end; the program must then end by abort_job() without destroying `processor`,
// which that thread may still use.
Status work(Comm& comm, Processor& processor, const WorkerOptions& options);

// The messaging of work(), one turn at a time and by any clock: for tests. One thread.
class Worker {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = Comm::Duration;

  Worker(Comm& comm, TaskQueue& queue, WorkerOptions options, std::function<Time()> clock);
  // Processor::start() is done; tasks may come.
  void ready(int streams);
  // The job cannot go on.
  void fail(Status why);
  // Nothing computes any more, after queue.stopped().
  void computing_ended() { computing_ = false; }
  // Takes what has arrived (waiting up to `wait` for the first), then sends what is due.
  Status turn(Duration wait);
  bool left() const { return left_; }
  // Since the coordinator (or this worker itself) has ended the work.
  Duration stopping_for() const;

 private:
  Status handle(const Message& message);
  Status send(int tag, Bytes bytes) { return comm_.send(0, tag, std::move(bytes)); }
  Status send_finished();
  Status send_heartbeat();
  void stop();
  protocol::Header header() const { return {options_.session}; }

  Comm& comm_;
  TaskQueue& queue_;
  const WorkerOptions options_;
  const std::function<Time()> clock_;
  Time now_{}, heard_{}, beat_{}, stopped_at_{};
  bool ready_ = false;
  int streams_ = 0;
  bool drained_ = false;
  bool computing_ = true;
  bool told_to_stop_ = false;   // by the coordinator
  bool told_to_leave_ = false;
  bool said_goodbye_ = false;
  bool left_ = false;
  bool beat_now_ = true;
  uint64_t sequence_ = 0;
  Status failure_;
  // Numbers of the last leases, so that a doubled message is not work twice.
  std::unordered_set<uint64_t> seen_;
  std::deque<uint64_t> seen_order_;
};

}  // namespace llmc
