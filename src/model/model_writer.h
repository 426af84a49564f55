// Writes a model file tensor by tensor, so that no more than a piece of one has to be in memory.
//
// First all tensors are declared, then start() fixes where each lies, then their bytes come in any
// order. One thread. Until finish() there is only `path`.tmp, which the destructor removes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "model/safetensors.h"

namespace llmc {

class ModelWriter {
 public:
  using Metadata = std::map<std::string, std::string>;

  explicit ModelWriter(std::filesystem::path path);
  ~ModelWriter();
  ModelWriter(const ModelWriter&) = delete;

  // All F32 tensors lie before all I8 ones, these before all U8 ones, each kind in the order of declaration.
  void declare(const std::string& name, DType type, std::vector<uint64_t> shape);
  Status start(const Metadata& metadata);
  // `bytes` at `offset` of the tensor, which must be declared and long enough.
  Status put(const std::string& name, uint64_t offset, ByteView bytes);
  // Other metadata, not longer than the former as JSON.
  Status restate(const Metadata& metadata);
  // What is written so far, for reading.
  const std::filesystem::path& unfinished() const { return temporary_; }
  Status finish();

 private:
  const std::filesystem::path path_, temporary_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t> places_;
  File file_;
  uint64_t data_ = 0;  // where the first tensor's bytes begin
  uint64_t size_ = 0;  // of all tensors
};

}  // namespace llmc
