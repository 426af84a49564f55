// A model as this product keeps it: one safetensors file with int8 weights, their scales, norms,
// RoPE tables, the tokenizer and everything else that decides a bit (docs/MODEL.md).
//
// A Model is immutable and owns, or shares the ownership of, the bytes of its file: any number of
// threads, engines and sessions may read it. Its identity is the SHA-256 of those bytes.
// Whatever load() lets through lies inside the range for which the kernels are proved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"
#include "exact/kernels.h"
#include "tokens/tokenizer.h"

namespace llmc {

enum class NormKind : uint8_t { rms, layer };
enum class Activation : uint8_t { silu, gelu, gelu_tanh };

struct ModelConfig {
  // "qwen3" or "decoder": which forward pass (docs/MODEL.md). The first is the second with everything
  // below `start` as it stands here, but for qk_norm, which it has.
  std::string architecture;
  int vocab = 0;             // real ids: what the tokenizer knows
  int width = 0;             // of the residual stream
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int context = 0;  // positions: rows of the RoPE tables
  int rotary = 0;   // leading floats of a head that RoPE turns
  RopePairs rope_pairs = RopePairs::halves;
  bool tied = false;  // the head is the embedding
  float eps = 0;
  float attention_scale = 0;  // log2(e) / sqrt(head_dim)
  Symbol start = 0;           // fed at position 0 of every window

  std::string family;  // what it was made from, for people: "llama", "gpt2", ...
  NormKind norm = NormKind::rms;
  Activation activation = Activation::silu;
  bool gated = true;               // activation(gate) * up; otherwise activation(up)
  bool parallel = false;           // attention and MLP both read the layer's input
  bool qk_norm = false;            // RMS norms of the heads of q and k
  bool learned_positions = false;  // a table that is added to the embedding; no RoPE, rotary is 0
  bool attention_bias = false;     // of q, k and v
  bool output_bias = false;        // of o
  bool mlp_bias = false;           // of gate, up and down
  std::vector<int> windows;        // per layer: positions that a row sees, itself included; 0: all
  int kv_bits = 8;                 // of stored keys and values: 8 or 16

  int q_width() const { return heads * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
};

// One stored matrix: int8 [n][k] and a scale per output row.
struct Matrix {
  std::string name;
  int n = 0, k = 0;
  const int8_t* w = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;  // null: none
};

// Matrices that read the same quantised input; their outputs lie side by side. All have a bias or none.
struct Linear {
  int index = 0;  // position in Model::linears()
  int n = 0, k = 0;
  int bits = 16;  // of the activations: 8 or 16
  std::vector<Matrix> parts;
};

struct Norm {
  int index = 0;  // position in Model::norms()
  std::span<const float> g;
  std::span<const float> b;  // LayerNorm's shift; empty: an RMS norm
};

struct Layer {
  const Norm* attn_norm = nullptr;
  const Norm* q_norm = nullptr;  // null: none
  const Norm* k_norm = nullptr;
  const Norm* mlp_norm = nullptr;
  const Linear* attn_in = nullptr;   // q, k, v
  const Linear* attn_out = nullptr;  // o
  const Linear* mlp_in = nullptr;    // gate, up; or up alone
  const Linear* mlp_out = nullptr;   // down
  int window = 0;                    // 0: all positions
};

struct Adaptation;

class Model {
 public:
  static constexpr char kFormat[] = "llmc-model";
  static constexpr int kFormatVersion = 1;
  static constexpr char kNumerics[] = "LLMC-X1";

  // Reads and checks a model file. Errors: Code::missing, Code::failure (I/O), Code::model with
  // the path and what is wrong (a tensor's name, a field).
  static Result<std::shared_ptr<const Model>> load(const std::filesystem::path& path);
  // The same over bytes that `owner` keeps alive (null: they live for ever), without copying them.
  // `bytes` start at a multiple of 4.
  static Result<std::shared_ptr<const Model>> from_bytes(ByteView bytes, std::shared_ptr<const void> owner);

  const ModelConfig& config() const { return config_; }
  const Digest& digest() const { return digest_; }
  // SHA-256 of what fits it to one kind of text (adaptation.h); zeros: nothing, it is as its file has it.
  const Digest& adaptation() const { return adaptation_; }
  // The file itself: what a set carries so as to explain itself.
  ByteView bytes() const { return bytes_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  bool escape() const { return tokenizer_->needs_escape(); }
  // Real ids, and the escape where there is one.
  int symbols() const { return config_.vocab + (escape() ? 1 : 0); }

  const std::string& name() const { return name_; }
  const std::string& license() const { return license_; }
  const std::string& unicode() const { return unicode_; }  // version of the pre-tokenizer's tables
  uint64_t parameters() const { return parameters_; }
  // "W8A8", "W8A16" or "W8A8/16", with "KV16" where keys and values are kept so: what `model info` prints.
  std::string profile() const;
  // What the forward pass needs beyond that of "qwen3" with 8-bit keys and values, in words; a back end
  // that lacks one of these refuses the model by it. Empty: nothing.
  std::vector<std::string> features() const;

  const Matrix& embedding() const { return embedding_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const Norm& final_norm() const { return *final_norm_; }
  const Linear& head() const { return *head_; }
  // All linears, the head last.
  std::span<const std::unique_ptr<Linear>> linears() const { return linears_; }
  std::span<const std::unique_ptr<Norm>> norms() const { return norms_; }
  std::span<const float> rope_cos() const { return rope_cos_; }  // [context][rotary / 2]; empty: no RoPE
  std::span<const float> rope_sin() const { return rope_sin_; }
  std::span<const float> positions() const { return positions_; }  // [context][width]; empty: none

 private:
  friend class ModelReader;
  friend class ProfileTrial;
  friend Result<std::shared_ptr<const Model>> adapt_model(std::shared_ptr<const Model> base, const Adaptation& adaptation,
                                                          const Digest& digest);
  Model() = default;

  ByteView bytes_;
  std::shared_ptr<const void> owner_;
  Digest digest_{};
  ModelConfig config_;
  std::string name_, license_, unicode_;
  uint64_t parameters_ = 0;
  std::unique_ptr<Tokenizer> tokenizer_;
  Matrix embedding_;
  std::vector<std::unique_ptr<Linear>> linears_;
  std::vector<std::unique_ptr<Norm>> norms_;
  std::vector<Layer> layers_;
  const Linear* head_ = nullptr;
  const Norm* final_norm_ = nullptr;
  std::span<const float> rope_cos_, rope_sin_, positions_;
  Digest adaptation_{};
  std::vector<float> head_scale_, head_bias_;  // of an adapted model: in the head, in place of the file's
};

// Names that the reader and the importer share.
namespace model_names {
inline constexpr char kEmbedding[] = "model.embed_tokens.weight";
inline constexpr char kHead[] = "lm_head.weight";
inline constexpr char kFinalNorm[] = "model.norm.weight";
inline constexpr char kScaleSuffix[] = "_scale";
inline constexpr char kPositions[] = "model.positions.weight";
inline constexpr char kRopeCos[] = "rope.cos";
inline constexpr char kRopeSin[] = "rope.sin";
inline constexpr char kTokenizer[] = "tokenizer.json";
}  // namespace model_names

}  // namespace llmc
