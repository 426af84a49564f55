// Where a rank stands on its machine, and how many threads and which device are its own.
//
// Never guessed from SLURM_PROCID or SLURM_LOCALID: under mpirun in a Slurm job these are
// the launch daemon's. Node-local ranks come from MPI (shared memory), cores from the
// affinity mask that mpirun, Slurm or taskset have set.
#pragma once

#include <string>
#include <vector>

#include "comm/comm.h"

namespace llmc {

struct Placement {
  int local_rank = 0;     // among the ranks of this machine, in order of rank
  int ranks_here = 1;
  bool worker = true;     // this rank computes
  int worker_index = 0;   // among the workers of this machine
  int workers_here = 1;
  int cores = 1;          // that this rank may use
  int threads = 1;        // that it should start to compute; at least 1 also where it is no worker
  std::string note;       // for the log: cores of this machine that nobody uses
};

// Cores that this process may use: its affinity mask, no more than its cgroup's CPU quota.
int available_cores();

// For all ranks of `comm` (collective). Rank 0 coordinates and is no worker, unless it is
// alone. Cores that several workers of a machine may use are divided among them; those that
// mpirun has bound a rank to are its own. `threads` > 0 overrides the number.
// Where Open MPI has bound the ranks by default (nobody asked) and so leaves cores idle, the
// calling thread's mask is widened to the launcher's: call before other threads are started.
Result<Placement> place(Comm& comm, int threads, Comm::Duration deadline);
// The same for a process without MPI.
Placement place_alone(int threads);

// The device of this rank among the `visible` ones of its process, or -1 where there is none:
// workers take them in turn. Where the launcher shows each rank only its own, that is 0. With `each` > 1 the first of
// so many that follow each other; what does not fill such a group is left alone.
int device_of(const Placement& placement, int visible, int each = 1);

// The rule of place(), for tests: threads of each worker of one machine, given the cores
// (numbers in the affinity mask) that each may use and the quota (0: none) on all of them.
std::vector<int> divide_cores(const std::vector<std::vector<int>>& cores, int quota);

}  // namespace llmc
