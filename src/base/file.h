// Files by descriptor: whole reads, positioned reads, durable writes, atomic replacement.
//
// Every error names the path and what the system said. A File is owned by one
// object and used by one thread at a time; read_at may be called by many.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

class File {
 public:
  File() = default;
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  static Result<File> open_read(const std::filesystem::path& path);
  // Creates or truncates.
  static Result<File> create(const std::filesystem::path& path);
  // Fails with Code::locked where the file exists already (O_EXCL).
  static Result<File> create_new(const std::filesystem::path& path);
  // Opens for reading and writing, creates where missing, never truncates.
  static Result<File> open_update(const std::filesystem::path& path);

  bool is_open() const { return fd_ >= 0; }
  int descriptor() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }

  Result<uint64_t> size() const;
  // Reads up to out.size() bytes from the current position; 0 at the end.
  Result<size_t> read(std::span<uint8_t> out);
  // Reads exactly out.size() bytes at offset; a shorter file is Code::corrupt, and so is a medium that refuses (EIO).
  Status read_at(uint64_t offset, std::span<uint8_t> out) const;
  Status write(ByteView bytes);
  Status write_at(uint64_t offset, ByteView bytes);
  Status truncate(uint64_t size);
  Status seek(uint64_t offset);
  // fdatasync / fsync: on return the bytes are on the device.
  Status sync_data();
  Status sync();
  Status close();

 private:
  File(int fd, std::filesystem::path path) : fd_(fd), path_(std::move(path)) {}
  static Result<File> open(const std::filesystem::path& path, int flags);
  int fd_ = -1;
  std::filesystem::path path_;
};

// The whole file; larger than `limit` bytes is refused before memory is taken.
Result<Bytes> read_file(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 40);
// Writes path + ".tmp", fsync, rename to path, fsync of the folder.
Status write_file_atomic(const std::filesystem::path& path, ByteView bytes);
// rename(2), then fsync of the folder that now holds the name.
Status rename_durable(const std::filesystem::path& from, const std::filesystem::path& to);
Status sync_directory(const std::filesystem::path& directory);
// "PATH: what the system says about errno". ENOENT gives Code::missing, the rest Code::failure.
Status errno_status(int error, const std::filesystem::path& path);

}  // namespace llmc
