// What the user sees of a running job, on standard error: a redrawn bar on a terminal, a
// plain line every N seconds elsewhere, or JSON lines for programs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace llmc {

// Where a job stands. Kept by the coordinator.
struct DispatchCounts {
  uint64_t done = 0;     // tasks finished
  uint64_t failed = 0;   // tasks reported failed
  uint64_t running = 0;  // tasks leased to workers
  uint64_t plain_bytes = 0;    // Task::size of those finished
  uint64_t payload_bytes = 0;  // their payloads
  uint64_t result_bytes = 0;   // their results
  uint64_t tokens = 0;         // reported by all workers, unfinished tasks included
  uint64_t reissued = 0;  // leases given again after one had expired or its worker was lost
  uint64_t retried = 0;   // tasks tried again after a failure
  uint64_t late = 0;      // results of tasks that were over already
  int workers = 0;        // ready now
  int workers_lost = 0;   // silent or stalled for too long, now
};

enum class ProgressMode { off, bar, lines, json };

struct ProgressOptions {
  ProgressMode mode = ProgressMode::off;
  double interval = 60;  // seconds between lines, plain or JSON; a bar is redrawn 5 times a second
  std::string verb = "compress";
  std::optional<uint64_t> total_tasks;
  std::optional<uint64_t> total_bytes;  // plain
  // Done by an earlier run (resume): counted in the totals and the ratio, not in the rate.
  uint64_t tasks_before = 0;
  uint64_t bytes_before = 0;
  uint64_t coded_before = 0;
  bool coded_is_payload = false;  // decoding: the coded bytes are what goes to the workers
  int columns = 80;               // of the terminal, for the bar
  std::function<void(std::string_view)> write;  // default: standard error
};

// One thread. Times are the caller's, so that tests have their own.
class Progress {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Progress(ProgressOptions options);
  // Prints at once: there is something to see before the first task is done.
  void begin(Time now);
  // Prints where it is time to.
  void update(const DispatchCounts& counts, Time now);
  // The last line, with the rate of the whole run.
  void finish(const DispatchCounts& counts, Time now);

 private:
  struct View;
  View look(const DispatchCounts& counts, Time now, bool whole_run) const;
  void print(const View& view, const char* type);
  std::string line(const View& view) const;
  std::string bar(const View& view) const;
  std::string json(const View& view, const char* type) const;

  const ProgressOptions options_;
  Time begun_{};
  Time printed_{};
  // The rate is that of the last 15 to 30 seconds: two windows, the older one counts.
  struct Window {
    Time begun{};
    uint64_t bytes = 0;
  };
  Window window_, next_window_;
};

// JSON where asked for, nothing where quiet, a bar only on a terminal.
ProgressMode choose_progress(bool json, bool quiet, bool terminal);
bool stderr_is_terminal();
// Width of the terminal; 80 where it is none.
int stderr_columns();

// "2.8 MiB", "1:02:09": also for reports.
std::string human_bytes(double bytes);
std::string human_time(double seconds);

}  // namespace llmc
