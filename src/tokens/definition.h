// What a tokenizer.json says, checked and in bytes: the input of the BPE tables.
//
// Two kinds: byte-level (GPT-2 and its heirs) and SentencePiece's (Llama 2, Mistral), where text starts as
// characters, U+2581 stands for a space, and what has no token falls back to tokens of single bytes.
// Normalisers that only change text (NFC, a space put before it) are left out, so that all bytes
// come back: ids differ from the reference's on text that is not normalised.
//
// A plain value; parse_tokenizer_json has no state. The format is that of Hugging Face
// `tokenizers` 0.23. Whatever would change the ids and is not built here is refused by name.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "tokens/splitter.h"

namespace llmc {

// Bounds of what is accepted; real files stay far below them.
inline constexpr size_t kMaxTokenizerJson = size_t{64} << 20;
inline constexpr int32_t kMaxVocab = 1 << 20;
inline constexpr size_t kMaxMerges = size_t{1} << 20;
inline constexpr size_t kMaxAddedTokens = size_t{1} << 16;
inline constexpr size_t kMaxTokenBytes = 1024;

struct TokenizerDefinition {
  struct Merge {
    int32_t left, right, made;  // ids of text tokens; the bytes of `made` are those of left and right
  };

  Pattern pattern = Pattern::gpt2;
  bool individual_digits = false;
  bool ignore_merges = false;
  // Merges with one result have one rank, as in tiktoken and SentencePiece: of equals the leftmost is taken.
  bool ranks_by_token = false;
  // SentencePiece's kind: ids of the tokens of single bytes, -1 where there is none.
  bool characters = false;
  std::array<int32_t, 256> byte_tokens{};
  // By id: the bytes of a text token, empty for added tokens and gaps.
  std::vector<Bytes> tokens;
  std::vector<Merge> merges;            // by rank; of equal pairs the last one counts
  std::map<std::string, int32_t> added;  // content -> id
};

// Code::model where the file is malformed, too large or asks for something unknown.
Result<TokenizerDefinition> parse_tokenizer_json(ByteView json);

}  // namespace llmc
