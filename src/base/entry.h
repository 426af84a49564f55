// What a corpus is made of: entries (input files, folders, links) and, inside a
// file, records (lines of a JSONL file, members of a tar, records of a WARC).
//
// The *text* of a set is the plain bytes of all regular files, one after the
// other in entry order. Entries are byte-sorted by name, so that the order is the
// same on every machine. Plain values: any thread may hold its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"

namespace llmc {

// How the documents of a file were found; stored, so the numbers are for ever.
enum class RecordKind : uint8_t { whole = 0, lines = 1, jsonl = 2, tar = 3, zip = 4, warc = 5 };
const char* record_kind_name(RecordKind kind);

// The records of one file, packed: for each, varint gap since the end of the one
// before, varint length, and (tar, zip, warc) varint name length and name, and (zip)
// one byte, the method: 0 stored, 8 deflated, ...; 255 encrypted or a method above 254.
// Lines and jsonl have no gaps and no names.
struct Records {
  uint64_t count = 0;
  Bytes packed;
};

struct Record {
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  std::string name;  // empty for lines and jsonl
  uint8_t method = 0;
};

class RecordWriter {
 public:
  explicit RecordWriter(RecordKind kind) : kind_(kind) {}
  // Records come in rising order of offset and do not overlap.
  void add(const Record& record);
  Records take();

 private:
  RecordKind kind_;
  uint64_t end_ = 0;
  uint64_t count_ = 0;
  ByteWriter out_;
};

class RecordReader {
 public:
  RecordReader(RecordKind kind, const Records& records)
      : kind_(kind), left_(records.count), in_(records.packed) {}
  // False at the end and where the packed bytes are damaged; ok() tells which.
  bool next(Record* record);
  bool ok() const { return ok_; }
  // Packed bytes that are not read yet.
  size_t bytes_left() const { return in_.left(); }

 private:
  RecordKind kind_;
  uint64_t left_;
  uint64_t end_ = 0;
  ByteReader in_;
  bool ok_ = true;
};

struct Entry {
  enum class Kind : uint8_t { file = 0, directory = 1, symlink = 2 };

  std::string name;  // relative, '/' between parts, no "." or ".."; any bytes but NUL
  Kind kind = Kind::file;
  uint32_t mode = 0;      // permission bits, 07777
  int64_t mtime_ns = 0;   // since 1970
  std::string target;     // of a symlink
  uint64_t size = 0;      // plain bytes of a file, after unpacking
  RecordKind records_kind = RecordKind::whole;
  Records records;

  // Where the bytes come from and what they looked like when planned. Not archived,
  // but `unpacked` and `source_digest` are.
  std::string source;           // path; for standard input, that of its copy
  uint8_t unpacked = 0;         // 0 as it is, 1 gzip, 2 zstd
  uint64_t source_size = 0;     // bytes of the input as it stands on disk
  int64_t source_mtime_ns = 0;
  uint64_t source_inode = 0;
  Digest source_digest{};       // SHA-256 of the packed input, where unpacked != 0
};

// Code::corrupt for a name that could leave the folder it is written to or that no file can have:
// empty, absolute, with an empty, "." or ".." part, or with NUL.
Status check_entry_name(std::string_view name);

}  // namespace llmc
