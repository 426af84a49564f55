// The plain bytes of one input file: as it stands, or unpacked from gzip or zstd on the way.
//
// gzip (RFC 1952) and zstd (RFC 8878) streams of any number of members; every checksum that they carry
// is checked. Bytes behind the last gzip member are an error unless all are zero (tape padding).
// Owned and used by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/status.h"

namespace llmc {

// Stored as Entry::unpacked: the numbers are for ever.
enum class Packing : uint8_t { none = 0, gzip = 1, zstd = 2 };

// What a file looked like: if any of these differs later, it is not the file that was planned.
struct SourceFacts {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  uint64_t inode = 0;
  bool operator==(const SourceFacts&) const = default;
};

class Unpacker;

class PlainSource {
 public:
  // Fails for what is not a regular file, and never waits (a FIFO is not opened).
  // `packed_digest`, where given, must outlive the source and receives all packed bytes that are read.
  static Result<PlainSource> open(const std::string& path, Packing packing, Sha256* packed_digest = nullptr);
  PlainSource(PlainSource&&) noexcept;
  PlainSource& operator=(PlainSource&&) noexcept;
  ~PlainSource();

  // As many bytes as are there, up to out.size(); fewer only at the end. Damaged packed data is
  // Code::corrupt, an I/O error Code::failure.
  Result<size_t> read(std::span<uint8_t> out);
  // Passes over n bytes; Code::corrupt where the file ends before.
  Status skip(uint64_t n);
  uint64_t position() const { return position_; }

  // As of open, and as of now.
  const SourceFacts& facts() const { return facts_; }
  Result<SourceFacts> facts_now() const;
  const File& file() const { return file_; }

 private:
  PlainSource(File file, const SourceFacts& facts);
  File file_;
  SourceFacts facts_;
  uint64_t position_ = 0;
  std::unique_ptr<Unpacker> unpacker_;  // null: as it stands
};

// What the first bytes (6 are enough) say.
Packing packing_of(ByteView head);

}  // namespace llmc
