#include "model/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "model/blocks.h"

namespace llmc {

namespace {

constexpr uint64_t kMaxKeys = 1 << 16, kMaxTensors = 1 << 17, kMaxArray = 1 << 24;
constexpr uint64_t kMaxKeyBytes = 1 << 16, kMaxTextBytes = 16 << 20;
constexpr uint64_t kMaxDims = 4;

enum Type : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64, types };

// The bytes before the tensors, read as they are asked for. After a read past the end or the limit it
// stays failed and yields zeros.
class Cursor {
 public:
  Cursor(const File& file, uint64_t size) : file_(file), size_(std::min(size, Gguf::kMaxHeader)) {}

  bool ok() const { return ok_; }
  uint64_t at() const { return base_ + next_; }

  template <class T>
  T number() {
    T v{};
    if (need(sizeof v)) {
      std::memcpy(&v, buffer_.data() + next_, sizeof v);
      next_ += sizeof v;
    }
    return v;
  }
  std::string text(uint64_t limit) {
    const auto length = number<uint64_t>();
    if (length > limit || !need(length)) {
      ok_ = false;
      return "";
    }
    std::string out(reinterpret_cast<const char*>(buffer_.data() + next_), length);
    next_ += length;
    return out;
  }
  void fail() { ok_ = false; }

 private:
  // `count` bytes from next_ on.
  bool need(uint64_t count) {
    if (!ok_) return false;
    if (buffer_.size() - next_ >= count) return true;
    base_ += next_;
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(next_));
    next_ = 0;
    const uint64_t held = buffer_.size(), left = size_ - base_ - held;
    const uint64_t more = std::min<uint64_t>(left, std::max<uint64_t>(count, 1 << 20));
    buffer_.resize(held + more);
    ok_ = held + more >= count && file_.read_at(base_ + held, std::span(buffer_).subspan(held)).ok();
    return ok_;
  }

  const File& file_;
  const uint64_t size_;
  uint64_t base_ = 0;  // of the buffer in the file
  size_t next_ = 0;    // in the buffer
  Bytes buffer_;
  bool ok_ = true;
};

int64_t read_integer(Cursor& in, uint32_t type) {
  switch (type) {
    case u8:
      return in.number<uint8_t>();
    case i8:
      return in.number<int8_t>();
    case u16:
      return in.number<uint16_t>();
    case i16:
      return in.number<int16_t>();
    case u32:
      return in.number<uint32_t>();
    case i32:
      return in.number<int32_t>();
    case u64: {
      const auto v = in.number<uint64_t>();
      if (v > INT64_MAX) in.fail();
      return static_cast<int64_t>(v);
    }
    default:
      return in.number<int64_t>();
  }
}

bool is_integer(uint32_t type) { return type <= i32 || type == u64 || type == i64; }
double read_float(Cursor& in, uint32_t type) {
  return type == f32 ? static_cast<double>(in.number<float>()) : in.number<double>();
}

bool read_value(Cursor& in, uint32_t type, GgufValue* out) {
  if (is_integer(type)) {
    *out = read_integer(in, type);
  } else if (type == f32 || type == f64) {
    *out = read_float(in, type);
  } else if (type == boolean) {
    *out = in.number<uint8_t>() != 0;
  } else if (type == string) {
    *out = in.text(kMaxTextBytes);
  } else if (type == array) {
    const auto element = in.number<uint32_t>();
    const auto count = in.number<uint64_t>();
    if (count > kMaxArray) return false;
    if (is_integer(element) || element == boolean) {
      std::vector<int64_t> values;
      const uint32_t kind = element == boolean ? static_cast<uint32_t>(u8) : element;
      for (uint64_t i = 0; i < count && in.ok(); ++i) values.push_back(read_integer(in, kind));
      *out = std::move(values);
    } else if (element == f32 || element == f64) {
      std::vector<double> values;
      for (uint64_t i = 0; i < count && in.ok(); ++i) values.push_back(read_float(in, element));
      *out = std::move(values);
    } else if (element == string) {
      std::vector<std::string> values;
      for (uint64_t i = 0; i < count && in.ok(); ++i) values.push_back(in.text(kMaxTextBytes));
      *out = std::move(values);
    } else {
      return false;
    }
  } else {
    return false;
  }
  return in.ok();
}

}  // namespace

Result<Gguf> Gguf::read(const File& file) {
  const auto bad = [&](const std::string& what) { return Status(Code::model, file.path().string() + ": " + what); };
  LLMC_ASSIGN(const uint64_t size, file.size());
  Cursor in(file, size);
  if (in.number<uint32_t>() != 0x46554747) return bad("it is not a GGUF file");
  const auto version = in.number<uint32_t>();
  if (version != 2 && version != 3) return bad(fmt::format("its GGUF version is {}; 2 and 3 are read", version));
  const auto tensors = in.number<uint64_t>(), keys = in.number<uint64_t>();
  if (!in.ok() || tensors > kMaxTensors || keys > kMaxKeys) return bad("its GGUF header is damaged");

  Gguf out;
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = in.text(kMaxKeyBytes);
    GgufValue value;
    if (!read_value(in, in.number<uint32_t>(), &value)) {
      return bad(fmt::format("its metadata is damaged or too large (key {}, {})", i, key.substr(0, 80)));
    }
    if (!out.metadata_.emplace(key, std::move(value)).second) {
      return bad(fmt::format("its metadata has the key {} twice", key.substr(0, 80)));
    }
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    GgufTensor& t = out.tensors_.emplace_back();
    t.name = in.text(kMaxKeyBytes);
    const auto dims = in.number<uint32_t>();
    if (!in.ok() || dims == 0 || dims > kMaxDims) return bad(fmt::format("tensor {} of its table is damaged", i));
    for (uint32_t d = 0; d < dims; ++d) t.shape.insert(t.shape.begin(), in.number<uint64_t>());
    t.type = in.number<uint32_t>();
    t.offset = in.number<uint64_t>();
  }
  const int64_t* const stated = out.integer("general.alignment");
  const int64_t alignment = stated ? *stated : 32;
  if (!in.ok() || alignment < 1 || alignment > (1 << 20)) return bad("its table of tensors is damaged");
  const auto step = static_cast<uint64_t>(alignment);
  const uint64_t data = (in.at() + step - 1) / step * step;
  for (GgufTensor& t : out.tensors_) {
    const std::string name = t.name.substr(0, 200);
    const BlockFormat* const format = gguf_format(t.type);
    if (format == nullptr) continue;  // refused by name where it is used
    uint64_t count = 1;
    for (const uint64_t dim : t.shape) {
      if (dim == 0 || __builtin_mul_overflow(count, dim, &count) || count > (uint64_t{1} << 48)) {
        return bad(fmt::format("tensor {} has an impossible shape", name));
      }
    }
    if (t.shape.back() % format->floats != 0) return bad(fmt::format("tensor {} has rows of part blocks", name));
    const uint64_t bytes = count / format->floats * format->bytes;
    if (data > size || t.offset > size - data || bytes > size - data - t.offset) {
      return bad(fmt::format("tensor {} reaches past the end of the file; it was cut short or damaged", name));
    }
    t.offset += data;
  }
  return out;
}

}  // namespace llmc
