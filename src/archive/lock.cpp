#include "archive/lock.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

namespace llmc {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t max_lock_bytes = 4096;

std::string this_host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string this_boot() {
  // Pseudo-files have no size: read_file would see them as empty.
  auto file = File::open_read("/proc/sys/kernel/random/boot_id");
  uint8_t text[64];
  if (!file.ok()) return "";
  auto n = file->read(text);
  std::string id(as_text(ByteView(text, n.ok() ? *n : 0)));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

// Field 22 of /proc/PID/stat; 0 where it cannot be told.
uint64_t start_of(int64_t pid) {
  auto file = File::open_read("/proc/" + std::to_string(pid) + "/stat");
  uint8_t text[1024];
  if (!file.ok()) return 0;
  auto n = file->read(text);
  const std::string line(as_text(ByteView(text, n.ok() ? *n : 0)));
  size_t at = line.rfind(')');  // the name before it may hold blanks
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = line.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtoull(line.c_str() + at + 1, nullptr, 10);
}

LockHolder this_process() {
  LockHolder holder;
  holder.host = this_host();
  holder.pid = ::getpid();
  holder.process_start = start_of(holder.pid);
  holder.boot = this_boot();
  if (const char* job = std::getenv("SLURM_JOB_ID")) holder.slurm_job = job;
  if (const char* restarts = std::getenv("SLURM_RESTART_COUNT")) holder.slurm_restart = std::strtoull(restarts, nullptr, 10);
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  holder.since = text;
  return holder;
}

std::string to_text(const LockHolder& holder) {
  nlohmann::ordered_json j;
  j["host"] = holder.host;
  j["pid"] = holder.pid;
  j["process_start"] = holder.process_start;
  j["boot"] = holder.boot;
  j["slurm_job"] = holder.slurm_job;
  j["slurm_restart"] = holder.slurm_restart;
  j["since"] = holder.since;
  return j.dump(-1, ' ', true, json::error_handler_t::replace) + "\n";
}

Result<LockHolder> from_file(const File& file) {
  const Status wrong(Code::corrupt, printable(file.path().native()) + ": not a lock file");
  LLMC_ASSIGN(const uint64_t size, file.size());
  if (size > max_lock_bytes) return wrong;
  Bytes bytes(size);
  LLMC_TRY(file.read_at(0, bytes));
  const json j = json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!j.is_object()) return wrong;
  auto text = [&](const char* key) {
    const auto at = j.find(key);
    return at != j.end() && at->is_string() ? at->get<std::string>() : std::string();
  };
  auto number = [&](const char* key) -> uint64_t {
    const auto at = j.find(key);
    return at != j.end() && at->is_number_unsigned() ? at->get<uint64_t>() : 0;
  };
  LockHolder holder;
  holder.host = text("host");
  holder.pid = static_cast<int64_t>(number("pid"));
  holder.process_start = number("process_start");
  holder.boot = text("boot");
  holder.slurm_job = text("slurm_job");
  holder.slurm_restart = number("slurm_restart");
  holder.since = text("since");
  if (holder.host.empty() || holder.pid <= 0) return wrong;
  return holder;
}

// What Slurm says of the job: true only where it has ended or is no longer known. Without squeue, or where
// the controller does not answer, nothing is known.
bool slurm_job_ended(const std::string& job) {
  if (job.empty() || job.size() > 20 || job.find_first_not_of("0123456789") != std::string::npos) return false;
  FILE* const pipe = ::popen(("squeue -h -j " + job + " -t all -o %T 2>&1").c_str(), "r");
  if (!pipe) return false;
  std::string text(1024, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), pipe));
  const int rc = ::pclose(pipe);
  if (text.find("Invalid job id") != std::string::npos) return true;
  if (rc != 0) return false;
  static const char* const live[] = {"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STAGE_OUT",
                                     "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SIGNALING", "STOPPED"};
  for (const char* state : live) {
    if (text.find(state) != std::string::npos) return false;
  }
  return true;
}

Status locked(const fs::path& path, const Result<LockHolder>& holder) {
  const std::string who = holder.ok() ? holder->describe() : "a process that has not said who it is";
  return {Code::locked, printable(path.native()) + ": in use by " + who};
}

}  // namespace

std::string LockHolder::describe() const {
  return "process " + std::to_string(pid) + " on " + printable(host) +
         (slurm_job.empty() ? "" : ", Slurm job " + printable(slurm_job)) + ", since " + printable(since);
}

Result<LockHolder> Lock::read(const fs::path& path) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  return from_file(file);
}

bool Lock::is_stale(const LockHolder& holder) {
  if (!holder.slurm_job.empty()) {
    const LockHolder here = this_process();
    if (here.slurm_job == holder.slurm_job && here.slurm_restart > holder.slurm_restart) return true;
  }
  if (holder.host != this_host()) return slurm_job_ended(holder.slurm_job);
  if (!holder.boot.empty() && holder.boot != this_boot()) return true;
  if (::kill(static_cast<pid_t>(holder.pid), 0) != 0 && errno == ESRCH) return true;
  const uint64_t start = start_of(holder.pid);
  return start != 0 && holder.process_start != 0 && start != holder.process_start;
}

Result<Lock> Lock::acquire(const fs::path& path, bool break_lock) {
  // Each round ends in a lock, a refusal, or another process that let go in between.
  for (int round = 0; round < 100; ++round) {
    Lock lock;
    lock.path_ = path;
    lock.owner_ = ::getpid();
    auto created = File::create_new(path);
    const bool is_new = created.ok();
    if (!is_new && created.status().code() != Code::locked) return created.status();
    // A file that went since is made anew here, empty: as good as one whose creator died.
    auto opened = is_new ? std::move(created) : File::open_update(path);
    if (!opened.ok()) return opened.status();
    File file = std::move(*opened);
    const bool flocked = ::flock(file.descriptor(), LOCK_EX | LOCK_NB) == 0;
    if (!flocked && errno == EWOULDBLOCK) return locked(path, from_file(file));
    // The name must still lead to the file that is locked: its holder may just have removed it.
    struct stat here, there;
    if (::fstat(file.descriptor(), &here) != 0) return errno_status(errno, path);
    if (::stat(path.c_str(), &there) != 0 || here.st_ino != there.st_ino || here.st_dev != there.st_dev) continue;
    if (!is_new) {
      const auto holder = from_file(file);
      // An unreadable file is one whose creator died before it wrote; with the flock ours, it did.
      const bool gone = holder.ok() ? is_stale(*holder) : flocked;
      if (!gone && !break_lock) {
        return Status(Code::locked, locked(path, holder).message() + " (--break-lock if that no longer runs)");
      }
      LLMC_TRY(file.truncate(0));
    }
    LLMC_TRY(file.write_at(0, as_bytes(to_text(this_process()))));
    lock.file_ = std::move(file);
    return lock;
  }
  return Status(Code::locked, printable(path.native()) + ": comes and goes; try again");
}

Lock::Lock(Lock&& other) noexcept
    : file_(std::move(other.file_)), path_(std::move(other.path_)), owner_(other.owner_) {}
Lock& Lock::operator=(Lock&& other) noexcept {
  if (this != &other) {
    release();
    file_ = std::move(other.file_);
    path_ = std::move(other.path_);
    owner_ = other.owner_;
  }
  return *this;
}
Lock::~Lock() { release(); }

void Lock::release() {
  if (!file_.is_open()) return;
  // A forked child has the object, but not the lock.
  if (::getpid() == owner_) ::unlink(path_.c_str());
  file_ = File();
}

}  // namespace llmc
