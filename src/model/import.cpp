#include "model/import.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <list>
#include <set>

#include "base/file.h"
#include "exact/kernels.h"
#include "model/json_field.h"
#include "model/model.h"
#include "model/rope_table.h"
#include "model/safetensors.h"
#include "tokens/unicode.h"

namespace llmc {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxConfig = 16u << 20;
constexpr uint64_t kMaxTokenizer = 256u << 20;

Status bad(std::string message) { return {Code::model, std::move(message)}; }

float half_to_float(uint16_t h) {
  const int exponent = (h >> 10) & 31, mantissa = h & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                           : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

// The parts of one checkpoint.
class Checkpoint {
 public:
  Status open(const fs::path& directory) {
    const fs::path whole = directory / "model.safetensors";
    const fs::path index = directory / "model.safetensors.index.json";
    std::error_code ignored;
    if (fs::exists(whole, ignored) || !fs::exists(index, ignored)) return add(whole);
    LLMC_ASSIGN(const Bytes text, read_file(index, kMaxConfig));
    LLMC_ASSIGN(const json parsed, parse_object(as_text(text), index.string()));
    const auto map = parsed.find("weight_map");
    if (map == parsed.end() || !map->is_object()) return bad(index.string() + ": field weight_map is missing");
    std::set<std::string> names;
    for (const json& part : *map) {
      if (!part.is_string() || part.get<std::string>().find('/') != std::string::npos) {
        return bad(index.string() + ": a part is not named by a plain file name");
      }
      names.insert(part.get<std::string>());
    }
    for (const std::string& name : names) LLMC_TRY(add(directory / name));
    return {};
  }

  // The tensor as floats: all of it, or its first `rows` rows. Counts as used.
  Result<std::vector<float>> take(const std::string& name, uint64_t rows, uint64_t columns, bool cut_rows) {
    for (const auto& part : parts_) {
      const Tensor* t = part->view.find(name);
      if (t == nullptr) continue;
      used_.insert(name);
      const bool vector = columns == 0;
      const bool fits = vector ? t->shape == std::vector<uint64_t>{rows}
                               : t->shape.size() == 2 && t->shape[1] == columns &&
                                     (t->shape[0] == rows || (cut_rows && t->shape[0] > rows));
      if (!fits) {
        return bad(fmt::format("{}: tensor {} has the shape {}, not [{}{}]", part->path, name, t->shape_text(), rows,
                               vector ? "" : fmt::format(", {}", columns)));
      }
      std::vector<float> out(rows * (vector ? 1 : columns));
      LLMC_TRY(convert(*t, out).with(part->path));
      return out;
    }
    return bad(fmt::format("{}: tensor {} is missing", parts_.front()->path, name));
  }

  void allow(const std::string& name) { used_.insert(name); }

  // Fails where a tensor was not asked for: it would change what the model computes.
  Status all_used() const {
    for (const auto& part : parts_) {
      for (const Tensor& t : part->view.tensors()) {
        if (!used_.contains(t.name)) {
          return bad(fmt::format("{}: tensor {} is not part of a Qwen3ForCausalLM", part->path, t.name.substr(0, 200)));
        }
      }
    }
    return {};
  }

 private:
  struct Part {
    std::string path;
    Bytes bytes;
    Safetensors view;
  };

  Status add(const fs::path& path) {
    auto part = std::make_unique<Part>();
    part->path = path.string();
    LLMC_ASSIGN(part->bytes, read_file(path));
    Result<Safetensors> view = Safetensors::parse(part->bytes);
    if (!view.ok()) return view.status().with(part->path);
    part->view = std::move(*view);
    parts_.push_back(std::move(part));
    return {};
  }

  static Status convert(const Tensor& t, std::vector<float>& out) {
    const uint8_t* p = t.data.data();
    const auto get16 = [p](size_t i) {
      uint16_t v;
      std::memcpy(&v, p + 2 * i, 2);
      return v;
    };
    switch (t.type) {
      case DType::f32:
        std::memcpy(out.data(), p, out.size() * 4);
        break;
      case DType::bf16:
        for (size_t i = 0; i < out.size(); ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(get16(i)) << 16);
        break;
      case DType::f16:
        for (size_t i = 0; i < out.size(); ++i) out[i] = half_to_float(get16(i));
        break;
      default:
        return bad(fmt::format("tensor {} is {}; BF16, F16 and F32 are imported", t.name, dtype_name(t.type)));
    }
    for (const float v : out) {
      if (!std::isfinite(v)) return bad(fmt::format("tensor {} holds an infinity or NaN", t.name));
    }
    return {};
  }

  std::vector<std::unique_ptr<Part>> parts_;
  std::set<std::string> used_;
};

// Tensors of the file to be written, and the memory behind them.
class Output {
 public:
  void floats(const std::string& name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    add(floats_, name, DType::f32, std::move(shape), values.data(), values.size() * 4);
  }

  // int8 with one scale per row (docs/MODEL.md, "Weights").
  Status matrix(const std::string& name, uint64_t n, uint64_t k, const std::vector<float>& values) {
    std::vector<float> scale(n);
    std::vector<int8_t> q(n * k);
    for (uint64_t row = 0; row < n; ++row) {
      const float* w = values.data() + row * k;
      float greatest = 0;
      for (uint64_t i = 0; i < k; ++i) greatest = std::max(greatest, std::fabs(w[i]));
      const float sw = greatest / 127.0f;
      if (sw > 0x1p20f) return bad(fmt::format("tensor {}: row {} is larger than 127 * 2^20", name, row));
      if (sw < 0x1p-40f) {
        scale[row] = 0x1p-40f;
        continue;
      }
      scale[row] = sw;
      for (uint64_t i = 0; i < k; ++i) {
        const float r = std::nearbyint(w[i] / sw);
        q[row * k + i] = static_cast<int8_t>(std::clamp(r, -127.0f, 127.0f));
      }
    }
    floats(name + model_names::kScaleSuffix, {n}, scale);
    add(integers_, name, DType::i8, {n, k}, q.data(), q.size());
    return {};
  }

  void raw(const std::string& name, ByteView bytes) {
    add(bytes_, name, DType::u8, {bytes.size()}, bytes.data(), bytes.size());
  }

  // Floats first, so that all of them stay aligned.
  Bytes write(const std::map<std::string, std::string>& metadata) const {
    std::vector<Tensor> all;
    for (const auto* list : {&floats_, &integers_, &bytes_}) all.insert(all.end(), list->begin(), list->end());
    return write_safetensors(metadata, all);
  }

 private:
  void add(std::vector<Tensor>& list, const std::string& name, DType type, std::vector<uint64_t> shape,
           const void* data, size_t size) {
    const auto* begin = static_cast<const uint8_t*>(data);
    memory_.emplace_back(begin, begin + size);
    list.push_back({name, type, std::move(shape), memory_.back()});
  }

  std::vector<Tensor> floats_, integers_, bytes_;
  std::list<Bytes> memory_;
};

// Fields whose other values would ask for a computation that the forward pass does not have.
Status check_features(const json& config) {
  const auto unset = [&](const char* name) {
    return !config.contains(name) || config[name].is_null() || config[name] == false;
  };
  const auto architectures = config.find("architectures");
  const std::string architecture = architectures != config.end() && architectures->is_array() &&
                                           architectures->size() == 1 && (*architectures)[0].is_string()
                                       ? (*architectures)[0].get<std::string>()
                                       : "";
  if (architecture != "Qwen3ForCausalLM") {
    return bad(fmt::format("the architecture {} is not supported; Qwen3ForCausalLM is",
                           architecture.empty() ? "(none named)" : architecture.substr(0, 80)));
  }
  for (const char* name : {"attention_bias", "use_sliding_window", "rope_scaling", "quantization_config", "mlp_bias"}) {
    if (!unset(name)) return bad(fmt::format("{} is set, which is not supported", name));
  }
  if (config.value("hidden_act", json("silu")) != "silu") return bad("hidden_act is not silu, which is not supported");
  if (!unset("partial_rotary_factor") && config["partial_rotary_factor"] != 1.0) {
    return bad("partial_rotary_factor is not 1, which is not supported");
  }
  if (const auto types = config.find("layer_types"); types != config.end() && types->is_array()) {
    for (const json& type : *types) {
      if (type != "full_attention") return bad("layer_types lists other than full_attention, which is not supported");
    }
  }
  if (const auto rope = config.find("rope_parameters"); rope != config.end() && rope->is_object()) {
    if (rope->value("rope_type", json("default")) != "default")
      return bad("rope_type is not default, which is not supported");
  }
  return {};
}

Result<double> rope_theta(const json& config) {
  const auto parameters = config.find("rope_parameters");
  const bool nested = parameters != config.end() && parameters->is_object() && parameters->contains("rope_theta");
  const json theta = nested ? (*parameters)["rope_theta"] : config.value("rope_theta", json());
  if (!theta.is_number() || !(theta.get<double>() >= 1.0 && theta.get<double>() <= 1e12)) {
    return bad("field rope_theta is missing or not a number from 1 to 1e12");
  }
  return theta.get<double>();
}

// What is fed before the first token: bos_token_id, or the end-of-text id where there is none.
Result<int> start_id(const json& config, int vocab) {
  for (const char* name : {"bos_token_id", "eos_token_id"}) {
    json id = config.value(name, json());
    if (id.is_array() && !id.empty()) id = json(id[0]);
    if (id.is_null()) continue;
    LLMC_ASSIGN(const int64_t value, int_field(json{{name, id}}, name, 0, vocab - 1));
    return static_cast<int>(value);
  }
  return bad("neither bos_token_id nor eos_token_id is there");
}

struct Shape {
  ModelConfig config;
  double theta = 0;
};

Result<Shape> read_shape(const json& json_config, int vocab) {
  LLMC_TRY(check_features(json_config));
  Shape shape;
  ModelConfig& c = shape.config;
  const auto number = [&](const char* name, int64_t least, int64_t greatest, int* out) -> Status {
    LLMC_ASSIGN(const int64_t value, int_field(json_config, name, least, greatest));
    *out = static_cast<int>(value);
    return {};
  };
  int rows = 0;
  LLMC_TRY(number("vocab_size", 1, 1 << 30, &rows));
  if (vocab > rows) return bad(fmt::format("vocab_size is {}, but tokenizer.json has {} ids", rows, vocab));
  c.architecture = "qwen3";
  c.vocab = vocab;
  LLMC_TRY(number("hidden_size", 8, kMaxWidth, &c.width));
  LLMC_TRY(number("num_hidden_layers", 1, 1024, &c.layers));
  LLMC_TRY(number("num_attention_heads", 1, 1024, &c.heads));
  LLMC_TRY(number("num_key_value_heads", 1, c.heads, &c.kv_heads));
  LLMC_TRY(number("head_dim", kMinHeadDim, kMaxHeadDim, &c.head_dim));
  if (c.heads % c.kv_heads != 0) return bad("field num_attention_heads is not a multiple of num_key_value_heads");
  if (c.head_dim % 8 != 0) return bad("field head_dim is not a multiple of 8");
  LLMC_TRY(number("intermediate_size", 8, kMaxWidth, &c.ffn));
  LLMC_TRY(number("max_position_embeddings", 2, kMaxContext, &c.context));
  c.rotary = c.head_dim;
  c.tied = json_config.value("tie_word_embeddings", json(false)) == true;
  const json eps = json_config.value("rms_norm_eps", json());
  if (!eps.is_number()) return bad("field rms_norm_eps is missing");
  c.eps = static_cast<float>(eps.get<double>());
  c.attention_scale = attention_scale(c.head_dim);
  LLMC_ASSIGN(c.start, start_id(json_config, vocab));
  LLMC_ASSIGN(shape.theta, rope_theta(json_config));
  return shape;
}

std::string float_bits(float value) { return fmt::format("{:08x}", std::bit_cast<uint32_t>(value)); }

std::string config_text(const ModelConfig& c) {
  return json{{"vocab", c.vocab},
              {"width", c.width},
              {"layers", c.layers},
              {"heads", c.heads},
              {"kv_heads", c.kv_heads},
              {"head_dim", c.head_dim},
              {"ffn", c.ffn},
              {"context", c.context},
              {"rotary", c.rotary},
              {"rope_pairs", "halves"},
              {"tied", c.tied},
              {"eps_bits", float_bits(c.eps)},
              {"attention_scale_bits", float_bits(c.attention_scale)},
              {"start", c.start}}
      .dump();
}

std::string profile_text(int layers, int bits) {
  const json layer{{"attn_in", bits}, {"attn_out", bits}, {"mlp_in", bits}, {"mlp_out", bits}};
  return json{{"layers", std::vector<json>(layers, layer)}, {"head", bits}, {"kv", 8}}.dump();
}

// `key: value` of a model card's front matter; empty where there is none.
std::string card_field(const std::string& card, const std::string& key) {
  if (!card.starts_with("---\n")) return "";
  size_t at = 4;
  while (at < card.size()) {
    const size_t end = std::min(card.find('\n', at), card.size());
    const std::string line = card.substr(at, end - at);
    if (line.starts_with("---")) break;
    if (line.starts_with(key + ":")) {
      const size_t begin = line.find_first_not_of(" \"'", key.size() + 1);
      const size_t last = line.find_last_not_of(" \"'\r");
      return begin == std::string::npos || last < begin ? "" : line.substr(begin, last - begin + 1);
    }
    at = end + 1;
  }
  return "";
}

Status add_tensors(Checkpoint& checkpoint, const ModelConfig& c, Output& out) {
  const auto norm = [&](const std::string& name, int n) -> Status {
    LLMC_ASSIGN(const std::vector<float> values, checkpoint.take(name, n, 0, false));
    out.floats(name, {static_cast<uint64_t>(n)}, values);
    return {};
  };
  const auto matrix = [&](const std::string& name, int n, int k, bool cut_rows) -> Status {
    LLMC_ASSIGN(const std::vector<float> values, checkpoint.take(name, n, k, cut_rows));
    return out.matrix(name, n, k, values);
  };
  // Rows of the embedding beyond the tokenizer's ids are padding: nothing can ask for them.
  LLMC_TRY(matrix(model_names::kEmbedding, c.vocab, c.width, true));
  for (int i = 0; i < c.layers; ++i) {
    const auto name = [i](const char* what) { return fmt::format("model.layers.{}.{}.weight", i, what); };
    LLMC_TRY(norm(name("input_layernorm"), c.width));
    LLMC_TRY(matrix(name("self_attn.q_proj"), c.q_width(), c.width, false));
    LLMC_TRY(matrix(name("self_attn.k_proj"), c.kv_width(), c.width, false));
    LLMC_TRY(matrix(name("self_attn.v_proj"), c.kv_width(), c.width, false));
    LLMC_TRY(norm(name("self_attn.q_norm"), c.head_dim));
    LLMC_TRY(norm(name("self_attn.k_norm"), c.head_dim));
    LLMC_TRY(matrix(name("self_attn.o_proj"), c.width, c.q_width(), false));
    LLMC_TRY(norm(name("post_attention_layernorm"), c.width));
    LLMC_TRY(matrix(name("mlp.gate_proj"), c.ffn, c.width, false));
    LLMC_TRY(matrix(name("mlp.up_proj"), c.ffn, c.width, false));
    LLMC_TRY(matrix(name("mlp.down_proj"), c.width, c.ffn, false));
  }
  LLMC_TRY(norm(model_names::kFinalNorm, c.width));
  if (c.tied) {
    checkpoint.allow(model_names::kHead);  // some writers store the tied head again
  } else {
    LLMC_TRY(matrix(model_names::kHead, c.vocab, c.width, true));
  }
  return checkpoint.all_used();
}

}  // namespace

Result<Bytes> import_huggingface(const fs::path& directory, const ImportOptions& options) {
  if (options.activations != 8 && options.activations != 16) {
    return Status(Code::usage,
                  fmt::format("activations of {} bits are not offered; 8 and 16 are", options.activations));
  }
  const FloatState float_state;
  const fs::path config_path = directory / "config.json";
  const fs::path tokenizer_path = directory / "tokenizer.json";
  LLMC_ASSIGN(const Bytes config_bytes, read_file(config_path, kMaxConfig));
  LLMC_ASSIGN(const json config_json, parse_object(as_text(config_bytes), config_path.string()));
  LLMC_TRY(check_features(config_json).with(config_path.string()));
  LLMC_ASSIGN(const Bytes tokenizer_bytes, read_file(tokenizer_path, kMaxTokenizer));
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_json(tokenizer_bytes);
  if (!tokenizer.ok()) return tokenizer.status().with(tokenizer_path.string());

  const Result<Shape> shape = read_shape(config_json, (*tokenizer)->vocab());
  if (!shape.ok()) return shape.status().with(config_path.string());
  const ModelConfig& c = shape->config;

  std::string card;
  if (const Result<Bytes> readme = read_file(directory / "README.md", kMaxConfig); readme.ok()) card = as_text(*readme);
  const auto choose = [](const std::string& given, const std::string& found, const std::string& otherwise) {
    return !given.empty() ? given : !found.empty() ? found : otherwise;
  };
  const fs::path folder = directory.has_filename() ? directory.filename() : directory.parent_path().filename();

  Output out;
  const RopeTable rope = make_rope_table(shape->theta, c.rotary, c.context);
  const std::vector<uint64_t> rope_shape{static_cast<uint64_t>(c.context), static_cast<uint64_t>(c.rotary / 2)};
  out.floats(model_names::kRopeCos, rope_shape, rope.cos);
  out.floats(model_names::kRopeSin, rope_shape, rope.sin);
  Checkpoint checkpoint;
  LLMC_TRY(checkpoint.open(directory));
  LLMC_TRY(add_tensors(checkpoint, c, out));
  out.raw(model_names::kTokenizer, tokenizer_bytes);

  const Bytes file = out.write({{"format", Model::kFormat},
                                {"format_version", std::to_string(Model::kFormatVersion)},
                                {"numerics", Model::kNumerics},
                                {"architecture", c.architecture},
                                {"config", config_text(c)},
                                {"profile", profile_text(c.layers, options.activations)},
                                {"unicode", unicode::kUnicodeVersion},
                                {"name", choose(options.name, card_field(card, "model_name"), folder.string())},
                                {"license", choose(options.license, card_field(card, "license"), "unknown")}});
  // The reader's own checks (the range table) are the last word.
  if (const auto model = Model::from_bytes(file, nullptr); !model.ok()) return model.status().with(directory.string());
  return file;
}

}  // namespace llmc
