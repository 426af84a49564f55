// How a job ends when one rank cannot go on: the last rank leaves in the way that argv[1]
// says while the others wait for it. Run under mpirun; the test is the exit code.
#include <cstring>
#include <stdexcept>

#include "comm/mpi_comm.h"

int main(int argc, char** argv) {
  using namespace llmc;
  const bool throws = argc > 1 && std::strcmp(argv[1], "throw") == 0;
  try {
    auto session = MpiSession::start();
    if (!session.ok()) return 90;
    auto comm = make_mpi_comm();
    if (!comm.ok()) return 91;
    if ((*comm)->rank() == (*comm)->size() - 1) {
      if (throws) throw std::runtime_error("a bug");
      abort_job(7);
    }
    const Status s = (*comm)->barrier(std::chrono::minutes(10));
    return s.ok() ? 92 : 93;
  } catch (const std::exception&) {
    return 94;  // not reached: the session's end has ended the job
  }
}
