// Entries -> files, folders and links below one folder, and nowhere else.
//
// A name that could leave the folder is refused (names.h), and every part of a path is opened relative to the
// part before it and without following symbolic links (openat, O_NOFOLLOW), so that neither a link in the
// archive nor one that stood there before leads outside. Links are made as they were archived and never used.
//
// Files appear whole: written under a temporary name in their folder, renamed by finish. Data may come in any order
// and many files may be unfinished at once; a bounded number of descriptors is open. Nothing that exists is
// replaced without `force` (folders are merged, as tar does); a folder is never replaced by a file or link.
//
// Permission bits, also sticky, and mtimes come back exactly, whatever the umask; atime stays. setuid and setgid
// never come back: owners are not archived, and such a program would run with the rights of who extracts it.
// Folders get theirs at the end, since writing into them would change the one and may need the other.
//
// One thread at a time. What is not finished when the object goes is removed; after a kill the next run with
// the same `run` does it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/entry.h"
#include "base/status.h"

namespace llmc {

struct OutputOptions {
  bool force = false;
  bool metadata = true;  // mode and mtime
  size_t max_open = 64;  // descriptors for unfinished files
  // What an earlier run of this name left unfinished is removed from the folders that this one writes to, and
  // links and empty files that it has made are as good as made now. Letters and digits; empty: no such run.
  std::string run;
};

class OutputTree {
 public:
  using Handle = uint64_t;

  // Makes `directory` and what is missing above it. The path itself may lead over links: it is the user's.
  static Result<OutputTree> open(const std::filesystem::path& directory, const OutputOptions& options);
  OutputTree(OutputTree&& other) noexcept;
  OutputTree& operator=(OutputTree&&) = delete;
  ~OutputTree();

  // A folder, a link, or a file without bytes. Missing folders above it are made, here and in create.
  Status add(const Entry& entry);
  // Whether a file of that name stands there with exactly these bytes: stretches in their order.
  struct Stretch {
    uint64_t size = 0;
    Digest sha256{};
  };
  Result<bool> holds(std::string_view name, const std::vector<Stretch>& stretches) const;
  // Begins a file of entry.size bytes.
  Result<Handle> create(const Entry& entry);
  // Each byte of the file is written once; bytes behind its size are Code::corrupt.
  Status write_at(Handle handle, uint64_t offset, ByteView bytes);
  // Gives the file its name. Fails, and removes it, where not all bytes have come. The handle is then gone.
  Status finish(Handle handle);
  // Removes an unfinished file. The handle is then gone.
  void discard(Handle handle);
  // Modes and times of folders, deepest first. Call once, when all files are finished.
  Status close();

  // Metadata that the file system refused: the data is there. One sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // Owns a descriptor.
  class Descriptor {
   public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    int get() const { return fd_; }
    int release();

   private:
    int fd_;
  };
  struct Unfinished {
    std::string name, temporary;  // the latter in the same folder
    uint64_t size = 0, written = 0;
    uint32_t mode = 0;
    int64_t mtime_ns = 0;
    Descriptor fd;                    // closed while others need the place
    std::list<Handle>::iterator use;  // in open_, where fd is open
  };
  struct Folder {
    std::string name;
    uint32_t mode = 0;
    int64_t mtime_ns = 0;
  };

  OutputTree(std::filesystem::path root, Descriptor fd, const OutputOptions& options);
  std::string shown(std::string_view name) const;
  Status failed(std::string_view name, int error) const;
  Status exists(std::string_view name) const;
  Result<int> folder_of(const std::string& name);
  void remove_leftovers() const;
  Result<Descriptor> open_folder(std::string_view name, bool make) const;
  Status add_directory(const Entry& entry);
  Status add_symlink(const Entry& entry);
  Status ensure_open(Handle handle, Unfinished& file);
  void set_metadata(int fd, const std::string& name, uint32_t mode, int64_t mtime_ns);
  Status put_in_place(int folder, Unfinished& file);
  std::string temporary_name();

  std::filesystem::path root_;
  Descriptor root_fd_;
  OutputOptions options_;
  // The folder used last, since neighbours come one after the other.
  std::string last_folder_;
  Descriptor last_folder_fd_;
  std::map<Handle, Unfinished> unfinished_;
  std::list<Handle> open_;  // least recently used first
  Handle next_ = 1;
  uint64_t next_temporary_ = 0;
  std::vector<Folder> folders_;
  std::vector<std::string> warnings_;
};

}  // namespace llmc
