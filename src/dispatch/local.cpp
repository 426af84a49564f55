#include "dispatch/local.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>

#include "comm/thread_comm.h"
#include "dispatch/protocol.h"

namespace llmc {
namespace {

// The worker leaves, whatever state the coordinator ended in.
void dismiss(Comm& root, uint32_t session) {
  for (int tries = 0; tries < 100; ++tries) {
    try {
      (void)root.send(1, protocol::leave, protocol::encode(protocol::Header{session}));
      return;
    } catch (const std::exception&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));  // memory comes back as the threads end
    }
  }
}

}  // namespace

Status run_local(Job& job, Processor& processor, const CoordinatorOptions& coordinator, const WorkerOptions& worker,
                 CoordinatorReport* report) {
  ThreadWorld world(2);
  const auto root = world.endpoint(0);
  Status worked;
  CoordinatorReport own;
  std::atomic<bool> worker_gone{false};
  std::thread thread;
  try {
    thread = std::thread([&] {
      const auto comm = world.endpoint(1);
      worked = work(*comm, processor, worker);
      worker_gone = true;
    });
  } catch (const std::system_error& e) {
    return {Code::failure, std::string("a thread cannot be started: ") + e.what()};
  }
  // Either side may end early where there is no memory: the other must not wait for it.
  CoordinatorOptions options = coordinator;
  options.stop = [&] { return worker_gone || coordinator.stop(); };
  const Status status = coordinate(*root, job, options, &own);
  if (!own.clean) dismiss(*root, coordinator.session);
  thread.join();
  // After a hurried end the worker may still have left in good order.
  own.clean = worked.ok();
  if (report) *report = own;
  // Interrupted by nobody but the worker's end: then its reason is the one to tell.
  const bool worker_first = !worked.ok() && status.code() == Code::interrupted && !coordinator.stop();
  return status.ok() || worker_first ? worked : status;
}

}  // namespace llmc
