#include "dispatch/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace llmc {
namespace {

double seconds_between(Progress::Time a, Progress::Time b) { return std::chrono::duration<double>(b - a).count(); }

constexpr double window_seconds = 15;

}  // namespace

// Everything that is shown, computed once for the three forms.
struct Progress::View {
  uint64_t tasks = 0, bytes = 0, coded = 0;
  double seconds = 0;
  double rate = 0;                   // plain bytes a second
  std::optional<double> ratio;       // plain / coded
  std::optional<double> part;        // 0 .. 1
  std::optional<double> eta;         // seconds
  DispatchCounts counts;
};

Progress::Progress(ProgressOptions options) : options_([&options] {
  if (!options.write) {
    options.write = [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    };
  }
  return std::move(options);
}()) {}

void Progress::begin(Time now) {
  begun_ = printed_ = window_.begun = next_window_.begun = now;
  print(look({}, now, false), "begin");
}

void Progress::update(const DispatchCounts& counts, Time now) {
  if (seconds_between(next_window_.begun, now) >= window_seconds) {
    window_ = next_window_;
    next_window_ = {now, counts.plain_bytes};
  }
  if (seconds_between(printed_, now) < (options_.mode == ProgressMode::bar ? 0.2 : options_.interval)) return;
  printed_ = now;
  print(look(counts, now, false), "progress");
}

void Progress::finish(const DispatchCounts& counts, Time now) {
  print(look(counts, now, true), "summary");
  if (options_.mode == ProgressMode::bar) options_.write("\n");
}

Progress::View Progress::look(const DispatchCounts& counts, Time now, bool whole_run) const {
  View v;
  v.counts = counts;
  v.tasks = counts.done + options_.tasks_before;
  v.bytes = counts.plain_bytes + options_.bytes_before;
  v.coded = (options_.coded_is_payload ? counts.payload_bytes : counts.result_bytes) + options_.coded_before;
  v.seconds = seconds_between(begun_, now);
  const Window from = whole_run ? Window{begun_, 0} : window_;
  const double elapsed = seconds_between(from.begun, now);
  if (elapsed > 0) v.rate = static_cast<double>(counts.plain_bytes - from.bytes) / elapsed;
  if (v.coded > 0) v.ratio = static_cast<double>(v.bytes) / static_cast<double>(v.coded);
  if (options_.total_bytes) {
    const double total = static_cast<double>(*options_.total_bytes);
    v.part = total > 0 ? std::min(1.0, static_cast<double>(v.bytes) / total) : 1.0;
    const double left = std::max(0.0, total - static_cast<double>(v.bytes));
    if (left == 0) {
      v.eta = 0;
    } else if (v.rate > 0) {
      v.eta = left / v.rate;
    }
  }
  return v;
}

void Progress::print(const View& view, const char* type) {
  switch (options_.mode) {
    case ProgressMode::off: return;
    case ProgressMode::bar: return options_.write("\r" + bar(view) + "\x1b[K");
    case ProgressMode::lines: return options_.write(line(view) + "\n");
    case ProgressMode::json: return options_.write(json(view, type) + "\n");
  }
}

std::string Progress::line(const View& v) const {
  std::string text = fmt::format("{}: {}", options_.verb, v.tasks);
  if (options_.total_tasks) text += fmt::format("/{}", *options_.total_tasks);
  text += fmt::format(" chunks, {}", human_bytes(static_cast<double>(v.bytes)));
  if (options_.total_bytes) text += fmt::format(" of {}", human_bytes(static_cast<double>(*options_.total_bytes)));
  if (v.part) text += fmt::format(" ({:.1f} %)", 100 * *v.part);
  text += fmt::format(", {}/s", human_bytes(v.rate));
  if (v.ratio) text += fmt::format(", ratio {:.2f}", *v.ratio);
  if (v.eta && *v.eta > 0) text += fmt::format(", ETA {}", human_time(*v.eta));
  text += fmt::format(", {} elapsed, {} worker{}", human_time(v.seconds), v.counts.workers,
                      v.counts.workers == 1 ? "" : "s");
  if (v.counts.workers_lost) text += fmt::format(", {} lost", v.counts.workers_lost);
  if (v.counts.reissued) text += fmt::format(", {} reissued", v.counts.reissued);
  if (v.counts.failed) text += fmt::format(", {} failed", v.counts.failed);
  return text;
}

std::string Progress::bar(const View& v) const {
  std::string tail = fmt::format(" {}", human_bytes(static_cast<double>(v.bytes)));
  if (options_.total_bytes) tail += fmt::format(" of {}", human_bytes(static_cast<double>(*options_.total_bytes)));
  tail += fmt::format(" {}/s", human_bytes(v.rate));
  if (v.ratio) tail += fmt::format(" ratio {:.2f}", *v.ratio);
  if (v.eta && *v.eta > 0) tail += fmt::format(" ETA {}", human_time(*v.eta));
  if (v.counts.failed) tail += fmt::format(" {} failed", v.counts.failed);
  std::string head = options_.verb;
  if (v.part) head += fmt::format(" {:3.0f} %", std::floor(100 * *v.part));
  // One column stays free: a full line makes some terminals wrap.
  const int room = options_.columns - 1 - static_cast<int>(head.size() + tail.size()) - 3;
  if (v.part && room >= 5) {
    const int full = static_cast<int>(*v.part * room);
    head += " [" + std::string(full, '#') + std::string(room - full, '.') + "]";
  }
  return (head + tail).substr(0, static_cast<size_t>(std::max(1, options_.columns - 1)));
}

std::string Progress::json(const View& v, const char* type) const {
  auto number = [](const std::optional<double>& x, double scale) -> nlohmann::ordered_json {
    if (!x) return nullptr;
    return std::round(*x * scale) / scale;
  };
  auto total = [](const std::optional<uint64_t>& x) -> nlohmann::ordered_json {
    if (!x) return nullptr;
    return *x;
  };
  nlohmann::ordered_json j;
  j["message_type"] = type;
  j["verb"] = options_.verb;
  j["chunks_done"] = v.tasks;
  j["chunks_total"] = total(options_.total_tasks);
  j["chunks_failed"] = v.counts.failed;
  j["bytes_done"] = v.bytes;
  j["bytes_total"] = total(options_.total_bytes);
  j["coded_bytes"] = v.coded;
  j["ratio"] = number(v.ratio, 1e4);
  j["rate"] = static_cast<uint64_t>(std::llround(v.rate));
  j["seconds"] = number(v.seconds, 1e3);
  j["eta"] = v.eta ? nlohmann::ordered_json(static_cast<uint64_t>(std::ceil(*v.eta))) : nlohmann::ordered_json(nullptr);
  j["tokens"] = v.counts.tokens;
  j["workers"] = v.counts.workers;
  j["workers_lost"] = v.counts.workers_lost;
  j["reissued"] = v.counts.reissued;
  j["retried"] = v.counts.retried;
  return j.dump();
}

ProgressMode choose_progress(bool json, bool quiet, bool terminal) {
  if (json) return ProgressMode::json;
  if (quiet) return ProgressMode::off;
  return terminal ? ProgressMode::bar : ProgressMode::lines;
}

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

int stderr_columns() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string human_bytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit < std::size(units) - 1) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string human_time(double seconds) {
  if (!(seconds < 1e9)) return "?";
  const auto s = static_cast<uint64_t>(std::llround(std::max(0.0, seconds)));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace llmc
