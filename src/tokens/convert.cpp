#include "tokens/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_map>

#include "base/file.h"
#include "tokens/definition.h"

namespace llmc {

namespace {

using nlohmann::ordered_json;

constexpr uint64_t kMaxFile = kMaxTokenizerJson;

Status wrong(const std::string& what) { return {Code::model, what}; }

// GPT-2's character for each byte, as UTF-8.
const std::vector<std::string>& alphabet() {
  static const std::vector<std::string> kAlphabet = [] {
    std::vector<std::string> out;
    int next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const int point = itself ? b : next++;
      std::string text;
      if (point < 0x80) {
        text += static_cast<char>(point);
      } else {
        text += static_cast<char>(0xC0 | point >> 6);
        text += static_cast<char>(0x80 | (point & 0x3F));
      }
      out.push_back(text);
    }
    return out;
  }();
  return kAlphabet;
}

std::string spelled(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += alphabet()[static_cast<uint8_t>(c)];
  return out;
}

ordered_json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

ordered_json pre_tokenizer(Pattern pattern, bool digits) {
  if (pattern == Pattern::gpt2 && !digits) return byte_level(true);
  ordered_json first = {{"type", "Digits"}, {"individual_digits", true}};
  if (pattern != Pattern::gpt2) {
    const std::string numbers = pattern == Pattern::gpt4 ? "\\p{N}{1,3}" : "\\p{N}";
    const std::string regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" + numbers +
                              "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    first = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  }
  return {{"type", "Sequence"}, {"pretokenizers", {first, byte_level(pattern == Pattern::gpt2)}}};
}

struct Parts {
  std::vector<std::string> tokens;  // by id
  std::vector<bool> special;        // by id: never text
  ordered_json merges = ordered_json::array();
  ordered_json pre;
  bool characters = false;  // SentencePiece's kind
  bool ranks_by_token = false;
  bool ignore_merges = false;
};

Result<Bytes> write(const Parts& parts) {
  if (parts.tokens.empty() || parts.tokens.size() > static_cast<size_t>(kMaxVocab)) {
    return wrong("the vocabulary is empty or larger than 1048576 tokens");
  }
  ordered_json added = ordered_json::array(), vocab = ordered_json::object();
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    const std::string& token = parts.tokens[id];
    if (token.empty()) continue;  // a gap
    if (!vocab.emplace(token, id).second) return wrong("the vocabulary has a token twice");
    if (!parts.special[id]) continue;
    added.push_back({{"id", id}, {"content", token}, {"single_word", false}, {"lstrip", false}, {"rstrip", false},
                     {"normalized", false}, {"special", true}});
  }
  ordered_json model = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr}, {"fuse_unk", parts.characters}, {"byte_fallback", parts.characters},
                {"ignore_merges", parts.ignore_merges}};
  if (parts.ranks_by_token) model["ranks_by_token"] = true;
  model["vocab"] = std::move(vocab);
  model["merges"] = parts.merges;
  ordered_json normalizer, decoder = byte_level(true);
  if (parts.characters) {
    normalizer = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
    const ordered_json replace = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
    decoder = {{"type", "Sequence"}, {"decoders", {replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  }
  const ordered_json all = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", added},
                    {"normalizer", normalizer}, {"pre_tokenizer", parts.pre}, {"post_processor", nullptr},
                    {"decoder", decoder}, {"model", model}};
  try {
    const std::string text = all.dump();
    return Bytes(text.begin(), text.end());
  } catch (const ordered_json::exception&) {
    return wrong("a token of the vocabulary is not UTF-8");
  }
}

// All pairs of tokens that join to a token, those of the best token first. `best`: ids by rank; `cuts` gives the
// places where a token may be cut, `spell` how it is written in the file.
template <class Cuts, class Spell>
ordered_json pairs_by_rank(const std::vector<std::string>& tokens, const std::vector<int32_t>& best, const Cuts& cuts,
                   const Spell& spell) {
  std::unordered_map<std::string_view, int32_t> rank;
  for (size_t r = 0; r < best.size(); ++r) rank.emplace(tokens[best[r]], static_cast<int32_t>(r));
  ordered_json merges = ordered_json::array();
  for (const int32_t id : best) {
    const std::string_view token = tokens[id];
    struct Pair {
      int32_t left, right;
      size_t cut;
    };
    std::vector<Pair> pairs;
    for (const size_t cut : cuts(token)) {
      const auto left = rank.find(token.substr(0, cut)), right = rank.find(token.substr(cut));
      if (left != rank.end() && right != rank.end()) pairs.push_back({left->second, right->second, cut});
    }
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    for (const Pair& pair : pairs) {
      merges.push_back({spell(token.substr(0, pair.cut)), spell(token.substr(pair.cut))});
    }
  }
  return merges;
}

// Between the characters of UTF-8.
std::vector<size_t> between_characters(std::string_view token) {
  std::vector<size_t> out;
  for (size_t i = 1; i < token.size(); ++i) {
    if ((static_cast<uint8_t>(token[i]) & 0xC0) != 0x80) out.push_back(i);
  }
  return out;
}

// SentencePiece's kind, from pieces with scores.
Result<Bytes> write_pieces(std::vector<std::string> tokens, const std::vector<int64_t>& types,
                           const std::vector<double>& scores) {
  Parts parts;
  parts.tokens = std::move(tokens);
  parts.characters = parts.ranks_by_token = true;
  parts.special.resize(parts.tokens.size());
  std::vector<int32_t> best;
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    if (parts.tokens[id].size() > kMaxTokenBytes) return wrong("the vocabulary has a token of more than 1024 bytes");
    if (types[id] == 5) return wrong("the vocabulary has an unused piece, which is not supported");
    if (types[id] == 2 || types[id] == 3 || types[id] == 4) {
      parts.special[id] = true;
    } else if (types[id] == 1) {
      if (!std::isfinite(scores[id])) return wrong("the vocabulary has a score that is no number");
      best.push_back(static_cast<int32_t>(id));
    }
  }
  std::stable_sort(best.begin(), best.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  parts.merges = pairs_by_rank(parts.tokens, best, between_characters,
                               [](std::string_view token) { return std::string(token); });
  return write(parts);
}

// The fields of a protocol buffer, one after the other.
class ProtoReader {
 public:
  explicit ProtoReader(ByteView bytes) : in_(bytes) {}
  // False at the end or where the bytes are no message; failed() tells.
  bool next() {
    if (in_.done() || !in_.ok()) return false;
    const uint64_t key = in_.varint();
    field = key >> 3;
    number = 0;
    bytes = {};
    switch (key & 7) {
      case 0:
        number = in_.varint();
        break;
      case 1:
        number = in_.u64();
        break;
      case 2:
        bytes = in_.bytes(in_.varint());
        break;
      case 5:
        number = in_.u32();
        break;
      default:
        broken_ = true;
    }
    return !failed();
  }
  bool failed() const { return broken_ || !in_.ok(); }

  uint64_t field = 0, number = 0;
  ByteView bytes;

 private:
  ByteReader in_;
  bool broken_ = false;
};

std::string with_line_ends_cut(std::string line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.pop_back();
  return line;
}

std::vector<std::string> lines_of(ByteView text) {
  std::vector<std::string> out;
  std::string_view rest = as_text(text);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    out.push_back(with_line_ends_cut(std::string(rest.substr(0, end))));
    rest = rest.substr(std::min(end + 1, rest.size()));
  }
  return out;
}

bool from_base64(std::string_view text, std::string* out) {
  uint32_t held = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int v = c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
    if (v < 0) return false;
    held = held << 6 | static_cast<uint32_t>(v);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out->push_back(static_cast<char>(held >> bits & 255));
    }
  }
  return true;
}

}  // namespace

Result<Bytes> tokenizer_json_of_gpt2(ByteView vocab, ByteView merges) {
  Parts parts;
  const ordered_json parsed = ordered_json::parse(vocab.begin(), vocab.end(), nullptr, false);
  if (!parsed.is_object()) return wrong("vocab.json is not a JSON object");
  for (const auto& [token, id] : parsed.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocab)) {
      return wrong("vocab.json gives a token something that is no id");
    }
    const auto place = id.get<size_t>();
    if (place >= parts.tokens.size()) parts.tokens.resize(place + 1);
    parts.tokens[place] = token;
  }
  parts.special.resize(parts.tokens.size());
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    const std::string& token = parts.tokens[id];
    parts.special[id] = token.starts_with("<|") && token.ends_with("|>");
  }
  for (const std::string& line : lines_of(merges)) {
    if (line.empty() || line.starts_with("#version")) continue;
    parts.merges.push_back(line);
  }
  parts.pre = pre_tokenizer(Pattern::gpt2, false);
  return write(parts);
}

Result<Bytes> tokenizer_json_of_tiktoken(ByteView file, Pattern pattern, int specials) {
  Parts parts;
  for (const std::string& line : lines_of(file)) {
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    std::string bytes;
    const std::string_view digits = space == line.npos ? std::string_view() : std::string_view(line).substr(space + 1);
    const bool number = !digits.empty() && digits.size() < 9 && std::all_of(digits.begin(), digits.end(), [](char c) {
      return c >= '0' && c <= '9';
    });
    if (!number || !from_base64(std::string_view(line).substr(0, space), &bytes) || bytes.empty()) {
      return wrong("a line of the tiktoken file is not a token in base64 and its rank");
    }
    if (bytes.size() > kMaxTokenBytes) return wrong("the tiktoken file has a token of more than 1024 bytes");
    const auto rank = static_cast<size_t>(std::stoul(std::string(digits)));
    if (rank >= static_cast<size_t>(kMaxVocab)) return wrong("the tiktoken file has a rank above 1048575");
    if (rank >= parts.tokens.size()) parts.tokens.resize(rank + 1);
    if (!parts.tokens[rank].empty()) return wrong("the tiktoken file has a rank twice");
    parts.tokens[rank] = bytes;
  }
  std::vector<int32_t> best;
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.tokens[id].empty()) best.push_back(static_cast<int32_t>(id));
  }
  const auto between_bytes = [](std::string_view token) {
    std::vector<size_t> out;
    for (size_t i = 1; i < token.size(); ++i) out.push_back(i);
    return out;
  };
  parts.merges = pairs_by_rank(parts.tokens, best, between_bytes, spelled);
  for (std::string& token : parts.tokens) token = spelled(token);
  parts.special.resize(parts.tokens.size());
  for (int i = 0; i < specials; ++i) {
    parts.tokens.push_back("<|special_" + std::to_string(i) + "|>");
    parts.special.push_back(true);
  }
  parts.ranks_by_token = parts.ignore_merges = true;
  parts.pre = pre_tokenizer(pattern, false);
  return write(parts);
}

// ModelProto: 1 pieces (1 piece, 2 score, 3 type); 2 trainer_spec (3 model_type); 3 normalizer_spec (2
// precompiled_charsmap, 4 remove_extra_whitespaces, 5 escape_whitespaces).
Result<Bytes> tokenizer_json_of_sentencepiece(ByteView file) {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<double> scores;
  uint64_t model_type = 1;
  bool charsmap = false, removes = true, escapes = true;
  ProtoReader model(file);
  while (model.next()) {
    ProtoReader part(model.bytes);
    if (model.field == 1) {
      std::string token;
      float score = 0;
      int64_t type = 1;
      while (part.next()) {
        if (part.field == 1) token = as_text(part.bytes);
        if (part.field == 2) score = std::bit_cast<float>(static_cast<uint32_t>(part.number));
        if (part.field == 3) type = static_cast<int64_t>(part.number);
      }
      if (tokens.size() >= static_cast<size_t>(kMaxVocab)) return wrong("tokenizer.model has more than 1048576 pieces");
      tokens.push_back(std::move(token));
      types.push_back(type);
      scores.push_back(static_cast<double>(score));
    } else if (model.field == 2) {
      while (part.next()) {
        if (part.field == 3) model_type = part.number;
      }
    } else if (model.field == 3) {
      while (part.next()) {
        if (part.field == 2) charsmap = !part.bytes.empty();
        if (part.field == 4) removes = part.number != 0;
        if (part.field == 5) escapes = part.number != 0;
      }
    }
    if (part.failed()) return wrong("tokenizer.model is damaged");
  }
  if (model.failed() || tokens.empty()) return wrong("tokenizer.model is no SentencePiece model");
  if (model_type != 2) return wrong("tokenizer.model is not of type BPE, which is the only one supported");
  if (charsmap) return wrong("tokenizer.model normalises characters (precompiled_charsmap), which is not supported");
  if (removes) return wrong("tokenizer.model removes spaces (remove_extra_whitespaces), which is not supported");
  if (!escapes) return wrong("tokenizer.model does not mark spaces (escape_whitespaces), which is not supported");
  return write_pieces(std::move(tokens), types, scores);
}

Result<Bytes> tokenizer_json_of_gguf(const GgufVocabulary& in) {
  const size_t count = in.tokens.size();
  if (count == 0 || in.types.size() != count) return wrong("tokenizer.ggml.tokens and .token_type do not fit together");
  if (in.model == "llama") {
    if (in.scores.size() != count) return wrong("tokenizer.ggml.scores does not list every token");
    return write_pieces(in.tokens, in.types, in.scores);
  }
  if (in.model != "gpt2") {
    return wrong("tokenizer.ggml.model is " + in.model.substr(0, 40) + ", which is not supported; gpt2 and llama are");
  }
  static const std::map<std::string, std::pair<Pattern, bool>> kPatterns = {
      {"gpt-2", {Pattern::gpt2, false}},    {"olmo", {Pattern::gpt2, false}},      {"smollm", {Pattern::gpt2, true}},
      {"starcoder", {Pattern::gpt2, true}}, {"refact", {Pattern::gpt2, true}},     {"llama-bpe", {Pattern::gpt4, false}},
      {"llama3", {Pattern::gpt4, false}},   {"llama-v3", {Pattern::gpt4, false}},  {"qwen2", {Pattern::qwen, false}}};
  const auto pattern = kPatterns.find(in.pre);
  if (pattern == kPatterns.end()) {
    return wrong("tokenizer.ggml.pre is " + (in.pre.empty() ? "missing" : in.pre.substr(0, 40)) +
               ", which is not supported");
  }
  Parts parts;
  parts.tokens = in.tokens;
  parts.special.resize(count);
  for (size_t id = 0; id < count; ++id) parts.special[id] = in.types[id] != 1;
  for (const std::string& merge : in.merges) parts.merges.push_back(merge);
  parts.pre = pre_tokenizer(pattern->second.first, pattern->second.second);
  parts.ignore_merges = pattern->second.first == Pattern::gpt4;
  return write(parts);
}

Result<Bytes> tokenizer_json_of_folder(const std::filesystem::path& directory, const std::string& family) {
  const std::filesystem::path own = directory / "tokenizer.json";
  const auto there = [](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::exists(path, ignored);
  };
  if (there(own)) return read_file(own, kMaxFile);
  const auto named = [](const std::filesystem::path& path, Result<Bytes> made) -> Result<Bytes> {
    if (!made.ok()) return made.status().with(path.string());
    return made;
  };
  if (there(directory / "vocab.json") && there(directory / "merges.txt")) {
    LLMC_ASSIGN(const Bytes vocab, read_file(directory / "vocab.json", kMaxFile));
    LLMC_ASSIGN(const Bytes merges, read_file(directory / "merges.txt", kMaxFile));
    return named(directory, tokenizer_json_of_gpt2(vocab, merges));
  }
  // Meta's Llama 3 has a tiktoken file under SentencePiece's name.
  std::filesystem::path found = directory / "tokenizer.model";
  if (!there(found)) {
    std::error_code ignored;
    std::vector<std::filesystem::path> candidates;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
      if (entry.path().extension() == ".tiktoken") candidates.push_back(entry.path());
    }
    if (candidates.size() != 1) return read_file(own, kMaxFile);  // for its message
    found = candidates[0];
  }
  LLMC_ASSIGN(const Bytes file, read_file(found, kMaxFile));
  const std::vector<std::string> first = lines_of(ByteView(file).first(std::min<size_t>(file.size(), 200)));
  std::string ignored;
  const bool tiktoken = !first.empty() && first[0].find(' ') != std::string::npos &&
                        from_base64(std::string_view(first[0]).substr(0, first[0].find(' ')), &ignored);
  if (!tiktoken) return named(found, tokenizer_json_of_sentencepiece(file));
  const bool qwen = family.starts_with("qwen");
  return named(found, tokenizer_json_of_tiktoken(file, qwen ? Pattern::qwen : Pattern::gpt4, qwen ? 208 : 256));
}

}  // namespace llmc
