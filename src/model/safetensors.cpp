#include "model/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/model_error.h"

namespace llmc {

namespace {

struct TypeInfo {
  const char* name;
  size_t size;
};
constexpr TypeInfo kTypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                               {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                               {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};

std::optional<DType> dtype_of(const std::string& name) {
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (name == kTypes[i].name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

struct RawTensor {
  Tensor tensor;
  std::vector<uint64_t> offsets;
  bool has_type = false, has_shape = false, has_offsets = false;
};

// Reads the header's one allowed structure and nothing else, so that a hostile header costs no more
// memory than its own length, and no two readers can see different things in repeated keys.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<RawTensor> tensors;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool null() override { return unexpected(); }
  bool boolean(bool) override { return unexpected(); }
  bool number_integer(number_integer_t) override { return unexpected(); }
  bool number_float(number_float_t, const string_t&) override { return unexpected(); }
  bool binary(binary_t&) override { return unexpected(); }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ == At::shape) {
      auto& shape = tensors.back().tensor.shape;
      if (shape.size() == Safetensors::kMaxDims) return fail("a shape of more than 8 dimensions");
      shape.push_back(value);
      return true;
    }
    if (at_ == At::offsets) {
      auto& offsets = tensors.back().offsets;
      if (offsets.size() == 2) return fail("data_offsets of more than two numbers");
      offsets.push_back(value);
      return true;
    }
    return unexpected();
  }

  bool string(string_t& value) override {
    if (at_ == At::metadata) {
      metadata[key_] = value;
      return true;
    }
    if (at_ == At::tensor && key_ == "dtype") {
      const auto type = dtype_of(value);
      if (!type) return fail("the unknown dtype " + value.substr(0, 40));
      tensors.back().tensor.type = *type;
      tensors.back().has_type = true;
      return true;
    }
    return unexpected();
  }

  bool start_object(std::size_t) override {
    if (at_ == At::nothing) {
      at_ = At::top;
      return true;
    }
    if (at_ != At::top || !has_key_) return unexpected();
    has_key_ = false;
    if (key_ == "__metadata__") {
      at_ = At::metadata;
    } else {
      tensors.emplace_back();
      tensors.back().tensor.name = key_;
      at_ = At::tensor;
    }
    return true;
  }

  bool key(string_t& value) override {
    key_ = value;
    has_key_ = true;
    if (at_ == At::metadata && metadata.contains(key_)) return fail("a repeated metadata key " + key_.substr(0, 80));
    if (at_ == At::tensor) {
      RawTensor& t = tensors.back();
      bool* seen = key_ == "shape" ? &t.has_shape : key_ == "data_offsets" ? &t.has_offsets : nullptr;
      if (key_ == "dtype" ? t.has_type : (seen == nullptr || *seen)) {
        return fail("the unknown or repeated field " + key_.substr(0, 80));
      }
      if (seen != nullptr) *seen = true;
    }
    return true;
  }

  bool end_object() override {
    at_ = at_ == At::top ? At::done : At::top;
    has_key_ = false;
    return true;
  }

  bool start_array(std::size_t) override {
    if (at_ == At::tensor && key_ == "shape") {
      at_ = At::shape;
    } else if (at_ == At::tensor && key_ == "data_offsets") {
      at_ = At::offsets;
    } else {
      return unexpected();
    }
    return true;
  }
  bool end_array() override {
    at_ = At::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    problem = fmt::format("its header is not JSON (at byte {})", position + 8);
    return false;
  }

 private:
  enum class At { nothing, top, metadata, tensor, shape, offsets, done };

  bool fail(const std::string& what) {
    const bool in_tensor = at_ == At::tensor || at_ == At::shape || at_ == At::offsets;
    problem = in_tensor ? fmt::format("tensor {} has {}", tensors.back().tensor.name.substr(0, 200), what)
                        : fmt::format("its header has {}", what);
    return false;
  }
  bool unexpected() { return fail("a value of the wrong kind"); }

  At at_ = At::nothing;
  std::string key_;
  bool has_key_ = false;
};

}  // namespace

const char* dtype_name(DType type) { return kTypes[static_cast<size_t>(type)].name; }
size_t dtype_size(DType type) { return kTypes[static_cast<size_t>(type)].size; }

std::string Tensor::shape_text() const {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return out + "]";
}

Result<Safetensors> Safetensors::parse(ByteView bytes) {
  LLMC_ASSIGN(Safetensors out, parse_header(bytes, bytes.size()));
  for (Tensor& t : out.tensors_) {
    uint64_t size = dtype_size(t.type);
    for (const uint64_t dim : t.shape) size *= dim;
    t.data = bytes.subspan(t.offset, size);
  }
  return out;
}

Result<Safetensors> Safetensors::parse_header(ByteView bytes, uint64_t file_size) {
  if (bytes.size() < 8) return bad("it is too short for a safetensors file");
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeader || header_size > bytes.size() - 8 || header_size < 2 || bytes[8] != '{') {
    return bad("it is not a safetensors file, or it was cut short");
  }
  const ByteView header = bytes.subspan(8, header_size);
  const uint64_t data_size = file_size - 8 - header_size;

  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(header.begin(), header.end(), &handler)) return bad(handler.problem);

  for (RawTensor& raw : handler.tensors) {
    Tensor& t = raw.tensor;
    const std::string name = t.name.substr(0, 200);
    if (!raw.has_type || !raw.has_shape || raw.offsets.size() != 2) {
      return bad(fmt::format("tensor {} lacks dtype, shape or data_offsets", name));
    }
    uint64_t size = dtype_size(t.type);
    for (const uint64_t dim : t.shape) {
      if (__builtin_mul_overflow(size, dim, &size)) return bad(fmt::format("tensor {} is too large", name));
    }
    if (raw.offsets[0] > raw.offsets[1] || raw.offsets[1] > data_size) {
      return bad(fmt::format("tensor {} reaches past the end of the file; it was cut short or damaged", name));
    }
    if (raw.offsets[1] - raw.offsets[0] != size) {
      return bad(fmt::format("tensor {} has other than the {} bytes that its shape asks for", name, size));
    }
    t.offset = 8 + header_size + raw.offsets[0];
  }
  // Stable, so that empty tensors keep the header's order.
  std::stable_sort(handler.tensors.begin(), handler.tensors.end(),
                   [](const RawTensor& a, const RawTensor& b) { return a.offsets < b.offsets; });

  Safetensors out;
  out.metadata_ = std::move(handler.metadata);
  uint64_t end = 0;
  for (RawTensor& raw : handler.tensors) {
    if (raw.offsets[0] != end) {
      return bad(fmt::format("tensor {} overlaps another or leaves a gap", raw.tensor.name.substr(0, 200)));
    }
    end = raw.offsets[1];
    if (!out.by_name_.emplace(raw.tensor.name, out.tensors_.size()).second) {
      return bad(fmt::format("tensor {} stands in it twice", raw.tensor.name.substr(0, 200)));
    }
    out.tensors_.push_back(std::move(raw.tensor));
  }
  if (end != data_size) return bad(fmt::format("it has {} bytes after its last tensor", data_size - end));
  return out;
}

const Tensor* Safetensors::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

Bytes safetensors_header(const std::map<std::string, std::string>& metadata, const std::vector<Tensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t end = 0;
  for (const Tensor& t : tensors) {
    uint64_t size = dtype_size(t.type);
    for (const uint64_t dim : t.shape) size *= dim;
    header[t.name] = {{"dtype", dtype_name(t.type)}, {"shape", t.shape}, {"data_offsets", {end, end + size}}};
    end += size;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((64 - (8 + text.size()) % 64) % 64, ' ');
  ByteWriter out;
  out.u64(text.size());
  out.bytes(as_bytes(text));
  return out.take();
}

Bytes write_safetensors(const std::map<std::string, std::string>& metadata, const std::vector<Tensor>& tensors) {
  Bytes bytes = safetensors_header(metadata, tensors);
  for (const Tensor& t : tensors) bytes.insert(bytes.end(), t.data.begin(), t.data.end());
  return bytes;
}

}  // namespace llmc
