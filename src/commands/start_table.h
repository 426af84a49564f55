// What the workers of a job are, told once as it starts: so that a node that came up without its processor's better half, or
// with a neighbour on it, is seen on the first screen and not in the bill.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "model/session.h"

namespace llmc {

struct WorkerFacts {
  std::string host;
  std::string engine;             // Engine::name(); empty: the job needs no model
  uint32_t threads = 0, streams = 0;
  uint64_t memory = 0;            // bytes of the host's main memory that are free for it; 0: not known
  double tokens_per_second = 0;   // scoring, on all threads; 0: not measured

  std::string place() const;  // "node7, native avx2"
  void write(ByteWriter& out) const;
  static WorkerFacts read(ByteReader& in);  // in.ok() tells
};

// Of this process. `measure`: also its speed, which takes a tenth of a second or one pass of the model. A speed that cannot
// be measured stays unknown: no job ends for that.
WorkerFacts worker_facts(Engine* engine, int threads, int streams, bool measure);

// One line a worker; workers[i] is rank i + 1.
std::string start_table(std::span<const WorkerFacts> workers);
// One sentence for each of three or more that has less than half of the median speed.
std::vector<std::string> slow_workers(std::span<const WorkerFacts> workers);

}  // namespace llmc
