// config.json of a Hugging Face folder to an ImportPlan.
#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "exact/kernels.h"
#include "model/import_plan.h"
#include "model/json_field.h"
#include "model/model_error.h"
#include "tokens/convert.h"

namespace llmc {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxConfig = 16u << 20;
constexpr int kMaxPositions = 1 << 24;  // that a checkpoint may claim

// One config.json with the questions that all families ask.
class Config {
 public:
  explicit Config(const json& all) : all_(all) {}

  const json& at(const char* name) const {
    static const json null;
    const auto it = all_.find(name);
    return it == all_.end() ? null : *it;
  }
  // Absent, null or false.
  bool unset(const char* name) const { return at(name).is_null() || at(name) == false; }
  bool is(const char* name, bool otherwise) const { return at(name).is_boolean() ? at(name).get<bool>() : otherwise; }

  Status number(const char* name, int64_t least, int64_t greatest, int* out) const {
    LLMC_ASSIGN(const int64_t value, int_field(all_, name, least, greatest));
    *out = static_cast<int>(value);
    return {};
  }
  // `otherwise` where the field is absent or null.
  Status number_or(const char* name, int64_t least, int64_t greatest, int otherwise, int* out) const {
    *out = otherwise;
    return at(name).is_null() ? Status() : number(name, least, greatest, out);
  }
  Status real(const char* name, double* out) const {
    if (!at(name).is_number()) return bad(fmt::format("field {} is missing or not a number", name));
    *out = at(name).get<double>();
    return {};
  }

  Status refuse_set(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (!unset(name)) return bad(fmt::format("{} is set, which is not supported", name));
    }
    return {};
  }

  // hidden_act and the like: SiLU, GELU by the error function, GELU by tanh.
  Status activation(const char* name, const char* otherwise, Activation* out) const {
    const std::string act = at(name).is_string() ? at(name).get<std::string>() : otherwise;
    if (act == "silu" || act == "swish") {
      *out = Activation::silu;
    } else if (act == "gelu") {
      *out = Activation::gelu;
    } else if (act == "gelu_new" || act == "gelu_pytorch_tanh" || act == "gelu_fast") {
      *out = Activation::gelu_tanh;
    } else {
      return bad(fmt::format("{} is {}, which is not supported", name, act.substr(0, 40)));
    }
    return {};
  }

  Status eps(const char* name, float* out) const {
    double value = 0;
    LLMC_TRY(real(name, &value));
    *out = static_cast<float>(value);
    return {};
  }

  // rope_theta, rope_scaling, partial_rotary_factor; or all of them in rope_parameters, as transformers 5 has it.
  Status rope(const char* theta_name, ImportPlan* plan) const {
    const json& scaling = at("rope_scaling");
    const json& parameters = at("rope_parameters");
    if (!scaling.is_null() && !scaling.is_object()) return bad("rope_scaling is not an object");
    if (!parameters.is_null() && !parameters.is_object()) return bad("rope_parameters is not an object");
    const json& nested = parameters.is_object() ? parameters : scaling;
    const auto find = [&](const char* name) -> json {
      if (nested.is_object() && nested.contains(name)) return nested[name];
      return json();
    };
    json theta = find("rope_theta");
    if (theta.is_null()) theta = at(theta_name);
    if (!theta.is_number() || !(theta.get<double>() >= 1.0 && theta.get<double>() <= 1e12)) {
      return bad(fmt::format("field {} is missing or not a number from 1 to 1e12", theta_name));
    }
    plan->rope_theta = theta.get<double>();

    const char* name = parameters.is_object() ? "rope_parameters.rope_type" : "rope_scaling.rope_type";
    json type = find("rope_type");
    if (type.is_null()) type = find("type");
    if (type.is_null()) type = scaling.is_object() ? json("(none)") : json("default");
    if (!type.is_string()) return bad(fmt::format("{} is not a text", name));
    const auto kind = type.get<std::string>();
    const auto real = [&](const char* field, double least, double* out) -> Status {
      const json value = find(field);
      if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= 1e9)) {
        return bad(fmt::format("field {} of the RoPE scaling is missing or out of range", field));
      }
      *out = value.get<double>();
      return {};
    };
    RopeScaling& s = plan->rope;
    if (kind == "default") return {};
    if (kind == "linear") {
      s.kind = RopeScaling::Kind::linear;
      return real("factor", 1, &s.factor);
    }
    if (kind == "llama3") {
      s.kind = RopeScaling::Kind::llama3;
      LLMC_TRY(real("factor", 1, &s.factor));
      LLMC_TRY(real("low_freq_factor", 1e-3, &s.low));
      LLMC_TRY(real("high_freq_factor", 1e-3, &s.high));
      LLMC_TRY(real("original_max_position_embeddings", 1, &s.context));
      if (s.high <= s.low) return bad("high_freq_factor is not above low_freq_factor");
      return {};
    }
    return bad(fmt::format("{} is {}, which is not supported", name, kind.substr(0, 40)));
  }

  double rotary_part(const char* name) const {
    const json& nested = at("rope_parameters");
    if (nested.is_object() && nested.contains("partial_rotary_factor") && nested["partial_rotary_factor"].is_number()) {
      return nested["partial_rotary_factor"].get<double>();
    }
    return at(name).is_number() ? at(name).get<double>() : 1.0;
  }

  // Windows by layer_types, or by what says it in `all_sliding` where there are none.
  Status windows(int layers, int window, bool all_sliding, int first_sliding, ModelConfig* c) const {
    c->windows.assign(layers, 0);
    const json& types = at("layer_types");
    if (!types.is_null() && (!types.is_array() || types.size() != static_cast<size_t>(layers))) {
      return bad("layer_types does not list every layer");
    }
    for (int i = 0; i < layers; ++i) {
      bool sliding = all_sliding && i >= first_sliding;
      if (types.is_array()) {
        if (types[i] != "full_attention" && types[i] != "sliding_attention") {
          return bad("layer_types lists other than full_attention and sliding_attention, which is not supported");
        }
        sliding = types[i] == "sliding_attention";
      }
      if (sliding && window < 1) return bad("layer_types has sliding_attention, but sliding_window is not set");
      if (sliding) c->windows[i] = window;
    }
    return {};
  }

 private:
  const json& all_;
};

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

const TensorNames kLlamaNames = {
    .embedding = "model.embed_tokens.weight", .positions = "", .final_norm = "model.norm", .head = "lm_head.weight",
    .layer = "model.layers.{}.", .attn_norm = "input_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj",
    .v = "self_attn.v_proj", .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm", .o = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm", .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj"};

// Sizes under the names that Llama and its relatives use.
Status llama_sizes(const Config& in, ModelConfig* c) {
  LLMC_TRY(in.number("hidden_size", 8, kMaxWidth, &c->width));
  LLMC_TRY(in.number("num_hidden_layers", 1, 1024, &c->layers));
  LLMC_TRY(in.number("num_attention_heads", 1, 1024, &c->heads));
  LLMC_TRY(in.number_or("num_key_value_heads", 1, c->heads, c->heads, &c->kv_heads));
  LLMC_TRY(in.number_or("head_dim", 1, kMaxHeadDim, std::min(c->width / c->heads, kMaxWidth), &c->head_dim));
  LLMC_TRY(in.number("intermediate_size", 8, kMaxWidth, &c->ffn));
  LLMC_TRY(in.number("max_position_embeddings", 2, kMaxPositions, &c->context));
  if (c->heads % c->kv_heads != 0) return bad("field num_attention_heads is not a multiple of num_key_value_heads");
  c->rotary = c->head_dim;
  LLMC_TRY(in.eps("rms_norm_eps", &c->eps));
  LLMC_TRY(in.activation("hidden_act", "silu", &c->activation));
  if (c->activation != Activation::silu) {
    return bad(fmt::format("hidden_act is {}, which is not supported", in.at("hidden_act").dump().substr(0, 40)));
  }
  if (in.rotary_part("partial_rotary_factor") != 1.0) {
    return bad("partial_rotary_factor is not 1, which is not supported");
  }
  return {};
}

// Llama 2 and 3, SmolLM2, Mistral, Qwen2, Qwen3: one shape with and without a few parts.
Status plan_llama(const Config& in, const std::string& family, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  LLMC_TRY(llama_sizes(in, &c));
  LLMC_TRY(in.rope("rope_theta", plan));
  LLMC_TRY(in.refuse_set({"rope_interleaved"}));
  c.tied = in.is("tie_word_embeddings", false);
  c.qk_norm = family == "qwen3";
  int window = 0, first_sliding = 0;
  bool sliding = false;
  if (family == "llama") {
    c.attention_bias = c.output_bias = in.is("attention_bias", false);
    c.mlp_bias = in.is("mlp_bias", false);
    LLMC_TRY(in.refuse_set({"use_sliding_window"}));
    if (in.at("pretraining_tp").is_number() && in.at("pretraining_tp") != 1) {
      return bad("pretraining_tp is not 1, which is not supported");
    }
  } else if (family == "mistral") {
    LLMC_TRY(in.refuse_set({"attention_bias", "mlp_bias", "use_sliding_window"}));
    sliding = !in.at("sliding_window").is_null();
    LLMC_TRY(in.number_or("sliding_window", 1, kMaxPositions, 0, &window));
  } else {
    c.attention_bias = family == "qwen2";
    LLMC_TRY(in.refuse_set({"mlp_bias"}));
    if (family == "qwen3") LLMC_TRY(in.refuse_set({"attention_bias"}));
    sliding = in.is("use_sliding_window", false);
    if (sliding) LLMC_TRY(in.number("sliding_window", 1, kMaxPositions, &window));
    LLMC_TRY(in.number_or("max_window_layers", 0, kMaxPositions, c.layers, &first_sliding));
  }
  LLMC_TRY(in.windows(c.layers, window, sliding, first_sliding, &c));
  plan->pieces = standard_pieces(c, kLlamaNames);
  return {};
}

// The rows of a fused q, k, v matrix for one of the three.
void take_part(std::vector<TensorPiece>& pieces, const char* what, const std::string& from, bool columns, uint64_t first,
               uint64_t rows, const std::vector<uint32_t>& order) {
  for (TensorPiece& piece : pieces) {
    if (piece.name.find(what) == std::string::npos) continue;
    const bool bias = piece.name.ends_with(".bias");
    const std::string layer = piece.origin.tensor.substr(0, piece.origin.tensor.find(from));
    piece.origin = {layer + from + (bias ? ".bias" : ".weight"), columns && !bias, first, order, rows, false};
  }
}

Status plan_gpt2(const Config& in, TensorStore& store, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  c.norm = NormKind::layer;
  c.gated = false;
  c.learned_positions = c.attention_bias = c.output_bias = c.mlp_bias = true;
  LLMC_TRY(in.number("n_embd", 8, kMaxWidth, &c.width));
  LLMC_TRY(in.number("n_layer", 1, 1024, &c.layers));
  LLMC_TRY(in.number("n_head", 1, 1024, &c.heads));
  c.kv_heads = c.heads;
  if (c.width % c.heads != 0) return bad("field n_embd is not a multiple of n_head");
  c.head_dim = c.width / c.heads;
  LLMC_TRY(in.number_or("n_inner", 8, kMaxWidth, 4 * c.width, &c.ffn));
  LLMC_TRY(in.number("n_positions", 2, kMaxPositions, &c.context));
  LLMC_TRY(in.eps("layer_norm_epsilon", &c.eps));
  LLMC_TRY(in.activation("activation_function", "gelu_new", &c.activation));
  if (c.activation == Activation::silu) return bad("activation_function is silu, which is not supported");
  LLMC_TRY(in.refuse_set({"scale_attn_by_inverse_layer_idx", "add_cross_attention"}));
  if (!in.is("scale_attn_weights", true)) return bad("scale_attn_weights is false, which is not supported");
  c.tied = in.is("tie_word_embeddings", true);
  c.windows.assign(c.layers, 0);
  const std::string prefix = store.has("transformer.wte.weight") ? "transformer." : "";
  plan->pieces = standard_pieces(
      c, {.embedding = prefix + "wte.weight", .positions = prefix + "wpe.weight", .final_norm = prefix + "ln_f",
          .head = "lm_head.weight", .layer = prefix + "h.{}.", .attn_norm = "ln_1", .q = "attn.c_attn",
          .k = "attn.c_attn", .v = "attn.c_attn", .q_norm = "", .k_norm = "", .o = "attn.c_proj", .mlp_norm = "ln_2",
          .gate = "", .up = "mlp.c_fc", .down = "mlp.c_proj"});
  const auto width = static_cast<uint64_t>(c.width);
  take_part(plan->pieces, ".q_proj.", "attn.c_attn", true, 0, 3 * width, {});
  take_part(plan->pieces, ".k_proj.", "attn.c_attn", true, width, 3 * width, {});
  take_part(plan->pieces, ".v_proj.", "attn.c_attn", true, 2 * width, 3 * width, {});
  for (TensorPiece& piece : plan->pieces) {
    if (piece.matrix && piece.name.find(".layers.") != std::string::npos) piece.origin.columns = true;
  }
  for (int i = 0; i < c.layers; ++i) {  // causal masks that old files store
    store.ignore(fmt::format("{}h.{}.attn.bias", prefix, i));
    store.ignore(fmt::format("{}h.{}.attn.masked_bias", prefix, i));
  }
  return {};
}

Status plan_gpt_neox(const Config& in, TensorStore& store, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  c.norm = NormKind::layer;
  c.gated = false;
  c.mlp_bias = true;
  LLMC_TRY(in.number("hidden_size", 8, kMaxWidth, &c.width));
  LLMC_TRY(in.number("num_hidden_layers", 1, 1024, &c.layers));
  LLMC_TRY(in.number("num_attention_heads", 1, 1024, &c.heads));
  c.kv_heads = c.heads;
  if (c.width % c.heads != 0) return bad("field hidden_size is not a multiple of num_attention_heads");
  c.head_dim = c.width / c.heads;
  LLMC_TRY(in.number("intermediate_size", 8, kMaxWidth, &c.ffn));
  LLMC_TRY(in.number("max_position_embeddings", 2, kMaxPositions, &c.context));
  LLMC_TRY(in.eps("layer_norm_eps", &c.eps));
  LLMC_TRY(in.activation("hidden_act", "gelu", &c.activation));
  if (c.activation == Activation::silu) return bad("hidden_act is silu, which is not supported");
  c.parallel = in.is("use_parallel_residual", true);
  c.attention_bias = c.output_bias = in.is("attention_bias", true);
  c.tied = in.is("tie_word_embeddings", false);
  c.windows.assign(c.layers, 0);
  LLMC_TRY(in.rope("rotary_emb_base", plan));
  c.rotary = static_cast<int>(c.head_dim * in.rotary_part("rotary_pct"));
  if (c.rotary < 2 || c.rotary % 2 != 0 || c.rotary > c.head_dim) {
    return bad("rotary_pct turns no even number of a head's values");
  }
  plan->pieces = standard_pieces(
      c, {.embedding = "gpt_neox.embed_in.weight", .positions = "", .final_norm = "gpt_neox.final_layer_norm",
          .head = store.has("embed_out.weight") ? "embed_out.weight" : "lm_head.weight",
          .layer = "gpt_neox.layers.{}.", .attn_norm = "input_layernorm",
          .q = "attention.query_key_value", .k = "attention.query_key_value", .v = "attention.query_key_value",
          .q_norm = "", .k_norm = "", .o = "attention.dense", .mlp_norm = "post_attention_layernorm", .gate = "",
          .up = "mlp.dense_h_to_4h", .down = "mlp.dense_4h_to_h"});
  // Head by head: its q, its k, its v.
  const auto d = static_cast<uint32_t>(c.head_dim);
  std::vector<uint32_t> order;
  for (uint32_t h = 0; h < static_cast<uint32_t>(c.heads); ++h) {
    for (uint32_t i = 0; i < d; ++i) order.push_back(h * 3 * d + i);
  }
  take_part(plan->pieces, ".q_proj.", "attention.query_key_value", false, 0, 3 * order.size(), order);
  take_part(plan->pieces, ".k_proj.", "attention.query_key_value", false, d, 3 * order.size(), order);
  take_part(plan->pieces, ".v_proj.", "attention.query_key_value", false, 2 * d, 3 * order.size(), order);
  for (int i = 0; i < c.layers; ++i) {
    for (const char* name : {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"}) {
      store.ignore(fmt::format("gpt_neox.layers.{}.{}", i, name));
    }
  }
  return {};
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

constexpr struct {
  const char* architecture;
  const char* family;
} kFamilies[] = {{"LlamaForCausalLM", "llama"},     {"MistralForCausalLM", "mistral"}, {"Qwen2ForCausalLM", "qwen2"},
                 {"Qwen3ForCausalLM", "qwen3"},     {"GPT2LMHeadModel", "gpt2"},
                 {"GPTNeoXForCausalLM", "gpt_neox"}};

Result<std::string> family_of(const Config& in) {
  const json& list = in.at("architectures");
  const std::string name =
      list.is_array() && list.size() == 1 && list[0].is_string() ? list[0].get<std::string>() : "(none named)";
  std::string known;
  for (const auto& family : kFamilies) {
    if (name == family.architecture) return std::string(family.family);
    known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  }
  return bad(fmt::format("the architecture {} is not supported; {} are", name.substr(0, 80), known));
}

Status read_config(const json& all, int vocab, TensorStore& store, ImportPlan* plan) {
  const Config in(all);
  ModelConfig& c = plan->config;
  LLMC_ASSIGN(c.family, family_of(in));
  LLMC_TRY(in.refuse_set({"quantization_config", "num_local_experts", "num_experts", "n_routed_experts"}));
  int rows = 0;
  LLMC_TRY(in.number("vocab_size", 1, 1 << 30, &rows));
  if (vocab > rows) return bad(fmt::format("vocab_size is {}, but the tokenizer has {} ids", rows, vocab));
  c.vocab = vocab;
  LLMC_TRY(c.family == "gpt2"       ? plan_gpt2(in, store, plan)
           : c.family == "gpt_neox" ? plan_gpt_neox(in, store, plan)
                                    : plan_llama(in, c.family, plan));
  c.attention_scale = attention_scale(c.head_dim);
  LLMC_ASSIGN(c.start, start_id(all, vocab));
  // Some writers store a tied head again.
  if (c.tied) {
    store.ignore("lm_head.weight");
    store.ignore("embed_out.weight");
  }
  return {};
}

}  // namespace

Result<ImportPlan> plan_huggingface(const fs::path& directory, TensorStore& store) {
  const fs::path config_path = directory / "config.json";
  LLMC_ASSIGN(const Bytes config_bytes, read_file(config_path, kMaxConfig));
  LLMC_ASSIGN(const json config, parse_object(as_text(config_bytes), config_path.string()));
  const Result<std::string> family = family_of(Config(config));
  if (!family.ok()) return family.status().with(config_path.string());
  ImportPlan plan;
  LLMC_ASSIGN(plan.tokenizer_json, tokenizer_json_of_folder(directory, *family));
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_json(plan.tokenizer_json);
  if (!tokenizer.ok()) return tokenizer.status().with(directory.string());
  LLMC_TRY(read_config(config, (*tokenizer)->vocab(), store, &plan).with(config_path.string()));
  if (const Result<Bytes> readme = read_file(directory / "README.md", kMaxConfig); readme.ok()) {
    const std::string card(as_text(*readme));
    plan.name = card_field(card, "model_name");
    plan.license = card_field(card, "license");
  }
  return plan;
}

Result<ImportPlan> plan_config(const std::string& config, const std::string& where) {
  LLMC_ASSIGN(const json all, parse_object(config, where));
  int vocab = 0;
  LLMC_TRY(Config(all).number("vocab_size", 1, kMaxVocabulary - 1, &vocab).with(where));
  ImportPlan plan;
  plan.tokenizer_json = drawn_tokenizer(vocab);
  TensorStore none;
  LLMC_TRY(read_config(all, vocab, none, &plan).with(where));
  return plan;
}

}  // namespace llmc
