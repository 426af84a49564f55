// One coded chunk as bytes: a 32-byte header and the payload.
//
// All fields little-endian, at fixed offsets:
//    0  4  magic 8C 4C 43 46 ("\x8cLCF")
//    4  1  version, 1
//    5  1  codec
//    6  2  zero
//    8  4  chunk number in its shard (0xFFFFFFFF: written through the HDF5 filter; 0xFFFFFFFE: the dictionary)
//   12  4  text length, bytes
//   16  4  token count (0 for stored and zstd)
//   20  4  payload length, bytes
//   24  4  CRC-32C of the plain bytes
//   28  4  CRC-32C of header bytes 0..27 and the payload, started from the shard's seed
// Any input to parse_frame gives a Status, never undefined behaviour. Any thread.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

// Stored in frames: the numbers are for ever.
// primed: mix that begins with what the shard's dictionary has taught it. dictionary: that dictionary.
enum class Codec : uint8_t { stored = 0, zstd = 1, range = 2, mix = 3, rank = 4, primed = 5, dictionary = 6 };
const char* codec_name(Codec codec);
// Those that an archive can be asked for: not primed and dictionary, which mix makes by itself.
Result<Codec> codec_from_name(const std::string& name);

inline constexpr size_t frame_header_bytes = 32;
inline constexpr uint32_t frame_any_chunk = 0xFFFFFFFF;
inline constexpr uint32_t frame_dictionary = 0xFFFFFFFE;  // the number of a dictionary's frame
// Bounds that a parser enforces before it takes memory.
inline constexpr uint32_t max_chunk_bytes = 1u << 30;
inline constexpr uint32_t max_dictionary_bytes = 1u << 18;    // of text
inline constexpr uint32_t max_primed_chunk_bytes = 1u << 20;  // chunks of a shard with a dictionary

struct Frame {
  Codec codec = Codec::stored;
  uint32_t chunk = 0;
  uint32_t text_size = 0;
  uint32_t tokens = 0;
  uint32_t text_crc = 0;
  ByteView payload;  // owned by whoever owns the parsed bytes
};

Bytes make_frame(const Frame& frame, uint32_t seed);

// Checks magic, version, codec, lengths and the frame's CRC. The bytes must be exactly one
// frame. A wrong CRC, a foreign seed and bad fields are Code::corrupt.
Result<Frame> parse_frame(ByteView bytes, uint32_t seed);

// Salvage: the offset of the next place at or after `from` where a frame header stands whose
// lengths fit in `bytes`, or npos. Whether it is one of ours is for parse_frame to say.
size_t find_frame(ByteView bytes, size_t from);
// Header fields without the CRC check; false where magic, version or lengths are impossible.
bool peek_frame(ByteView bytes, Frame* frame, size_t* frame_size);

}  // namespace llmc
