// The text of a shard's dictionary: blocks of the shard whose beginnings of lines, phrases and fields
// come back most often in the rest of it.
//
// Pure functions of the text: the dictionary never depends on ranks, time or hosts. Any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace llmc {

// What the choice is made from, however large the shard is: every block of a small shard, else so many of them,
// evenly spread.
inline constexpr size_t dictionary_block_bytes = 1024;
inline constexpr size_t most_candidates = 4096;
// Bytes of a block for a dictionary of this size: fewer in a small one, so that it has several.
inline size_t dictionary_block(uint64_t dictionary_bytes) {
  return static_cast<size_t>(std::clamp<uint64_t>(dictionary_bytes / 8, 64, dictionary_block_bytes));
}

// How large a shard's dictionary is to be; 0: it gets none. `most`: what was asked for. One that is made only where it
// gains is smaller in small shards, since its own frame must pay too, and needs enough chunks to measure on.
uint64_t dictionary_size(uint64_t text_bytes, uint32_t chunks, uint64_t most, bool only_if_worth);
// The chunks to measure on: few of many, so that it costs little time.
std::vector<uint32_t> dictionary_sample(uint32_t chunks);

// Offsets, in a text of this many bytes, of the blocks to read; the last one of the text may have fewer bytes.
std::vector<uint64_t> dictionary_candidates(uint64_t text_bytes, size_t block_bytes);

// Takes the best of these blocks, `bytes` in all at most, and puts them together in the order of the text. A block
// is worth what stands in it, in no block taken before it, and in other blocks as well (the greedy
// cover of zstd's COVER, over whole blocks).
Bytes choose_dictionary(const std::vector<Bytes>& blocks, size_t bytes);

}  // namespace llmc
