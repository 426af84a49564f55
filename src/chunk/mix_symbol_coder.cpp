#include "chunk/mix_symbol_coder.h"

#include <algorithm>

namespace llmc {
namespace {

std::vector<ByteView> texts_of(const Tokenizer& tokenizer) {
  std::vector<ByteView> texts;
  for (Symbol id = 0; id < tokenizer.vocab(); ++id) texts.push_back(tokenizer.bytes_of(id));
  return texts;
}

// A predictor on loan.
class Loan {
 public:
  explicit Loan(MixMemory& memory) : memory_(memory), model_(memory.take()) {}
  ~Loan() { memory_.give_back(std::move(model_)); }
  Loan(const Loan&) = delete;
  MixModel& model() { return *model_; }

 private:
  MixMemory& memory_;
  std::unique_ptr<MixModel> model_;
};

// Codes by the range codec too, until mixing is ahead: so that no chunk is larger than that codec's.
class MixSymbolEncoder final : public SymbolEncoder {
 public:
  MixSymbolEncoder(int vocab, size_t text_bytes, MixMemory& memory)
      : vocab_(vocab), loan_(memory), mix_(memory.tree(), loan_.model(), text_bytes) {}
  Ask ask() const override { return Ask::tables; }
  void encode(Session& session, int row, Symbol symbol) override {
    const std::span<const uint32_t> weights = session.weights(row);
    const auto id = static_cast<uint32_t>(std::min(symbol, vocab_));
    mix_.encode(weights, id);
    if (symbol >= vocab_) mix_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
    if (decided_) return;
    uint64_t cum = 0;
    for (uint32_t i = 0; i < id; ++i) cum += weights[i];
    range_.encode(cum, weights[id], session.total(row));
    if (symbol >= vocab_) range_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
    decided_ = mix_.size() + enough_bytes < range_.size();
  }
  size_t size() const override { return decided_ ? mix_.size() : std::min(mix_.size(), range_.size()); }
  Bytes finish() override {
    Bytes mixed = mix_.finish();
    if (decided_) return mixed;
    Bytes plain = range_.finish();
    by_range_ = plain.size() < mixed.size();
    return by_range_ ? plain : mixed;
  }
  Codec codec() const override { return by_range_ ? Codec::range : Codec::mix; }

 private:
  static constexpr size_t enough_bytes = 64;
  int vocab_;
  Loan loan_;
  MixEncoder mix_;
  RangeEncoder range_;
  bool decided_ = false;
  bool by_range_ = false;
};

class MixSymbolDecoder final : public SymbolDecoder {
 public:
  MixSymbolDecoder(int vocab, size_t text_bytes, MixMemory& memory, ByteView payload)
      : vocab_(vocab), loan_(memory), in_(memory.tree(), loan_.model(), text_bytes, payload) {}
  Symbol decode(Session& session, int row, Ask) override {
    const auto symbol = static_cast<Symbol>(in_.decode(session.weights(row)));
    return symbol < vocab_ ? symbol : vocab_ + in_.decode_byte();
  }
  bool at_end() const override { return in_.at_end(); }

 private:
  int vocab_;
  Loan loan_;
  MixDecoder in_;
};

}  // namespace

MixMemory::MixMemory(const Tokenizer& tokenizer) : tree_(texts_of(tokenizer), tokenizer.needs_escape()) {}

std::unique_ptr<MixModel> MixMemory::take() {
  if (free_.empty()) return std::make_unique<MixModel>(tree_);
  std::unique_ptr<MixModel> model = std::move(free_.back());
  free_.pop_back();
  return model;
}

std::unique_ptr<SymbolEncoder> make_mix_encoder(const Tokenizer& tokenizer, size_t text_bytes, MixMemory& memory) {
  return std::make_unique<MixSymbolEncoder>(tokenizer.vocab(), text_bytes, memory);
}

std::unique_ptr<SymbolDecoder> make_mix_decoder(const Tokenizer& tokenizer, size_t text_bytes, MixMemory& memory,
                                                ByteView payload) {
  return std::make_unique<MixSymbolDecoder>(tokenizer.vocab(), text_bytes, memory, payload);
}

}  // namespace llmc
