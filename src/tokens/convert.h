// Vocabularies in other forms to a tokenizer.json (tokens/definition.h), the one form that a model file
// carries: GPT-2's vocab.json and merges.txt, tiktoken files, SentencePiece's tokenizer.model, GGUF metadata.
//
// Pure functions of their arguments, to the byte. Nothing in the files is trusted. Errors: Code::model,
// Code::missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "tokens/splitter.h"

namespace llmc {

// The tokenizer of a Hugging Face folder: its tokenizer.json byte for byte, or else made from what is there:
// vocab.json and merges.txt; tokenizer.model (SentencePiece or tiktoken); *.tiktoken. family: "llama",
// "qwen2", ...: it decides the pattern where a tiktoken file, which has none, is all there is.
Result<Bytes> tokenizer_json_of_folder(const std::filesystem::path& directory, const std::string& family);

// vocab: {"token": id}; merges: lines of two tokens.
Result<Bytes> tokenizer_json_of_gpt2(ByteView vocab, ByteView merges);
// Lines of a token in base64 and its rank. `specials`: ids after the last one that no text yields.
Result<Bytes> tokenizer_json_of_tiktoken(ByteView file, Pattern pattern, int specials);
// A serialised ModelProto of type BPE that does not normalise.
Result<Bytes> tokenizer_json_of_sentencepiece(ByteView file);

struct GgufVocabulary {
  std::string model, pre;           // tokenizer.ggml.model and .pre
  std::vector<std::string> tokens;  // by id
  std::vector<int64_t> types;       // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<double> scores;
  std::vector<std::string> merges;
};
Result<Bytes> tokenizer_json_of_gguf(const GgufVocabulary& vocabulary);

}  // namespace llmc
