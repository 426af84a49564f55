// Small Hugging Face folders with random weights, for tests.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "model/import.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "support/process.h"

namespace llmc::test {

// $LLMC_SOURCE_DIR: where the sources lie now, for tests that were built on another machine.
inline std::string source(const std::string& relative) {
  const char* moved = std::getenv("LLMC_SOURCE_DIR");
  return std::string(moved ? moved : LLMC_SOURCE_DIR) + "/" + relative;
}

// The bytes of the model file.
inline Result<Bytes> import_bytes(const std::filesystem::path& from, const ImportOptions& options) {
  const TempDir folder;
  LLMC_TRY(import_model(from, folder.path() / "model", options).status());
  return read_file(folder.path() / "model");
}

struct Checkpoint {
  nlohmann::json config = {{"architectures", {"Qwen3ForCausalLM"}},
                           {"vocab_size", 4096},
                           {"hidden_size", 32},
                           {"intermediate_size", 48},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", 2},
                           {"head_dim", 16},
                           {"max_position_embeddings", 96},
                           {"rope_theta", 10000.0},
                           {"rms_norm_eps", 1e-6},
                           {"tie_word_embeddings", true},
                           {"hidden_act", "silu"},
                           {"bos_token_id", 0}};
  nlohmann::json claims = nlohmann::json::object();  // fields that config.json has otherwise, whatever the tensors are
  std::string tokenizer = source("models/e0-hf/tokenizer.json");
  DType type = DType::f32;
  float spread = 0.3f;                              // of the weights
  std::map<std::string, std::vector<float>> extra;  // more tensors, or other values for known ones

  int get(const char* name) const { return config[name].get<int>(); }

  std::map<std::string, std::vector<uint64_t>> shapes() const {
    const uint64_t width = get("hidden_size"), ffn = get("intermediate_size"), d = get("head_dim");
    const uint64_t q = get("num_attention_heads") * d, kv = get("num_key_value_heads") * d, vocab = get("vocab_size");
    std::map<std::string, std::vector<uint64_t>> out{{"model.embed_tokens.weight", {vocab, width}},
                                                     {"model.norm.weight", {width}}};
    if (!config["tie_word_embeddings"].get<bool>()) out["lm_head.weight"] = {vocab, width};
    for (int i = 0; i < get("num_hidden_layers"); ++i) {
      const std::string p = "model.layers." + std::to_string(i) + ".";
      out[p + "input_layernorm.weight"] = out[p + "post_attention_layernorm.weight"] = {width};
      out[p + "self_attn.q_norm.weight"] = out[p + "self_attn.k_norm.weight"] = {d};
      out[p + "self_attn.q_proj.weight"] = {q, width};
      out[p + "self_attn.k_proj.weight"] = out[p + "self_attn.v_proj.weight"] = {kv, width};
      out[p + "self_attn.o_proj.weight"] = {width, q};
      out[p + "mlp.gate_proj.weight"] = out[p + "mlp.up_proj.weight"] = {ffn, width};
      out[p + "mlp.down_proj.weight"] = {width, ffn};
    }
    return out;
  }

  // Floats that binary16 and bfloat16 hold too: seven bits of mantissa, middling exponents.
  static std::vector<float> values(size_t count, float spread, uint32_t seed) {
    std::minstd_rand random(seed);
    std::vector<float> out(count);
    for (float& v : out) {
      const int n = static_cast<int>(random() >> 8 & 255) - 128;
      v = static_cast<float>(n) / 128.0f * spread;
      uint32_t bits;
      std::memcpy(&bits, &v, 4);
      bits &= 0xffff0000u;
      std::memcpy(&v, &bits, 4);
    }
    return out;
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    nlohmann::json written = config;
    written.update(claims);
    spill(folder / "config.json", written.dump());
    std::filesystem::copy_file(tokenizer, folder / "tokenizer.json", std::filesystem::copy_options::overwrite_existing);
    std::vector<Tensor> tensors;
    std::vector<Bytes> memory;
    auto all = shapes();
    for (const auto& [name, v] : extra) {
      if (!all.contains(name)) all[name] = {v.size()};
    }
    memory.reserve(all.size());
    uint32_t seed = 1;
    for (const auto& [name, shape] : all) {
      size_t count = 1;
      for (const uint64_t d : shape) count *= d;
      const bool norm = shape.size() == 1;
      std::vector<float> v = values(count, norm ? 0.5f : spread, ++seed);
      if (norm) {
        for (float& x : v) x = 1.0f + static_cast<float>(static_cast<int>(x * 32)) / 32.0f;
      }
      if (extra.contains(name)) v = extra.at(name);
      ByteWriter bytes;
      for (const float x : v) {
        uint32_t bits;
        std::memcpy(&bits, &x, 4);
        if (type == DType::f32) bytes.u32(bits);
        if (type == DType::bf16) bytes.u16(static_cast<uint16_t>(bits >> 16));
        if (type == DType::f16) bytes.u16(half(bits));
      }
      memory.push_back(bytes.take());
      tensors.push_back({name, type, shape, memory.back()});
    }
    spill(folder / "model.safetensors", std::string(as_text(write_safetensors({{"format", "pt"}}, tensors))));
  }

  // Exact for values() above; zeros for what is too small.
  static uint16_t half(uint32_t bits) {
    const int exponent = static_cast<int>(bits >> 23 & 255) - 127 + 15;
    const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    if ((bits & 0x7fffffff) == 0) return sign;
    const uint32_t mantissa = (bits >> 13 & 1023) | 1024;
    if (exponent <= 0) return static_cast<uint16_t>(sign | (mantissa >> (1 - exponent)));
    return static_cast<uint16_t>(sign | (exponent << 10) | (mantissa & 1023));
  }

  // Written, imported, loaded.
  Result<std::shared_ptr<const Model>> model(int activations = 8, int kv = 8) const {
    const TempDir folder;
    write(folder.path());
    ImportOptions options;
    options.activations = activations;
    options.kv = kv;
    LLMC_ASSIGN(Bytes file, import_bytes(folder.path(), options));
    auto owner = std::make_shared<const Bytes>(std::move(file));
    return Model::from_bytes(ByteView(*owner), owner);
  }
};

// Odd shapes: an untied head, heads of 24, a padded vocabulary, a vocabulary that lacks bytes.
inline Checkpoint odd_shapes() {
  Checkpoint checkpoint;
  checkpoint.config["head_dim"] = 24;
  checkpoint.config["hidden_size"] = 40;
  checkpoint.config["intermediate_size"] = 72;
  checkpoint.config["num_attention_heads"] = 6;
  checkpoint.config["vocab_size"] = 49160;
  checkpoint.config["tie_word_embeddings"] = false;
  checkpoint.tokenizer = source("tests/data/tokenizers/smollm2.json");
  return checkpoint;
}

// Some tokens, not all, drive its layer 1 out of the proven range.
inline Checkpoint leaving_range(Checkpoint checkpoint = {}) {
  const size_t width = checkpoint.get("hidden_size"), ffn = checkpoint.get("intermediate_size");
  checkpoint.extra["model.layers.1.post_attention_layernorm.weight"] = std::vector<float>(width, 1024.0f);
  checkpoint.extra["model.layers.1.mlp.gate_proj.weight"] = std::vector<float>(width * ffn, 0x1p26f);
  checkpoint.extra["model.layers.1.mlp.up_proj.weight"] = std::vector<float>(width * ffn, 0x1p26f);
  return checkpoint;
}

}  // namespace llmc::test
