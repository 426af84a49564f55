// How fast an engine works on this machine: what `bench` measures, and what each worker tells as a job starts.
#pragma once

#include <chrono>
#include <span>
#include <string_view>
#include <vector>

#include "model/session.h"

namespace llmc {

// Seconds that have passed since then.
inline double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Enough text of its own that no measurement needs a file.
std::string_view sample_text_for_speed();

struct Measured {
  uint64_t tokens = 0;
  double seen = 0;  // positions looked at, over all tokens
  double seconds = 0;
};

// One thread's streams, from whole windows: each begins at another place of its window, so that at any time all
// lengths are there. Session and text outlive it.
class SpeedStreams {
 public:
  SpeedStreams(Session& session, std::span<const Symbol> text, Symbol start, bool decode);

  // Fills the streams up to where they begin.
  Status warm();
  // One pass: compressing, a block of rows; decoding, a token of each stream.
  Status step(Measured* out);

 private:
  Row row(int stream, int64_t position, bool ask);

  Session& session_;
  std::span<const Symbol> text_;
  const Symbol start_;
  const bool decode_;
  std::vector<int64_t> positions_;
  std::vector<Row> rows_;
  uint64_t random_ = 1;
};

// `threads` sessions of `streams` at once, each for about `seconds`.
Result<Measured> measure_speed(Engine& engine, std::span<const Symbol> text, int threads, int streams, bool decode,
                               double seconds);

}  // namespace llmc
