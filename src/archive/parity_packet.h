// The packets of a parity file: what stands in them, and a parser that believes nothing. For
// parity.cpp and repair.cpp.
#pragma once

#include <optional>

#include "archive/parity.h"

namespace llmc {

inline constexpr size_t parity_header_bytes = 80;
inline constexpr size_t parity_entry_bytes = 8;
inline constexpr size_t parity_table_entries = 256;  // of one packet
inline constexpr uint32_t max_parity_stripe = 255;   // blocks of a stripe, parity included
inline constexpr uint32_t max_parity_block = 1u << 16;
inline constexpr std::string_view parity_magic = "\x89LLCPAR\n";

struct ParityPacket {
  enum class Type : uint32_t { checksums = 1, parity = 2 };
  ParityShape shape;
  Type type = Type::checksums;
  uint64_t number = 0;  // checksums: first block / 256; parity: stripe * m + row
  uint32_t payload_bytes = 0;
  uint32_t crc = 0;     // of all but itself and the magic

  static Bytes serialize(const ParityShape& shape, Type type, uint64_t number, ByteView payload);
  // From the first parity_header_bytes of a packet: every field, but not the CRC.
  static std::optional<ParityPacket> parse_header(ByteView header);
  // Whether header and payload have the packet's CRC.
  static bool crc_fits(ByteView packet);
};

// Without the zeros that fill up the last block.
inline size_t parity_block_size(const ParityShape& shape, uint64_t block) {
  return static_cast<size_t>(std::min<uint64_t>(shape.block_bytes, shape.file_bytes - block * shape.block_bytes));
}
// `crc` is crc32c(block, 0xFFFFFFFF): its register begins at 0, so that it can roll over a file.
ParityTable::Block parity_block_sums(ByteView block);

}  // namespace llmc
