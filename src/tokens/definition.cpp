#include "tokens/definition.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "tokens/hash.h"

namespace llmc {
namespace {

using nlohmann::json;

// Of nested values and of commas: what bounds the memory of the parsed document.
constexpr int kMaxDepth = 16;
constexpr size_t kMaxValues = size_t{4} << 20;

Status bad(const std::string& what) { return {Code::model, "tokenizer.json: " + what}; }

// A string of the file for a message: quoted, escaped, not endless.
std::string quote(std::string_view text) {
  constexpr size_t kMax = 40;
  const bool cut = text.size() > kMax;
  return json(text.substr(0, kMax)).dump(-1, ' ', true, json::error_handler_t::replace) + (cut ? "..." : "");
}

std::string show(const json& value) {
  if (value.is_string()) return quote(value.get_ref<const std::string&>());
  if (value.is_structured()) return value.type_name();
  return value.dump();
}

// Refuses what would make the document tree large before it is built.
Status check_shape(ByteView text) {
  int depth = 0;
  size_t values = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return bad("values are nested deeper than 16 levels");
      ++values;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',') {
      ++values;
    }
    if (values > kMaxValues) return bad("more than 4194304 values");
  }
  return {};
}

Status only_fields(const json& object, const std::string& where, std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return bad(where + " is not an object");
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return bad(where + " has the unknown field " + quote(name));
    }
  }
  return {};
}

// The field, or null where it is absent.
const json& field(const json& object, const char* name) {
  static const json null;
  const auto it = object.find(name);
  return it == object.end() ? null : *it;
}

Status want_null(const json& object, const std::string& where, const char* name) {
  if (field(object, name).is_null()) return {};
  return bad(where + name + " is set (" + show(field(object, name)) + "), which is not supported");
}

// null and "" mean the same to the reference.
Status want_no_text(const json& object, const std::string& where, const char* name) {
  const json& value = field(object, name);
  if (value.is_string() && value.get_ref<const std::string&>().empty()) return {};
  return want_null(object, where, name);
}

Result<bool> flag(const json& object, const std::string& where, const char* name, std::optional<bool> absent) {
  const json& value = field(object, name);
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_null() && absent) return *absent;
  return bad(where + name + " must be true or false");
}

Status want_flag(const json& object, const std::string& where, const char* name, bool wanted,
                 std::optional<bool> absent) {
  LLMC_ASSIGN(const bool value, flag(object, where, name, absent));
  if (value == wanted) return {};
  return bad(where + name + " is " + (value ? "true" : "false") + ", which is not supported");
}

std::string type_of(const json& object) {
  const json& type = field(object, "type");
  return type.is_string() ? type.get<std::string>() : "";
}

Status check_byte_level(const json& it, const std::string& where) {
  LLMC_TRY(only_fields(it, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  if (type_of(it) == "ByteLevel") return {};
  return bad(where + ".type is " + show(field(it, "type")) + ", expected \"ByteLevel\"");
}

constexpr std::string_view kGpt4 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kQwen =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

// [Split by one of the patterns above, ByteLevel without its own].
Status read_split(const json& steps, const std::string& where, TokenizerDefinition* out) {
  const json& split = steps.front();
  LLMC_TRY(only_fields(split, where + "[0]", {"type", "pattern", "behavior", "invert"}));
  const json& pattern = field(split, "pattern");
  const json& regex = pattern.is_object() ? field(pattern, "Regex") : pattern;
  if (regex == kGpt4) {
    out->pattern = Pattern::gpt4;
  } else if (regex == kQwen) {
    out->pattern = Pattern::qwen;
  } else {
    return bad(where + "[0].pattern is " + show(regex) + ", which is not one of those that are built in");
  }
  if (field(split, "behavior") != "Isolated") {
    return bad(where + "[0].behavior is " + show(field(split, "behavior")) + ", expected \"Isolated\"");
  }
  LLMC_TRY(want_flag(split, where + "[0].", "invert", false, false));
  LLMC_TRY(check_byte_level(steps.back(), where + "[1]"));
  LLMC_TRY(want_flag(steps.back(), where + "[1].", "add_prefix_space", false, {}));
  return want_flag(steps.back(), where + "[1].", "use_regex", false, true);
}

// SentencePiece's kind: spaces are marked by a normaliser or by Metaspace.
Status read_spaces(const json& normalizer, const json& it, TokenizerDefinition* out) {
  out->pattern = Pattern::whole;
  bool marked = false;
  const auto marks = [&](const json& step) {
    const json& pattern = field(step, "pattern");
    if (type_of(step) == "Prepend") return field(step, "prepend") == "\u2581";
    marked = true;
    return type_of(step) == "Replace" && pattern.is_object() && field(pattern, "String") == " " &&
           field(step, "content") == "\u2581";
  };
  if (!normalizer.is_null()) {
    const bool list = type_of(normalizer) == "Sequence" && field(normalizer, "normalizers").is_array();
    for (const json& step : list ? field(normalizer, "normalizers") : json::array({normalizer})) {
      if (!step.is_object() || !marks(step)) {
        return bad("normalizer has the step " + show(step.is_object() ? field(step, "type") : step) +
                   ", expected Prepend and Replace of spaces by U+2581");
      }
    }
  }
  if (!it.is_null()) {
    if (!it.is_object() || type_of(it) != "Metaspace" || marked) {
      return bad("pre_tokenizer is " + show(it.is_object() ? field(it, "type") : it) + ", expected null or Metaspace");
    }
    LLMC_TRY(only_fields(it, "pre_tokenizer", {"type", "replacement", "add_prefix_space", "prepend_scheme", "split"}));
    if (field(it, "replacement") != "\u2581") return bad("pre_tokenizer.replacement is not U+2581");
    LLMC_ASSIGN(const bool split, flag(it, "pre_tokenizer.", "split", true));
    if (split) out->pattern = Pattern::words;
    marked = true;
  }
  return marked ? Status() : bad("neither normalizer nor pre_tokenizer marks spaces by U+2581");
}

Status read_pre_tokenizer(const json& it, TokenizerDefinition* out) {
  const json* byte_level = &it;
  std::string where = "pre_tokenizer";
  if (it.is_object() && type_of(it) == "Sequence") {
    LLMC_TRY(only_fields(it, where, {"type", "pretokenizers"}));
    const json& steps = field(it, "pretokenizers");
    if (!steps.is_array() || steps.empty() || steps.size() > 2) {
      return bad("pre_tokenizer.pretokenizers must be [ByteLevel], [Digits, ByteLevel] or [Split, ByteLevel]");
    }
    where += ".pretokenizers";
    if (steps.size() == 2 && steps.front().is_object() && type_of(steps.front()) == "Split") {
      return read_split(steps, where, out);
    }
    byte_level = &steps.back();
    if (steps.size() == 2) {
      const json& digits = steps.front();
      LLMC_TRY(only_fields(digits, where + "[0]", {"type", "individual_digits"}));
      if (type_of(digits) != "Digits") {
        return bad(where + "[0].type is " + show(field(digits, "type")) + ", expected \"Digits\"");
      }
      LLMC_TRY(want_flag(digits, where + "[0].", "individual_digits", true, {}));
      out->individual_digits = true;
    }
    where += "[" + std::to_string(steps.size() - 1) + "]";
  }
  LLMC_TRY(check_byte_level(*byte_level, where));
  LLMC_TRY(want_flag(*byte_level, where + ".", "add_prefix_space", false, {}));
  return want_flag(*byte_level, where + ".", "use_regex", true, true);
}

// It only adds special tokens and trims offsets: neither touches the ids of text.
Status check_post_processor(const json& it, const std::string& where, bool inner = false) {
  if (it.is_null() && !inner) return {};
  const std::string type = it.is_object() ? type_of(it) : "";
  if (type == "ByteLevel" || type == "TemplateProcessing") return {};
  if (type == "Sequence" && !inner) {
    const json& steps = field(it, "processors");
    if (!steps.is_array()) return bad(where + ".processors is not a list");
    for (const json& step : steps) LLMC_TRY(check_post_processor(step, where + ".processors", true));
    return {};
  }
  return bad(where + " is " + (type.empty() ? show(it) : quote(type)) +
             ", expected ByteLevel, TemplateProcessing or a Sequence of these");
}

// Of SentencePiece's kind: what it does to the bytes of tokens is what read_vocab() does.
Status check_decoder(const json& it) {
  const bool list = it.is_object() && type_of(it) == "Sequence" && field(it, "decoders").is_array();
  for (const json& step : list ? field(it, "decoders") : json::array({it})) {
    const std::string type = step.is_object() ? type_of(step) : "";
    if (step.is_null() || type == "Replace" || type == "ByteFallback" || type == "Fuse" || type == "Strip" ||
        type == "Metaspace") {
      continue;
    }
    return bad("decoder has the step " + (type.empty() ? show(step) : quote(type)) + ", which is not supported");
  }
  return {};
}

// GPT-2's alphabet: each byte as one printable character, here from U+0000 to U+0143 to the byte or -1.
std::array<int16_t, 0x144> make_alphabet() {
  std::array<int16_t, 0x144> byte_of;
  byte_of.fill(-1);
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    byte_of[itself ? b : next++] = static_cast<int16_t>(b);
  }
  return byte_of;
}

// The bytes that a token stands for; nothing where a character is not of the alphabet.
std::optional<Bytes> token_bytes(std::string_view token) {
  static const std::array<int16_t, 0x144> kByteOf = make_alphabet();
  Bytes bytes;
  bytes.reserve(token.size());
  for (size_t i = 0; i < token.size(); ++i) {
    uint32_t point = static_cast<uint8_t>(token[i]);
    if (point >= 0x80) {
      // the JSON parser has checked the UTF-8; the alphabet needs at most two bytes
      if (point >= 0xE0 || i + 1 == token.size()) return {};
      point = (point & 0x1F) << 6 | (static_cast<uint8_t>(token[++i]) & 0x3F);
    }
    if (point >= kByteOf.size() || kByteOf[point] < 0) return {};
    bytes.push_back(static_cast<uint8_t>(kByteOf[point]));
  }
  return bytes;
}

Result<int32_t> read_id(const json& value, const char* where, std::string_view token) {
  if (value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(kMaxVocab)) {
    return static_cast<int32_t>(value.get<uint64_t>());
  }
  return bad(std::string(where) + " gives " + quote(token) + " the id " + show(value) +
             ", not a whole number from 0 to " + std::to_string(kMaxVocab - 1));
}

Status read_added_tokens(const json& list, TokenizerDefinition* out) {
  if (list.is_null()) return {};
  if (!list.is_array()) return bad("added_tokens is not a list");
  if (list.size() > kMaxAddedTokens) return bad("more than 65536 added_tokens");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = "added_tokens[" + std::to_string(i) + "]";
    const json& it = list[i];
    LLMC_TRY(only_fields(it, where,
                         {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    const json& content = field(it, "content");
    if (!content.is_string() || content.get_ref<const std::string&>().empty()) {
      return bad(where + ".content is not a text");
    }
    LLMC_ASSIGN(const int32_t id, read_id(field(it, "id"), "added_tokens", content.get_ref<const std::string&>()));
    if (!out->added.emplace(content.get<std::string>(), id).second) {
      return bad(where + ".content " + show(content) + " appears twice");
    }
  }
  return {};
}

// The byte of a token such as <0x0A>, or -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = 16 * value + digit;
  }
  return value;
}

// The bytes of a text token of SentencePiece's kind; nothing for one with a space, which text never yields.
std::optional<Bytes> marked_bytes(std::string_view token) {
  if (token.find(' ') != token.npos) return {};
  Bytes bytes;
  for (size_t i = 0; i < token.size(); ++i) {
    if (token.substr(i, 3) == "\u2581") {
      bytes.push_back(' ');
      i += 2;
    } else {
      bytes.push_back(static_cast<uint8_t>(token[i]));
    }
  }
  return bytes;
}

// Fills tokens by id. `taken` marks ids that have an owner, so that none has two.
Status read_vocab(const json& vocab, TokenizerDefinition* out) {
  if (!vocab.is_object() || vocab.empty()) return bad("model.vocab is not an object with at least one token");
  std::vector<bool> taken;
  const auto take = [&](int32_t id) {
    if (static_cast<size_t>(id) >= taken.size()) {
      taken.resize(id + 1);
      out->tokens.resize(id + 1);
    }
    const bool free = !taken[id];
    taken[id] = true;
    return free;
  };
  for (const auto& [token, value] : vocab.items()) {
    LLMC_ASSIGN(const int32_t id, read_id(value, "model.vocab", token));
    if (!take(id)) return bad("model.vocab gives the id " + std::to_string(id) + " to two tokens");
    if (const auto added = out->added.find(token); added != out->added.end()) {
      if (added->second == id) continue;
      return bad("the added token " + quote(token) + " has the id " + std::to_string(added->second) +
                 ", but " + std::to_string(id) + " in model.vocab");
    }
    if (out->characters) {
      if (const int byte = byte_of(token); byte >= 0) {
        out->byte_tokens[byte] = id;
        out->tokens[id] = {static_cast<uint8_t>(byte)};
        continue;
      }
    }
    auto bytes = out->characters ? marked_bytes(token) : token_bytes(token);
    if (!bytes) continue;  // the alphabet cannot spell it, so text never yields it
    if (bytes->size() > kMaxTokenBytes) return bad("model.vocab has a token of more than 1024 bytes");
    out->tokens[id] = std::move(*bytes);
  }
  for (const auto& [content, id] : out->added) {
    if (vocab.contains(content)) continue;
    if (!take(id)) return bad("the added token " + quote(content) + " has the id of another token");
  }
  return {};
}

Status read_merges(const json& merges, TokenizerDefinition* out) {
  if (!merges.is_array()) return bad("model.merges is not a list");
  if (merges.size() > kMaxMerges) return bad("more than 1048576 model.merges");
  BytesTable ids(out->tokens.size());
  for (size_t id = 0; id < out->tokens.size(); ++id) {
    if (out->tokens[id].empty()) continue;
    const bool byte = out->characters && out->tokens[id].size() == 1 &&
                      out->byte_tokens[out->tokens[id][0]] == static_cast<int32_t>(id);
    if (byte) continue;
    if (!ids.insert(out->tokens[id], static_cast<int32_t>(id))) return bad("model.vocab has too many hash collisions");
  }
  const auto find = [&](std::string_view token) {
    const auto bytes = out->characters ? marked_bytes(token) : token_bytes(token);
    return bytes ? ids.find(*bytes) : -1;
  };
  out->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto where = [i] { return "model.merges[" + std::to_string(i) + "]"; };
    const json& it = merges[i];
    std::string_view left, right;
    if (it.is_string()) {
      const std::string_view both = it.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == both.npos || both.find(' ', space + 1) != both.npos) return bad(where() + " is not two tokens");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else if (it.is_array() && it.size() == 2 && it[0].is_string() && it[1].is_string()) {
      left = it[0].get_ref<const std::string&>();
      right = it[1].get_ref<const std::string&>();
    } else {
      return bad(where() + " is not two tokens");
    }
    const std::string both = std::string(left) + std::string(right);
    TokenizerDefinition::Merge merge{find(left), find(right), find(both)};
    for (const auto& [id, token] :
         {std::pair{merge.left, left}, {merge.right, right}, {merge.made, std::string_view(both)}}) {
      if (id < 0) return bad(where() + " needs " + quote(token) + ", which is no text token of model.vocab");
    }
    out->merges.push_back(merge);
  }
  return {};
}

Status read_model(const json& it, TokenizerDefinition* out) {
  LLMC_TRY(only_fields(it, "model",
                       {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                        "byte_fallback", "ignore_merges", "ranks_by_token", "vocab", "merges"}));
  if (type_of(it) != "BPE") return bad("model.type is " + show(field(it, "type")) + ", expected \"BPE\"");
  LLMC_TRY(want_null(it, "model.", "dropout"));
  LLMC_TRY(want_no_text(it, "model.", "continuing_subword_prefix"));
  LLMC_TRY(want_no_text(it, "model.", "end_of_word_suffix"));
  if (!out->characters) LLMC_TRY(want_flag(it, "model.", "fuse_unk", false, false));
  LLMC_ASSIGN(out->ignore_merges, flag(it, "model.", "ignore_merges", false));
  LLMC_ASSIGN(out->ranks_by_token, flag(it, "model.", "ranks_by_token", false));
  out->byte_tokens.fill(-1);
  LLMC_TRY(read_vocab(field(it, "vocab"), out));
  LLMC_TRY(read_merges(field(it, "merges"), out));
  if (!field(it, "unk_token").is_null() && !out->characters) {
    // without effect where each byte has a token; elsewhere it would stand where we write an escape
    std::array<bool, 256> has{};
    for (const Bytes& token : out->tokens) {
      if (token.size() == 1) has[token[0]] = true;
    }
    if (std::find(has.begin(), has.end(), false) != has.end()) return want_null(it, "model.", "unk_token");
  }
  return {};
}

Result<TokenizerDefinition> read(const json& it) {
  LLMC_TRY(only_fields(it, "the file",
                       {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                        "post_processor", "decoder", "model"}));
  const json& version = field(it, "version");
  if (version != "1.0") return bad("version is " + show(version) + ", expected \"1.0\"");
  for (const char* name : {"truncation", "padding"}) LLMC_TRY(want_null(it, "", name));
  TokenizerDefinition out;
  const json& model = field(it, "model");
  if (model.is_object()) {
    LLMC_ASSIGN(out.characters, flag(model, "model.", "byte_fallback", false));
  }
  const json& normalizer = field(it, "normalizer");
  const json& decoder = field(it, "decoder");
  if (out.characters) {
    LLMC_TRY(read_spaces(normalizer, field(it, "pre_tokenizer"), &out));
    LLMC_TRY(check_decoder(decoder));
  } else {
    const std::string type = normalizer.is_object() ? type_of(normalizer) : "";
    if (!normalizer.is_null() && type != "NFC") {
      return bad("normalizer is " + (type.empty() ? show(normalizer) : quote(type)) + ", expected null or \"NFC\"");
    }
    LLMC_TRY(read_pre_tokenizer(field(it, "pre_tokenizer"), &out));
    if (!decoder.is_null()) LLMC_TRY(check_byte_level(decoder, "decoder"));
  }
  LLMC_TRY(check_post_processor(field(it, "post_processor"), "post_processor"));
  LLMC_TRY(read_added_tokens(field(it, "added_tokens"), &out));
  LLMC_TRY(read_model(field(it, "model"), &out));
  return out;
}

}  // namespace

Result<TokenizerDefinition> parse_tokenizer_json(ByteView text) {
  if (text.size() > kMaxTokenizerJson) return bad("larger than 64 MiB");
  LLMC_TRY(check_shape(text));
  try {
    return read(json::parse(text.begin(), text.end()));
  } catch (const json::parse_error& error) {
    return bad("not JSON at byte " + std::to_string(error.byte));
  } catch (const json::exception& error) {
    return bad(std::string("not readable: ") + error.what());
  }
}

}  // namespace llmc
