// The first 512 bytes of a shard file, which HDF5 leaves to its users: the root of trust of
// everything behind it. Written last, so that an unfinished file has none.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"

namespace llmc {

inline constexpr size_t user_block_bytes = 512;
inline constexpr uint8_t user_block_magic[8] = {0x89, 'L', 'L', 'M', 'C', '\r', '\n', 0x1a};

struct UserBlock {
  uint32_t features = 0;       // required features
  uint32_t shard = 0;          // number in its set, from 0
  uint32_t shards = 1;         // of the set
  uint64_t file_bytes = 0;     // of this file, block included
  uint64_t text_bytes = 0;     // plain bytes of this shard
  uint64_t text_offset = 0;    // of the shard in the set's text
  uint32_t chunk_bytes = 0;    // plain bytes of every chunk but the last
  uint32_t chunks = 0;
  uint32_t seed = 0;           // of the frames' CRCs
  uint64_t index_offset = 0;   // of the bytes of /index in this file
  uint64_t index_bytes = 0;    // as stored
  uint64_t index_plain_bytes = 0;  // after zstd
  Digest model{};
  Digest plan{};
  Digest index{};              // SHA-256 of the index as stored
  Digest body{};               // SHA-256 of all bytes behind this block
  // The shard's dictionary; all zero where it has none.
  uint64_t dictionary_offset = 0;  // of its frame, the bytes of /dictionary, in this file
  uint32_t dictionary_bytes = 0;   // of the frame
  uint32_t dictionary_text = 0;    // of its text
  Digest dictionary{};             // SHA-256 of the frame
  // What the model was adapted with, the bytes of /adaptation; zeros where it was not.
  uint64_t adaptation_offset = 0;
  uint32_t adaptation_bytes = 0;

  uint32_t chunk_size(uint32_t chunk) const {
    const uint64_t left = text_bytes - uint64_t{chunk} * chunk_bytes;
    return left < chunk_bytes ? static_cast<uint32_t>(left) : chunk_bytes;
  }

  Bytes serialize() const;
  // `name` is the file's, for messages; `file_bytes` its size on disk. Every field is checked for
  // itself and against the others. Code::corrupt where the block is not ours, damaged or the file
  // has another length; Code::failure where a newer version wrote it. Any thread.
  static Result<UserBlock> parse(ByteView bytes, uint64_t file_bytes, const std::string& name);
};

}  // namespace llmc
