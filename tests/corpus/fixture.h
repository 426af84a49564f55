// A scratch folder, and small helpers to fill and look at it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/entry.h"
#include "corpus/scan.h"

namespace llmc {

class TreeTest : public testing::Test {
 protected:
  TreeTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "llmc-corpus-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) std::abort();
    ::chmod(pattern.c_str(), 0755);
    root = pattern;
  }
  ~TreeTest() override {
    std::error_code error;
    // Tests take rights away from folders.
    for (auto it = std::filesystem::recursive_directory_iterator(root, error); it != decltype(it)();
         it.increment(error)) {
      if (it->is_directory(error) && !it->is_symlink(error)) ::chmod(it->path().c_str(), 0755);
    }
    std::filesystem::remove_all(root, error);
  }

  std::string at(const std::string& name) const { return (root / name).string(); }
  std::string make(const std::string& name, const std::string& content = "") const {
    const std::filesystem::path path = root / name;
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::remove(path);  // ext4 flushes a file that is cut to nothing and written anew
    std::ofstream out(path, std::ios::binary);
    out << content;
    out.close();
    EXPECT_TRUE(out.good()) << path;
    return path.string();
  }
  std::string get(const std::string& name) const {
    std::ifstream in(root / name, std::ios::binary);
    EXPECT_TRUE(in.good()) << name;
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // Sets the time to something that no run of a test could come by.
  static void set_mtime(const std::string& path, int64_t ns) {
    const struct timespec times[2] = {{0, UTIME_OMIT},
                                      {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
  }
  static struct stat info(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(::lstat(path.c_str(), &st), 0) << path;
    return st;
  }
  ScanOutcome scan(const std::vector<std::string>& inputs, const ScanOptions& options = {}) const {
    auto outcome = scan_inputs(inputs, options);
    EXPECT_TRUE(outcome.ok()) << outcome.status().message();
    return outcome.ok() ? *outcome : ScanOutcome();
  }
  static std::vector<std::string> names(const ScanOutcome& outcome) {
    std::vector<std::string> out;
    for (const Entry& entry : outcome.entries) out.push_back(entry.name);
    return out;
  }
  static std::vector<Record> records(const Entry& entry) {
    std::vector<Record> out;
    RecordReader in(entry.records_kind, entry.records);
    for (Record record; in.next(&record);) out.push_back(record);
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(out.size(), entry.records.count);
    return out;
  }

  std::filesystem::path root;
};

// Runs `body` without root's rights in a child process; true where it returned true.
template <class Body>
bool as_nobody(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool dropped = ::geteuid() != 0 || (::setgid(65534) == 0 && ::setuid(65534) == 0);
    ::_exit(dropped && body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

inline std::string gzip(const std::string& text) {
  z_stream s{};
  if (deflateInit2(&s, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(deflateBound(&s, text.size()) + 64, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  s.avail_in = static_cast<uInt>(text.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  if (deflate(&s, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(s.total_out);
  deflateEnd(&s);
  return out;
}

inline std::string zstd(const std::string& text, bool checksum = true) {
  ZSTD_CCtx* c = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress2(c, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(c);
  return out;
}

// Bytes that no codec shrinks away, always the same.
inline std::string noise(size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

}  // namespace llmc
