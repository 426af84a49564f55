// A model without a model: pairs of tokens counted in some text, so that text shrinks, and
// shaken by a hash of all tokens that a slot was fed: any row fed wrongly, in the wrong order
// or to the wrong position changes every answer after it.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/chance.h"
#include "chunk/token_engine.h"

namespace llmc {

// Id 0 is the start token; then the bytes but for `missing`; then some pieces of English.
class StubTokenizer final : public Tokenizer {
 public:
  explicit StubTokenizer(bool lacks_bytes) : lacks_bytes_(lacks_bytes) {
    pieces_.emplace_back();
    for (int b = 0; b < 256; ++b) {
      if (!missing(static_cast<uint8_t>(b))) add({static_cast<uint8_t>(b)});
    }
    for (const char* piece : {"the", "th", "he", "in", "er", "an", " the", " a", "and", "ing", "e ", "s ", ", ", "\r\n",
                              "ou", "Alice", " to", "\xC3\xA9", "  ", "    "}) {
      const ByteView bytes = as_bytes(piece);
      add(Bytes(bytes.begin(), bytes.end()));
    }
    for (int b = 0; b < 256; ++b) escaped_.push_back({static_cast<uint8_t>(b)});
  }
  bool missing(uint8_t byte) const { return lacks_bytes_ && (byte >= 0xF5 || byte == 0xC0 || byte == 0xC1 || byte == 7); }

  int vocab() const override { return static_cast<int>(pieces_.size()); }
  bool is_text(Symbol id) const override { return id > 0 && id < vocab(); }
  ByteView bytes_of(Symbol symbol) const override {
    if (symbol < vocab()) return pieces_[symbol];
    return missing(static_cast<uint8_t>(symbol - vocab())) ? ByteView(escaped_[symbol - vocab()]) : ByteView();
  }
  bool needs_escape() const override { return lacks_bytes_; }
  void encode(ByteView text, std::vector<Symbol>* out) const override {
    while (!text.empty()) {
      size_t n = std::min<size_t>(text.size(), 6);
      for (; n > 0; --n) {
        const auto found = ids_.find(std::string(as_text(text.first(n))));
        if (found == ids_.end()) continue;
        out->push_back(found->second);
        break;
      }
      if (n == 0) {
        out->push_back(vocab() + text[0]);
        n = 1;
      }
      text = text.subspan(n);
    }
  }
  bool decode(const std::vector<Symbol>& symbols, Bytes* out) const override {
    for (Symbol s : symbols) {
      const ByteView bytes = bytes_of(s);
      if (bytes.empty()) return false;
      out->insert(out->end(), bytes.begin(), bytes.end());
    }
    return true;
  }
  Symbol added_token(const std::string&) const override { return 0; }

 private:
  void add(Bytes piece) {
    ids_[std::string(as_text(piece))] = vocab();
    pieces_.push_back(std::move(piece));
  }
  bool lacks_bytes_;
  std::vector<Bytes> pieces_;
  std::vector<Bytes> escaped_;
  std::map<std::string, Symbol> ids_;
};

struct StubOptions {
  int context = 64;
  int max_rows = 24;
  bool lacks_bytes = true;
  int fail_feed = -1;  // the call of feed(), from 0, that fails
  std::atomic<int>* streams_made = nullptr;  // counts those of all sessions
};

class StubSession final : public Session {
 public:
  // pairs: [token][next token], vocab() x vocab().
  StubSession(const StubTokenizer& tokenizer, const std::vector<uint32_t>& pairs, const StubOptions& options, int streams)
      : tokenizer_(tokenizer), pairs_(pairs), options_(options), slots_(streams) {}

  int streams() const override { return static_cast<int>(slots_.size()); }
  int max_rows() const override { return options_.max_rows; }
  int context() const override { return options_.context; }
  void reset(int stream) override { slots_.at(stream) = {}; }
  int length(int stream) const override { return slots_.at(stream).length; }
  Status set_leaves(std::span<const uint32_t> symbols) override {
    leaves_.assign(symbols.begin(), symbols.end());
    return {};
  }
  int range_error_layer(int stream) const override { return slots_.at(stream).broken ? 3 : -1; }

  Status feed(std::span<const Row> rows, Ask ask) override {
    if (calls_++ == options_.fail_feed) return {Code::failure, "the stub was told to fail"};
    if (rows.empty() || rows.size() > static_cast<size_t>(options_.max_rows)) return {Code::failure, "bad number of rows"};
    answers_.assign(rows.size(), {});
    ask_ = ask;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].stream < 0 || rows[i].stream >= streams()) return {Code::failure, "bad slot"};
      Slot& slot = slots_[rows[i].stream];
      const Symbol token = rows[i].token >= tokenizer_.vocab() ? 0 : rows[i].token;
      if (rows[i].token < 0 || rows[i].token >= tokenizer_.vocab() + 256) return {Code::failure, "bad token"};
      if ((slot.length == 0) != (token == 0) && rows[i].token < tokenizer_.vocab()) return {Code::failure, "misplaced start"};
      if (slot.length++ == options_.context) return {Code::failure, "full context"};
      slot.hash = mix(slot.hash ^ static_cast<uint64_t>(token + 1));
      // "~~" leaves the proven range.
      const ByteView bytes = token ? tokenizer_.bytes_of(token) : ByteView();
      const bool tilde = bytes.size() == 1 && bytes[0] == '~';
      slot.broken |= tilde && slot.tilde;
      slot.tilde = tilde;
      if (rows[i].want != Row::no_question && !slot.broken) {
        answers_[i] = {true, slot.hash, token, std::min(rows[i].want, tokenizer_.vocab()), rows[i].state};
      }
    }
    return {};
  }

  Interval interval(int row) override {
    const auto& w = table(row, ask_ == Ask::paths ? Ask::paths : Ask::intervals);
    const Symbol want = answers_[row].want;
    Interval result;
    for (size_t s = 0; s < w.size(); ++s) {
      if (static_cast<Symbol>(s) < want) result.cum += w[s];
      result.total += w[s];
    }
    result.weight = w[want];
    return result;
  }
  uint32_t rank(int row) override {
    table(row, Ask::ranks);
    const auto order = ranked();
    return static_cast<uint32_t>(std::find(order.begin(), order.end(), answers_[row].want) - order.begin());
  }
  std::span<const uint32_t> path(int row) override {
    const auto& w = table(row, Ask::paths);
    path_.clear();
    // [low, end): the leaves below the node, as far as the tree has room.
    size_t low = 0, end = std::bit_ceil(leaves_.size());
    const size_t leaf = std::find(leaves_.begin(), leaves_.end(), answers_[row].want) - leaves_.begin();
    const auto sum = [&](size_t from, size_t to) {
      uint64_t all = 0;
      for (size_t i = from; i < std::min(to, leaves_.size()); ++i) all += w[leaves_[i]];
      return all;
    };
    while (end - low > 1) {
      const size_t mid = (low + end) / 2;
      path_.push_back(mid < leaves_.size() ? chance_of(sum(mid, end), sum(low, end)) : 0);
      (leaf < mid ? end : low) = mid;
    }
    return path_;
  }
  LeafWeights leaves(int row) override {
    const auto& w = table(row, ask_ == Ask::leaves ? Ask::leaves : Ask::tables);
    path_.clear();
    sums_.assign(leaf_blocks(static_cast<uint32_t>(leaves_.size())), 0);
    for (const uint32_t symbol : leaves_) {
      sums_[path_.size() / leaf_block] += w[symbol];
      path_.push_back(w[symbol]);
    }
    return {path_, sums_};
  }
  uint64_t total(int row) override {
    uint64_t sum = 0;
    for (uint32_t w : table(row, Ask::tables)) sum += w;
    return sum;
  }
  Symbol find(int row, uint64_t target, Interval* interval) override {
    return find_in(table(row, Ask::tables), target, interval);
  }
  Symbol found(int row, Interval* interval) override {
    const auto& w = table(row, ask_ == Ask::leaves && answers_.at(row).state.range != 0 ? Ask::leaves : Ask::search);
    const uint64_t total = std::accumulate(w.begin(), w.end(), uint64_t{0});
    const RangeState& state = answers_[row].state;
    return find_in(w, std::min(state.code / (state.range / total), total - 1), interval);
  }
  Symbol symbol_of_rank(int row, uint32_t rank) override {
    table(row, Ask::tables);
    return ranked().at(rank);
  }
  std::span<const uint32_t> weights(int row) override { return table(row, Ask::tables); }

 private:
  struct Slot {
    int length = 0;
    uint64_t hash = 1;
    bool tilde = false;
    bool broken = false;
  };
  struct Answer {
    bool asked = false;
    uint64_t hash = 0;
    Symbol token = 0;
    Symbol want = -1;
    RangeState state;
  };
  static Symbol find_in(const std::vector<uint32_t>& w, uint64_t target, Interval* interval) {
    *interval = {0, 0, std::accumulate(w.begin(), w.end(), uint64_t{0})};
    Symbol s = 0;
    while (target >= interval->cum + w[s]) interval->cum += w[s++];
    interval->weight = w[s];
    return s;
  }
  static uint64_t mix(uint64_t x) {  // splitmix64
    x += 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return x ^ (x >> 31);
  }
  const std::vector<uint32_t>& table(int row, Ask ask) {
    const Answer& answer = answers_.at(row);
    if (!answer.asked || ask != ask_) std::abort();  // a question that was not asked
    table_.clear();
    const uint32_t* counts = pairs_.data() + static_cast<size_t>(answer.token) * tokenizer_.vocab();
    for (Symbol s = 0; s < tokenizer_.vocab(); ++s) {
      const uint64_t shake = mix(answer.hash + static_cast<uint64_t>(s)) & 0xFFF;
      table_.push_back(1 + static_cast<uint32_t>((counts[s] * 64 + 1) * (0x4000 + shake) >> 10));
    }
    if (tokenizer_.needs_escape()) table_.push_back(1);
    return table_;
  }
  // By falling weight, ties by id; the escape last.
  std::vector<Symbol> ranked() const {
    std::vector<Symbol> order(table_.size());
    for (size_t s = 0; s < order.size(); ++s) order[s] = static_cast<Symbol>(s);
    std::stable_sort(order.begin(), order.begin() + tokenizer_.vocab(),
                     [this](Symbol a, Symbol b) { return table_[a] > table_[b]; });
    return order;
  }

  const StubTokenizer& tokenizer_;
  const std::vector<uint32_t>& pairs_;
  StubOptions options_;
  std::vector<Slot> slots_;
  std::vector<Answer> answers_;
  Ask ask_ = Ask::intervals;
  std::vector<uint32_t> table_, leaves_, path_;
  std::vector<uint64_t> sums_;
  int calls_ = 0;
};

class StubEngine final : public TokenEngine {
 public:
  StubEngine(ByteView text, const StubOptions& options) : tokenizer_(options.lacks_bytes), options_(options) {
    const auto vocab = static_cast<size_t>(tokenizer_.vocab());
    pairs_.resize(vocab * vocab);
    std::vector<Symbol> symbols;
    tokenizer_.encode(text, &symbols);
    for (size_t i = 1; i < symbols.size(); ++i) {
      if (std::max(symbols[i - 1], symbols[i]) < tokenizer_.vocab()) ++pairs_[symbols[i - 1] * vocab + symbols[i]];
    }
  }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  Symbol start() const override { return 0; }
  int context() const override { return options_.context; }
  Result<std::unique_ptr<Session>> make_session(int streams) const override {
    if (options_.streams_made) *options_.streams_made += streams;
    return std::unique_ptr<Session>(std::make_unique<StubSession>(tokenizer_, pairs_, options_, streams));
  }

 private:
  StubTokenizer tokenizer_;
  StubOptions options_;
  std::vector<uint32_t> pairs_;
};

}  // namespace llmc
