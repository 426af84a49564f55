#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/file.h"
#include "model/json_field.h"
#include "model/model_error.h"
#include "model/safetensors.h"
#include "tokens/unicode.h"

namespace llmc {

namespace {

constexpr float kMinScale = 0x1p-40f;
constexpr float kMaxScale = 0x1p20f;
constexpr float kMaxNorm = 0x1p20f;
constexpr float kMinEps = 0x1p-50f;
constexpr float kMaxBias = 0x1p40f;

Result<float> bits_field(const nlohmann::json& object, const char* name, float least, float greatest) {
  LLMC_ASSIGN(const std::string text, string_field(object, name));
  uint8_t big_endian[4];
  if (!from_hex(text, big_endian)) return bad(fmt::format("field {} is not 8 hexadecimal digits", name));
  const float value = std::bit_cast<float>(static_cast<uint32_t>(big_endian[0]) << 24 | big_endian[1] << 16 |
                                           big_endian[2] << 8 | big_endian[3]);
  if (!(value >= least && value <= greatest)) return bad(fmt::format("field {} is out of range", name));
  return value;
}

// One of the words, by its place.
Result<int> word_field(const nlohmann::json& object, const char* name, std::initializer_list<const char*> words) {
  LLMC_ASSIGN(const std::string text, string_field(object, name));
  int i = 0;
  for (const char* word : words) {
    if (text == word) return i;
    ++i;
  }
  return bad(fmt::format("field {} is {}, which this version does not know", name, text.substr(0, 40)));
}

// What "decoder" states beyond "qwen3".
Status parse_decoder(const nlohmann::json& json, ModelConfig* c) {
  LLMC_ASSIGN(c->family, string_field(json, "family"));
  LLMC_ASSIGN(const int norm, word_field(json, "norm", {"rms", "layer"}));
  c->norm = static_cast<NormKind>(norm);
  LLMC_ASSIGN(const int activation, word_field(json, "activation", {"silu", "gelu", "gelu_tanh"}));
  c->activation = static_cast<Activation>(activation);
  LLMC_ASSIGN(const int positions, word_field(json, "positions", {"rope", "learned"}));
  c->learned_positions = positions == 1;
  for (const auto& [name, flag] : {std::pair{"gated", &c->gated},
                                   {"parallel", &c->parallel},
                                   {"qk_norm", &c->qk_norm},
                                   {"attention_bias", &c->attention_bias},
                                   {"output_bias", &c->output_bias},
                                   {"mlp_bias", &c->mlp_bias}}) {
    LLMC_ASSIGN(*flag, bool_field(json, name));
  }
  if (c->activation == Activation::silu && !c->gated) return bad("field gated is false beside silu");
  const auto windows = json.find("windows");
  if (windows == json.end() || !windows->is_array() || windows->size() != static_cast<size_t>(c->layers)) {
    return bad("field windows does not list every layer");
  }
  for (const nlohmann::json& window : *windows) {
    LLMC_ASSIGN(const int64_t value, int_field({{"windows", window}}, "windows", 0, kMaxContext));
    c->windows.push_back(static_cast<int>(value));
  }
  return {};
}

Result<ModelConfig> parse_config(const std::string& architecture, const nlohmann::json& json) {
  ModelConfig c;
  c.architecture = architecture;
  const bool general = architecture == "decoder";
  if (architecture != "qwen3" && !general)
    return bad(fmt::format("its architecture, {}, is not one that this version knows", architecture));
  const auto number = [&](const char* name, int64_t least, int64_t greatest, int* out) -> Status {
    LLMC_ASSIGN(const int64_t value, int_field(json, name, least, greatest));
    *out = static_cast<int>(value);
    return {};
  };
  LLMC_TRY(number("vocab", 2, kMaxVocabulary - 1, &c.vocab));
  LLMC_TRY(number("width", 8, kMaxWidth, &c.width));
  LLMC_TRY(number("layers", 1, 1024, &c.layers));
  LLMC_TRY(number("kv_heads", 1, 1024, &c.kv_heads));
  LLMC_TRY(number("heads", c.kv_heads, 1024, &c.heads));
  LLMC_TRY(number("head_dim", kMinHeadDim, kMaxHeadDim, &c.head_dim));
  LLMC_TRY(number("ffn", 8, kMaxWidth, &c.ffn));
  LLMC_TRY(number("context", 2, kMaxContext, &c.context));
  if (general) LLMC_TRY(parse_decoder(json, &c));
  if (!general) c.qk_norm = true, c.family = "qwen3", c.windows.assign(c.layers, 0);
  if (!c.learned_positions) LLMC_TRY(number("rotary", 2, c.head_dim, &c.rotary));
  LLMC_TRY(number("start", 0, c.vocab - 1, &c.start));
  if (c.heads % c.kv_heads != 0) return bad("field heads is not a multiple of kv_heads");
  if (c.head_dim % 8 != 0) return bad("field head_dim is not a multiple of 8");
  if (c.rotary % 2 != 0) return bad("field rotary is odd");
  if (c.q_width() + 2 * c.kv_width() > kMaxWidth || (c.gated ? 2 : 1) * c.ffn > kMaxWidth) {
    return bad(fmt::format("its layers are wider than the {} that the arithmetic is proved for", kMaxWidth));
  }
  LLMC_ASSIGN(const std::string pairs, string_field(json, "rope_pairs"));
  if (pairs != "halves" && pairs != "neighbours") return bad("field rope_pairs is neither halves nor neighbours");
  c.rope_pairs = pairs == "halves" ? RopePairs::halves : RopePairs::neighbours;
  LLMC_ASSIGN(c.tied, bool_field(json, "tied"));
  LLMC_ASSIGN(c.eps, bits_field(json, "eps_bits", kMinEps, 1.0f));
  LLMC_ASSIGN(c.attention_scale, bits_field(json, "attention_scale_bits", 0x1p-20f, 0x1p4f));
  return c;
}

}  // namespace

// Walks the file once, in the order of docs/MODEL.md; every tensor has to be used.
class ModelReader {
 public:
  ModelReader(ByteView bytes, std::shared_ptr<const void> owner) : model_(new Model) {
    model_->bytes_ = bytes;
    model_->owner_ = std::move(owner);
  }

  Result<std::shared_ptr<const Model>> read() {
    LLMC_ASSIGN(file_, Safetensors::parse(model_->bytes_));
    LLMC_TRY(read_metadata());
    LLMC_TRY(read_tokenizer());
    LLMC_TRY(read_tensors());
    if (taken_.size() != file_.tensors().size())
      return bad(fmt::format("tensor {} is not one of this architecture", unused()));
    model_->digest_ = sha256(model_->bytes_);
    return std::shared_ptr<const Model>(std::move(model_));
  }

 private:
  Result<std::string> metadata(const char* key) const {
    const auto it = file_.metadata().find(key);
    if (it == file_.metadata().end()) return bad(fmt::format("its metadata lacks {}", key));
    return it->second;
  }

  Status read_metadata() {
    const auto format = file_.metadata().find("format");
    if (format == file_.metadata().end() || format->second != Model::kFormat) {
      return bad(
          "it is a safetensors file but not a model of llmc-batch; `model import` makes one from a Hugging Face "
          "folder or a GGUF file");
    }
    LLMC_ASSIGN(const std::string version, metadata("format_version"));
    if (version != std::to_string(Model::kFormatVersion)) {
      return bad(
          fmt::format("its format version is {}, this program reads version {}", version, Model::kFormatVersion));
    }
    LLMC_ASSIGN(const std::string numerics, metadata("numerics"));
    if (numerics != Model::kNumerics) {
      return bad(fmt::format("its arithmetic is {}, this program computes {}", numerics, Model::kNumerics));
    }
    LLMC_ASSIGN(model_->name_, metadata("name"));
    LLMC_ASSIGN(model_->license_, metadata("license"));
    LLMC_ASSIGN(model_->unicode_, metadata("unicode"));
    if (model_->unicode_ != unicode::kUnicodeVersion) {
      return bad(fmt::format("its tokenizer asks for Unicode tables {}, this program has {}", model_->unicode_,
                             unicode::kUnicodeVersion));
    }
    LLMC_ASSIGN(const std::string architecture, metadata("architecture"));
    LLMC_ASSIGN(const std::string config_text, metadata("config"));
    LLMC_ASSIGN(const nlohmann::json config, parse_object(config_text, "its metadata field config"));
    LLMC_ASSIGN(model_->config_, parse_config(architecture, config));
    LLMC_ASSIGN(const std::string profile_text, metadata("profile"));
    LLMC_ASSIGN(profile_, parse_object(profile_text, "its metadata field profile"));
    return {};
  }

  Status read_tokenizer() {
    LLMC_ASSIGN(const Tensor* const tensor, take(model_names::kTokenizer, DType::u8));
    Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_json(tensor->data);
    if (!tokenizer.ok()) return tokenizer.status().with("its tokenizer");
    model_->tokenizer_ = std::move(*tokenizer);
    if (model_->tokenizer_->vocab() != model_->config_.vocab) {
      return bad(fmt::format("its tokenizer has {} ids, its config says {}", model_->tokenizer_->vocab(),
                             model_->config_.vocab));
    }
    return {};
  }

  Status read_tensors() {
    const ModelConfig& c = model_->config_;
    const uint64_t half = c.rotary / 2;
    LLMC_ASSIGN(model_->embedding_, matrix(model_names::kEmbedding, c.vocab, c.width));
    LLMC_ASSIGN(model_->final_norm_, norm(model_names::kFinalNorm, c.width));
    if (c.learned_positions) {
      LLMC_ASSIGN(model_->positions_,
                  floats(model_names::kPositions, {static_cast<uint64_t>(c.context), static_cast<uint64_t>(c.width)},
                         -kMaxNorm, kMaxNorm));
      model_->parameters_ += model_->positions_.size();
    } else {
      LLMC_ASSIGN(model_->rope_cos_,
                  floats(model_names::kRopeCos, {static_cast<uint64_t>(c.context), half}, -1.0f, 1.0f));
      LLMC_ASSIGN(model_->rope_sin_,
                  floats(model_names::kRopeSin, {static_cast<uint64_t>(c.context), half}, -1.0f, 1.0f));
    }

    const auto layers = profile_.find("layers");
    if (layers == profile_.end() || !layers->is_array() || layers->size() != static_cast<size_t>(c.layers)) {
      return bad("its profile does not list every layer");
    }
    const Result<int64_t> kv = int_field(profile_, "kv", 8, 16);
    if (!kv.ok()) return kv.status().with("its profile");
    if (*kv != 8 && *kv != 16) return bad("its profile keeps keys and values in other than 8 or 16 bits");
    model_->config_.kv_bits = static_cast<int>(*kv);
    if (*kv == 16 && c.context > kMaxContext / 2) {
      return bad(fmt::format("its context of {} is longer than the {} that 16-bit keys and values are proved for",
                             c.context, kMaxContext / 2));
    }
    // Known before any layer is made, so that a lying config costs no memory.
    if (file_.find(layer_name(c.layers - 1, "input_layernorm")) == nullptr) {
      return bad(fmt::format("tensor {} is missing", layer_name(c.layers - 1, "input_layernorm")));
    }
    for (int i = 0; i < c.layers; ++i) {
      const nlohmann::json& profile = (*layers)[i];
      if (!profile.is_object()) return bad("its profile is damaged");
      const auto name = [&](const char* what) { return layer_name(i, what); };
      Layer layer;
      LLMC_ASSIGN(layer.attn_norm, norm(name("input_layernorm"), c.width));
      if (c.qk_norm) {
        LLMC_ASSIGN(layer.q_norm, norm(name("self_attn.q_norm"), c.head_dim, NormKind::rms));
        LLMC_ASSIGN(layer.k_norm, norm(name("self_attn.k_norm"), c.head_dim, NormKind::rms));
      }
      LLMC_ASSIGN(layer.mlp_norm, norm(name("post_attention_layernorm"), c.width));
      LLMC_ASSIGN(layer.attn_in, linear(profile, "attn_in",
                                        {{name("self_attn.q_proj"), c.q_width()},
                                         {name("self_attn.k_proj"), c.kv_width()},
                                         {name("self_attn.v_proj"), c.kv_width()}},
                                        c.width, c.attention_bias));
      LLMC_ASSIGN(layer.attn_out,
                  linear(profile, "attn_out", {{name("self_attn.o_proj"), c.width}}, c.q_width(), c.output_bias));
      std::vector<Part> mlp_in;
      if (c.gated) mlp_in.push_back({name("mlp.gate_proj"), c.ffn});
      mlp_in.push_back({name("mlp.up_proj"), c.ffn});
      LLMC_ASSIGN(layer.mlp_in, linear(profile, "mlp_in", mlp_in, c.width, c.mlp_bias));
      LLMC_ASSIGN(layer.mlp_out,
                  linear(profile, "mlp_out", {{name("mlp.down_proj"), c.width}}, c.ffn, c.mlp_bias));
      layer.window = c.windows[i];
      model_->layers_.push_back(layer);
    }
    if (c.tied) {
      LLMC_ASSIGN(Linear* const head, add_linear(profile_, "head", c.width));
      head->n = c.vocab;
      head->parts.push_back(model_->embedding_);
      model_->head_ = head;
    } else {
      LLMC_ASSIGN(model_->head_, linear(profile_, "head", {{model_names::kHead, c.vocab}}, c.width, false));
    }
    return {};
  }

  static std::string layer_name(int layer, const char* what) {
    return fmt::format("model.layers.{}.{}.weight", layer, what);
  }

  Result<const Tensor*> take(const std::string& name, DType type) {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) return bad(fmt::format("tensor {} is missing", name));
    if (tensor->type != type) {
      return bad(fmt::format("tensor {} is {}, not {}", name, dtype_name(tensor->type), dtype_name(type)));
    }
    taken_.insert(tensor);
    return tensor;
  }

  Result<const Tensor*> take_shaped(const std::string& name, DType type, const std::vector<uint64_t>& shape) {
    LLMC_ASSIGN(const Tensor* const tensor, take(name, type));
    if (tensor->shape != shape) {
      Tensor wanted;
      wanted.shape = shape;
      return bad(fmt::format("tensor {} has the shape {}, not {}", name, tensor->shape_text(), wanted.shape_text()));
    }
    return tensor;
  }

  Result<std::span<const float>> floats(const std::string& name, const std::vector<uint64_t>& shape, float least,
                                        float greatest) {
    LLMC_ASSIGN(const Tensor* const tensor, take_shaped(name, DType::f32, shape));
    if (reinterpret_cast<uintptr_t>(tensor->data.data()) % alignof(float) != 0) {
      return bad(fmt::format("tensor {} does not start at a multiple of 4", name));
    }
    const std::span<const float> values(reinterpret_cast<const float*>(tensor->data.data()),
                                        tensor->data.size() / sizeof(float));
    for (const float v : values) {
      // Written so that NaN fails.
      if (!(v >= least && v <= greatest)) return bad(fmt::format("tensor {} holds a value out of range", name));
    }
    return values;
  }

  // x.weight's companion.
  static std::string bias_name(const std::string& weight) {
    return weight.substr(0, weight.size() - std::string_view("weight").size()) + "bias";
  }

  Result<const Norm*> norm(const std::string& name, int n) { return norm(name, n, model_->config_.norm); }

  Result<const Norm*> norm(const std::string& name, int n, NormKind kind) {
    auto norm = std::make_unique<Norm>();
    LLMC_ASSIGN(norm->g, floats(name, {static_cast<uint64_t>(n)}, -kMaxNorm, kMaxNorm));
    if (kind == NormKind::layer) {
      LLMC_ASSIGN(norm->b, floats(bias_name(name), {static_cast<uint64_t>(n)}, -kMaxNorm, kMaxNorm));
      model_->parameters_ += n;
    }
    norm->index = static_cast<int>(model_->norms_.size());
    model_->parameters_ += n;
    model_->norms_.push_back(std::move(norm));
    return static_cast<const Norm*>(model_->norms_.back().get());
  }

  Result<Matrix> matrix(const std::string& name, int n, int k) {
    Matrix m;
    m.name = name;
    m.n = n;
    m.k = k;
    LLMC_ASSIGN(const Tensor* const w,
                take_shaped(name, DType::i8, {static_cast<uint64_t>(n), static_cast<uint64_t>(k)}));
    if (std::memchr(w->data.data(), 0x80, w->data.size()) != nullptr) {
      return bad(fmt::format("tensor {} holds -128; weights lie between -127 and 127", name));
    }
    m.w = reinterpret_cast<const int8_t*>(w->data.data());
    LLMC_ASSIGN(const auto scale,
                floats(name + model_names::kScaleSuffix, {static_cast<uint64_t>(n)}, kMinScale, kMaxScale));
    m.scale = scale.data();
    model_->parameters_ += w->data.size();
    return m;
  }

  Result<Linear*> add_linear(const nlohmann::json& profile, const char* role, int k) {
    LLMC_ASSIGN(const int64_t bits, int_field(profile, role, 8, 16));
    if (bits != 8 && bits != 16)
      return bad(fmt::format("its profile gives {} {} bits; there are 8 and 16", role, bits));
    auto linear = std::make_unique<Linear>();
    linear->index = static_cast<int>(model_->linears_.size());
    linear->k = k;
    linear->bits = static_cast<int>(bits);
    model_->linears_.push_back(std::move(linear));
    return model_->linears_.back().get();
  }

  struct Part {
    std::string name;
    int n;
  };
  Result<const Linear*> linear(const nlohmann::json& profile, const char* role, const std::vector<Part>& parts, int k,
                               bool bias) {
    LLMC_ASSIGN(Linear* const out, add_linear(profile, role, k));
    for (const Part& part : parts) {
      LLMC_ASSIGN(Matrix m, matrix(part.name, part.n, k));
      if (bias) {
        LLMC_ASSIGN(const auto values,
                    floats(bias_name(part.name), {static_cast<uint64_t>(part.n)}, -kMaxBias, kMaxBias));
        m.bias = values.data();
        model_->parameters_ += part.n;
      }
      out->n += part.n;
      out->parts.push_back(std::move(m));
    }
    return static_cast<const Linear*>(out);
  }

  std::string unused() const {
    for (const Tensor& t : file_.tensors()) {
      if (!taken_.contains(&t)) return t.name.substr(0, 200);
    }
    return "";
  }

  std::unique_ptr<Model> model_;
  Safetensors file_;
  nlohmann::json profile_;
  std::set<const Tensor*> taken_;
};

std::string Model::profile() const {
  bool eight = false, sixteen = false;
  for (const auto& linear : linears_) (linear->bits == 8 ? eight : sixteen) = true;
  const std::string kv = config_.kv_bits == 16 ? " KV16" : "";
  return (eight && sixteen ? "W8A8/16" : eight ? "W8A8" : "W8A16") + kv;
}

std::vector<std::string> Model::features() const {
  std::vector<std::string> out;
  const ModelConfig& c = config_;
  const auto add = [&](bool has, const char* name) {
    if (has) out.push_back(name);
  };
  add(c.norm == NormKind::layer, "LayerNorm");
  add(c.activation != Activation::silu, "GELU");
  add(!c.gated, "an MLP without gate");
  add(c.parallel, "parallel attention and MLP");
  add(!c.qk_norm, "no q and k norms");
  add(c.learned_positions, "learned positions");
  add(c.attention_bias || c.output_bias || c.mlp_bias, "biases");
  add(std::any_of(c.windows.begin(), c.windows.end(), [](int w) { return w > 0; }), "sliding windows");
  add(c.kv_bits == 16, "16-bit keys and values");
  return out;
}

Result<std::shared_ptr<const Model>> Model::from_bytes(ByteView bytes, std::shared_ptr<const void> owner) {
  return ModelReader(bytes, std::move(owner)).read();
}

Result<std::shared_ptr<const Model>> Model::load(const std::filesystem::path& path) {
  // Read, not mapped: a file cut short behind our back must not end the process by SIGBUS.
  LLMC_ASSIGN(Bytes bytes, read_file(path));
  auto owner = std::make_shared<const Bytes>(std::move(bytes));
  const ByteView view(*owner);
  Result<std::shared_ptr<const Model>> model = from_bytes(view, std::move(owner));
  if (!model.ok()) return model.status().with(path.string());
  return model;
}

}  // namespace llmc
