#include "commands/speed.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "model/model.h"

namespace llmc {

namespace {

constexpr char sample[] =
    "Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in my purse, and "
    "nothing particular to interest me on shore, I thought I would sail about a little and see the watery part of the "
    "world. It is a way I have of driving off the spleen, and regulating the circulation.\n"
    "for (size_t i = 0; i < rows.size(); ++i) total += rows[i].bytes;\n"
    "2026-01-17T08:30:12Z INFO archive opened, 12 shards, 4096 chunks\n";

using Clock = std::chrono::steady_clock;

Status run_streams(Session& session, std::span<const Symbol> text, Symbol start, bool decode, double seconds,
                   Measured* out) {
  SpeedStreams streams(session, text, start, decode);
  LLMC_TRY(streams.warm());
  LLMC_TRY(streams.step(out));
  *out = {};
  const auto begin = Clock::now();
  do {
    LLMC_TRY(streams.step(out));
    out->seconds = since(begin);
  } while (out->seconds < seconds);
  return {};
}

}  // namespace

std::string_view sample_text_for_speed() { return sample; }

SpeedStreams::SpeedStreams(Session& session, std::span<const Symbol> text, Symbol start, bool decode)
    : session_(session), text_(text), start_(start), decode_(decode) {
  const int n = session.streams();
  for (int s = 0; s < n; ++s) {
    session.reset(s);
    positions_.push_back(session.context() * static_cast<int64_t>(s) / n);
  }
}

Status SpeedStreams::warm() {
  for (int s = 0; s < session_.streams(); ++s) {
    for (int at = 0; at < positions_[s];) {
      std::vector<Row> rows;
      for (; at < positions_[s] && static_cast<int>(rows.size()) < session_.max_rows(); ++at) {
        rows.push_back(row(s, at, false));
      }
      LLMC_TRY(session_.feed(rows, Ask::intervals));
    }
  }
  return {};
}

Status SpeedStreams::step(Measured* out) {
  rows_.clear();
  const int streams = session_.streams();
  const int each = decode_ ? 1 : std::max(1, session_.max_rows() / streams);
  for (int s = 0; s < streams; ++s) {
    if (positions_[s] == session_.context()) {
      session_.reset(s);
      positions_[s] = 0;
    }
    for (int i = 0; i < each && positions_[s] < session_.context(); ++i) {
      rows_.push_back(row(s, positions_[s]++, true));
      out->seen += static_cast<double>(positions_[s]);
    }
  }
  LLMC_TRY(session_.feed(rows_, decode_ ? Ask::search : Ask::intervals));
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (session_.range_error_layer(rows_[i].stream) >= 0) {
      return {Code::range, "the sample drives the model out of its range"};
    }
    Interval interval;
    if (decode_) {
      session_.found(static_cast<int>(i), &interval);
    } else {
      interval = session_.interval(static_cast<int>(i));
    }
  }
  out->tokens += rows_.size();
  return {};
}

Row SpeedStreams::row(int stream, int64_t position, bool ask) {
  Row row;
  row.stream = stream;
  row.token = position == 0 ? start_ : text_[(position + stream * 7) % text_.size()];
  if (ask) row.want = text_[(position + 1 + stream * 7) % text_.size()];
  // Some point of the number line, another one each time.
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  row.state = {(random_ >> 2) | 1, uint64_t{1} << 62};
  row.state.code %= row.state.range;
  return row;
}

Result<Measured> measure_speed(Engine& engine, std::span<const Symbol> text, int threads, int streams, bool decode,
                               double seconds) {
  std::vector<Measured> parts(threads);
  std::vector<Status> states(threads);
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      const Result<std::unique_ptr<Session>> session = engine.make_session(streams);
      const Symbol start = engine.model().config().start;
      states[t] = session.ok() ? run_streams(**session, text, start, decode, seconds, &parts[t]) : session.status();
    });
  }
  for (std::thread& thread : pool) thread.join();
  Measured sum;
  double rate = 0;
  for (int t = 0; t < threads; ++t) {
    LLMC_TRY(states[t]);
    sum.tokens += parts[t].tokens;
    sum.seen += parts[t].seen;
    rate += static_cast<double>(parts[t].tokens) / parts[t].seconds;
  }
  sum.seconds = static_cast<double>(sum.tokens) / rate;
  return sum;
}

}  // namespace llmc
