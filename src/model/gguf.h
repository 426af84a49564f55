// The GGUF container (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3: typed
// metadata, a table of tensors, their bytes.
//
// A Gguf is a plain value: what stands before the tensors' bytes. Nothing in the file is trusted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace llmc {

using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> shape;  // row-major: the file's dimensions, last one first
  uint32_t type = 0;            // model/blocks.h
  uint64_t offset = 0;          // of its bytes in the file
};

class Gguf {
 public:
  static constexpr uint64_t kMaxHeader = uint64_t{512} << 20;  // bytes before the tensors' data

  // Errors (Code::model; Code::failure for I/O) begin with the path.
  static Result<Gguf> read(const File& file);

  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  bool has(const std::string& key) const { return metadata_.contains(key); }
  // Null where the key is absent or of another kind. Booleans and floats are no integers.
  const std::string* text(const std::string& key) const { return get<std::string>(key); }
  const int64_t* integer(const std::string& key) const { return get<int64_t>(key); }
  const double* number(const std::string& key) const { return get<double>(key); }
  const bool* flag(const std::string& key) const { return get<bool>(key); }
  const std::vector<std::string>* texts(const std::string& key) const { return get<std::vector<std::string>>(key); }
  const std::vector<int64_t>* integers(const std::string& key) const { return get<std::vector<int64_t>>(key); }
  const std::vector<double>* numbers(const std::string& key) const { return get<std::vector<double>>(key); }

 private:
  template <class T>
  const T* get(const std::string& key) const {
    const auto it = metadata_.find(key);
    return it == metadata_.end() ? nullptr : std::get_if<T>(&it->second);
  }
  std::map<std::string, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace llmc
