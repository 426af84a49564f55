// The tensors of a checkpoint, read from its files piece by piece, as floats.
//
// Holds open files and a table of names, never the tensors. One thread at a time. Files are trusted no
// further than their sizes: one that changes behind our back gives wrong weights or an error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "model/blocks.h"
#include "model/gguf.h"

namespace llmc {

class TensorStore {
 public:
  // model.safetensors, or the parts that model.safetensors.index.json names.
  static Result<TensorStore> open_safetensors(const std::filesystem::path& directory);
  // `file` is the one that `gguf` was read from.
  static Result<TensorStore> open_gguf(File file, const Gguf& gguf);
  // A tensor that no file holds: drawn by its name. Matrices have a variance of 4 / columns, which makes attention as
  // sharp as in trained models; biases lie within 0.5 of 0 and gains within 0.5 of 1.
  void draw(const std::string& name, std::vector<uint64_t> shape);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  // Row-major. Code::model where there is none of that name. Counts as used.
  Result<std::vector<uint64_t>> shape(const std::string& name);
  // Rows [first, first + count) of a matrix, all columns; of a vector: the elements. Infinities and NaN
  // are refused.
  Status read(const std::string& name, uint64_t first, uint64_t count, float* out) const;

  // Not needed: neither read nor complained about.
  void ignore(const std::string& name) { used_.insert(name); }
  // A tensor that was neither asked for nor ignored: it would change what the model computes. Empty: none.
  std::string unused() const;
  const std::string& path() const { return path_; }
  std::vector<std::string> names() const;

 private:
  struct Stored {
    const BlockFormat* format = nullptr;  // null: cannot be read, or drawn
    std::string type;
    std::vector<uint64_t> shape;
    size_t file = 0;
    uint64_t offset = 0;
    bool drawn = false;
  };
  Status add_safetensors(const std::filesystem::path& path);

  std::string path_;
  std::vector<File> files_;
  std::map<std::string, Stored> tensors_;
  std::set<std::string> used_;
};

}  // namespace llmc
