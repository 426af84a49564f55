#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"

namespace llmc {

namespace fs = std::filesystem;

Status errno_status(int error, const fs::path& path) {
  const Code code = error == ENOENT ? Code::missing : Code::failure;
  return {code, printable(path.native()) + ": " + std::strerror(error)};
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}
File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

Result<File> File::open(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (fd < 0) {
    if (errno == EEXIST) return Status(Code::locked, printable(path.native()) + ": exists already");
    return errno_status(errno, path);
  }
  return File(fd, path);
}
Result<File> File::open_read(const fs::path& path) { return open(path, O_RDONLY); }
Result<File> File::create(const fs::path& path) { return open(path, O_RDWR | O_CREAT | O_TRUNC); }
Result<File> File::create_new(const fs::path& path) { return open(path, O_RDWR | O_CREAT | O_EXCL); }
Result<File> File::open_update(const fs::path& path) { return open(path, O_RDWR | O_CREAT); }

Result<uint64_t> File::size() const {
  struct stat st;
  if (::fstat(fd_, &st) != 0) return errno_status(errno, path_);
  return static_cast<uint64_t>(st.st_size);
}

namespace {

// What the medium does not give is lost to the reader, as damaged bytes are: Code::corrupt. The kernel says EIO, or ENODATA past the
// page cache.
Status read_status(int error, const fs::path& path, uint64_t offset) {
  if (error != EIO && error != ENODATA) return errno_status(error, path);
  return {Code::corrupt, printable(path.native()) + ": cannot be read from the medium at byte " + std::to_string(offset) + " (" +
                             std::strerror(error) + ")"};
}

}  // namespace

Result<size_t> File::read(std::span<uint8_t> out) {
  if (any_unreadable()) {
    const off_t at = ::lseek(fd_, 0, SEEK_CUR);
    if (at >= 0 && is_unreadable(path_, static_cast<uint64_t>(at), out.size())) return errno_status(EIO, path_);
  }
  for (;;) {
    const ssize_t n = ::read(fd_, out.data(), out.size());
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return errno_status(errno, path_);
  }
}

Status File::read_at(uint64_t offset, std::span<uint8_t> out) const {
  if (any_unreadable() && is_unreadable(path_, offset, out.size())) return read_status(EIO, path_, offset);
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return read_status(errno, path_, offset);
    if (n == 0) return {Code::corrupt, printable(path_.native()) + ": ends before byte " + std::to_string(offset + out.size())};
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status File::write(ByteView bytes) {
  LLMC_TRY(fault_point("file.write"));
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(errno, path_);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status File::write_at(uint64_t offset, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(errno, path_);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status File::truncate(uint64_t size) {
  return ::ftruncate(fd_, static_cast<off_t>(size)) == 0 ? Status() : errno_status(errno, path_);
}
Status File::seek(uint64_t offset) {
  return ::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) >= 0 ? Status() : errno_status(errno, path_);
}
Status File::sync_data() {
  LLMC_TRY(fault_point("file.sync"));
  return ::fdatasync(fd_) == 0 ? Status() : errno_status(errno, path_);
}
Status File::sync() {
  LLMC_TRY(fault_point("file.sync"));
  return ::fsync(fd_) == 0 ? Status() : errno_status(errno, path_);
}
Status File::close() {
  // close() reports late write errors on network file systems.
  if (fd_ >= 0 && ::close(std::exchange(fd_, -1)) != 0) return errno_status(errno, path_);
  return {};
}

Result<Bytes> read_file(const fs::path& path, uint64_t limit) {
  LLMC_ASSIGN(File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  if (size > limit) {
    return Status(Code::failure, printable(path.native()) + ": " + std::to_string(size) + " bytes, more than the limit of " +
                                     std::to_string(limit));
  }
  Bytes bytes(size);
  LLMC_TRY(file.read_at(0, bytes));
  return bytes;
}

Status sync_directory(const fs::path& directory) {
  const fs::path name = directory.empty() ? fs::path(".") : directory;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno_status(errno, name);
  const int rc = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems refuse fsync on folders; the rename is then as durable as they make it.
  if (rc != 0 && error != EINVAL && error != ENOTSUP) return errno_status(error, name);
  return {};
}

Status rename_durable(const fs::path& from, const fs::path& to) {
  LLMC_TRY(fault_point("file.rename"));
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_status(errno, to);
  LLMC_TRY(fault_point("file.renamed"));
  return sync_directory(to.parent_path());
}

Status write_file_atomic(const fs::path& path, ByteView bytes) {
  const fs::path temporary = path.string() + ".tmp";
  LLMC_ASSIGN(File file, File::create(temporary));
  LLMC_TRY(file.write(bytes));
  LLMC_TRY(file.sync());
  LLMC_TRY(file.close());
  return rename_durable(temporary, path);
}

}  // namespace llmc
