#include "base/signals.h"

#include <atomic>
#include <csignal>

namespace llmc {
namespace {

std::atomic<bool> drain{false};
std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int number) {
  if (number == SIGUSR1) {
    drain = true;
    return;
  }
  // A second request means that the clean way hangs: die by the signal itself.
  if (stop.exchange(true)) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool drain_requested() { return drain; }
bool stop_requested() { return stop; }
void request_drain() { drain = true; }
void clear_signal_requests() {
  drain = false;
  stop = false;
}

}  // namespace llmc
