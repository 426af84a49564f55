// Reed-Solomon parity of one file, in a file beside it (NAME.parity): brings back flipped, lost and
// cut out bytes. docs/FORMAT.md, section 11, has every field.
//
// The file is cut into blocks. Block i belongs to stripe i mod S, so that damage in one place spreads
// over all stripes; each stripe of k blocks has m parity blocks (ISA-L, Cauchy matrix over GF(2^8)) and
// is whole again as long as no more than m of its blocks and parity blocks together are lost. The
// parity file is a row of packets, each with its own checksum and all that is needed to make sense of
// it; the blocks' checksums stand in it twice.
//
// Plain functions: one thread each, different files at once. Reads are bounded by the real lengths.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "archive/file_digest.h"

namespace llmc {

std::filesystem::path parity_path(const std::filesystem::path& file);

// How a file is cut. The same for the same length and rate.
struct ParityShape {
  uint64_t file_bytes = 0;
  uint32_t block_bytes = 0;
  uint32_t data = 0;    // k: blocks of a stripe, at most; the last stripes may have one less
  uint32_t parity = 0;  // m
  Digest file{};        // SHA-256 of the file

  uint64_t blocks() const { return (file_bytes + block_bytes - 1) / block_bytes; }
  uint64_t stripes() const { return (blocks() + data - 1) / data; }
  bool operator==(const ParityShape&) const = default;

  // rate: parity blocks for each block, 0 < rate <= 1.
  static ParityShape make(uint64_t file_bytes, double rate);
};

struct ParityFileFacts {
  uint64_t bytes = 0;
  Digest sha256{};
};

// Writes the parity of `file` to `out`, which is on the device when this returns; the caller renames
// it. The bytes depend on the file's and the rate alone. Memory: 64 MiB and 8 bytes a block.
Result<ParityFileFacts> write_parity(const std::filesystem::path& file, double rate, const std::filesystem::path& out,
                                     const StopRequest& stop = {});

// What stands in a parity file, or is left of it.
struct ParityTable {
  struct Block {
    uint32_t crc = 0;
    uint32_t sha = 0;
    bool known = false;
  };
  ParityShape shape;
  std::vector<Block> blocks;             // checksums, by block
  std::vector<uint64_t> parity_offsets;  // of the bytes of parity block stripe * m + row; 0: lost
  bool whole = false;                    // nothing of it is damaged

  // Code::missing: no such file; Code::corrupt: nothing in it can be used.
  static Result<ParityTable> load(const std::filesystem::path& path, const StopRequest& stop = {});
};

// What is wrong with a file, held against its parity.
struct RepairReport {
  bool file_sound = false;    // byte for byte what it was
  bool parity_sound = false;
  uint64_t blocks = 0;
  uint64_t damaged = 0;       // blocks that are not to be found in the file
  uint64_t moved = 0;         // found elsewhere: bytes were cut out or put in before them
  uint64_t hopeless = 0;      // stripes that have lost more than they have parity
  bool possible() const { return hopeless == 0; }
  std::string describe() const;
};
// Code::missing, Code::corrupt: the parity cannot be used. What the medium does not give of the file is damaged; other errors of
// reading are returned.
Result<RepairReport> examine_parity(const std::filesystem::path& file, const std::filesystem::path& parity, const StopRequest& stop = {});

// Writes to `out` what `file` was, and compares its SHA-256. Code::corrupt where too much is lost: then
// `out` is removed. `out` is on the device when this returns; the caller renames it.
Result<RepairReport> repair_file(const std::filesystem::path& file, const std::filesystem::path& parity,
                                 const std::filesystem::path& out, const StopRequest& stop = {});
// A damaged parity file, anew from a sound file: the bytes that write_parity made.
Result<ParityFileFacts> rewrite_parity(const std::filesystem::path& file, const ParityShape& shape,
                                       const std::filesystem::path& out, const StopRequest& stop = {});

}  // namespace llmc
