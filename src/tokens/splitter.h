// Cuts bytes into the pieces within which BPE merges, as the pre-tokenizers of Hugging Face
// `tokenizers` do: optionally Digits(individual_digits), then ByteLevel's pattern (GPT-2's):
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// A byte that starts no well-formed UTF-8 sequence (Unicode 16, table 3-7) is a character of
// its own, of class "other": the reference never sees such text. Does not own the text.
// One thread each.
#pragma once

#include "base/bytes.h"

namespace llmc {

class Splitter {
 public:
  Splitter(ByteView text, bool individual_digits)
      : at_(text.data()), end_(text.data() + text.size()), individual_digits_(individual_digits) {}

  // The next piece, never empty; an empty view at the end. The pieces one after the other are the text.
  ByteView next();

 private:
  const uint8_t* piece_end() const;
  const uint8_t* at_;
  const uint8_t* end_;
  bool individual_digits_;
};

}  // namespace llmc
