// BPE tokenizer: any bytes to token ids and back, without loss.
//
// Built from a Hugging Face tokenizer.json: byte-level BPE with the pre-tokenizers of tokens/splitter.h, or
// SentencePiece's BPE of characters with byte fallback (tokens/definition.h). Other forms of vocabularies
// become such a file first (tokens/convert.h). Immutable after construction: any number of threads may
// call it at once.
//
// A *symbol* is what is coded: an id in [0, vocab()) or, where the vocabulary lacks a byte
// b, the escape vocab() + b. Added and special tokens are never produced from text: the
// literal text "<|endoftext|>" is ordinary bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

using Symbol = int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Errors name the first field that is unknown or wrong (Code::model).
  static Result<std::unique_ptr<Tokenizer>> from_json(ByteView tokenizer_json);

  // Ids 0 .. vocab()-1; equals the largest id of model and added tokens, plus one.
  virtual int vocab() const = 0;
  // Whether text can yield this id (false for added and special tokens and for gaps).
  virtual bool is_text(Symbol id) const = 0;
  // The bytes of one symbol, escapes included; empty for ids that are not text.
  virtual ByteView bytes_of(Symbol symbol) const = 0;
  // True where some byte has no token of its own, so that the model needs the escape symbol.
  virtual bool needs_escape() const = 0;
  // Appends the symbols of text. Total: every byte string has an encoding.
  virtual void encode(ByteView text, std::vector<Symbol>* out) const = 0;
  // Appends the bytes of the symbols; decode(encode(x)) == x for all x.
  // False where a symbol is not text.
  virtual bool decode(const std::vector<Symbol>& symbols, Bytes* out) const = 0;
  // The id of an added token such as "<|endoftext|>", or -1.
  virtual Symbol added_token(const std::string& content) const = 0;
};

}  // namespace llmc
