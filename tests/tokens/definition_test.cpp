// Malformed and unsupported tokenizer.json files: each gives Code::model and names what is wrong.
#include "tokens/definition.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "tokens/hash.h"
#include "tokens/tokenizer.h"

namespace llmc {
namespace {

using nlohmann::json;

// Bytes '!' .. '~' (ids 1 to 94), "ab" and "abc" (95, 96), one added token inside the vocabulary, one behind it.
json small() {
  json vocab = {{"<end>", 0}, {"ab", 95}, {"abc", 96}};
  for (char c = '!'; c <= '~'; ++c) vocab[std::string(1, c)] = c - '!' + 1;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens",
           {{{"id", 0}, {"content", "<end>"}, {"special", true}},
            {{"id", 100}, {"content", "<pad>"}, {"special", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab c"}}}}};
}

Result<std::unique_ptr<Tokenizer>> load(const std::string& text) { return Tokenizer::from_json(as_bytes(text)); }
Result<std::unique_ptr<Tokenizer>> load(const json& it) { return load(it.dump()); }

std::vector<Symbol> ids(const json& it, const std::string& text) {
  const auto tokenizer = load(it);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  std::vector<Symbol> out;
  if (tokenizer.ok()) (*tokenizer)->encode(as_bytes(text), &out);
  return out;
}

void refused(const std::string& text, const std::string& because) {
  const auto tokenizer = load(text);
  ASSERT_FALSE(tokenizer.ok()) << because;
  EXPECT_EQ(tokenizer.status().code(), Code::model);
  EXPECT_NE(tokenizer.status().message().find(because), std::string::npos)
      << "says: " << tokenizer.status().message() << "\nwanted: " << because;
}

TEST(TokenizerJson, ReadsASmallOne) {
  const auto tokenizer = load(small());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Tokenizer& t = **tokenizer;
  EXPECT_EQ(t.vocab(), 101);
  EXPECT_TRUE(t.needs_escape());
  EXPECT_TRUE(t.is_text(96));
  for (const Symbol id : {0, 97, 100, 101}) EXPECT_FALSE(t.is_text(id)) << id;
  EXPECT_EQ(t.added_token("<pad>"), 100);
  EXPECT_EQ(ids(small(), "abcab b"), (std::vector<Symbol>{96, 95, 101 + ' ', 'b' - '!' + 1}));
}

TEST(TokenizerJson, TakesMergesAsPairsToo) {
  json it = small();
  it["model"]["merges"] = json::array({json::array({"a", "b"}), json::array({"ab", "c"})});
  EXPECT_EQ(ids(it, "abc"), std::vector<Symbol>{96});
}

TEST(TokenizerJson, IgnoreMergesTakesAWholePieceFromTheVocabulary) {
  json it = small();
  it["model"]["merges"] = json::array();
  EXPECT_EQ(ids(it, "abc").size(), 3u);
  it["model"]["ignore_merges"] = true;
  EXPECT_EQ(ids(it, "abc"), std::vector<Symbol>{96});
  EXPECT_EQ(ids(it, "abcd").size(), 4u);
}

TEST(TokenizerJson, AddedTokensAreNotTextEvenWithIgnoreMerges) {
  json it = small();
  it["model"]["ignore_merges"] = true;
  it["added_tokens"].push_back({{"id", 97}, {"content", "pad"}});
  EXPECT_EQ(ids(it, "pad").size(), 3u);
  it["model"]["vocab"]["pad"] = 97;
  EXPECT_EQ(ids(it, "pad").size(), 3u);
}

TEST(TokenizerJson, AnUnknownTokenIsAllowedWhereItHasNoEffect) {
  json it = small();
  it["model"]["unk_token"] = "<end>";
  refused(it.dump(), "model.unk_token is set");
  json vocab = json::object();
  int id = 0;
  for (int point = 0; point < 0x144; ++point) {  // more than the alphabet, which harms nobody
    std::string token;
    if (point >= 0x80) token += static_cast<char>(0xC0 | point >> 6);
    token += static_cast<char>(point >= 0x80 ? 0x80 | (point & 63) : point);
    vocab[token] = id++;
  }
  it["added_tokens"] = json::array();
  it["model"]["merges"] = json::array();
  it["model"]["vocab"] = vocab;
  const auto tokenizer = load(it);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_FALSE((*tokenizer)->needs_escape());
}

TEST(TokenizerJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "nonsense", "{\"version\": \"1.0\",}", "{\"a\": \"\\ud800\"}",
                           "{\"a\": \"\xFF\"}", "\"", "\"\\"}) {
    refused(text, "not JSON at byte");
  }
  refused("[]", "not an object");
  refused("{}", "version is null");
  refused(std::string(1000000, '['), "nested deeper");
  refused("[" + std::string(5000000, ','), "more than 4194304 values");
  refused(std::string(kMaxTokenizerJson + 1, ' '), "larger than 64 MiB");
  const std::string whole = small().dump();
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(load(whole.substr(0, n)).ok());
}

TEST(TokenizerJson, RefusesByName) {
  const auto changed = [](const std::string& because, const std::function<void(json&)>& change) {
    json it = small();
    change(it);
    refused(it.dump(), because);
  };
  using J = json&;
  changed("version is \"2.0\"", [](J it) { it["version"] = "2.0"; });
  changed("unknown field \"tiktoken\"", [](J it) { it["tiktoken"] = 1; });
  changed("truncation is set", [](J it) { it["truncation"] = {{"max_length", 5}}; });
  changed("padding is set", [](J it) { it["padding"] = true; });
  changed("normalizer is \"NFKC\"", [](J it) { it["normalizer"] = {{"type", "NFKC"}}; });
  changed("normalizer is 3", [](J it) { it["normalizer"] = 3; });

  changed("pre_tokenizer is not an object", [](J it) { it["pre_tokenizer"] = nullptr; });
  changed("pre_tokenizer.type is \"Metaspace\"", [](J it) { it["pre_tokenizer"] = {{"type", "Metaspace"}}; });
  changed("pre_tokenizer.add_prefix_space is true", [](J it) { it["pre_tokenizer"]["add_prefix_space"] = true; });
  changed("pre_tokenizer.add_prefix_space must be", [](J it) { it["pre_tokenizer"].erase("add_prefix_space"); });
  changed("pre_tokenizer.use_regex is false", [](J it) { it["pre_tokenizer"]["use_regex"] = false; });
  changed("pre_tokenizer has the unknown field \"lower\"", [](J it) { it["pre_tokenizer"]["lower"] = true; });
  const auto sequence = [&](const std::string& because, const json& steps) {
    changed(because, [&](J it) { it["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}}; });
  };
  const json byte_level = small()["pre_tokenizer"];
  sequence("must be [ByteLevel], [Digits, ByteLevel] or [Split, ByteLevel]", json::array());
  sequence("must be [ByteLevel], [Digits, ByteLevel]", json::array({byte_level, byte_level, byte_level}));
  sequence("pre_tokenizer.pretokenizers[0].type is \"Bert\"", json::array({{{"type", "Bert"}}, byte_level}));
  sequence("pre_tokenizer.pretokenizers[0].individual_digits is false",
           json::array({{{"type", "Digits"}, {"individual_digits", false}}, byte_level}));
  const json split = {{"type", "Split"}, {"pattern", {{"Regex", "\\w+"}}}, {"behavior", "Isolated"}, {"invert", false}};
  sequence("pattern is \"\\\\w+\", which is not one of those", json::array({split, byte_level}));
  json merged = split;
  merged["pattern"]["Regex"] =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  sequence("pretokenizers[1].use_regex is true", json::array({merged, byte_level}));
  merged["behavior"] = "Removed";
  sequence("behavior is \"Removed\"", json::array({merged, byte_level}));
  sequence("pre_tokenizer.pretokenizers[1].type is \"Digits\"",
           json::array({{{"type", "Digits"}, {"individual_digits", true}}, {{"type", "Digits"}}}));

  changed("post_processor is \"BertProcessing\"", [](J it) { it["post_processor"] = {{"type", "BertProcessing"}}; });
  changed("post_processor.processors is null",
          [](J it) { it["post_processor"] = {{"type", "Sequence"}, {"processors", {nullptr}}}; });
  changed("decoder.type is \"Metaspace\"", [](J it) { it["decoder"] = {{"type", "Metaspace"}}; });

  changed("added_tokens is not a list", [](J it) { it["added_tokens"] = 1; });
  changed("added_tokens[0] is not an object", [](J it) { it["added_tokens"][0] = 1; });
  changed("added_tokens[1].content is not a text", [](J it) { it["added_tokens"][1]["content"] = ""; });
  changed("\"<end>\" appears twice", [](J it) { it["added_tokens"][1]["content"] = "<end>"; });
  changed("added_tokens gives \"<end>\" the id -1", [](J it) { it["added_tokens"][0]["id"] = -1; });
  changed("added_tokens[0] has the unknown field \"kind\"", [](J it) { it["added_tokens"][0]["kind"] = 1; });
  changed("\"<end>\" has the id 5, but 0 in model.vocab", [](J it) { it["added_tokens"][0]["id"] = 5; });
  changed("\"<pad>\" has the id of another token", [](J it) { it["added_tokens"][1]["id"] = 96; });

  changed("model is not an object", [](J it) { it.erase("model"); });
  changed("model.type is \"Unigram\"", [](J it) { it["model"]["type"] = "Unigram"; });
  changed("model.type is null", [](J it) { it["model"].erase("type"); });
  changed("model has the unknown field \"scores\"", [](J it) { it["model"]["scores"] = 1; });
  changed("model.dropout is set (0.1)", [](J it) { it["model"]["dropout"] = 0.1; });
  changed("model.continuing_subword_prefix is set (\"##\")",
          [](J it) { it["model"]["continuing_subword_prefix"] = "##"; });
  changed("model.end_of_word_suffix is set (\"</w>\")", [](J it) { it["model"]["end_of_word_suffix"] = "</w>"; });
  changed("pre_tokenizer is \"ByteLevel\", expected null or Metaspace",
          [](J it) { it["model"]["byte_fallback"] = true; });
  changed("neither normalizer nor pre_tokenizer marks spaces", [](J it) {
    it["model"]["byte_fallback"] = true;
    it.erase("pre_tokenizer");
  });
  changed("normalizer has the step \"Lowercase\"", [](J it) {
    it["model"]["byte_fallback"] = true;
    it["normalizer"] = {{"type", "Lowercase"}};
  });
  changed("model.fuse_unk is true", [](J it) { it["model"]["fuse_unk"] = true; });
  changed("model.ignore_merges must be", [](J it) { it["model"]["ignore_merges"] = 1; });

  changed("model.vocab is not an object", [](J it) { it["model"]["vocab"] = json::array(); });
  changed("model.vocab is not an object", [](J it) { it["model"]["vocab"] = json::object(); });
  changed("gives the id 95 to two tokens", [](J it) { it["model"]["vocab"]["ac"] = 95; });
  for (const json& id : json::array({-1, 1.5, "1", kMaxVocab, 1e18, UINT64_MAX, nullptr})) {
    changed("model.vocab gives \"ab\" the id", [&](J it) { it["model"]["vocab"]["ab"] = id; });
  }
  changed("token of more than 1024 bytes", [](J it) { it["model"]["vocab"][std::string(1025, 'x')] = 98; });

  changed("model.merges is not a list", [](J it) { it["model"].erase("merges"); });
  for (const json& merge : json::parse(R"(["ab", "a b c", 3, ["a"], ["a", "b", "c"], ["a", 1], {"a": "b"}])")) {
    changed("model.merges[1] is not two tokens", [&](J it) { it["model"]["merges"][1] = merge; });
  }
  changed("model.merges[2] needs \"ac\", which is no text token", [](J it) { it["model"]["merges"].push_back("a c"); });
  changed("model.merges[2] needs \"\", which is no text token", [](J it) { it["model"]["merges"].push_back(" a"); });
  changed("model.merges[2] needs \"<end>\", which is no text token", [](J it) {
    it["model"]["vocab"]["end>"] = 97;
    it["model"]["merges"].push_back("< end>");
  });
}

// Any bytes cost an error or give a tokenizer that works: never a crash.
TEST(TokenizerJson, SurvivesDamage) {
  const std::string whole = small().dump();
  std::mt19937_64 random(3);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = whole;
    for (uint64_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, random() % 9); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 9));
      }
    }
    const auto tokenizer = load(text);
    if (!tokenizer.ok()) {
      EXPECT_EQ(tokenizer.status().code(), Code::model);
      continue;
    }
    ++accepted;
    std::vector<Symbol> symbols;
    (*tokenizer)->encode(as_bytes(whole), &symbols);
    Bytes back;
    ASSERT_TRUE((*tokenizer)->decode(symbols, &back));
    ASSERT_EQ(as_text(back), whole);
  }
  EXPECT_GT(accepted, 0);
}

TEST(HashTables, RefuseTooManyCollisions) {
  PairTable pairs(1);  // four slots
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(pairs.insert(i, i, i, i));
  EXPECT_TRUE(pairs.insert(2, 2, 7, 7));
  EXPECT_EQ(pairs.find(2, 2).rank, 7u);
  EXPECT_FALSE(pairs.insert(4, 4, 4, 4));
  BytesTable table(1);
  const std::string text = "abcde";
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(table.insert(as_bytes(text).subspan(i, 1), i));
  EXPECT_EQ(table.find(as_bytes("c")), 2);
  EXPECT_FALSE(table.insert(as_bytes(text).subspan(4, 1), 4));
}

}  // namespace
}  // namespace llmc
