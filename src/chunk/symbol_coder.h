// The step between a session's answers and bits: one small class per codec.
//
// A new codec is a file with these two classes and one case in each function that makes them.
// An encoder or decoder belongs to one chunk, and all here to one thread at a time.
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
  // After finish(): how the payload is coded. An encoder may choose a simpler codec where that is smaller.
  virtual Codec codec() const = 0;
};

class SymbolDecoder {
 public:
  virtual ~SymbolDecoder() = default;
  // What its rows ask the session for, at least: leaves answer searches too, and tables everything.
  virtual Ask ask() const { return Ask::tables; }
  // Where it stands, for rows that ask for a search.
  virtual RangeState state() const { return {}; }
  // The symbol after `row` of the last feed(), which asked for `asked`, or -1 where the payload names none.
  virtual Symbol decode(Session& session, int row, Ask asked) = 0;
  // After the last symbol: whether the payload ends here.
  virtual bool at_end() const = 0;
};

// Whether frames of this codec are coded by a model.
bool is_model_codec(Codec codec);

class MixMemory;
class MixModel;

// How the mix codec's predictor begins, where not from nothing.
struct MixStart {
  const MixModel* primed = nullptr;  // from a copy of this: mix becomes primed
  MixModel* learner = nullptr;       // a dictionary: what is learned stays in this
  uint32_t room = 0;                 // of a dictionary that is coded
};

// Makes the coders of one thread's chunks and keeps what they can hand on: it outlives them.
class SymbolCoders {
 public:
  explicit SymbolCoders(const Tokenizer& tokenizer);
  ~SymbolCoders();

  // Before a session is asked by coders of this codec: what it has to know. Always the same session.
  Status prepare(Codec codec, Session& session);
  // `codec` is a model codec; text_bytes: of the chunk's plain text.
  // The payload outlives the decoder. A null decoder: the payload cannot be one of this codec, or its start is not given.
  std::unique_ptr<SymbolEncoder> make_encoder(Codec codec, size_t text_bytes, const MixStart& start = {});
  std::unique_ptr<SymbolDecoder> make_decoder(Codec codec, size_t text_bytes, ByteView payload, const MixStart& start = {});

 private:
  MixMemory& mix_memory();

  const Tokenizer& tokenizer_;
  bool prepared_ = false;  // for mixing
  std::unique_ptr<MixMemory> mix_memory_;  // made for the first that needs it
};

}  // namespace llmc
