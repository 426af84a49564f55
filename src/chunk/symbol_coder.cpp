#include "chunk/symbol_coder.h"

#include <algorithm>

#include "chunk/mix_symbol_coder.h"
#include "coder/range_coder.h"
#include "coder/rank_coder.h"

namespace llmc {
namespace {

// Symbols of a vocabulary of `vocab` ids: an escaped byte b is vocab + b, coded as the
// pseudo-symbol that the session calls vocab and then the byte.

class RangeSymbolEncoder final : public SymbolEncoder {
 public:
  explicit RangeSymbolEncoder(int vocab) : vocab_(vocab) {}
  Ask ask() const override { return Ask::intervals; }
  void encode(Session& session, int row, Symbol symbol) override {
    const Interval interval = session.interval(row);
    out_.encode(interval.cum, interval.weight, interval.total);
    if (symbol >= vocab_) out_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
  }
  size_t size() const override { return out_.size(); }
  Bytes finish() override { return out_.finish(); }
  Codec codec() const override { return Codec::range; }

 private:
  int vocab_;
  RangeEncoder out_;
};

class RangeSymbolDecoder final : public SymbolDecoder {
 public:
  RangeSymbolDecoder(int vocab, ByteView payload) : vocab_(vocab), in_(payload) {}
  Ask ask() const override { return Ask::search; }
  RangeState state() const override { return {in_.code(), in_.range()}; }
  Symbol decode(Session& session, int row, Ask asked) override {
    Interval interval;
    Symbol symbol;
    if (asked != Ask::tables) {
      symbol = session.found(row, &interval);
      in_.target(interval.total);
    } else {
      symbol = session.find(row, in_.target(session.total(row)), &interval);
    }
    in_.take(interval.cum, interval.weight, interval.total);
    return symbol < vocab_ ? symbol : vocab_ + in_.decode_byte();
  }
  bool at_end() const override { return in_.at_end(); }

 private:
  int vocab_;
  RangeDecoder in_;
};

class RankSymbolEncoder final : public SymbolEncoder {
 public:
  explicit RankSymbolEncoder(int vocab) : vocab_(vocab) {}
  Ask ask() const override { return Ask::ranks; }
  void encode(Session& session, int row, Symbol symbol) override {
    out_.encode(session.rank(row));
    if (symbol >= vocab_) out_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
  }
  size_t size() const override { return out_.size(); }
  Bytes finish() override { return out_.finish(); }
  Codec codec() const override { return Codec::rank; }

 private:
  int vocab_;
  RankEncoder out_;
};

class RankSymbolDecoder final : public SymbolDecoder {
 public:
  RankSymbolDecoder(int vocab, bool escape, ByteView payload)
      : vocab_(vocab), symbols_(static_cast<uint32_t>(vocab) + escape), in_(payload) {}
  Symbol decode(Session& session, int row, Ask) override {
    const uint32_t rank = in_.decode();
    if (rank >= symbols_) return -1;
    const Symbol symbol = session.symbol_of_rank(row, rank);
    return symbol < vocab_ ? symbol : vocab_ + in_.decode_byte();
  }
  bool at_end() const override { return in_.at_end(); }

 private:
  int vocab_;
  uint32_t symbols_;
  RankDecoder in_;
};

bool is_mixed(Codec codec) { return codec == Codec::mix || codec == Codec::primed || codec == Codec::dictionary; }

}  // namespace

bool is_model_codec(Codec codec) { return codec != Codec::stored && codec != Codec::zstd; }

SymbolCoders::SymbolCoders(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
SymbolCoders::~SymbolCoders() = default;

MixMemory& SymbolCoders::mix_memory() {
  if (!mix_memory_) mix_memory_ = std::make_unique<MixMemory>(tokenizer_);
  return *mix_memory_;
}

Status SymbolCoders::prepare(Codec codec, Session& session) {
  if (!is_mixed(codec) || prepared_) return {};
  LLMC_TRY(session.set_leaves(mix_memory().tree().symbols()));
  prepared_ = true;
  return {};
}

std::unique_ptr<SymbolEncoder> SymbolCoders::make_encoder(Codec codec, size_t text_bytes, const MixStart& start) {
  if (codec == Codec::range) return std::make_unique<RangeSymbolEncoder>(tokenizer_.vocab());
  if (codec == Codec::rank) return std::make_unique<RankSymbolEncoder>(tokenizer_.vocab());
  if (is_mixed(codec)) return make_mix_encoder(codec, tokenizer_, text_bytes, start, mix_memory());
  return nullptr;
}

std::unique_ptr<SymbolDecoder> SymbolCoders::make_decoder(Codec codec, size_t text_bytes, ByteView payload, const MixStart& start) {
  const int vocab = tokenizer_.vocab();
  if (codec == Codec::range) return std::make_unique<RangeSymbolDecoder>(vocab, payload);
  if (codec == Codec::rank) return std::make_unique<RankSymbolDecoder>(vocab, tokenizer_.needs_escape(), payload);
  if (is_mixed(codec)) return make_mix_decoder(codec, tokenizer_, text_bytes, start, mix_memory(), payload);
  return nullptr;
}

}  // namespace llmc
