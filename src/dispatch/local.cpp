#include "dispatch/local.h"

#include <thread>

#include "comm/thread_comm.h"

namespace llmc {

Status run_local(Job& job, Processor& processor, const CoordinatorOptions& coordinator, const WorkerOptions& worker,
                 CoordinatorReport* report) {
  ThreadWorld world(2);
  const auto root = world.endpoint(0);
  Status worked;
  CoordinatorReport own;
  std::thread thread([&] {
    const auto comm = world.endpoint(1);
    worked = work(*comm, processor, worker);
  });
  const Status status = coordinate(*root, job, coordinator, &own);
  thread.join();
  // After a hurried end the worker may still have left in good order.
  own.clean = worked.ok();
  if (report) *report = own;
  return status.ok() ? worked : status;
}

}  // namespace llmc
