// What one byte does to a CRC-32C register: for searches that run a CRC along a file or backwards.
// Where only the sum of some bytes is wanted, crc32c() of base is the faster way.
#pragma once

#include <array>
#include <cstdint>

namespace llmc {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t r = i;
    for (int bit = 0; bit < 8; ++bit) r = r >> 1 ^ (r & 1 ? 0x82F63B78u : 0);
    table[i] = r;
  }
  return table;
}

}  // namespace llmc
