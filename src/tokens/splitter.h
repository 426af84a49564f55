// Cuts bytes into the pieces within which BPE merges, as the pre-tokenizers of Hugging Face
// `tokenizers` do: optionally Digits(individual_digits), then one of the patterns
//   gpt2  's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//   gpt4  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
//         \s*[\r\n]+|\s+(?!\S)|\s+             (Llama 3 and tiktoken's cl100k_base)
//   qwen  the same with \p{N} for \p{N}{1,3}
//   words before every space, as SentencePiece does; whole: nowhere
// A byte that starts no well-formed UTF-8 sequence (Unicode 16, table 3-7) is a character of
// its own, of class "other": the reference never sees such text. Does not own the text.
// One thread each.
#pragma once

#include "base/bytes.h"

namespace llmc {

// Bytes of the character at p: 1 to 4, 1 for a byte that starts no well-formed sequence.
size_t character_bytes(const uint8_t* p, const uint8_t* end);

enum class Pattern : uint8_t { gpt2, gpt4, qwen, words, whole };

class Splitter {
 public:
  // Digits go with gpt2 only.
  Splitter(ByteView text, Pattern pattern, bool individual_digits)
      : at_(text.data()), end_(text.data() + text.size()), pattern_(pattern), individual_digits_(individual_digits) {}

  // The next piece, never empty; an empty view at the end. The pieces one after the other are the text.
  ByteView next();

 private:
  const uint8_t* piece_end() const;
  const uint8_t* gpt2_end() const;
  const uint8_t* gpt4_end() const;
  const uint8_t* at_;
  const uint8_t* end_;
  Pattern pattern_;
  bool individual_digits_;
};

}  // namespace llmc
