// The safetensors container (https://github.com/huggingface/safetensors, "Format"): eight bytes of
// header length, a JSON header (name -> dtype, shape, data_offsets; `__metadata__`: text -> text), then
// the tensors' bytes without gaps.
//
// A Safetensors is a view: the bytes belong to the caller and outlive it. Immutable after parse(),
// so any thread may read it. Nothing in the bytes is trusted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

enum class DType : uint8_t { boolean, u8, i8, f8_e4m3, f8_e5m2, i16, u16, f16, bf16, i32, u32, f32, f64, i64, u64 };
const char* dtype_name(DType type);  // as in the header: "I8", "BF16", ...
size_t dtype_size(DType type);

struct Tensor {
  std::string name;
  DType type = DType::u8;
  std::vector<uint64_t> shape;
  ByteView data;  // little-endian, row-major; no alignment promised
  uint64_t offset = 0;  // of the data in the file, where parse() or parse_header() gave it
  // "[4096, 256]", for messages.
  std::string shape_text() const;
};

class Safetensors {
 public:
  static constexpr uint64_t kMaxHeader = 8u << 20;
  static constexpr size_t kMaxDims = 8;

  // Errors (Code::model) say what is wrong and, where it is one tensor's fault, its name. Refused:
  // a header cut short or beyond kMaxHeader, unknown or repeated keys, unknown dtypes, sizes that do
  // not match dtype and shape, tensors that overlap, leave gaps or reach past the end.
  static Result<Safetensors> parse(ByteView bytes);
  // The same from the beginning of a file of `size` bytes, up to the end of its header: the tensors have
  // offsets and no data.
  static Result<Safetensors> parse_header(ByteView head, uint64_t size);

  // In the order of their bytes.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const Tensor* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// The header of a file of these tensors in this order, data sizes by type and shape: the length and the
// JSON, padded with spaces to a multiple of 64. A pure function of its arguments.
Bytes safetensors_header(const std::map<std::string, std::string>& metadata, const std::vector<Tensor>& tensors);

// The file of these tensors in this order, the header padded with spaces so that the first tensor's
// bytes start at a multiple of 64. A pure function of its arguments. The caller sees to it that
// data sizes match shapes and that wider types come before narrower ones, which keeps all aligned.
Bytes write_safetensors(const std::map<std::string, std::string>& metadata, const std::vector<Tensor>& tensors);

}  // namespace llmc
