// What an importer has found out about a checkpoint before it reads a weight: the model's shape, and for
// every tensor of the model file where it comes from. Internal to src/model.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "model/import.h"
#include "model/model.h"
#include "model/rope_table.h"
#include "model/tensor_store.h"

namespace llmc {

// Where the rows of a stored tensor come from.
struct Origin {
  std::string tensor;
  bool columns = false;  // the checkpoint has it transposed: [k][n]
  uint64_t first = 0;    // its first row (or column) there
  // Empty: the rows from `first` on in their order. Otherwise row i comes from first + order[i].
  std::vector<uint32_t> order;
  uint64_t rows = 0;  // that the checkpoint's tensor must have; 0: as many as the piece
  bool more = false;  // it may have more of them: padding
};

// One tensor of the model file: a matrix, to be quantised by rows, or floats as they are.
struct TensorPiece {
  std::string name;
  bool matrix = false;
  uint64_t n = 0, k = 1;  // rows, columns
  Origin origin;
};

struct ImportPlan {
  ModelConfig config;
  RopeScaling rope;  // of config.rotary / 2 frequencies
  double rope_theta = 0;
  std::vector<TensorPiece> pieces;
  Bytes tokenizer_json;
  std::string name, license;  // as the checkpoint has them; empty: not at all
};

// The names of a family's tensors, for standard_pieces().
struct TensorNames {
  std::string embedding, positions, final_norm, head;
  std::string layer;  // "model.layers.{}."; the rest is appended
  std::string attn_norm, q, k, v, q_norm, k_norm, o, mlp_norm, gate, up, down;
};

// The pieces of a model of that shape whose tensors lie under `names` (each with ".weight" and, where the
// config says so, ".bias"), in the order of docs/MODEL.md.
std::vector<TensorPiece> standard_pieces(const ModelConfig& config, const TensorNames& names);

Result<ImportPlan> plan_huggingface(const std::filesystem::path& directory, TensorStore& store);
Result<ImportPlan> plan_gguf(const Gguf& gguf, TensorStore& store);
// Of a config.json alone: the tokenizer is drawn_tokenizer(), the weights are to be drawn. `where`: for messages.
Result<ImportPlan> plan_config(const std::string& config, const std::string& where);
// A byte-level tokenizer of `vocab` tokens: the bytes, then what pairs of them make, then what a third does.
Bytes drawn_tokenizer(int vocab);

// Cuts the context to what was asked for and finds what no version of the arithmetic allows.
Status check_plan(const ImportOptions& options, ImportPlan* plan);

}  // namespace llmc
