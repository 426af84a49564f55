// What holds for every byte string, with every kind of tokenizer that the product knows; and the ids
// of the reference libraries on fixed hostile strings (golden_*.txt, by tools/tokens/reference.py).
#include "tokens/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "base/file.h"
#include <nlohmann/json.hpp>

#include "tokens/convert.h"
#include "tokens/definition.h"

namespace llmc {
namespace {

const std::string kSource = LLMC_SOURCE_DIR;

struct Case {
  const char* name;
  std::string path;
  int vocab;
  int escapes;  // bytes without a token
  const char* special = "<|endoftext|>";  // an added token
  int special_id = 0;
  std::string pattern = "";  // another pre-tokenizer than the file's
};

// The tokenizer.json of a case, made from what its file is.
Result<Bytes> json_of(const Case& c) {
  LLMC_ASSIGN(Bytes file, read_file(c.path));
  if (c.path.ends_with(".model")) return tokenizer_json_of_sentencepiece(file);
  if (c.path.ends_with(".tiktoken")) return tokenizer_json_of_tiktoken(file, Pattern::gpt4, 2);
  if (c.pattern.empty()) return file;
  auto json = nlohmann::json::parse(file);
  const std::string regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" + c.pattern +
                            "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  json["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers",
                            {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}},
                             {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const std::string text = json.dump();
  return Bytes(text.begin(), text.end());
}
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class AnyTokenizer : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto json = json_of(GetParam());
    ASSERT_TRUE(json.ok()) << json.status().message();
    json_ = *json;
    auto tokenizer = Tokenizer::from_json(json_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = *std::move(tokenizer);
    for (int b = 0; b < 256; ++b) {
      const Bytes text{static_cast<uint8_t>(b)};
      std::vector<Symbol> symbols;
      tokenizer_->encode(text, &symbols);
      ASSERT_EQ(symbols.size(), 1u);
      has_token_[b] = symbols[0] < tokenizer_->vocab();
    }
  }

  std::vector<Symbol> encode(ByteView text) const {
    std::vector<Symbol> symbols;
    tokenizer_->encode(text, &symbols);
    return symbols;
  }
  std::vector<Symbol> encode(const std::string& text) const { return encode(as_bytes(text)); }

  // decode(encode(x)) == x, by text tokens and necessary escapes alone.
  void round_trip(ByteView text) const {
    const auto symbols = encode(text);
    for (const Symbol symbol : symbols) {
      if (tokenizer_->is_text(symbol)) continue;
      const int byte = symbol - tokenizer_->vocab();
      ASSERT_TRUE(byte >= 0 && byte < 256 && !has_token_[byte]) << "symbol " << symbol;
    }
    Bytes back;
    ASSERT_TRUE(tokenizer_->decode(symbols, &back));
    ASSERT_TRUE(std::ranges::equal(back, text)) << to_hex(text.first(std::min<size_t>(text.size(), 200)));
  }
  void round_trip(const std::string& text) const { round_trip(as_bytes(text)); }

  Bytes json_;
  std::unique_ptr<Tokenizer> tokenizer_;
  bool has_token_[256] = {};
};

void append_utf8(uint32_t point, std::string* out) {
  const auto put = [&](uint32_t b) { out->push_back(static_cast<char>(b)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xC0 | point >> 6);
  } else {
    if (point < 0x10000) {
      put(0xE0 | point >> 12);
    } else {
      put(0xF0 | point >> 18);
      put(0x80 | (point >> 12 & 63));
    }
    put(0x80 | (point >> 6 & 63));
  }
  put(0x80 | (point & 63));
}

TEST_P(AnyTokenizer, KnowsItsVocabulary) {
  EXPECT_EQ(tokenizer_->vocab(), GetParam().vocab);
  EXPECT_EQ(tokenizer_->added_token(GetParam().special), GetParam().special_id);
  EXPECT_EQ(tokenizer_->added_token("the"), -1);
  EXPECT_FALSE(tokenizer_->is_text(GetParam().special_id));
  EXPECT_FALSE(tokenizer_->is_text(-1));
  EXPECT_FALSE(tokenizer_->is_text(tokenizer_->vocab()));
  EXPECT_TRUE(tokenizer_->bytes_of(GetParam().special_id).empty());
  EXPECT_EQ(std::count(has_token_, has_token_ + 256, false), GetParam().escapes);
  EXPECT_EQ(tokenizer_->needs_escape(), GetParam().escapes != 0);
  int text_tokens = 0;
  for (Symbol id = 0; id < tokenizer_->vocab(); ++id) {
    if (!tokenizer_->is_text(id)) continue;
    ++text_tokens;
    const ByteView bytes = tokenizer_->bytes_of(id);
    ASSERT_LE(bytes.size(), kMaxTokenBytes);
    round_trip(bytes);
  }
  EXPECT_GT(text_tokens, GetParam().vocab - 20);
}

TEST_P(AnyTokenizer, DecodeRefusesWhatIsNotText) {
  Bytes out;
  for (const Symbol bad : {-1, GetParam().special_id, tokenizer_->vocab() + 256, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(tokenizer_->decode({bad}, &out)) << bad;
  }
  EXPECT_TRUE(tokenizer_->decode({}, &out));
  EXPECT_TRUE(tokenizer_->decode({tokenizer_->vocab() + 255}, &out));
  EXPECT_EQ(out, Bytes{255});
}

TEST_P(AnyTokenizer, EncodeAndDecodeAppend) {
  std::vector<Symbol> symbols{-7};
  tokenizer_->encode(as_bytes("the the"), &symbols);
  ASSERT_EQ(symbols.size(), 3u);
  EXPECT_EQ(symbols[0], -7);
  Bytes bytes{1};
  ASSERT_TRUE(tokenizer_->decode({symbols[1], symbols[2]}, &bytes));
  EXPECT_EQ(as_text(bytes), "\x01the the");
}

TEST_P(AnyTokenizer, EmptyAndAllShortStringsComeBack) {
  round_trip("");
  EXPECT_TRUE(encode("").empty());
  for (int a = 0; a < 256; ++a) {
    round_trip(Bytes{static_cast<uint8_t>(a)});
    for (int b = 0; b < 256; ++b) round_trip(Bytes{static_cast<uint8_t>(a), static_cast<uint8_t>(b)});
  }
}

TEST_P(AnyTokenizer, RandomBytesComeBack) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    Bytes text(random() % (i < 280 ? 300 : 100000));
    for (uint8_t& b : text) b = static_cast<uint8_t>(random());
    round_trip(text);
  }
}

TEST_P(AnyTokenizer, SpecialTokenTextIsOrdinaryText) {
  for (const std::string special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<s>"}) {
    for (const std::string& text : {special, special + special, "a" + special + "b", " " + special + "\n"}) {
      round_trip(text);
      EXPECT_GT(encode(text).size(), 1u);
    }
  }
}

TEST_P(AnyTokenizer, LineEndsNulAndControlsComeBack) {
  round_trip("a\r\nb\r\n\r\n\rc\n\n\r \r\n ");
  round_trip(std::string("\0\0a\0 \0\n\0", 8));
  std::string controls;
  for (int i = 0; i < 3; ++i) {
    for (char c = 0; c < 32; ++c) controls.append(i, ' ').append(i + 1, c);
  }
  round_trip(controls);
}

TEST_P(AnyTokenizer, AllCodePointsComeBack) {
  std::string text;
  for (uint32_t point = 0; point < 0x110000; ++point) append_utf8(point, &text);  // surrogates too, as invalid bytes
  round_trip(text);
  for (const size_t at : {size_t{1000}, text.size() / 2, text.size() - 999}) {
    for (size_t cut = at; cut < at + 16; ++cut) {  // borders inside characters
      round_trip(text.substr(cut, 500));
      round_trip(text.substr(cut - 500, 500));
    }
  }
}

TEST_P(AnyTokenizer, MegabyteRunsComeBack) {
  for (const std::string unit : {"a", " ", "\n", "\r\n", "1", "-", "\xFF", "\xC3\xA9", "ab", "\xE4\xB8\xAD", "a\x04"}) {
    std::string text;
    while (text.size() < 1 << 20) text += unit;
    round_trip(text);
  }
  round_trip(std::string(1 << 20, '\0'));
  round_trip(std::string((9 << 20) + 1, 'e'));  // longer than what is merged at once
}

TEST_P(AnyTokenizer, RealTextsComeBackFromAnyCut) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource + "/tests/data/text")) {
    const auto text = read_file(entry.path());
    ASSERT_TRUE(text.ok()) << text.status().message();
    round_trip(*text);
    for (size_t at = 0; at < text->size(); at += 4093) {
      round_trip(ByteView(*text).subspan(at, std::min<size_t>(4093, text->size() - at)));
    }
    ++files;
  }
  EXPECT_GT(files, 0);
}

TEST_P(AnyTokenizer, IdsAreThoseOfTheReference) {
  std::ifstream golden(kSource + "/tests/tokens/golden_" + GetParam().name + ".txt");
  std::string line;
  int lines = 0;
  while (std::getline(golden, line)) {
    if (line.starts_with('#')) continue;
    std::istringstream fields(line);
    std::string hex;
    fields >> hex;
    Bytes text(hex == "-" ? 0 : hex.size() / 2);
    ASSERT_TRUE(hex == "-" || from_hex(hex, text));
    std::vector<Symbol> ids;
    for (Symbol id; fields >> id;) ids.push_back(id);
    EXPECT_EQ(encode(text), ids) << line;
    ++lines;
  }
  EXPECT_GE(lines, GetParam().path.ends_with(".model") || GetParam().path.ends_with(".tiktoken") ? 200 : 400);
}

// Merging as it is defined, one merge at a time over the whole piece.
std::vector<Symbol> merge_slowly(const TokenizerDefinition& definition, std::vector<Symbol> symbols) {
  std::map<std::pair<Symbol, Symbol>, std::pair<size_t, Symbol>> rules;
  size_t first = 0;
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    const auto& m = definition.merges[rank];
    const bool same = definition.ranks_by_token && rank > 0 && definition.merges[rank - 1].made == m.made;
    if (!same) first = rank;
    rules[{m.left, m.right}] = {first, m.made};
  }
  for (;;) {
    size_t at = symbols.size(), best = SIZE_MAX;
    Symbol made = -1;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rule = rules.find({symbols[i], symbols[i + 1]});
      if (rule != rules.end() && rule->second.first < best) {
        best = rule->second.first;
        made = rule->second.second;
        at = i;
      }
    }
    if (best == SIZE_MAX) return symbols;
    symbols[at] = made;
    symbols.erase(symbols.begin() + at + 1);
  }
}

TEST_P(AnyTokenizer, LongAndShortPiecesMergeByTheRule) {
  const auto definition = parse_tokenizer_json(json_);
  ASSERT_TRUE(definition.ok());
  std::mt19937_64 random(2);
  for (const size_t length : {2, 3, 7, 20, 47, 48, 49, 50, 100, 400}) {
    for (int i = 0; i < 5; ++i) {
      std::string text;
      for (size_t j = 0; j < length; ++j) text += "etaoinsh"[random() % (i == 0 ? 1 : 8)];
      std::vector<Symbol> bytes;
      for (const char c : text) bytes.push_back(encode(std::string(1, c))[0]);
      EXPECT_EQ(encode(text), merge_slowly(*definition, bytes)) << text;
    }
  }
}

TEST_P(AnyTokenizer, ManyThreadsMayEncodeAtOnce) {
  const auto text = read_file(kSource + "/tests/data/text/tldr.txt");
  ASSERT_TRUE(text.ok());
  const auto expected = encode(*text);
  std::vector<std::vector<Symbol>> got(4);
  std::vector<std::thread> threads;
  for (auto& symbols : got) threads.emplace_back([&] { tokenizer_->encode(*text, &symbols); });
  for (auto& thread : threads) thread.join();
  for (const auto& symbols : got) EXPECT_EQ(symbols, expected);
}

const std::string kE0 = kSource + "/models/e0-hf/tokenizer.json";
INSTANTIATE_TEST_SUITE_P(
    , AnyTokenizer,
    testing::Values(Case{"e0", kE0, 4096, 0},
                    Case{"smollm2", kSource + "/tests/data/tokenizers/smollm2.json", 49152, 21},
                    Case{"gpt4", kE0, 4096, 0, "<|endoftext|>", 0, "\\p{N}{1,3}"},
                    Case{"qwen", kE0, 4096, 0, "<|endoftext|>", 0, "\\p{N}"},
                    Case{"sentencepiece", kSource + "/tests/tokens/sentencepiece.model", 900, 0, "<s>", 1},
                    Case{"tiktoken", kSource + "/tests/tokens/small.tiktoken", 1258, 0, "<|special_0|>", 1256}),
    [](const auto& it) { return it.param.name; });

}  // namespace
}  // namespace llmc
