// The Unicode classes that the pre-tokenizers ask about, by table.
//
// The tables say exactly what the Python library `tokenizers` 0.23.3 says for every code
// point; it has two Unicode versions inside, and so have they. Constant: any thread.
#pragma once

#include <cstdint>

namespace llmc::unicode {

// Letters, numbers and spaces (Oniguruma) / numeric characters (Rust). Text coded with other
// tables may give other token ids, so the model file stores this.
inline constexpr char kUnicodeVersion[] = "16.0.0/17.0.0";

// What \p{L}, \p{N} and \s match; everything else is other.
enum Class : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };
inline constexpr uint8_t kClassMask = 3;
// Set beside the class where Rust's char::is_numeric holds.
inline constexpr uint8_t kNumeric = 4;

extern const uint32_t table_end;
extern const uint8_t block_of[];
extern const uint8_t blocks[];

// Class and kNumeric of a code point, assigned or not.
inline uint8_t properties(uint32_t point) {
  if (point >= table_end) return kOther;
  const uint32_t at = block_of[point >> 7] * 128u + (point & 127);
  return (blocks[at >> 1] >> ((at & 1) * 4)) & 15;
}

}  // namespace llmc::unicode
