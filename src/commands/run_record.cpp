#include "commands/run_record.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "cluster/placement.h"
#include "cluster/slurm.h"
#include "commands/run_page.h"
#include "commands/verb.h"

namespace llmc {
namespace {

using nlohmann::ordered_json;

constexpr double status_interval = 2;
constexpr size_t most_points = 600;
constexpr size_t most_slow = 20;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string text_of(const ordered_json& j) { return j.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"; }

ordered_json slurm_json() {
  ordered_json j = ordered_json::object();
  for (const auto& [key, value] : slurm_facts()) j[key] = value;
  return j;
}

// What a run depended on besides its input: names and values, for people.
ordered_json environment_json(const std::string& model) {
  ordered_json j;
  std::ifstream words("/proc/self/cmdline");
  std::string command;
  for (std::string word; std::getline(words, word, '\0');) command += (command.empty() ? "" : " ") + word;
  j["command"] = printable(command);
  j["host"] = host_name();
  utsname system{};
  if (::uname(&system) == 0) j["system"] = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  j["cores"] = std::to_string(available_cores());
  if (!model.empty()) j["model"] = model;
  const std::string version = version_text();  // "key  value" lines; the first is the program's own
  for (size_t at = 0; at < version.size();) {
    const size_t end = version.find('\n', at), gap = version.find(' ', at);
    const std::string key = version.substr(at, gap - at);
    if (!j.contains(key)) j[key] = version.substr(version.find_first_not_of(' ', gap), end - version.find_first_not_of(' ', gap));
    at = end + 1;
  }
  return j;
}

const char* state_of(const Status& outcome) {
  if (outcome.ok()) return "done";
  if (outcome.code() == Code::drained) return "drained";
  return outcome.code() == Code::interrupted ? "interrupted" : "failed";
}

// What the status files of all runs begin with, and what stands in their place where there was nothing to compute.
ordered_json status_head(const std::string& verb, const std::string& output, const std::string& state, const Status& outcome) {
  ordered_json j;
  j["message_type"] = "status";
  j["verb"] = verb;
  j["output"] = output;
  j["state"] = state;
  if (!outcome.ok()) j["message"] = outcome.message();
  j["host"] = host_name();
  j["pid"] = ::getpid();
  j["updated"] = utc_now();
  return j;
}

double ratio_of(uint64_t plain, uint64_t coded) { return coded ? static_cast<double>(plain) / static_cast<double>(coded) : 0; }

}  // namespace

RunRecord::RunRecord(RunFacts facts) : facts_(std::move(facts)), started_(utc_now()) {}

std::string RunRecord::name_of(int rank) const {
  const auto at = static_cast<size_t>(rank);
  return at < names_.size() && !names_[at].empty() ? names_[at] : "rank " + std::to_string(rank);
}

std::string RunRecord::status_json(const CoordinatorReport& now, const std::string& state, const Status& outcome) const {
  const DispatchCounts& c = now.counts;
  const double elapsed = seconds();
  const uint64_t bytes = c.plain_bytes + facts_.bytes_before;
  // The rate of the last minute or so.
  double rate = elapsed > 0 ? static_cast<double>(c.plain_bytes) / elapsed : 0;
  for (size_t i = points_.size(); i-- > 0;) {
    if (elapsed - points_[i].seconds < 60 && i > 0) continue;
    if (elapsed > points_[i].seconds) rate = static_cast<double>(c.plain_bytes - points_[i].bytes) / (elapsed - points_[i].seconds);
    break;
  }
  ordered_json j = status_head(facts_.verb, facts_.output, state, outcome);
  j["slurm"] = slurm_json();
  j["started"] = started_;
  j["seconds"] = std::round(elapsed * 10) / 10;
  j["chunks_done"] = c.done + facts_.tasks_before;
  j["chunks_total"] = facts_.tasks;
  j["chunks_failed"] = c.failed;
  j["bytes_done"] = bytes;
  j["bytes_total"] = facts_.bytes;
  j["ratio"] = std::round(1e4 * ratio_of(c.plain_bytes, facts_.decoding ? c.payload_bytes : c.result_bytes)) / 1e4;
  j["rate"] = static_cast<uint64_t>(rate);
  const uint64_t left = facts_.bytes > bytes ? facts_.bytes - bytes : 0;
  if (left == 0) {
    j["eta"] = 0;
  } else if (rate > 0) {
    j["eta"] = static_cast<uint64_t>(static_cast<double>(left) / rate) + 1;
  } else {
    j["eta"] = nullptr;
  }
  j["reissued"] = c.reissued;
  j["retried"] = c.retried;
  j["workers"] = ordered_json::array();
  for (const WorkerReport& w : now.workers) {
    j["workers"].push_back({{"rank", w.rank}, {"name", name_of(w.rank)}, {"chunks", w.tasks}, {"bytes", w.plain_bytes},
                            {"tokens", w.tokens}, {"lost", w.lost}});
  }
  return text_of(j);
}

void RunRecord::watch(const CoordinatorReport& now) {
  const double elapsed = seconds();
  if (points_.empty() || elapsed - points_.back().seconds >= step_) {
    points_.push_back({elapsed, now.counts.plain_bytes, now.counts.workers});
    if (points_.size() > most_points) {
      for (size_t i = 0; i < points_.size() / 2; ++i) points_[i] = points_[2 * i];
      points_.resize(points_.size() / 2);
      step_ *= 2;
    }
  }
  if (facts_.status_file.empty() || elapsed - written_ < status_interval) return;
  written_ = elapsed;
  const Status written = write_file_atomic(facts_.status_file, as_bytes(status_json(now, drain_requested() ? "draining" : "running", {})));
  // A full disk elsewhere is no reason to end the work.
  if (!written.ok() && !warned_) log::warn("{}", written.message());
  warned_ = warned_ || !written.ok();
}

Status RunRecord::finish(const CoordinatorReport& last, const Status& outcome) {
  last_ = last;
  outcome_ = outcome;
  took_ = seconds();
  points_.push_back({took_, last.counts.plain_bytes, last.counts.workers});
  if (facts_.status_file.empty()) return {};
  return write_file_atomic(facts_.status_file, as_bytes(status_json(last, outcome.ok() ? "finishing" : state_of(outcome), outcome)));
}

Status conclude(const std::string& status_file, const std::string& verb, const std::string& output, Status outcome) {
  if (status_file.empty()) return outcome;
  ordered_json j = status_head(verb, output, state_of(outcome), outcome);
  const auto before = read_file(status_file, uint64_t{64} << 20);
  const auto old = before.ok() ? ordered_json::parse(before->begin(), before->end(), nullptr, false) : ordered_json();
  if (old.is_object() && old.value("host", "") == j["host"] && old.value("pid", 0) == j["pid"]) {
    for (const auto& [key, value] : old.items()) {
      if (!j.contains(key) && key != "message") j[key] = value;
    }
  }
  j["exit_code"] = exit_code(outcome.code());
  const Status written = write_file_atomic(status_file, as_bytes(text_of(j)));
  if (!written.ok()) log::warn("{}", written.message());
  return outcome;
}

std::string RunRecord::report_json(const RunTables& tables) const {
  const DispatchCounts& c = last_.counts;
  ordered_json j;
  j["verb"] = facts_.verb;
  j["output"] = facts_.output;
  j["outcome"] = outcome_.ok() ? "done" : outcome_.message();
  j["started"] = started_;
  j["seconds"] = took_;
  j["chunks"] = {{"total", facts_.tasks}, {"before", facts_.tasks_before}, {"done", c.done}, {"failed", c.failed}};
  j["bytes"] = {{"total", facts_.bytes}, {"before", facts_.bytes_before}, {"done", c.plain_bytes},
                {"coded", facts_.decoding ? c.payload_bytes : c.result_bytes}};
  j["tokens"] = c.tokens;
  j["reissued"] = c.reissued;
  j["retried"] = c.retried;
  j["late"] = c.late;
  j["environment"] = environment_json(facts_.model);
  j["environment"]["slurm"] = slurm_json();
  j["workers"] = ordered_json::array();
  for (const WorkerReport& w : last_.workers) {
    j["workers"].push_back({{"rank", w.rank}, {"name", name_of(w.rank)}, {"chunks", w.tasks}, {"bytes", w.plain_bytes},
                            {"tokens", w.tokens}, {"busy_seconds", w.busy_seconds}, {"lost", w.lost}});
  }
  j["throughput"] = ordered_json::array();
  for (size_t i = 1; i < points_.size(); ++i) {
    const double step = points_[i].seconds - points_[i - 1].seconds;
    if (step <= 0) continue;
    j["throughput"].push_back({points_[i].seconds, static_cast<double>(points_[i].bytes - points_[i - 1].bytes) / step, points_[i].workers});
  }
  const auto rows = [](const auto& table) {
    ordered_json out = ordered_json::array();
    for (const auto& [key, r] : table) {
      out.push_back({{"name", key}, {"chunks", r.chunks}, {"bytes", r.text_bytes}, {"coded", r.coded_bytes}, {"ratio", ratio_of(r.text_bytes, r.coded_bytes)}});
    }
    return out;
  };
  j["kinds"] = rows(tables.kinds);
  j["shards"] = rows(tables.shards);
  j["slowest"] = ordered_json::array();
  for (const Slow& s : slowest_) {
    j["slowest"].push_back({{"what", s.what}, {"seconds", s.seconds}, {"bytes", s.bytes}, {"worker", name_of(s.worker)}});
  }
  j["remarks"] = tables.remarks;
  return text_of(j);
}

Status RunRecord::write_report(const RunTables& tables) const {
  if (facts_.report.empty()) return {};
  const std::string json = report_json(tables);
  LLMC_TRY(write_file_atomic(std::filesystem::path(facts_.report).replace_extension(".json"), as_bytes(json)));
  return write_file_atomic(facts_.report, as_bytes(run_page(json)));
}

Result<std::optional<Task>> RunRecord::Timed::next() {
  Result<std::optional<Task>> task = job_.next();
  if (task.ok() && *task) given_[(*task)->id] = {record_.seconds(), (*task)->size};
  return task;
}

Status RunRecord::Timed::finished(uint64_t id, Bytes result, int worker) {
  if (const auto at = given_.find(id); at != given_.end()) {
    auto& slowest = record_.slowest_;
    const Slow slow{record_.seconds() - at->second.at, at->second.bytes, worker, ""};
    given_.erase(at);
    const auto slower = [](const Slow& a, const Slow& b) { return a.seconds > b.seconds; };
    if (slowest.size() < most_slow || slower(slow, slowest.back())) {
      const auto place = slowest.insert(std::upper_bound(slowest.begin(), slowest.end(), slow, slower), slow);
      place->what = job_.describe(id);
      if (slowest.size() > most_slow) slowest.pop_back();
    }
  }
  return job_.finished(id, std::move(result), worker);
}

Status RunRecord::Timed::failed(uint64_t id, const Status& why, int worker) {
  given_.erase(id);
  return job_.failed(id, why, worker);
}

}  // namespace llmc
