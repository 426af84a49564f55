// A world of N ranks inside one process, one thread each, with the interface of MPI's.
//
// What a single process without mpirun uses, and what the dispatcher's tests use: there the
// world loses, delays, doubles and reorders messages as a seed says, ranks freeze and die,
// and time may be a test's own, so that a test is one thread and repeats exactly.
#pragma once

#include <functional>
#include <memory>

#include "comm/comm.h"

namespace llmc {

// Chances are per message, and a function of seed, sender, receiver and the message's number
// alone. Collectives are never touched. Times count from the world's creation.
struct CommFaults {
  using Duration = Comm::Duration;

  uint64_t seed = 0;
  double drop = 0;
  double duplicate = 0;
  double delay = 0;    // waits up to max_delay; later messages of the pair wait behind it
  double reorder = 0;  // waits up to max_delay; later messages overtake it
  Duration max_delay{0};

  // A frozen rank hears and says nothing; what was sent meanwhile arrives afterwards.
  struct Freeze {
    int rank = 0;
    Duration at{0}, length{0};
  };
  // A dead rank's calls fail; what is sent to it vanishes.
  struct Kill {
    int rank = 0;
    Duration at{0};
  };
  std::vector<Freeze> freezes;
  std::vector<Kill> kills;
};

class ThreadWorld {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // With a `clock`, nothing ever waits: receive() gives what is due by that clock or nothing,
  // and all ranks may live on one thread (collectives are then of no use).
  explicit ThreadWorld(int size, CommFaults faults = {}, std::function<Time()> clock = {});
  ~ThreadWorld();

  // One endpoint for each rank; it may outlive the world. Any thread.
  std::unique_ptr<Comm> endpoint(int rank);
  // True while `rank` is dead or frozen by the faults. Any thread.
  bool dead(int rank) const;
  bool frozen(int rank) const;

 private:
  friend class ThreadComm;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace llmc
