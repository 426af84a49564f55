// What a tokenizer.json says, checked and in bytes: the input of the BPE tables.
//
// A plain value; parse_tokenizer_json has no state. The format is that of Hugging Face
// `tokenizers` 0.23. Whatever would change the ids and is not built here is refused by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

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

  bool individual_digits = false;
  bool ignore_merges = false;
  // By id: the bytes of a text token, empty for added tokens and gaps.
  std::vector<Bytes> tokens;
  std::vector<Merge> merges;            // by rank; of equal pairs the last one counts
  std::map<std::string, int32_t> added;  // content -> id
};

// Code::model where the file is malformed, too large or asks for something unknown.
Result<TokenizerDefinition> parse_tokenizer_json(ByteView json);

}  // namespace llmc
