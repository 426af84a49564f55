// Requests from outside: SIGUSR1 asks to drain (finish, commit, exit 75),
// SIGINT to stop now with a clean state (exit 130).
#pragma once

namespace llmc {

// Installs the handlers; SIGPIPE is ignored. Call once from the main thread.
void install_signal_handlers();

// True from the first SIGUSR1 / SIGINT or SIGTERM on. Any thread.
bool drain_requested();
bool stop_requested();

// For tests and for the in-process dispatcher: what a signal would have done.
void request_drain();
void clear_signal_requests();

}  // namespace llmc
