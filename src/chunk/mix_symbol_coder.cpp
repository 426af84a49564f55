#include "chunk/mix_symbol_coder.h"

#include <algorithm>
#include <optional>

namespace llmc {
namespace {

std::vector<ByteView> texts_of(const Tokenizer& tokenizer) {
  std::vector<ByteView> texts;
  for (Symbol id = 0; id < tokenizer.vocab(); ++id) texts.push_back(tokenizer.bytes_of(id));
  return texts;
}

constexpr size_t room_bytes = 4;

size_t table_bytes(uint32_t room) { return std::min(room, max_primed_chunk_bytes); }

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
  MixSymbolEncoder(int vocab, const MixModel& start, MixMemory& memory)
      : vocab_(vocab), loan_(memory), mix_(memory.tree(), loan_.model(), start), mixed_(Codec::primed) {}
  Ask ask() const override { return Ask::paths; }
  void encode(Session& session, int row, Symbol symbol) override {
    mix_.encode(session.path(row), static_cast<uint32_t>(std::min(symbol, vocab_)));
    if (symbol >= vocab_) mix_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
    if (decided_) return;
    const Interval interval = session.interval(row);
    range_.encode(interval.cum, interval.weight, interval.total);
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
  Codec codec() const override { return by_range_ ? Codec::range : mixed_; }

 private:
  static constexpr size_t enough_bytes = 64;
  int vocab_;
  Loan loan_;
  MixEncoder mix_;
  RangeEncoder range_;
  Codec mixed_ = Codec::mix;
  bool decided_ = false;
  bool by_range_ = false;
};

// A dictionary: the bytes that the tables are made for, then the code. Its predictor belongs to the caller.
class DictionaryEncoder final : public SymbolEncoder {
 public:
  DictionaryEncoder(int vocab, const MixStart& start, const MixTree& tree)
      : vocab_(vocab), room_(start.room), mix_(tree, *start.learner, table_bytes(start.room)) {}
  Ask ask() const override { return Ask::paths; }
  void encode(Session& session, int row, Symbol symbol) override {
    mix_.encode(session.path(row), static_cast<uint32_t>(std::min(symbol, vocab_)));
    if (symbol >= vocab_) mix_.encode_byte(static_cast<uint8_t>(symbol - vocab_));
  }
  size_t size() const override { return room_bytes + mix_.size(); }
  Bytes finish() override {
    ByteWriter out;
    out.u32(room_);
    out.bytes(mix_.finish());
    return out.take();
  }
  Codec codec() const override { return Codec::dictionary; }

 private:
  int vocab_;
  uint32_t room_;
  MixEncoder mix_;
};

class MixSymbolDecoder final : public SymbolDecoder {
 public:
  MixSymbolDecoder(int vocab, size_t text_bytes, MixMemory& memory, ByteView code)
      : vocab_(vocab), loan_(std::in_place, memory), in_(memory.tree(), loan_->model(), text_bytes, code) {}
  MixSymbolDecoder(int vocab, const MixModel& start, MixMemory& memory, ByteView code)
      : vocab_(vocab), loan_(std::in_place, memory), in_(memory.tree(), loan_->model(), start, code) {}
  // A dictionary's: the predictor belongs to the caller.
  MixSymbolDecoder(int vocab, size_t text_bytes, const MixTree& tree, MixModel& learner, ByteView code)
      : vocab_(vocab), in_(tree, learner, text_bytes, code) {}
  Ask ask() const override { return Ask::leaves; }
  Symbol decode(Session& session, int row, Ask) override {
    const LeafWeights leaves = session.leaves(row);
    const auto symbol = static_cast<Symbol>(in_.decode(leaves.weights, leaves.sums));
    return symbol < vocab_ ? symbol : vocab_ + in_.decode_byte();
  }
  bool at_end() const override { return in_.at_end(); }

 private:
  int vocab_;
  std::optional<Loan> loan_;
  MixDecoder in_;
};

}  // namespace

MixTree mix_tree_of(const Tokenizer& tokenizer) { return MixTree(texts_of(tokenizer), tokenizer.needs_escape()); }

MixMemory::MixMemory(const Tokenizer& tokenizer) : tree_(mix_tree_of(tokenizer)) {}

std::unique_ptr<MixModel> MixMemory::take() {
  if (free_.empty()) return std::make_unique<MixModel>(tree_);
  std::unique_ptr<MixModel> model = std::move(free_.back());
  free_.pop_back();
  return model;
}

std::unique_ptr<SymbolEncoder> make_mix_encoder(Codec codec, const Tokenizer& tokenizer, size_t text_bytes, const MixStart& start,
                                                MixMemory& memory) {
  const int vocab = tokenizer.vocab();
  if (codec == Codec::dictionary) {
    return start.learner ? std::make_unique<DictionaryEncoder>(vocab, start, memory.tree()) : nullptr;
  }
  if (start.primed) return std::make_unique<MixSymbolEncoder>(vocab, *start.primed, memory);
  return std::make_unique<MixSymbolEncoder>(vocab, text_bytes, memory);
}

std::unique_ptr<SymbolDecoder> make_mix_decoder(Codec codec, const Tokenizer& tokenizer, size_t text_bytes, const MixStart& start,
                                                MixMemory& memory, ByteView payload) {
  const int vocab = tokenizer.vocab();
  if (codec == Codec::dictionary) {
    ByteReader in(payload);
    const uint32_t room = in.u32();
    if (!in.ok() || room < text_bytes || !start.learner) return nullptr;
    return std::make_unique<MixSymbolDecoder>(vocab, table_bytes(room), memory.tree(), *start.learner, payload.subspan(room_bytes));
  }
  if (codec == Codec::primed) {
    return start.primed ? std::make_unique<MixSymbolDecoder>(vocab, *start.primed, memory, payload) : nullptr;
  }
  return std::make_unique<MixSymbolDecoder>(vocab, text_bytes, memory, payload);
}

}  // namespace llmc
