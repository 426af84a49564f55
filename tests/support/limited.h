// Work that may take only so much memory: what "refused before memory is taken" is held to.
#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <fstream>
#include <new>
#include <string>

namespace llmc::test {

// Runs `work` in a child process that may take `mib` MiB of addresses more than this one has, and a minute of CPU time.
// Empty: it returned true. Otherwise what became of it. AddressSanitizer's own memory cannot be limited: there only the result counts.
inline std::string within(size_t mib, const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child < 0) return "no child could be started";
  if (child == 0) {
    const rlimit time{60, 60};
    ::setrlimit(RLIMIT_CPU, &time);
#ifndef __SANITIZE_ADDRESS__
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t bytes = pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + (mib << 20);
    const rlimit memory{bytes, bytes};
    ::setrlimit(RLIMIT_AS, &memory);
#endif
    int code = 1;
    try {
      code = work() ? 0 : 1;
    } catch (const std::bad_alloc&) {
      code = 2;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) == 2) return "wanted more than " + std::to_string(mib) + " MiB";
  return WEXITSTATUS(status) == 0 ? "" : "gave another result";
}

// That the limit is one.
inline bool a_gibibyte_is_too_much() {
#ifdef __SANITIZE_ADDRESS__
  return true;
#else
  return !within(64, [] { return std::string(size_t{1} << 30, 'x')[5] == 'x'; }).empty();
#endif
}

}  // namespace llmc::test
