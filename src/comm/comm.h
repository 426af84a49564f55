// How ranks talk: typed messages with deadlines, over MPI or between threads.
//
// Not MPI-thread-safe on purpose: all calls of one Comm come from one thread (the rank's
// main thread; MPI_THREAD_FUNNELED). Sends never block; the bytes are owned by the Comm
// until they are gone. Messages between one pair of ranks arrive in order unless faults
// are injected (in-process Comm). A message may be up to 1 GiB.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

struct Message {
  int from = 0;
  int tag = 0;  // 0 .. 32767, meaning defined by the user (dispatch/protocol.h)
  Bytes bytes;
};

class Comm {
 public:
  using Duration = std::chrono::nanoseconds;

  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Queues a message. Fails for a bad rank, an over-long message or a broken transport.
  virtual Status send(int to, int tag, Bytes bytes) = 0;
  // The next message, or nothing within `wait` (0: poll once). Also moves pending sends on.
  // Waiting backs off from 50 us to 1 ms sleeps, so that an idle rank costs no core.
  virtual Result<std::optional<Message>> receive(Duration wait) = 0;
  // Waits until every queued send is gone, or fails at the deadline, naming the rank.
  virtual Status flush(Duration deadline) = 0;

  // Collectives: every rank calls them in the same order, while no message is in flight.
  virtual Status broadcast(int root, Bytes* bytes, Duration deadline) = 0;
  virtual Result<std::vector<Bytes>> gather(int root, Bytes bytes, Duration deadline) = 0;
  virtual Status barrier(Duration deadline) = 0;
};

}  // namespace llmc
