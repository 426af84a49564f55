// Comm over MPI. The only folder that includes mpi.h; this header does not.
//
// MPI cannot survive the loss of a rank here (Open MPI 4.1 kills the job, or says nothing
// on a partition), so the rules of a program on top of it are:
//  - a rank that cannot go on calls abort_job(); it never leaves early, since the others'
//    MPI_Finalize would wait for it for ever;
//  - what ends the program with another exit code than 0 ends it on rank 0 alone, after
//    Finalize: mpirun kills the other ranks at the first non-zero exit.
// All of it is called from the main thread.
#pragma once

#include <memory>
#include <string>

#include "comm/comm.h"

namespace llmc {

// True where mpirun, mpiexec or a PMI launcher started this process (OMPI_COMM_WORLD_SIZE,
// PMIX_RANK, PMI_RANK). SLURM_* says nothing: a batch script's own processes carry it too.
bool launched_by_mpi();

// MPI_Init_thread (FUNNELED) .. MPI_Finalize. When unwound by an exception, the destructor
// ends the whole job instead, as Finalize would hang.
class MpiSession {
 public:
  // Fails where MPI is running or was finalized already.
  static Result<std::unique_ptr<MpiSession>> start();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  MpiSession();
  const int exceptions_;
};

// All ranks of the job on a communicator of its own (collective). Needs a live MpiSession
// and must go before it.
Result<std::unique_ptr<Comm>> make_mpi_comm();

// "Open MPI v4.1.4": what the library says of itself, up to the first comma. Needs no session.
std::string mpi_version();

// Ends every rank of the job with this exit code, at once; without MPI, this process.
[[noreturn]] void abort_job(int code);

}  // namespace llmc
