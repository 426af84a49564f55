#include "tokens/tokenizer.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "tokens/bpe.h"
#include "tokens/definition.h"
#include "tokens/splitter.h"

namespace llmc {
namespace {

constexpr std::array<uint8_t, 256> make_all_bytes() {
  std::array<uint8_t, 256> bytes{};
  for (int b = 0; b < 256; ++b) bytes[b] = static_cast<uint8_t>(b);
  return bytes;
}
constexpr std::array<uint8_t, 256> kAllBytes = make_all_bytes();

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(Bpe bpe, Pattern pattern, bool individual_digits, std::map<std::string, int32_t> added)
      : bpe_(std::move(bpe)), pattern_(pattern), individual_digits_(individual_digits), added_(std::move(added)) {
    for (int b = 0; b < 256; ++b) needs_escape_ |= bpe_.byte_symbol(static_cast<uint8_t>(b)) >= bpe_.vocab();
  }

  int vocab() const override { return bpe_.vocab(); }
  bool is_text(Symbol id) const override { return id >= 0 && id < vocab() && !bpe_.bytes_of(id).empty(); }
  ByteView bytes_of(Symbol symbol) const override {
    if (symbol < 0 || symbol >= vocab() + 256) return {};
    if (symbol >= vocab()) return ByteView(kAllBytes).subspan(symbol - vocab(), 1);
    return bpe_.bytes_of(symbol);
  }
  bool needs_escape() const override { return needs_escape_; }

  void encode(ByteView text, std::vector<Symbol>* out) const override {
    Splitter pieces(text, pattern_, individual_digits_);
    for (ByteView piece = pieces.next(); !piece.empty(); piece = pieces.next()) bpe_.encode(piece, out);
  }

  bool decode(const std::vector<Symbol>& symbols, Bytes* out) const override {
    for (const Symbol symbol : symbols) {
      const ByteView bytes = bytes_of(symbol);
      if (bytes.empty()) return false;
      out->insert(out->end(), bytes.begin(), bytes.end());
    }
    return true;
  }

  Symbol added_token(const std::string& content) const override {
    const auto it = added_.find(content);
    return it == added_.end() ? -1 : it->second;
  }

 private:
  Bpe bpe_;
  Pattern pattern_;
  bool individual_digits_;
  bool needs_escape_ = false;
  std::map<std::string, int32_t> added_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(ByteView tokenizer_json) {
  LLMC_ASSIGN(TokenizerDefinition definition, parse_tokenizer_json(tokenizer_json));
  LLMC_ASSIGN(Bpe bpe, Bpe::build(definition));
  return std::unique_ptr<Tokenizer>(
      new BpeTokenizer(std::move(bpe), definition.pattern, definition.individual_digits, std::move(definition.added)));
}

}  // namespace llmc
