#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/import_plan.h"

namespace llmc {

namespace {

struct Shape {
  const char* name;
  const char* architecture;
  int width, layers, heads, kv_heads, head_dim, ffn, vocab;
  double rope_theta;
  bool tied;
};

// As their authors publish them.
constexpr Shape kShapes[] = {
    {"smollm2-135m", "LlamaForCausalLM", 576, 30, 9, 3, 64, 1536, 49152, 100000, true},
    {"smollm2-360m", "LlamaForCausalLM", 960, 32, 15, 5, 64, 2560, 49152, 100000, true},
    {"qwen3-0.6b", "Qwen3ForCausalLM", 1024, 28, 16, 8, 128, 3072, 151936, 1000000, true},
    {"llama-1b", "LlamaForCausalLM", 2048, 16, 32, 8, 64, 8192, 128256, 500000, true},
    {"llama-3b", "LlamaForCausalLM", 3072, 28, 24, 8, 128, 8192, 128256, 500000, true},
    {"llama-8b", "LlamaForCausalLM", 4096, 32, 32, 8, 128, 14336, 128256, 500000, false},
};
constexpr int kContext = 2048;

// A byte as byte-level tokenizers write it: the printable ones as themselves, the others from U+0100 on.
std::string letter_of(int byte) {
  const auto shown = [](int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad); };
  int code = byte;
  if (!shown(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += !shown(b);
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

}  // namespace

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

std::string shape_config(const std::string& name) {
  const auto shape = std::ranges::find_if(kShapes, [&](const Shape& s) { return name == s.name; });
  if (shape == std::end(kShapes)) return "";
  return nlohmann::json{{"architectures", {shape->architecture}},
                        {"hidden_size", shape->width},
                        {"num_hidden_layers", shape->layers},
                        {"num_attention_heads", shape->heads},
                        {"num_key_value_heads", shape->kv_heads},
                        {"head_dim", shape->head_dim},
                        {"intermediate_size", shape->ffn},
                        {"vocab_size", shape->vocab},
                        {"max_position_embeddings", kContext},
                        {"rms_norm_eps", 1e-5},
                        {"rope_theta", shape->rope_theta},
                        {"hidden_act", "silu"},
                        {"tie_word_embeddings", shape->tied},
                        {"bos_token_id", 0}}
      .dump();
}

Bytes drawn_tokenizer(int vocab) {
  std::string letters[256];
  for (int b = 0; b < 256; ++b) letters[b] = letter_of(b);
  nlohmann::json ids = nlohmann::json::object(), merges = nlohmann::json::array();
  int count = 0;
  for (; count < std::min(vocab, 256); ++count) ids[letters[count]] = count;
  for (int i = 0; count < vocab; ++i, ++count) {
    const int third = (i >> 16) - 1;
    const std::string &a = letters[i >> 8 & 0xff], &b = letters[i & 0xff];
    const std::string left = third < 0 ? a : a + b, right = third < 0 ? b : letters[third];
    merges.push_back({left, right});
    ids[left + right] = count;
  }
  const nlohmann::json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const std::string text = nlohmann::json{{"version", "1.0"},
                                          {"added_tokens", nlohmann::json::array()},
                                          {"normalizer", nullptr},
                                          {"pre_tokenizer", level},
                                          {"post_processor", nullptr},
                                          {"decoder", level},
                                          {"model", {{"type", "BPE"}, {"vocab", std::move(ids)}, {"merges", std::move(merges)}}}}
                               .dump();
  return Bytes(text.begin(), text.end());
}

}  // namespace llmc
