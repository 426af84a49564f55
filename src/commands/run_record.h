// What becomes of a run while it lasts and at its end: a status file for who watches from elsewhere, and a report.
//
// The status file is JSON, replaced as a whole every two seconds: a reader always sees a complete one. Its state is "running" or
// "draining" while chunks are computed, "finishing" while what they gave is written, and at the very end "done" (exit code 0),
// "drained", "interrupted" or "failed". The report is
// one HTML page that needs nothing else, with the same figures as JSON beside it (FILE.html -> FILE.json).
// Main thread of rank 0.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "dispatch/coordinator.h"
#include "dispatch/job.h"

namespace llmc {

struct Ratio {
  uint64_t text_bytes = 0, coded_bytes = 0, chunks = 0;
};

// Plain and coded bytes of what a run has coded, for the report.
struct RunTables {
  std::map<std::string, Ratio> kinds;  // by the ending of the files' names
  std::map<uint32_t, Ratio> shards;
  std::vector<std::string> remarks;    // one sentence each: mismatches, failures
};

struct RunFacts {
  std::string verb, output;
  std::string status_file, report;  // paths; empty: none
  uint64_t tasks = 0, bytes = 0;    // in all
  uint64_t tasks_before = 0, bytes_before = 0;
  bool decoding = false;
  std::string model;  // name and digest; empty: none
};

class RunRecord {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RunRecord(RunFacts facts);
  bool wanted() const { return !facts_.status_file.empty() || !facts_.report.empty(); }
  // How each rank is called, by rank.
  void set_names(std::vector<std::string> names) { names_ = std::move(names); }
  // Called about five times a second.
  void watch(const CoordinatorReport& now);
  // Computing is over: the status says so, and conclude() how it ended. The report follows with write_report().
  Status finish(const CoordinatorReport& last, const Status& outcome);
  Status write_report(const RunTables& tables) const;

  // A Job that does what `job` does, and notes how long each task takes.
  class Timed;

 private:
  struct Point {
    double seconds = 0;
    uint64_t bytes = 0;  // plain, of this run
    int workers = 0;
  };
  struct Slow {
    double seconds = 0;
    uint64_t bytes = 0;
    int worker = 0;
    std::string what;
  };
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begun_).count(); }
  std::string name_of(int rank) const;
  std::string status_json(const CoordinatorReport& now, const std::string& state, const Status& outcome) const;
  std::string report_json(const RunTables& tables) const;

  const RunFacts facts_;
  const Clock::time_point begun_ = Clock::now();
  const std::string started_;  // UTC
  std::vector<std::string> names_;
  double written_ = -1e9;
  std::vector<Point> points_;
  double step_ = 1;  // seconds between points: doubled when there are many
  std::vector<Slow> slowest_;
  CoordinatorReport last_;
  double took_ = 0;
  Status outcome_;
  bool warned_ = false;
};

// The verb's last word in its status file (no path: none), with the exit code; a file that another process wrote is replaced by one
// that says no more than that. Returns `outcome`.
Status conclude(const std::string& status_file, const std::string& verb, const std::string& output, Status outcome);

class RunRecord::Timed : public Job {
 public:
  Timed(RunRecord& record, Job& job) : record_(record), job_(job) {}
  Result<std::optional<Task>> next() override;
  bool ended() const override { return job_.ended(); }
  Status finished(uint64_t id, Bytes result, int worker) override;
  Status failed(uint64_t id, const Status& why, int worker) override;
  void tick() override { job_.tick(); }
  std::string describe(uint64_t id) const override { return job_.describe(id); }

 private:
  struct Given {
    double at = 0;
    uint64_t bytes = 0;
  };
  RunRecord& record_;
  Job& job_;
  std::unordered_map<uint64_t, Given> given_;
};

}  // namespace llmc
