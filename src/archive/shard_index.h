// The packed index of one shard: what /index holds. Entries with names, times and digests;
// the records of their pieces; where each frame stands and what it codes.
//
// Plain values: any thread may hold its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/user_block.h"
#include "base/entry.h"
#include "frame/frame.h"

namespace llmc {

// The part of one entry that stands in this shard. `entry.records` are those that start in the
// piece: their offsets in the entry count from `records_base`. entry.source* are empty, but for
// source_digest of an unpacked input.
struct IndexEntry {
  Entry entry;
  uint64_t offset = 0;        // of the piece in the entry, bytes
  uint64_t size = 0;          // of the piece
  uint64_t shard_offset = 0;  // of the piece in the shard's text
  uint64_t first_record = 0;  // number, in the entry, of the first record here
  uint64_t records_base = 0;  // end, in the entry, of the record before it
  Digest sha256{};            // of the piece's bytes, where size > 0

  bool whole() const { return size == entry.size; }
};

struct IndexChunk {
  uint64_t offset = 0;      // of the frame in the file
  uint32_t frame_size = 0;  // bytes
  uint32_t tokens = 0;
  Codec codec = Codec::stored;
  uint32_t text_crc = 0;  // CRC-32C of the plain bytes
};

struct ShardIndex {
  Bytes parameters;  // of coding, as their owner serialises them
  std::string model_name;
  uint64_t shard_bytes = 0;   // the plan's; 0: one shard
  uint64_t first_entry = 0;   // number, in the set, of the first entry here
  std::vector<IndexEntry> entries;
  std::vector<IndexChunk> chunks;

  // The plain bytes, and these through zstd: what is stored.
  Bytes serialize() const;
  static Bytes pack(ByteView plain);

  // Takes the stored bytes apart. Digest, lengths, counts, names, order and sums are checked
  // against the block and the file's length: Code::corrupt, with `name` in the message.
  static Result<ShardIndex> unpack(ByteView stored, const UserBlock& block, const std::string& name);
  static Result<ShardIndex> parse(ByteView plain, const UserBlock& block, const std::string& name);

  // The sum of the pieces' sizes, for whoever has lost the block; nothing where this is no index.
  static std::optional<uint64_t> text_bytes_of(ByteView plain);

  // Entries with text in [begin, end) of the shard's text: their range of indexes.
  std::pair<size_t, size_t> entries_in(uint64_t begin, uint64_t end) const;
};

}  // namespace llmc
