// The work that is dispatched, as the dispatcher sees it: opaque bytes out, opaque bytes back.
//
//   Job (rank 0) --Task--> coordinator ==> worker --Task--> WorkQueue --> Processor's threads
//                <-result-             <==        <-result-
//
// commands/ implements Job (plan order, spool) and Processor (tokens, model, coder).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

struct Task {
  uint64_t id = 0;    // the job's own name for it; each id is given once
  Bytes payload;      // up to 1 GiB
  uint64_t size = 0;  // plain bytes, for balance, for the bound on what is in flight, and for progress
  // A rank that does not get it as long as another worker lives: a second opinion. 0: none.
  int not_on_worker = 0;
  // More work on what another task was counted for: not in the counts of progress.
  bool extra = false;
};

// Where tasks come from and where results go. All calls come from rank 0's main thread.
// A call that returns a failure ends the job with that Status.
class Job {
 public:
  virtual ~Job() = default;
  // The next task, in plan order; nothing where there is none. Called ahead of need, up to
  // what the workers can hold: a task given out may not run at all if the job is drained or fails.
  virtual Result<std::optional<Task>> next() = 0;
  // Asked after next() gave nothing. True: there will never be more. False: not now, since what
  // comes next depends on results that are out, or too many results wait for one before them;
  // next() is then called again after each result and tick.
  virtual bool ended() const { return true; }
  // A result: once for each id, in any order.
  virtual Status finished(uint64_t id, Bytes result, int worker) = 0;
  // Given up, after the retries; instead of finished(). OK: go on with the rest.
  virtual Status failed(uint64_t id, const Status& why, int worker) = 0;
  // Called about five times a second.
  virtual void tick() {}
  // How a task that is out is called, for reports.
  virtual std::string describe(uint64_t id) const { return "task " + std::to_string(id); }
};

// One compute thread's side of the worker's queue. Each thread has its own and uses no other.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;
  // Takes the next task. `held` is how many the calling thread holds already: tasks go to
  // the thread that holds least, so that few of them spread over all threads, and a caller
  // that does not wait is refused while another thread holds less. With `wait`, blocks until
  // there is one and returns false only when no more will come; without, false means "none
  // for you now".
  virtual bool next(Task* task, int held, bool wait) = 0;
  // The outcome of a task taken here. A failure concerns this task alone; it is tried once
  // more on another worker.
  virtual void finished(uint64_t id, Result<Bytes> outcome) = 0;
  // Tokens done since the last call: the sign of life that keeps this thread's leases.
  virtual void progress(uint64_t tokens) = 0;
  // True once the work is to be given up; ask between steps.
  virtual bool stopped() const = 0;
};

// What a worker does. Runs on threads that work() starts.
class Processor {
 public:
  virtual ~Processor() = default;
  // Loads what is needed (a model), once, before any run(), while the rank already talks
  // to the coordinator. A failure is fatal: it ends the whole job with that Status.
  virtual Status start() { return {}; }
  // Asked after start(). streams(): tasks wanted at once over all threads.
  virtual int threads() const = 0;
  virtual int streams() const = 0;
  // Works until queue.next(wait) or stopped() says that it is over. Called once for each
  // thread, 0 .. threads() - 1, on a thread of its own. A failure is fatal, as is an exception.
  virtual Status run(WorkQueue& queue, int thread) = 0;
};

}  // namespace llmc
