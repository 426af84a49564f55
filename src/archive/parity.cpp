#include "archive/parity.h"

#include <isa-l/erasure_code.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "archive/parity_packet.h"
#include "base/fault.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

// Coefficients of all parity blocks of a stripe, and ISA-L's tables of them.
class Encoder {
 public:
  explicit Encoder(const ParityShape& shape) : k_(static_cast<int>(shape.data)), m_(static_cast<int>(shape.parity)) {
    std::vector<uint8_t> matrix(static_cast<size_t>(k_ + m_) * k_);
    gf_gen_cauchy1_matrix(matrix.data(), k_ + m_, k_);
    tables_.resize(static_cast<size_t>(32) * k_ * m_);
    ec_init_tables(k_, m_, matrix.data() + static_cast<size_t>(k_) * k_, tables_.data());
  }
  // parity[0..m) += coefficients * data, for the block at this position of its stripe.
  void add(uint32_t position, ByteView data, uint8_t** parity) {
    ec_encode_data_update(static_cast<int>(data.size()), k_, m_, static_cast<int>(position), tables_.data(),
                          const_cast<uint8_t*>(data.data()), parity);
  }

 private:
  int k_, m_;
  std::vector<uint8_t> tables_;
};

class ParityWriter {
 public:
  ParityWriter(const File& file, const ParityShape& shape, const fs::path& out, const StopRequest& stop)
      : file_(file), shape_(shape), path_(out), stop_(stop) {}

  Result<ParityFileFacts> write() {
    LLMC_ASSIGN(out_, File::create(path_));
    LLMC_TRY(read_blocks());
    LLMC_TRY(write_table());
    LLMC_TRY(write_parity_blocks());
    LLMC_TRY(write_table());
    LLMC_TRY(out_.sync());
    LLMC_TRY(out_.close());
    return ParityFileFacts{bytes_, hash_.finish()};
  }

 private:
  Status emit(ParityPacket::Type type, uint64_t number, ByteView payload) {
    const Bytes packet = ParityPacket::serialize(shape_, type, number, payload);
    hash_.update(packet);
    bytes_ += packet.size();
    return out_.write(packet);
  }

  Status read_blocks() {
    Sha256 whole;
    Bytes block(shape_.block_bytes);
    for (uint64_t i = 0; i < shape_.blocks(); ++i) {
      if (stop_ && stop_()) return {Code::interrupted, "interrupted"};
      const size_t size = parity_block_size(shape_, i);
      LLMC_TRY(file_.read_at(i * shape_.block_bytes, std::span(block).first(size)));
      whole.update(ByteView(block).first(size));
      std::fill(block.begin() + static_cast<ptrdiff_t>(size), block.end(), uint8_t{0});
      const ParityTable::Block sums = parity_block_sums(block);
      table_.u32(sums.crc);
      table_.u32(sums.sha);
    }
    const Digest digest = whole.finish();
    if (shape_.file == Digest{}) shape_.file = digest;
    if (shape_.file != digest) {
      return {Code::corrupt, printable(file_.path().native()) + ": is not the file that its parity was made of"};
    }
    return {};
  }

  Status write_table() {
    const ByteView all = table_.view();
    const size_t step = parity_table_entries * parity_entry_bytes;
    for (size_t at = 0, number = 0; at < all.size(); at += step, ++number) {
      LLMC_TRY(emit(ParityPacket::Type::checksums, number, all.subspan(at, std::min(step, all.size() - at))));
    }
    return {};
  }

  // Some stripes at a time, so that memory is bounded; their blocks stand side by side in the file.
  Status write_parity_blocks() {
    constexpr uint64_t memory = uint64_t{64} << 20;
    const uint64_t size = shape_.block_bytes, m = shape_.parity, stripes = shape_.stripes();
    const uint64_t group = std::clamp<uint64_t>(memory / (size * (m + 1)), 1, stripes);
    Encoder encoder(shape_);
    Bytes data(group * size), parity(group * size * m);
    std::vector<uint8_t*> rows(m);
    for (uint64_t first = 0; first < stripes; first += group) {
      const uint64_t last = std::min(stripes, first + group);
      std::fill(parity.begin(), parity.end(), uint8_t{0});
      for (uint32_t position = 0; position < shape_.data; ++position) {
        if (stop_ && stop_()) return {Code::interrupted, "interrupted"};
        const uint64_t begin = (position * stripes + first) * size;
        const uint64_t end = std::min((position * stripes + last) * size, shape_.file_bytes);
        if (begin >= end) continue;
        LLMC_TRY(file_.read_at(begin, std::span(data).first(end - begin)));
        // Behind the end of the file there are zeros.
        std::fill(data.begin() + static_cast<ptrdiff_t>(end - begin), data.end(), uint8_t{0});
        for (uint64_t s = first; s < last; ++s) {
          for (uint64_t r = 0; r < m; ++r) rows[r] = parity.data() + ((s - first) * m + r) * size;
          encoder.add(position, ByteView(data).subspan((s - first) * size, size), rows.data());
        }
      }
      for (uint64_t i = 0; i < (last - first) * m; ++i) {
        LLMC_TRY(emit(ParityPacket::Type::parity, first * m + i, ByteView(parity).subspan(i * size, size)));
      }
    }
    return {};
  }

  const File& file_;
  ParityShape shape_;
  const fs::path& path_;
  const StopRequest& stop_;
  File out_;
  ByteWriter table_;
  Sha256 hash_;
  uint64_t bytes_ = 0;
};

}  // namespace

fs::path parity_path(const fs::path& file) { return file.native() + ".parity"; }

ParityShape ParityShape::make(uint64_t file_bytes, double rate) {
  ParityShape shape;
  shape.file_bytes = file_bytes;
  // At most 16384 blocks where that is possible, so that the table stays small beside the parity.
  shape.block_bytes = 512;
  if (file_bytes > 128u << 10) {
    shape.block_bytes = static_cast<uint32_t>(std::clamp<uint64_t>(std::bit_ceil((file_bytes + 16383) / 16384), 2048, 65536));
  }
  const uint64_t blocks = std::max<uint64_t>(1, shape.blocks());
  // As many blocks to a stripe as the field allows, all stripes of one size; at least two parity blocks,
  // since damage without length may lie on a border.
  for (uint64_t most = static_cast<uint64_t>(255 / (1 + rate)); most > 0; --most) {
    const uint64_t stripes = (blocks + most - 1) / most;
    shape.data = static_cast<uint32_t>((blocks + stripes - 1) / stripes);
    shape.parity = std::max<uint32_t>(2, static_cast<uint32_t>(std::ceil(shape.data * rate - 1e-9)));
    if (shape.data + shape.parity <= max_parity_stripe) break;
  }
  return shape;
}

Result<ParityFileFacts> write_parity(const fs::path& path, double rate, const fs::path& out, const StopRequest& stop) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  if (size == 0) return Status(Code::failure, printable(path.native()) + ": an empty file has no parity");
  return ParityWriter(file, ParityShape::make(size, rate), out, stop).write();
}

Result<ParityFileFacts> rewrite_parity(const fs::path& path, const ParityShape& shape, const fs::path& out, const StopRequest& stop) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  if (size != shape.file_bytes) {
    return Status(Code::corrupt, printable(path.native()) + ": is not the file that its parity was made of");
  }
  return ParityWriter(file, shape, out, stop).write();
}

}  // namespace llmc
