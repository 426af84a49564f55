// Who works on an output: a file that only one process can create.
//
// It says host, process, Slurm job and time. On one machine a flock on it ends with its holder,
// so what a killed process left behind is taken over at once; a lock of another host is never
// taken over by itself, only with `break_lock` - or where Slurm (squeue) says that its job has ended, or by a later start of the same Slurm job, since Slurm starts a
// job again only when its earlier start has ended. Held by one object, released by its end.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "base/file.h"

namespace llmc {

struct LockHolder {
  std::string host;
  int64_t pid = 0;
  uint64_t process_start = 0;  // clock ticks after boot: a number that came round again is told by it
  std::string boot;            // of the machine; a reboot ends all its processes
  std::string slurm_job;       // empty: not under Slurm
  uint64_t slurm_restart = 0;  // how often that job had been started again
  std::string since;           // UTC, ISO 8601

  std::string describe() const;
};

class Lock {
 public:
  Lock() = default;
  // Code::locked, naming the holder, where another process has it.
  static Result<Lock> acquire(const std::filesystem::path& path, bool break_lock = false);
  // Code::missing where nobody holds it, Code::corrupt where the file cannot be read.
  static Result<LockHolder> read(const std::filesystem::path& path);
  // Whether the holder is known to be gone: this host, and no such process; or an earlier start of this Slurm job.
  static bool is_stale(const LockHolder& holder);

  ~Lock();
  Lock(Lock&& other) noexcept;
  Lock& operator=(Lock&& other) noexcept;
  bool held() const { return file_.is_open(); }
  void release();

 private:
  File file_;
  std::filesystem::path path_;
  pid_t owner_ = 0;
};

}  // namespace llmc
