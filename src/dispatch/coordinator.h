// Rank 0's part: leases tasks to workers, takes results, survives what workers do.
//
// - Each worker holds up to twice its streams, and never more than its fair share of all
//   that is unfinished, so that few tasks (a small job, the end of a large one) are spread.
// - A lease lives by signs of progress from the thread that has its task (while it waits in
//   the worker's queue: from any thread). Without one for `lease_timeout` the task is leased
//   to another worker; whichever result comes first counts, later ones are ignored.
// - A task that fails is tried once more on another worker, then reported to Job::failed().
// - A task does not go to its Task::not_on_worker as long as another worker that may have it lives.
// - A fatal failure of a worker, or of the Job itself, ends the job with that Status.
// - At the end all ranks leave together: stop -> every worker's threads end -> goodbye ->
//   leave.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/signals.h"
#include "comm/comm.h"
#include "dispatch/job.h"
#include "dispatch/progress.h"
#include "dispatch/protocol.h"

namespace llmc {

struct CoordinatorReport;

struct CoordinatorOptions {
  using Duration = Comm::Duration;
  template <class T>
  static constexpr Duration seconds(T s) { return std::chrono::seconds(s); }

  // Plain bytes (Task::size) of all leased tasks together; a larger task goes alone. Memory
  // is up to twice their payloads, as a payload is kept for the case that it is lost.
  uint64_t in_flight_bytes = uint64_t{256} << 20;
  Duration lease_timeout = seconds(120);   // without progress
  int max_leases = 3;                      // a task that stalls so many times has failed
  Duration worker_timeout = seconds(240);  // silent or stalled for so long: lost
  Duration ping_interval = seconds(5);
  Duration drain_limit = seconds(600);  // for running tasks, after a request to drain
  Duration leave_limit = seconds(60);   // for the workers' threads to end, at the end
  Duration stop_limit = std::chrono::milliseconds(500);  // the same after an interrupt
  std::string identity;      // program and model; a worker with another one is refused
  uint32_t session = 0;      // number of this job on this Comm, the same on all ranks
  std::function<bool()> drain = drain_requested;
  std::function<bool()> stop = stop_requested;
  Progress* progress = nullptr;  // not owned
  std::function<void(const CoordinatorReport&)> watch;  // called about five times a second; empty: nobody
};

struct WorkerReport {
  int rank = 0;
  uint64_t tasks = 0;
  uint64_t plain_bytes = 0;
  uint64_t tokens = 0;
  double busy_seconds = 0;  // during which it had a task
  bool lost = false;
};

struct CoordinatorReport {
  DispatchCounts counts;
  std::vector<WorkerReport> workers;
  // All ranks have left the protocol. Otherwise some rank is gone or hangs, MPI_Finalize
  // would wait for it for ever, and the program ends with abort_job(exit code) instead.
  bool clean = false;
};

// Runs the job to its end; called on rank 0 by its main thread while all other ranks are in
// work(). OK: every task was finished or reported failed. Code::drained or Code::interrupted:
// stopped on request, what was finished stands. Anything else: the first fatal failure.
// Exceptions of the job (bad_alloc) end it in the same way.
Status coordinate(Comm& comm, Job& job, const CoordinatorOptions& options, CoordinatorReport* report);

// The machinery of coordinate(), one turn at a time and by any clock: for tests. One thread.
class Coordinator {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = Comm::Duration;

  Coordinator(Comm& comm, Job& job, CoordinatorOptions options, std::function<Time()> clock);
  // Takes what has arrived (waiting up to `wait` for the first), then does what is due.
  void turn(Duration wait);
  // Gives up with this Status, where nothing has ended the job yet.
  void end(Status why);
  bool ended() const { return phase_ == Phase::ended; }
  const Status& status() const { return status_; }  // once ended
  CoordinatorReport report() const;
  // For tests: longest time without progress of a lease that counts, and bytes leased.
  Duration oldest_lease() const;
  uint64_t leased_bytes() const { return leased_bytes_; }

 private:
  enum class Phase { running, draining, stopping, ended };
  struct Lease {
    uint64_t task = 0;
    Time alive{};          // last sign of progress
    uint32_t thread = 0;   // as in the last heartbeat
    bool listed = false;   // in the last heartbeat
    bool counts = true;    // false: expired or overtaken; still the worker's burden
  };
  struct Worker {
    bool heard_of = false;
    bool ready = false;
    bool lost = false;
    bool goodbye = false;
    bool drained = false;
    uint32_t streams = 0;
    uint64_t sequence = 0;
    Time heard{};  // last message
    Time life{};   // last sign of progress, or of having nothing to do
    Time busy{};   // since when it has leases, where it has any
    std::vector<uint64_t> lives;
    std::unordered_map<uint64_t, Lease> leases;  // by number
    WorkerReport report;
  };
  struct TaskState {
    Task task;
    std::vector<std::pair<int, uint64_t>> leases;  // (rank, number) of those that count
    int stalls = 0;    // leases that expired while a thread had the task
    int expiries = 0;  // all that expired
    int failures = 0;
    std::set<int> failed_on, expired_on;
    Status why;
    int why_from = 0;
  };

  Status handle(Message message);
  Status on_heartbeat(int rank, const protocol::Heartbeat& heartbeat);
  Status on_outcome(int rank, protocol::Outcome outcome);
  void check_in(int rank, const protocol::Heartbeat& heartbeat, bool moved, const std::vector<bool>& grew);

  Status advance(bool inbox_empty);
  Status drain();
  Status expire();
  Status expire_leases(int rank, bool all);
  Status task_failed(int rank, TaskState& state);
  Status give_up(uint64_t id, int rank, const Status& why);
  void lease_over(int rank, uint64_t number);
  void task_over(uint64_t id);

  Status pull(bool* pulled);
  Status assign();
  Status assign_again();
  bool may_get(const TaskState& state, int rank) const;
  bool barred(const TaskState& state, int rank) const;
  int best_worker(const TaskState& state, bool again) const;
  int next_ready(size_t* at) const;
  Status give(uint64_t id, int rank);
  Status send_leases();
  void wait_for_goodbyes();
  void leave();
  Status send_all(int tag);
  void show();
  protocol::Header header() const { return {options_.session}; }

  Comm& comm_;
  Job& job_;
  const CoordinatorOptions options_;
  const std::function<Time()> clock_;
  Phase phase_ = Phase::running;
  Status status_;
  Time now_{}, begun_{}, last_turn_{}, phase_begun_{};
  Time pinged_{}, checked_{}, shown_{};
  int skipped_expiries_ = 0;
  bool drain_wanted_ = false;  // by a worker
  bool clean_ = false;

  std::vector<Worker> workers_;  // by rank; [0] unused
  std::unordered_map<uint64_t, TaskState> tasks_;  // all that are neither finished nor given up
  std::deque<uint64_t> ready_;        // not leased yet, in plan order
  std::vector<uint64_t> again_;       // to be leased again
  std::optional<Task> ahead_;         // does not fit into in_flight_bytes yet
  bool exhausted_ = false;            // next() has said so
  uint64_t pulled_bytes_ = 0;         // of tasks_
  uint64_t leased_bytes_ = 0;         // of tasks_ with a lease that counts
  uint64_t next_lease_ = 1;
  uint64_t all_streams_ = 0;          // of all workers not lost, a guess for those not ready
  std::vector<protocol::LeaseWriter> outgoing_;       // by rank
  std::vector<std::vector<uint64_t>> to_forget_;      // by rank
  DispatchCounts counts_;
};

}  // namespace llmc
