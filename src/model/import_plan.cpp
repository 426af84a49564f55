#include "model/import_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "exact/kernels.h"

namespace llmc {

namespace {

constexpr int kDefaultContext = 8192;

}  // namespace

std::vector<TensorPiece> standard_pieces(const ModelConfig& c, const TensorNames& names) {
  std::vector<TensorPiece> out;
  const auto vector = [&](const std::string& name, const std::string& from, int n) {
    out.push_back({name, false, static_cast<uint64_t>(n), 1, {from, false, 0, {}, 0, false}});
  };
  const auto matrix = [&](const std::string& name, const std::string& from, int n, int k) {
    out.push_back({name, true, static_cast<uint64_t>(n), static_cast<uint64_t>(k), {from, false, 0, {}, 0, false}});
  };
  if (c.learned_positions) {
    out.push_back({model_names::kPositions,
                   false,
                   static_cast<uint64_t>(c.context),
                   static_cast<uint64_t>(c.width),
                   {names.positions, false, 0, {}, 0, true}});
  }
  matrix(model_names::kEmbedding, names.embedding, c.vocab, c.width);
  for (int i = 0; i < c.layers; ++i) {
    const std::string prefix = fmt::format(fmt::runtime(names.layer), i);
    const auto ours = [&](const char* what, const char* kind) {
      return fmt::format("model.layers.{}.{}.{}", i, what, kind);
    };
    const auto norm = [&](const char* what, const std::string& from, int n, bool shift) {
      vector(ours(what, "weight"), prefix + from + ".weight", n);
      if (shift) vector(ours(what, "bias"), prefix + from + ".bias", n);
    };
    const auto linear = [&](const char* what, const std::string& from, int n, int k, bool bias) {
      matrix(ours(what, "weight"), prefix + from + ".weight", n, k);
      if (bias) vector(ours(what, "bias"), prefix + from + ".bias", n);
    };
    const bool shift = c.norm == NormKind::layer;
    norm("input_layernorm", names.attn_norm, c.width, shift);
    linear("self_attn.q_proj", names.q, c.q_width(), c.width, c.attention_bias);
    linear("self_attn.k_proj", names.k, c.kv_width(), c.width, c.attention_bias);
    linear("self_attn.v_proj", names.v, c.kv_width(), c.width, c.attention_bias);
    if (c.qk_norm) {
      norm("self_attn.q_norm", names.q_norm, c.head_dim, false);
      norm("self_attn.k_norm", names.k_norm, c.head_dim, false);
    }
    linear("self_attn.o_proj", names.o, c.width, c.q_width(), c.output_bias);
    norm("post_attention_layernorm", names.mlp_norm, c.width, shift);
    if (c.gated) linear("mlp.gate_proj", names.gate, c.ffn, c.width, c.mlp_bias);
    linear("mlp.up_proj", names.up, c.ffn, c.width, c.mlp_bias);
    linear("mlp.down_proj", names.down, c.width, c.ffn, c.mlp_bias);
  }
  vector(model_names::kFinalNorm, names.final_norm + ".weight", c.width);
  if (c.norm == NormKind::layer) vector("model.norm.bias", names.final_norm + ".bias", c.width);
  if (!c.tied) matrix(model_names::kHead, names.head, c.vocab, c.width);
  // Rows beyond the tokenizer's ids are padding: nothing can ask for them.
  for (TensorPiece& piece : out) {
    if (piece.name == model_names::kEmbedding || piece.name == model_names::kHead) piece.origin.more = true;
  }
  return out;
}

Status check_plan(const ImportOptions& options, ImportPlan* plan) {
  ModelConfig& c = plan->config;
  const auto bad = [](std::string what) { return Status(Code::model, std::move(what)); };
  if (c.heads % c.kv_heads != 0) return bad("the number of query heads is not a multiple of key/value heads");
  if (c.head_dim % 8 != 0 || c.head_dim < kMinHeadDim || c.head_dim > kMaxHeadDim) {
    return bad(fmt::format("its head_dim is {}; multiples of 8 from {} to {} are possible", c.head_dim, kMinHeadDim,
                           kMaxHeadDim));
  }
  if (options.context < 0 || options.context == 1) return {Code::usage, "a context has at least 2 tokens"};
  if (options.context > c.context) {
    return {Code::usage,
            fmt::format("a context of {} was asked for; the checkpoint has {}", options.context, c.context)};
  }
  c.context = options.context > 0 ? options.context : std::min(c.context, kDefaultContext);
  for (int& window : c.windows) {
    if (window >= c.context) window = 0;  // reaches back to the start anyway
  }
  for (TensorPiece& piece : plan->pieces) {
    if (piece.name == model_names::kPositions) piece.n = c.context;
  }
  return {};
}

}  // namespace llmc
