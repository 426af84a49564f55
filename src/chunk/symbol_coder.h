// The step between a session's answers and bits: one small class per codec.
//
// A new codec is a file with these two classes and one case in each make function. An
// encoder or decoder belongs to one chunk.
#pragma once

#include <memory>

#include "base/bytes.h"
#include "frame/frame.h"
#include "model/session.h"

namespace llmc {

class SymbolEncoder {
 public:
  virtual ~SymbolEncoder() = default;
  // What its rows ask the session for.
  virtual Ask ask() const = 0;
  // Codes the symbol that `row` of the last feed() wanted.
  virtual void encode(Session& session, int row, Symbol symbol) = 0;
  // Bytes so far: the payload will not be smaller.
  virtual size_t size() const = 0;
  virtual Bytes finish() = 0;
};

// Its rows ask for tables.
class SymbolDecoder {
 public:
  virtual ~SymbolDecoder() = default;
  // The symbol after `row` of the last feed(), or -1 where the payload names none.
  virtual Symbol decode(Session& session, int row) = 0;
  // After the last symbol: whether the payload ends here.
  virtual bool at_end() const = 0;
};

// Whether frames of this codec are coded by a model.
bool is_model_codec(Codec codec);
// Fails for a codec that a later version may know (Code::failure).
Status check_codec(Codec codec);

// `codec` is a model codec that check_codec() admits; the tokenizer and the payload outlive the coder.
std::unique_ptr<SymbolEncoder> make_symbol_encoder(Codec codec, const Tokenizer& tokenizer);
std::unique_ptr<SymbolDecoder> make_symbol_decoder(Codec codec, const Tokenizer& tokenizer, ByteView payload);

}  // namespace llmc
