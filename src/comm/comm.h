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
#include <vector>

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
  static constexpr size_t max_message = size_t{1} << 30;
  static constexpr int max_tag = 32767;

  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // The ranks that run on this rank's machine (share memory with it), rising, itself included.
  virtual const std::vector<int>& node_ranks() const = 0;

  // Queues a message. Fails for a bad rank, an over-long message or a broken transport.
  // A rank may send to itself.
  virtual Status send(int to, int tag, Bytes bytes) = 0;
  // The next message, or nothing within `wait` (0: poll once). Also moves pending sends on.
  // Waiting backs off from 50 us to 1 ms sleeps, so that an idle rank costs no core.
  virtual Result<std::optional<Message>> receive(Duration wait) = 0;
  // Waits until every queued send is gone, or fails after `deadline`, naming the rank.
  virtual Status flush(Duration deadline) = 0;

  // Collectives: every rank calls them in the same order, while no message is in flight.
  // `deadline` counts from the call. After one has failed, the Comm is of no further use
  // for collectives: the ranks no longer agree where they are.
  // broadcast takes any length; gather's parts are up to 1 GiB each, and only `root` gets
  // them (in rank order), the others an empty vector.
  virtual Status broadcast(int root, Bytes* bytes, Duration deadline) = 0;
  virtual Result<std::vector<Bytes>> gather(int root, Bytes bytes, Duration deadline) = 0;
  virtual Status barrier(Duration deadline) = 0;
};

}  // namespace llmc
