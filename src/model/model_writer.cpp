#include "model/model_writer.h"

#include <algorithm>

namespace llmc {

namespace {

constexpr uint64_t kCopyAtOnce = 8u << 20;

uint64_t bytes_of(const Tensor& t) {
  uint64_t size = dtype_size(t.type);
  for (const uint64_t dim : t.shape) size *= dim;
  return size;
}

}  // namespace

ModelWriter::ModelWriter(std::filesystem::path path) : path_(std::move(path)), temporary_(path_.string() + ".tmp") {}

ModelWriter::~ModelWriter() {
  std::error_code ignored;
  if (file_.is_open()) std::filesystem::remove(temporary_, ignored);
}

void ModelWriter::declare(const std::string& name, DType type, std::vector<uint64_t> shape) {
  Tensor t;
  t.name = name;
  t.type = type;
  t.shape = std::move(shape);
  tensors_.push_back(std::move(t));
}

Status ModelWriter::start(const Metadata& metadata) {
  const auto order = [](const Tensor& t) { return t.type == DType::f32 ? 0 : t.type == DType::i8 ? 1 : 2; };
  std::stable_sort(tensors_.begin(), tensors_.end(),
                   [&](const Tensor& a, const Tensor& b) { return order(a) < order(b); });
  for (size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].offset = size_;
    size_ += bytes_of(tensors_[i]);
    places_[tensors_[i].name] = i;
  }
  const Bytes header = safetensors_header(metadata, tensors_);
  data_ = header.size();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
  LLMC_ASSIGN(file_, File::open_update(temporary_));
  LLMC_TRY(file_.truncate(data_ + size_));
  return file_.write_at(0, header);
}

Status ModelWriter::put(const std::string& name, uint64_t offset, ByteView bytes) {
  return file_.write_at(data_ + tensors_[places_.at(name)].offset + offset, bytes);
}

Status ModelWriter::restate(const Metadata& metadata) {
  const Bytes header = safetensors_header(metadata, tensors_);
  if (header.size() > data_) return {Code::failure, "the metadata of a model file cannot grow"};
  Bytes buffer;
  for (uint64_t done = 0; header.size() < data_ && done < size_; done += kCopyAtOnce) {
    buffer.resize(std::min(kCopyAtOnce, size_ - done));
    LLMC_TRY(file_.read_at(data_ + done, buffer));
    LLMC_TRY(file_.write_at(header.size() + done, buffer));
  }
  data_ = header.size();
  LLMC_TRY(file_.truncate(data_ + size_));
  return file_.write_at(0, header);
}

Status ModelWriter::finish() {
  LLMC_TRY(file_.sync());
  LLMC_TRY(file_.close());
  return rename_durable(temporary_, path_);
}

}  // namespace llmc
