#include "corpus/output_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/file.h"
#include "corpus/names.h"

namespace llmc {

namespace {

std::string_view folder_part(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == name.npos ? std::string_view() : name.substr(0, slash);
}
std::string last_part(std::string_view name) { return std::string(name.substr(name.rfind('/') + 1)); }

void times_of(int64_t mtime_ns, struct timespec out[2]) {
  constexpr int64_t second = 1000000000;
  int64_t seconds = mtime_ns / second, rest = mtime_ns % second;
  if (rest < 0) {
    rest += second;
    --seconds;
  }
  out[0] = {0, UTIME_OMIT};
  out[1] = {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

}  // namespace

OutputTree::Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}
OutputTree::Descriptor& OutputTree::Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}
int OutputTree::Descriptor::release() { return std::exchange(fd_, -1); }

OutputTree::OutputTree(std::filesystem::path root, Descriptor fd, const OutputOptions& options)
    : root_(std::move(root)), root_fd_(std::move(fd)), options_(options) {
  options_.max_open = std::max<size_t>(options_.max_open, 1);
}
OutputTree::OutputTree(OutputTree&& other) noexcept = default;

OutputTree::~OutputTree() {
  while (!unfinished_.empty()) discard(unfinished_.begin()->first);
}

std::string OutputTree::shown(std::string_view name) const { return printable((root_ / name).native()); }
Status OutputTree::failed(std::string_view name, int error) const { return errno_status(error, root_ / name); }
Status OutputTree::exists(std::string_view name) const {
  return {Code::failure, shown(name) + ": exists already; --force replaces it"};
}

Result<OutputTree> OutputTree::open(const std::filesystem::path& directory, const OutputOptions& options) {
  std::error_code error;
  const std::filesystem::path root = directory.empty() ? "." : directory;
  std::filesystem::create_directories(root, error);  // what it could not make fails to open
  Descriptor fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return errno_status(error && errno == ENOENT ? error.value() : errno, root);
  return OutputTree(root, std::move(fd), options);
}

// The folder `name` below the root ("": the root itself), one part after the other.
Result<OutputTree::Descriptor> OutputTree::open_folder(std::string_view name, bool make) const {
  // O_PATH asks for no right to list.
  constexpr int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Descriptor here(::openat(root_fd_.get(), ".", flags));
  if (here.get() < 0) return errno_status(errno, root_);
  for (size_t start = 0; start < name.size();) {
    const size_t slash = std::min(name.find('/', start), name.size());
    const std::string part(name.substr(start, slash - start));
    const std::string_view so_far = name.substr(0, slash);
    if (make && ::mkdirat(here.get(), part.c_str(), 0777) != 0 && errno != EEXIST) return failed(so_far, errno);
    Descriptor next(::openat(here.get(), part.c_str(), flags));
    if (next.get() < 0) {
      const int error = errno;
      struct stat st;
      if (::fstatat(here.get(), part.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
        return Status(Code::failure, shown(so_far) + ": is a symbolic link, which is not followed when extracting");
      }
      return failed(so_far, error);
    }
    here = std::move(next);
    start = slash + 1;
  }
  return here;
}

Result<int> OutputTree::folder_of(const std::string& name) {
  const std::string_view folder = folder_part(name);
  if (last_folder_fd_.get() < 0 || folder != last_folder_) {
    LLMC_ASSIGN(last_folder_fd_, open_folder(folder, true));
    last_folder_ = std::string(folder);
    remove_leftovers();
  }
  return last_folder_fd_.get();
}

std::string OutputTree::temporary_name() {
  const std::string run = options_.run.empty() ? std::to_string(::getpid()) : options_.run;
  return ".llmc-" + run + "-" + std::to_string(next_temporary_++) + ".part";
}

// Of an earlier run, in last_folder_; not what this one has open there.
void OutputTree::remove_leftovers() const {
  if (options_.run.empty()) return;
  const int fd = ::openat(last_folder_fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const folder = fd < 0 ? nullptr : ::fdopendir(fd);
  if (!folder) {
    if (fd >= 0) ::close(fd);
    return;
  }
  const std::string begin = ".llmc-" + options_.run + "-";
  while (const dirent* item = ::readdir(folder)) {
    const std::string name = item->d_name;
    if (!name.starts_with(begin) || !name.ends_with(".part")) continue;
    const bool ours = std::any_of(unfinished_.begin(), unfinished_.end(),
                                  [&](const auto& file) { return file.second.temporary == name; });
    if (!ours) ::unlinkat(last_folder_fd_.get(), name.c_str(), 0);
  }
  ::closedir(folder);
}

Result<bool> OutputTree::holds(std::string_view name, const std::vector<Stretch>& stretches) const {
  LLMC_TRY(check_entry_name(name));
  Result<Descriptor> folder = open_folder(folder_part(name), false);
  if (!folder.ok()) return false;
  const Descriptor fd(::openat(folder->get(), last_part(name).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st;
  if (fd.get() < 0 || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return false;
  uint64_t size = 0;
  for (const Stretch& stretch : stretches) size += stretch.size;
  if (static_cast<uint64_t>(st.st_size) != size) return false;
  Bytes buffer(1u << 20);
  for (const Stretch& stretch : stretches) {
    Sha256 hash;
    for (uint64_t left = stretch.size; left > 0;) {
      const ssize_t n = ::read(fd.get(), buffer.data(), std::min<uint64_t>(buffer.size(), left));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(name, errno);
      if (n == 0) return false;
      hash.update(ByteView(buffer).first(static_cast<size_t>(n)));
      left -= static_cast<uint64_t>(n);
    }
    if (hash.finish() != stretch.sha256) return false;
  }
  return true;
}

Status OutputTree::add(const Entry& entry) {
  LLMC_TRY(check_entry_name(entry.name));
  switch (entry.kind) {
    case Entry::Kind::directory:
      return add_directory(entry);
    case Entry::Kind::symlink:
      return add_symlink(entry);
    case Entry::Kind::file:
      break;
  }
  if (!options_.run.empty()) {
    LLMC_ASSIGN(const bool there, holds(entry.name, {}));
    if (there) return {};
  }
  LLMC_ASSIGN(const Handle handle, create(entry));
  return finish(handle);
}

Status OutputTree::add_directory(const Entry& entry) {
  LLMC_ASSIGN(const int folder, folder_of(entry.name));
  const std::string last = last_part(entry.name);
  // Its own mode may forbid to write into it: that comes in close().
  const mode_t mode = options_.metadata ? 0700 : 0777;
  for (bool again = true; ::mkdirat(folder, last.c_str(), mode) != 0; again = false) {
    if (errno != EEXIST) return failed(entry.name, errno);
    struct stat st;
    if (::fstatat(folder, last.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return failed(entry.name, errno);
    if (S_ISDIR(st.st_mode)) {
      // Extracted before, perhaps read-only; where it is not ours, writing says so. /proc, since fchmod takes no
      // O_PATH descriptor, a folder of mode 0 gives no other, and fchmodat would follow a link.
      const Descriptor fd(::openat(folder, last.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
      if (options_.metadata && (st.st_mode & 0700) != 0700) (void)!::chmod(path.c_str(), (st.st_mode & 0777) | 0700);
      break;
    }
    if (!options_.force || !again) return exists(entry.name);
    if (::unlinkat(folder, last.c_str(), 0) != 0) return failed(entry.name, errno);
  }
  folders_.push_back({entry.name, entry.mode, entry.mtime_ns});
  return {};
}

Status OutputTree::add_symlink(const Entry& entry) {
  if (entry.target.empty() || entry.target.find('\0') != std::string::npos) {
    return {Code::corrupt, shown(entry.name) + ": has no valid link target"};
  }
  LLMC_ASSIGN(const int folder, folder_of(entry.name));
  std::string last = last_part(entry.name), made = last;
  while (::symlinkat(entry.target.c_str(), folder, made.c_str()) != 0) {
    if (errno != EEXIST) return failed(entry.name, errno);
    std::string there(entry.target.size() + 1, '\0');
    const ssize_t length = ::readlinkat(folder, last.c_str(), there.data(), there.size());
    there.resize(static_cast<size_t>(std::max<ssize_t>(length, 0)));
    if (!options_.run.empty() && there == entry.target) return {};
    if (!options_.force) return exists(entry.name);
    made = temporary_name();
  }
  if (options_.metadata) {
    struct timespec times[2];
    times_of(entry.mtime_ns, times);
    if (::utimensat(folder, made.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      warnings_.push_back(failed(entry.name, errno).with("the time was not restored").message());
    }
  }
  if (made != last && ::renameat(folder, made.c_str(), folder, last.c_str()) != 0) {
    const int error = errno;
    ::unlinkat(folder, made.c_str(), 0);
    return failed(entry.name, error);
  }
  return {};
}

Result<OutputTree::Handle> OutputTree::create(const Entry& entry) {
  LLMC_TRY(check_entry_name(entry.name));
  LLMC_ASSIGN(const int folder, folder_of(entry.name));
  // Said now, before anything is decoded, and made sure of in finish.
  struct stat st;
  if (::fstatat(folder, last_part(entry.name).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!options_.force) return exists(entry.name);
    if (S_ISDIR(st.st_mode)) return failed(entry.name, EISDIR);
  }
  Unfinished file;
  file.name = entry.name;
  file.size = entry.size;
  file.mode = entry.mode;
  file.mtime_ns = entry.mtime_ns;
  const Handle handle = next_++;
  const auto added = unfinished_.emplace(handle, std::move(file)).first;
  const Status status = ensure_open(handle, added->second);
  if (!status.ok()) {
    unfinished_.erase(added);
    return status;
  }
  return handle;
}

Status OutputTree::ensure_open(Handle handle, Unfinished& file) {
  if (file.fd.get() >= 0) {
    open_.splice(open_.end(), open_, file.use);
    return {};
  }
  if (open_.size() >= options_.max_open) {
    Unfinished& oldest = unfinished_.at(open_.front());
    open_.pop_front();
    if (::close(oldest.fd.release()) != 0) return failed(oldest.name, errno);
  }
  LLMC_ASSIGN(const int folder, folder_of(file.name));
  if (file.temporary.empty()) {
    const mode_t mode = options_.metadata ? 0600 : 0666;
    do {
      file.temporary = temporary_name();
      file.fd = Descriptor(
          ::openat(folder, file.temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    } while (file.fd.get() < 0 && errno == EEXIST);
  } else {
    file.fd = Descriptor(::openat(folder, file.temporary.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  }
  if (file.fd.get() < 0) return failed(file.name, errno);
  file.use = open_.insert(open_.end(), handle);
  return {};
}

Status OutputTree::write_at(Handle handle, uint64_t offset, ByteView bytes) {
  const auto found = unfinished_.find(handle);
  if (found == unfinished_.end()) return {Code::failure, "bytes for a file that is not open"};
  Unfinished& file = found->second;
  if (offset > file.size || bytes.size() > file.size - offset || bytes.size() > file.size - file.written) {
    return {Code::corrupt, shown(file.name) + ": more bytes than its " + std::to_string(file.size)};
  }
  LLMC_TRY(ensure_open(handle, file));
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file.fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(file.name, errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
    file.written += static_cast<uint64_t>(n);
  }
  return {};
}

void OutputTree::set_metadata(int fd, const std::string& name, uint32_t mode, int64_t mtime_ns) {
  if (!options_.metadata) return;
  if (::fchmod(fd, mode & 01777) != 0)
    warnings_.push_back(failed(name, errno).with("the mode was not restored").message());
  struct timespec times[2];
  times_of(mtime_ns, times);
  if (::futimens(fd, times) != 0) warnings_.push_back(failed(name, errno).with("the time was not restored").message());
}

Status OutputTree::put_in_place(int folder, Unfinished& file) {
  const std::string last = last_part(file.name);
  if (options_.force) {
    return ::renameat(folder, file.temporary.c_str(), folder, last.c_str()) == 0 ? Status() : failed(file.name, errno);
  }
  if (::renameat2(folder, file.temporary.c_str(), folder, last.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EEXIST) return exists(file.name);
  if (errno != EINVAL && errno != ENOSYS) return failed(file.name, errno);
  // File systems without RENAME_NOREPLACE (NFS): link(2) does not replace either.
  if (::linkat(folder, file.temporary.c_str(), folder, last.c_str(), 0) == 0) {
    ::unlinkat(folder, file.temporary.c_str(), 0);
    return {};
  }
  if (errno == EEXIST) return exists(file.name);
  // And without links (FAT): look, then rename.
  struct stat st;
  if (::fstatat(folder, last.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return exists(file.name);
  return ::renameat(folder, file.temporary.c_str(), folder, last.c_str()) == 0 ? Status() : failed(file.name, errno);
}

Status OutputTree::finish(Handle handle) {
  const auto found = unfinished_.find(handle);
  if (found == unfinished_.end()) return {Code::failure, "the end of a file that is not open"};
  Unfinished& file = found->second;
  const auto run = [&]() -> Status {
    if (file.written != file.size) {
      return {Code::corrupt, shown(file.name) + ": " + std::to_string(file.written) + " of its " +
                                 std::to_string(file.size) + " bytes have come"};
    }
    LLMC_TRY(ensure_open(handle, file));
    set_metadata(file.fd.get(), file.name, file.mode, file.mtime_ns);
    open_.erase(file.use);
    // Network file systems report late write errors here.
    if (::close(file.fd.release()) != 0) return failed(file.name, errno);
    LLMC_ASSIGN(const int folder, folder_of(file.name));
    return put_in_place(folder, file);
  };
  const Status status = run();
  if (!status.ok()) {
    discard(handle);
  } else {
    unfinished_.erase(found);
  }
  return status;
}

void OutputTree::discard(Handle handle) {
  const auto found = unfinished_.find(handle);
  if (found == unfinished_.end()) return;
  Unfinished& file = found->second;
  if (file.fd.get() >= 0) open_.erase(file.use);
  const auto folder = open_folder(folder_part(file.name), false);
  if (folder.ok()) ::unlinkat(folder->get(), file.temporary.c_str(), 0);
  unfinished_.erase(found);
}

Status OutputTree::close() {
  last_folder_fd_ = Descriptor();
  if (options_.metadata) {
    // A folder's name is a prefix of what it holds: the reverse order takes the deepest first.
    std::sort(folders_.begin(), folders_.end(), [](const Folder& a, const Folder& b) { return a.name > b.name; });
    for (const Folder& folder : folders_) {
      LLMC_ASSIGN(const Descriptor path, open_folder(folder.name, false));
      const Descriptor fd(::openat(path.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (fd.get() < 0) return failed(folder.name, errno);
      set_metadata(fd.get(), folder.name, folder.mode, folder.mtime_ns);
    }
  }
  folders_.clear();
  return {};
}

}  // namespace llmc
