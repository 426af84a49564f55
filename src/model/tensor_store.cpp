#include "model/tensor_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checksum.h"
#include "model/json_field.h"
#include "model/model_error.h"
#include "model/safetensors.h"

namespace llmc {

namespace {

constexpr uint64_t kMaxIndex = 64u << 20;
constexpr uint64_t kReadAtOnce = 4u << 20;

const BlockFormat* format_of(DType type) {
  return type == DType::f32    ? &kFormatF32
         : type == DType::f16  ? &kFormatF16
         : type == DType::bf16 ? &kFormatBf16
                               : nullptr;
}

// Values [first, first + count) of a sequence that `seed` names, uniform in [-greatest, greatest): four from each
// number of splitmix64 (Steele, Lea, Flood 2014).
void draw_floats(uint64_t seed, uint64_t first, uint64_t count, float greatest, float* out) {
  const float unit = greatest / 32768.0f;
  for (uint64_t i = 0; i < count;) {
    const uint64_t at = first + i;
    uint64_t z = (seed << 32) + (at / 4 + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    for (uint64_t part = at % 4; part < 4 && i < count; ++part) {
      out[i++] = static_cast<float>(static_cast<int16_t>(z >> 16 * part)) * unit;
    }
  }
}

}  // namespace

Result<TensorStore> TensorStore::open_safetensors(const std::filesystem::path& directory) {
  TensorStore store;
  store.path_ = directory.string();
  const std::filesystem::path whole = directory / "model.safetensors";
  const std::filesystem::path index = directory / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(whole, ignored) || !std::filesystem::exists(index, ignored)) {
    LLMC_TRY(store.add_safetensors(whole));
    return store;
  }
  LLMC_ASSIGN(const Bytes text, read_file(index, kMaxIndex));
  LLMC_ASSIGN(const nlohmann::json parsed, parse_object(as_text(text), index.string()));
  const auto map = parsed.find("weight_map");
  if (map == parsed.end() || !map->is_object()) return bad(index.string() + ": field weight_map is missing");
  std::set<std::string> names;
  for (const nlohmann::json& part : *map) {
    if (!part.is_string() || part.get<std::string>().find('/') != std::string::npos) {
      return bad(index.string() + ": a part is not named by a plain file name");
    }
    names.insert(part.get<std::string>());
  }
  for (const std::string& name : names) LLMC_TRY(store.add_safetensors(directory / name));
  return store;
}

Status TensorStore::add_safetensors(const std::filesystem::path& path) {
  LLMC_ASSIGN(File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  const auto at = [&](const Status& status) { return status.with(path.string()); };
  Bytes head(std::min<uint64_t>(size, 8));
  LLMC_TRY(file.read_at(0, head));
  uint64_t length = 0;
  std::memcpy(&length, head.data(), head.size());
  if (head.size() == 8 && length <= Safetensors::kMaxHeader && length <= size - 8) {
    head.resize(8 + length);
    LLMC_TRY(file.read_at(0, head));
  }
  Result<Safetensors> view = Safetensors::parse_header(head, size);
  if (!view.ok()) return at(view.status());
  if (path_.empty()) path_ = path.string();
  for (const Tensor& t : view->tensors()) {
    Stored stored{format_of(t.type), dtype_name(t.type), t.shape, files_.size(), t.offset};
    if (!tensors_.emplace(t.name, std::move(stored)).second) {
      return at(bad(fmt::format("tensor {} stands in two parts", t.name.substr(0, 200))));
    }
  }
  files_.push_back(std::move(file));
  return {};
}

Result<TensorStore> TensorStore::open_gguf(File file, const Gguf& gguf) {
  TensorStore store;
  store.path_ = file.path().string();
  for (const GgufTensor& t : gguf.tensors()) {
    Stored stored{gguf_format(t.type), std::string(gguf_type_name(t.type)), t.shape, 0, t.offset};
    if (!store.tensors_.emplace(t.name, std::move(stored)).second) {
      return bad(fmt::format("{}: tensor {} stands in it twice", store.path_, t.name.substr(0, 200)));
    }
  }
  store.files_.push_back(std::move(file));
  return store;
}

void TensorStore::draw(const std::string& name, std::vector<uint64_t> shape) {
  Stored stored;
  stored.shape = std::move(shape);
  stored.drawn = true;
  tensors_.try_emplace(name, std::move(stored));
}

Result<std::vector<uint64_t>> TensorStore::shape(const std::string& name) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return bad(fmt::format("{}: tensor {} is missing", path_, name));
  used_.insert(name);
  return it->second.shape;
}

Status TensorStore::read(const std::string& name, uint64_t first, uint64_t count, float* out) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return bad(fmt::format("{}: tensor {} is missing", path_, name));
  const Stored& t = it->second;
  if (t.drawn) {
    const uint64_t columns = t.shape.size() == 1 ? 1 : t.shape.back();
    const float greatest = t.shape.size() == 1 ? 0.5f : 2 * std::sqrt(3.0f / static_cast<float>(columns));
    draw_floats(crc32c(as_bytes(name)), first * columns, count * columns, greatest, out);
    if (t.shape.size() == 1 && !name.ends_with(".bias")) std::for_each(out, out + count, [](float& gain) { gain += 1; });
    return {};
  }
  const std::string where = files_[t.file].path().string() + ": tensor " + name;
  if (t.format == nullptr) {
    return bad(fmt::format("{} is {}; F32, F16 and BF16 are imported, and of GGUF Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
                           "Q4_K, Q5_K and Q6_K",
                           where, t.type));
  }
  const uint64_t columns = t.shape.size() == 1 ? 1 : t.shape.back();
  const BlockFormat& f = *t.format;
  // Vectors are never in blocks of several floats here: their rows would be parts of blocks.
  if (columns % f.floats != 0) return bad(fmt::format("{} is a vector of {}, which is not supported", where, t.type));
  const uint64_t row_bytes = columns / f.floats * f.bytes;
  const uint64_t step = std::max<uint64_t>(1, kReadAtOnce / row_bytes);
  Bytes buffer;
  for (uint64_t done = 0; done < count; done += step) {
    const uint64_t rows = std::min(step, count - done);
    buffer.resize(rows * row_bytes);
    LLMC_TRY(files_[t.file].read_at(t.offset + (first + done) * row_bytes, buffer));
    f.decode(buffer.data(), rows * columns / f.floats, out + done * columns);
  }
  for (uint64_t i = 0; i < count * columns; ++i) {
    if (!std::isfinite(out[i])) return bad(where + " holds an infinity or NaN");
  }
  return {};
}

std::string TensorStore::unused() const {
  for (const auto& [name, stored] : tensors_) {
    if (!used_.contains(name)) return name.substr(0, 200);
  }
  return "";
}

std::vector<std::string> TensorStore::names() const {
  std::vector<std::string> out;
  for (const auto& [name, stored] : tensors_) out.push_back(name);
  return out;
}

}  // namespace llmc
