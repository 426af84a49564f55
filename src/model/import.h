// Checkpoints of other programs to model files.
//
// Deterministic to the byte: the same checkpoint and options give the same file, and so the same
// identity, on every machine (docs/MODEL.md states every step). Any thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

struct ImportOptions {
  // Bits of quantised activations: 8 (smaller, faster) or 16 (closer to the original) for every linear; 0: by
  // kind of linear, as a sample text decides (docs/MODEL.md, section 2).
  int activations = 8;
  // Empty: what the checkpoint says (`model_name` and `license` in the front matter of a folder's README.md,
  // general.name and general.license of a GGUF file), or else the file's or folder's name and "unknown".
  std::string name;
  std::string license;
  int kv = 8;       // bits of stored keys and values: 8 or 16; 0: as the sample text decides
  int context = 0;  // positions; 0: the checkpoint's, at most 8,192
  // Called now and then with what is being done and how far it is, 0 to 1.
  std::function<void(const std::string& what, double part)> progress;
  // Asked now and then: Code::interrupted, and nothing is left of the output. May be empty.
  std::function<bool()> stop;
};

// What the import lost, for people.
struct ImportReport {
  struct Layer {
    std::string name;  // "layer 0", "embedding", "head"
    double error = 0;  // root of the mean square of what int8 changed, against that of the weights
  };
  std::vector<Layer> layers;
  double weight_error = 0;  // of all matrices
  // Bits that the sample text takes; 0 where no sample was needed.
  uint64_t sample_bytes = 0, sample_tokens = 0;
  double bits_best = 0;    // with activations, keys and values of 16 bits
  double bits_chosen = 0;  // as the file has them
  std::string profile;
};

// The model file made from a Hugging Face folder (config.json, model.safetensors or
// model.safetensors.index.json with its parts, a tokenizer) or from a GGUF file, written to `output`
// atomically. No more than one tensor of the checkpoint is in memory at a time, and of the model no more than
// its RoPE tables; where a sample decides, all of the model. Errors (Code::missing, Code::model, Code::usage
// for the options) name the file and the field or tensor; anything that would change what the model
// computes and is not known here is refused by name.
Result<ImportReport> import_model(const std::filesystem::path& source, const std::filesystem::path& output,
                                  const ImportOptions& options);

// A model of the shape that `config` (the text of a config.json) describes, with weights drawn by a fixed seed and a
// tokenizer that no text was used for: for measuring speed. Errors as above, with `where` as the config's name.
Result<ImportReport> import_shape(const std::string& config, const std::string& where,
                                  const std::filesystem::path& output, const ImportOptions& options);
// Shapes that are known by name, and the config.json of one; empty: not known.
std::vector<std::string> shape_names();
std::string shape_config(const std::string& name);

}  // namespace llmc
