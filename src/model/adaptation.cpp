#include "model/adaptation.h"

#include <zstd.h>

#include <bit>

namespace llmc {

namespace {

constexpr std::string_view magic = "\x8cLCA";
constexpr uint8_t version = 1;
constexpr size_t crc_at = 16, head_bytes = 52;
constexpr size_t max_plain_bytes = 4 + kMaxVocabulary;

Status damaged(const std::string& what) { return {Code::corrupt, "the adaptation is damaged: " + what}; }

}  // namespace

Bytes Adaptation::serialize() const {
  ByteWriter plain;
  plain.u32(std::bit_cast<uint32_t>(factor));
  plain.bytes(ByteView(reinterpret_cast<const uint8_t*>(bias.data()), bias.size()));
  Bytes packed(ZSTD_compressBound(plain.view().size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.view().data(), plain.view().size(), 19));
  ByteWriter out;
  out.bytes(as_bytes(magic));
  out.u8(version);
  out.u8(0);
  out.u16(0);
  out.u32(static_cast<uint32_t>(plain.view().size()));
  out.u32(static_cast<uint32_t>(head_bytes + packed.size()));
  out.u32(0);
  out.bytes(model);
  out.bytes(packed);
  Bytes bytes = out.take();
  ByteWriter crc;
  crc.u32(crc32c(bytes));
  std::copy(crc.view().begin(), crc.view().end(), bytes.begin() + crc_at);
  return bytes;
}

Result<Adaptation> Adaptation::parse(ByteView bytes) {
  ByteReader in(bytes);
  if (as_text(in.bytes(magic.size())) != magic) return Status(Code::corrupt, "these bytes are no adaptation");
  const uint8_t found = in.u8();
  const uint8_t zero = in.u8();
  const uint16_t zeros = in.u16();
  const uint32_t plain_bytes = in.u32();
  const uint32_t length = in.u32();
  const uint32_t crc = in.u32();
  Adaptation out;
  const ByteView model = in.bytes(out.model.size());
  if (!in.ok() || bytes.size() > max_adaptation_bytes || length != bytes.size()) return damaged("it is " + std::to_string(bytes.size()) + " bytes long");
  Bytes zeroed(bytes.begin(), bytes.end());
  std::fill_n(zeroed.begin() + crc_at, 4, uint8_t{0});
  if (crc32c(zeroed) != crc) return damaged("its checksum is wrong");
  if (found != version || zero != 0 || zeros != 0) {
    return Status(Code::failure, "the adaptation is one of a later version of llmc-batch");
  }
  std::copy(model.begin(), model.end(), out.model.begin());
  // A CRC that fits is no proof of good will.
  const ByteView packed = in.bytes(in.left());
  if (plain_bytes < 5 || plain_bytes > max_plain_bytes) return damaged("it has no sensible length");
  Bytes plain(plain_bytes);
  if (ZSTD_findFrameCompressedSize(packed.data(), packed.size()) != packed.size() ||
      ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size()) != plain.size()) {
    return damaged("it does not unpack");
  }
  ByteReader values(plain);
  out.factor = std::bit_cast<float>(values.u32());
  if (!(out.factor >= least_factor && out.factor <= greatest_factor)) return damaged("its factor is out of range");
  for (const uint8_t value : values.bytes(values.left())) {
    if (value == 0x80) return damaged("a summand is out of range");
    out.bias.push_back(static_cast<int8_t>(value));
  }
  return out;
}

Result<std::shared_ptr<const Model>> adapt_model(std::shared_ptr<const Model> base, const Adaptation& adaptation, const Digest& digest) {
  if (base->digest() != adaptation.model || adaptation.bias.size() != static_cast<size_t>(base->config().vocab)) {
    return Status(Code::model, "the adaptation (sha256 " + to_hex(digest) + ") was made for the model with sha256 " +
                                   to_hex(adaptation.model) + ", not for " + base->name() + " (sha256 " + to_hex(base->digest()) + ")");
  }
  LLMC_ASSIGN(const std::shared_ptr<const Model> made, Model::from_bytes(base->bytes(), base));
  const auto model = std::const_pointer_cast<Model>(made);  // nobody else has it yet
  Linear& head = *model->linears_[model->head_->index];
  Matrix& matrix = head.parts[0];
  for (int id = 0; id < matrix.n; ++id) {
    model->head_scale_.push_back(matrix.scale[id] * adaptation.factor);
    model->head_bias_.push_back(static_cast<float>(adaptation.bias[id]) * Adaptation::bias_step);
  }
  matrix.scale = model->head_scale_.data();
  matrix.bias = model->head_bias_.data();
  model->adaptation_ = digest;
  return made;
}

Result<std::shared_ptr<const Model>> adapt_model(std::shared_ptr<const Model> base, ByteView bytes) {
  LLMC_ASSIGN(const Adaptation adaptation, Adaptation::parse(bytes));
  return adapt_model(std::move(base), adaptation, sha256(bytes));
}

}  // namespace llmc
