// A job in one process without MPI: the coordinator on the calling thread, one worker on a
// thread of its own, in-process messages between them.
#pragma once

#include "dispatch/coordinator.h"
#include "dispatch/worker.h"

namespace llmc {

// As coordinate() and work() together; the first failure of either. Where report->clean is
// false, a compute thread hangs: end the process without destroying `processor`.
Status run_local(Job& job, Processor& processor, const CoordinatorOptions& coordinator, const WorkerOptions& worker,
                 CoordinatorReport* report);

}  // namespace llmc
