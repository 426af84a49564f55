// Checkpoints of other programs to model files.
//
// Deterministic to the byte: the same folder and options give the same file, and so the same
// identity, on every machine (docs/MODEL.md states every step). Any thread.
#pragma once

#include <filesystem>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

struct ImportOptions {
  int activations =
      8;  // bits of quantised activations, for every linear: 8 (smaller, faster) or 16 (closer to the original)
  // Empty: `model_name` and `license` in the front matter of the folder's README.md (the model card of
  // Hugging Face), or else the folder's name and "unknown".
  std::string name;
  std::string license;
};

// The model file made from config.json, model.safetensors (or model.safetensors.index.json and its
// parts) and tokenizer.json of a Qwen3ForCausalLM in BF16, F16 or F32. Errors (Code::missing,
// Code::model, Code::usage for the options) name the file and the field or tensor; anything that
// would change what the model computes and is not known here is refused by name.
Result<Bytes> import_huggingface(const std::filesystem::path& directory, const ImportOptions& options);

}  // namespace llmc
