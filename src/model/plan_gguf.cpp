// Metadata of a GGUF file to an ImportPlan.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "exact/kernels.h"
#include "model/import_plan.h"
#include "model/model_error.h"
#include "tokens/convert.h"

namespace llmc {

namespace {

// The keys under "ARCHITECTURE." that are understood; any other may ask for another computation.
const std::set<std::string> kKnownKeys = {"block_count",
                                          "context_length",
                                          "embedding_length",
                                          "feed_forward_length",
                                          "attention.head_count",
                                          "attention.head_count_kv",
                                          "attention.key_length",
                                          "attention.value_length",
                                          "attention.layer_norm_rms_epsilon",
                                          "attention.layer_norm_epsilon",
                                          "attention.sliding_window",
                                          "rope.dimension_count",
                                          "rope.freq_base",
                                          "rope.scaling.type",
                                          "rope.scaling.factor",
                                          "rope.scaling.original_context_length",
                                          "rope.scaling.finetuned",
                                          "use_parallel_residual",
                                          "vocab_size",
                                          "tensor_data_layout",
                                          "expert_count",
                                          "expert_used_count"};

class Keys {
 public:
  Keys(const Gguf& gguf, std::string architecture) : gguf_(gguf), prefix_(std::move(architecture) + ".") {}

  std::string full(const char* key) const { return prefix_ + key; }
  bool has(const char* key) const { return gguf_.has(full(key)); }

  Status number(const char* key, int64_t least, int64_t greatest, int* out) const {
    const int64_t* const v = gguf_.integer(full(key));
    if (v == nullptr) return bad(fmt::format("the key {} is missing or not a whole number", full(key)));
    if (*v < least || *v > greatest) {
      return bad(fmt::format("the key {} is {}, not a number from {} to {}", full(key), *v, least, greatest));
    }
    *out = static_cast<int>(*v);
    return {};
  }
  Status number_or(const char* key, int64_t least, int64_t greatest, int otherwise, int* out) const {
    *out = otherwise;
    return has(key) ? number(key, least, greatest, out) : Status();
  }
  Status real(const char* key, double* out) const {
    const double* const v = gguf_.number(full(key));
    if (v == nullptr) return bad(fmt::format("the key {} is missing or not a number", full(key)));
    *out = *v;
    return {};
  }
  // Fails where a key of the architecture is not one of those that are understood.
  Status all_known() const {
    for (const auto& [key, value] : gguf_.metadata()) {
      if (key.starts_with(prefix_) && !kKnownKeys.contains(key.substr(prefix_.size()))) {
        return bad(fmt::format("the key {} is set, which is not supported", key.substr(0, 80)));
      }
    }
    return {};
  }

 private:
  const Gguf& gguf_;
  const std::string prefix_;
};

const TensorNames kNames = {.embedding = "token_embd.weight", .positions = "position_embd.weight",
                            .final_norm = "output_norm", .head = "output.weight", .layer = "blk.{}.",
                            .attn_norm = "attn_norm", .q = "attn_q", .k = "attn_k", .v = "attn_v",
                            .q_norm = "attn_q_norm", .k_norm = "attn_k_norm", .o = "attn_output",
                            .mlp_norm = "ffn_norm", .gate = "ffn_gate", .up = "ffn_up", .down = "ffn_down"};

// llama.cpp turns neighbours where the checkpoint turned halves, and so stores the rows of q and k of
// each head interleaved. Row i of a head is found where it went.
std::vector<uint32_t> interleaved(int heads, int head_dim, int rotary) {
  std::vector<uint32_t> order;
  const int half = rotary / 2;
  for (int h = 0; h < heads; ++h) {
    for (int i = 0; i < head_dim; ++i) {
      const int from = i >= rotary ? i : i < half ? 2 * i : 2 * (i - half) + 1;
      order.push_back(static_cast<uint32_t>(h * head_dim + from));
    }
  }
  return order;
}

Status read_rope(const Keys& keys, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  LLMC_TRY(keys.number_or("rope.dimension_count", 2, c.head_dim, c.head_dim, &c.rotary));
  if (c.rotary % 2 != 0) return bad("rope.dimension_count is odd");
  plan->rope_theta = 10000.0;
  if (keys.has("rope.freq_base")) LLMC_TRY(keys.real("rope.freq_base", &plan->rope_theta));
  if (!(plan->rope_theta >= 1.0 && plan->rope_theta <= 1e12)) return bad("rope.freq_base is not from 1 to 1e12");
  return {};
}

Status read_rope_scaling(const Gguf& gguf, const Keys& keys, TensorStore& store, ImportPlan* plan) {
  const std::string* const kind = gguf.text(keys.full("rope.scaling.type"));
  RopeScaling& s = plan->rope;
  if (kind != nullptr && *kind == "linear") {
    s.kind = RopeScaling::Kind::linear;
    LLMC_TRY(keys.real("rope.scaling.factor", &s.factor));
    if (!(s.factor >= 1 && s.factor <= 1e9)) return bad("rope.scaling.factor is out of range");
  } else if (kind != nullptr && *kind != "none") {
    return bad(fmt::format("{} is {}, which is not supported", keys.full("rope.scaling.type"), kind->substr(0, 40)));
  }
  if (!store.has("rope_freqs.weight")) return {};
  if (s.kind != RopeScaling::Kind::none) return bad("it has both a linear RoPE scaling and rope_freqs.weight");
  LLMC_ASSIGN(const std::vector<uint64_t> shape, store.shape("rope_freqs.weight"));
  const uint64_t half = plan->config.rotary / 2;
  if (shape != std::vector<uint64_t>{half}) return bad("tensor rope_freqs.weight has not one value per frequency");
  std::vector<float> divisors(half);
  LLMC_TRY(store.read("rope_freqs.weight", 0, half, divisors.data()));
  for (const float d : divisors) {
    if (!(d >= 1.0f && d <= 1e6f)) return bad("tensor rope_freqs.weight holds a value below 1 or above a million");
  }
  s.kind = RopeScaling::Kind::divisors;
  s.divisors.assign(divisors.begin(), divisors.end());
  return {};
}

// The rows of a fused q, k, v matrix, one after the other.
void split_fused(ImportPlan* plan) {
  const auto q = static_cast<uint64_t>(plan->config.q_width()), kv = static_cast<uint64_t>(plan->config.kv_width());
  for (TensorPiece& piece : plan->pieces) {
    const bool is_k = piece.name.find(".k_proj.") != std::string::npos;
    const bool is_v = piece.name.find(".v_proj.") != std::string::npos;
    if (!is_k && !is_v && piece.name.find(".q_proj.") == std::string::npos) continue;
    std::string& tensor = piece.origin.tensor;
    const size_t dot = tensor.find(".attn_");
    tensor = tensor.substr(0, dot) + ".attn_qkv" + tensor.substr(dot + std::string_view(".attn_q").size());
    piece.origin.first = is_k ? q : is_v ? q + kv : 0;
    piece.origin.rows = q + 2 * kv;
  }
}

Status read_shape(const Gguf& gguf, const Keys& keys, TensorStore& store, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  LLMC_TRY(keys.number("embedding_length", 8, kMaxWidth, &c.width));
  LLMC_TRY(keys.number("block_count", 1, 1024, &c.layers));
  LLMC_TRY(keys.number("attention.head_count", 1, 1024, &c.heads));
  LLMC_TRY(keys.number_or("attention.head_count_kv", 1, c.heads, c.heads, &c.kv_heads));
  LLMC_TRY(keys.number_or("attention.key_length", 1, kMaxHeadDim, c.width / c.heads, &c.head_dim));
  int value_length = c.head_dim;
  LLMC_TRY(keys.number_or("attention.value_length", 1, kMaxHeadDim, c.head_dim, &value_length));
  if (value_length != c.head_dim) {
    return bad("attention.value_length is not attention.key_length, which is not supported");
  }
  LLMC_TRY(keys.number("feed_forward_length", 8, kMaxWidth, &c.ffn));
  LLMC_TRY(keys.number("context_length", 2, 1 << 24, &c.context));
  int experts = 0, window = 0;
  LLMC_TRY(keys.number_or("expert_count", 0, 1 << 20, 0, &experts));
  if (experts > 0) return bad("expert_count is set: mixtures of experts are not supported");
  LLMC_TRY(keys.number_or("attention.sliding_window", 0, 1 << 24, 0, &window));
  c.windows.assign(c.layers, window);

  const bool layer_norm = c.family == "gpt2" || c.family == "gptneox";
  c.norm = layer_norm ? NormKind::layer : NormKind::rms;
  double eps = 0;
  LLMC_TRY(keys.real(layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", &eps));
  c.eps = static_cast<float>(eps);
  c.gated = !layer_norm;
  c.activation = c.family == "gpt2"      ? Activation::gelu_tanh
                 : c.family == "gptneox" ? Activation::gelu
                                         : Activation::silu;
  c.learned_positions = c.family == "gpt2";
  if (c.family == "gptneox") {
    const bool* const parallel = gguf.flag(keys.full("use_parallel_residual"));
    c.parallel = parallel == nullptr || *parallel;
  }
  c.tied = !store.has("output.weight");
  c.qk_norm = store.has("blk.0.attn_q_norm.weight");
  const bool fused = store.has("blk.0.attn_qkv.weight");
  c.attention_bias = store.has(fused ? "blk.0.attn_qkv.bias" : "blk.0.attn_q.bias");
  c.output_bias = store.has("blk.0.attn_output.bias");
  c.mlp_bias = store.has("blk.0.ffn_up.bias");
  if (!c.learned_positions) {
    LLMC_TRY(read_rope(keys, plan));
    LLMC_TRY(read_rope_scaling(gguf, keys, store, plan));
  }
  plan->pieces = standard_pieces(c, kNames);
  if (fused) split_fused(plan);
  if (c.family == "llama") {
    for (TensorPiece& piece : plan->pieces) {
      const bool q = piece.name.find(".q_proj.") != std::string::npos;
      if (q || piece.name.find(".k_proj.") != std::string::npos) {
        piece.origin.order = interleaved(q ? c.heads : c.kv_heads, c.head_dim, c.rotary);
      }
    }
  }
  c.attention_scale = attention_scale(c.head_dim);
  return {};
}

}  // namespace

Result<ImportPlan> plan_gguf(const Gguf& gguf, TensorStore& store) {
  const auto at = [&](const Status& status) { return status.with(store.path()); };
  const std::string* const architecture = gguf.text("general.architecture");
  if (architecture == nullptr) return at(bad("it names no architecture"));
  if (*architecture != "llama" && *architecture != "qwen2" && *architecture != "qwen3" && *architecture != "gpt2" &&
      *architecture != "gptneox") {
    return at(bad(fmt::format("the architecture {} is not supported; llama, qwen2, qwen3, gpt2 and gptneox are",
                              architecture->substr(0, 80))));
  }
  ImportPlan plan;
  plan.config.family = *architecture;
  const Keys keys(gguf, *architecture);
  if (const Status known = keys.all_known(); !known.ok()) return at(known);
  if (const Status shape = read_shape(gguf, keys, store, &plan); !shape.ok()) return at(shape);

  GgufVocabulary vocabulary;
  const auto text = [&](const char* key) { return gguf.text(key) ? *gguf.text(key) : std::string(); };
  vocabulary.model = text("tokenizer.ggml.model");
  vocabulary.pre = text("tokenizer.ggml.pre");
  if (const auto* v = gguf.texts("tokenizer.ggml.tokens")) vocabulary.tokens = *v;
  if (const auto* v = gguf.texts("tokenizer.ggml.merges")) vocabulary.merges = *v;
  if (const auto* v = gguf.integers("tokenizer.ggml.token_type")) vocabulary.types = *v;
  if (const auto* v = gguf.numbers("tokenizer.ggml.scores")) vocabulary.scores = *v;
  Result<Bytes> json = tokenizer_json_of_gguf(vocabulary);
  if (!json.ok()) return at(json.status());
  plan.tokenizer_json = std::move(*json);
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::from_json(plan.tokenizer_json);
  if (!tokenizer.ok()) return at(tokenizer.status());
  ModelConfig& c = plan.config;
  c.vocab = (*tokenizer)->vocab();
  for (TensorPiece& piece : plan.pieces) {
    if (piece.name == model_names::kEmbedding || piece.name == model_names::kHead) piece.n = c.vocab;
  }

  const int64_t* start = gguf.integer("tokenizer.ggml.bos_token_id");
  if (start == nullptr) start = gguf.integer("tokenizer.ggml.eos_token_id");
  if (start == nullptr || *start < 0 || *start >= c.vocab) {
    return at(bad("neither tokenizer.ggml.bos_token_id nor tokenizer.ggml.eos_token_id names a token"));
  }
  c.start = static_cast<Symbol>(*start);
  plan.name = text("general.name");
  plan.license = text("general.license");
  return plan;
}

}  // namespace llmc
