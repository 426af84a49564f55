// Other forms of vocabularies: what becomes of them, and what is refused.
#include "tokens/convert.h"

#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "tokens/tokenizer.h"

namespace llmc {
namespace {

const std::string kFolder = LLMC_SOURCE_DIR "/tests/tokens/";

std::vector<Symbol> ids(const Result<Bytes>& json, const std::string& text) {
  EXPECT_TRUE(json.ok()) << json.status().message();
  const auto tokenizer = Tokenizer::from_json(*json);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  std::vector<Symbol> out;
  (*tokenizer)->encode(as_bytes(text), &out);
  return out;
}

TEST(Convert, Gpt2FilesMakeByteLevelBpe) {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120ab": 4, "<|endoftext|>": 5})";
  const auto json = tokenizer_json_of_gpt2(as_bytes(vocab), as_bytes("#version: 0.2\na b\n\xC4\xA0 ab\n"));
  EXPECT_EQ(ids(json, "ab ab"), (std::vector<Symbol>{2, 4}));
  EXPECT_FALSE(tokenizer_json_of_gpt2(as_bytes("[]"), {}).ok());
  EXPECT_FALSE(tokenizer_json_of_gpt2(as_bytes(R"({"a": -1})"), {}).ok());
}

TEST(Convert, TiktokenMergesByTheRankOfWhatIsMade) {
  const std::string file = "YQ== 0\nYWE= 1\nYWFh 2\n";  // a, aa, aaa
  EXPECT_EQ(ids(tokenizer_json_of_tiktoken(as_bytes(file), Pattern::gpt4, 0), "aaaaaaa"),
            (std::vector<Symbol>{1, 1, 2}));
  for (const char* bad : {"YQ==", "YQ== x", "Y?== 0", "YQ== 0\nYWE= 0", "YQ== 99999999"}) {
    EXPECT_FALSE(tokenizer_json_of_tiktoken(as_bytes(bad), Pattern::gpt4, 0).ok()) << bad;
  }
}

TEST(Convert, GgufVocabulariesNameTheirPattern) {
  GgufVocabulary gguf{"gpt2", "smollm", {"1", "2", "12", "<|x|>"}, {1, 1, 1, 3}, {}, {"1 2"}};
  EXPECT_EQ(ids(tokenizer_json_of_gguf(gguf), "12"), (std::vector<Symbol>{0, 1}));
  gguf.pre = "gpt-2";
  EXPECT_EQ(ids(tokenizer_json_of_gguf(gguf), "12"), (std::vector<Symbol>{2}));
  gguf.pre = "something-new";
  EXPECT_NE(tokenizer_json_of_gguf(gguf).status().message().find("something-new"), std::string::npos);
  gguf.model = "bert";
  EXPECT_NE(tokenizer_json_of_gguf(gguf).status().message().find("bert"), std::string::npos);
  gguf.types.pop_back();
  EXPECT_FALSE(tokenizer_json_of_gguf(gguf).ok());
}

// A space, and the character that stands for it in the vocabulary, stay apart.
TEST(Convert, SentencePieceSpacesAndTheirMarkStayApart) {
  const GgufVocabulary gguf{"llama",
                            "",
                            {"<unk>", "<s>", "<0x20>", "<0xE2>", "<0x96>", "<0x81>", "\u2581", "a", "\u2581a"},
                            {2, 3, 6, 6, 6, 6, 1, 1, 1},
                            {0, 0, 0, 0, 0, 0, -1, -2, -3},
                            {}};
  const auto json = tokenizer_json_of_gguf(gguf);
  EXPECT_EQ(ids(json, " a"), (std::vector<Symbol>{8}));
  EXPECT_EQ(ids(json, "\u2581a"), (std::vector<Symbol>{3, 4, 5, 7}));
  EXPECT_EQ(ids(json, "b"), (std::vector<Symbol>{9 + 'b'}));  // no token: an escape
}

TEST(Convert, DamagedSentencePieceModelsAreRefusedOrUsable) {
  const auto whole = read_file(kFolder + "sentencepiece.model");
  ASSERT_TRUE(whole.ok());
  for (size_t size = 0; size < whole->size(); size += 97) {
    const auto json = tokenizer_json_of_sentencepiece(ByteView(*whole).first(size));
    if (json.ok()) Tokenizer::from_json(*json).ok();
  }
  std::minstd_rand random(1);
  for (int i = 0; i < 50; ++i) {
    Bytes changed = *whole;
    changed[random() / 8 % changed.size()] = static_cast<uint8_t>(random() / 8);
    const auto json = tokenizer_json_of_sentencepiece(changed);
    if (json.ok()) Tokenizer::from_json(*json).ok();
  }
}

TEST(Convert, FoldersAreSearchedInOrder) {
  EXPECT_EQ(*tokenizer_json_of_folder(LLMC_SOURCE_DIR "/models/e0-hf", "qwen3"),
            *read_file(LLMC_SOURCE_DIR "/models/e0-hf/tokenizer.json"));
  EXPECT_EQ(tokenizer_json_of_folder(kFolder, "llama").status().code(), Code::ok);  // small.tiktoken
  EXPECT_EQ(tokenizer_json_of_folder(LLMC_SOURCE_DIR "/tests/exact", "llama").status().code(), Code::missing);
}

}  // namespace
}  // namespace llmc
