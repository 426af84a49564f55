// The other half of parity.h: what is damaged, and how it comes back.
#include <isa-l/erasure_code.h>

#include <array>
#include <functional>
#include <unordered_map>

#include "archive/crc_table.h"
#include "archive/parity_packet.h"
#include "archive/scan_window.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t nowhere = ~uint64_t{0};

class Repair {
 public:
  Repair(const File* file, uint64_t size, ParityTable table, const File& parity, const StopRequest& stop)
      : file_(file), size_(size), table_(std::move(table)), parity_(parity), shape_(table_.shape), stop_(stop) {}

  Result<RepairReport> examine() {
    place_.assign(shape_.blocks(), nowhere);
    LLMC_TRY(look_in_place());
    RepairReport report = count();
    // Bytes that were cut out or put in move all behind them.
    if (file_ && report.hopeless > 0) {
      LLMC_TRY(look_everywhere());
      report = count();
    }
    report.file_sound = report.damaged == 0 && report.moved == 0 && size_ == shape_.file_bytes;
    report.parity_sound = table_.whole;
    return report;
  }

  Status write(const fs::path& path) {
    LLMC_ASSIGN(File out, File::create(path));
    Bytes block(shape_.block_bytes);
    for (uint64_t i = 0; i < shape_.blocks(); ++i) {
      LLMC_TRY(asked());
      if (place_[i] == nowhere) continue;
      LLMC_TRY(read(i, block));
      LLMC_TRY(out.write_at(i * shape_.block_bytes, ByteView(block).first(parity_block_size(shape_, i))));
    }
    for (uint64_t s = 0; s < shape_.stripes(); ++s) {
      LLMC_TRY(asked());
      LLMC_TRY(restore(s, out));
    }
    LLMC_TRY(out.sync());
    Sha256 whole;
    for (uint64_t i = 0; i < shape_.blocks(); ++i) {
      const auto part = std::span(block).first(parity_block_size(shape_, i));
      LLMC_TRY(asked());
      LLMC_TRY(out.read_at(i * shape_.block_bytes, part));
      whole.update(part);
    }
    LLMC_ASSIGN(const uint64_t size, out.size());
    if (size != shape_.file_bytes || whole.finish() != shape_.file) {
      return {Code::corrupt, "what was put together is not what the parity was made of (SHA-256)"};
    }
    return out.close();
  }

 private:
  Status asked() const { return stop_ && stop_() ? Status(Code::interrupted, "interrupted") : Status(); }
  static Status ended(const ScanWindow& window) {
    return window.stopped() ? Status(Code::interrupted, "interrupted") : window.failure();
  }

  RepairReport count() const {
    RepairReport report;
    report.blocks = shape_.blocks();
    for (uint64_t i = 0; i < shape_.blocks(); ++i) {
      report.damaged += place_[i] == nowhere;
      report.moved += place_[i] != nowhere && place_[i] != i * shape_.block_bytes;
    }
    for (uint64_t s = 0; s < shape_.stripes(); ++s) {
      uint64_t lost = 0, rows = 0;
      for (uint64_t i = s; i < shape_.blocks(); i += shape_.stripes()) lost += place_[i] == nowhere;
      for (uint32_t r = 0; r < shape_.parity; ++r) rows += table_.parity_offsets[s * shape_.parity + r] != 0;
      report.hopeless += lost > rows;
    }
    return report;
  }

  bool is(uint64_t block, ByteView bytes) const {
    const ParityTable::Block& expected = table_.blocks[block];
    if (!expected.known) return false;
    if (crc32c(bytes, 0xFFFFFFFF) != expected.crc) return false;
    return parity_block_sums(bytes).sha == expected.sha;
  }

  Status look_in_place() {
    if (!file_) return {};
    ScanWindow window(*file_, size_, stop_);
    Bytes padded(shape_.block_bytes);
    for (uint64_t i = 0; i < shape_.blocks(); ++i) {
      const ByteView view = window.at(i * shape_.block_bytes, parity_block_size(shape_, i));
      if (view.size() != parity_block_size(shape_, i)) continue;
      std::fill(std::copy(view.begin(), view.end(), padded.begin()), padded.end(), uint8_t{0});
      // Zeros that were not read may be right, but cannot be copied.
      const uint64_t begin = i * shape_.block_bytes;
      if (is(i, padded) && window.gave(begin, begin + view.size())) place_[i] = i * shape_.block_bytes;
      LLMC_TRY(ended(window));
    }
    return ended(window);
  }

  // A CRC rolls over the file byte by byte; where it is that of a lost block, the SHA-256 decides.
  Status look_everywhere() {
    const size_t size = shape_.block_bytes;
    std::unordered_multimap<uint32_t, uint64_t> wanted;  // by the CRC's register
    const uint64_t last = shape_.blocks() - 1;
    const bool short_end = parity_block_size(shape_, last) < size;
    for (uint64_t i = 0; i <= last; ++i) {
      if (place_[i] == nowhere && table_.blocks[i].known && !(i == last && short_end)) wanted.emplace(~table_.blocks[i].crc, i);
    }
    const std::array<uint32_t, 256> in = crc_table();
    std::array<uint32_t, 256> out{};  // what a byte has become when it leaves
    for (uint32_t b = 0; b < 256; ++b) {
      out[b] = in[b];
      for (size_t i = 0; i < size; ++i) out[b] = in[out[b] & 255] ^ out[b] >> 8;
    }
    ScanWindow window(*file_, size_, stop_);
    constexpr size_t stretch = 1u << 20;
    for (uint64_t at = 0; at + size <= size_;) {
      const ByteView view = window.at(at, stretch + size);
      LLMC_TRY(ended(window));
      uint32_t crc = ~crc32c(view.first(size), 0xFFFFFFFF);
      size_t p = 0;
      for (;;) {
        bool found = false;
        const auto [first, end] = wanted.equal_range(crc);
        for (auto it = first; it != end && !found; ++it) {
          found = place_[it->second] == nowhere && is(it->second, view.subspan(p, size)) && window.gave(at + p, at + p + size);
          if (found) place_[it->second] = at + p;
        }
        if (found && p + 2 * size <= view.size()) {
          p += size;
          crc = ~crc32c(view.subspan(p, size), 0xFFFFFFFF);
          continue;
        }
        if (p + size >= view.size()) break;
        crc = in[(crc ^ view[p + size]) & 255] ^ crc >> 8 ^ out[view[p]];
        ++p;
      }
      at += p + 1;
    }
    // The last block is shorter: it can only stand at the end.
    const size_t rest = parity_block_size(shape_, last);
    if (!short_end || place_[last] != nowhere || size_ < rest) return {};
    Bytes padded(size);
    const ByteView view = window.at(size_ - rest, rest);
    std::copy(view.begin(), view.end(), padded.begin());
    if (is(last, padded) && window.gave(size_ - rest, size_)) place_[last] = size_ - rest;
    return ended(window);
  }

  Status read(uint64_t block, Bytes& bytes) const {
    const size_t size = parity_block_size(shape_, block);
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(size), bytes.end(), uint8_t{0});
    return file_->read_at(place_[block], std::span(bytes).first(size));
  }

  // parity - (what the blocks that are left give) = (what the lost ones give); that is solved for them.
  Status restore(uint64_t stripe, File& out) {
    const int k = static_cast<int>(shape_.data), m = static_cast<int>(shape_.parity);
    const size_t size = shape_.block_bytes;
    std::vector<uint64_t> lost;  // positions in the stripe
    std::vector<int> rows;
    for (int j = 0; j < k; ++j) {
      const uint64_t block = static_cast<uint64_t>(j) * shape_.stripes() + stripe;
      if (block < shape_.blocks() && place_[block] == nowhere) lost.push_back(static_cast<uint64_t>(j));
    }
    if (lost.empty()) return {};
    for (int r = 0; r < m && rows.size() < lost.size(); ++r) {
      if (table_.parity_offsets[stripe * shape_.parity + static_cast<uint64_t>(r)]) rows.push_back(r);
    }
    const int e = static_cast<int>(lost.size());
    std::vector<uint8_t> matrix(static_cast<size_t>(k + m) * k), chosen, square, inverse(static_cast<size_t>(e) * e);
    gf_gen_cauchy1_matrix(matrix.data(), k + m, k);
    for (const int r : rows) {
      const uint8_t* row = matrix.data() + static_cast<size_t>(k + r) * k;
      chosen.insert(chosen.end(), row, row + k);
      for (const uint64_t j : lost) square.push_back(row[j]);
    }
    if (gf_invert_matrix(square.data(), inverse.data(), e) != 0) {
      return {Code::failure, "the equations of a stripe cannot be solved"};  // a Cauchy matrix always can
    }
    std::vector<uint8_t> tables(static_cast<size_t>(32) * k * e);
    ec_init_tables(k, e, chosen.data(), tables.data());
    Bytes sums(size * e), solved(size * e), block_bytes(size);
    std::vector<uint8_t*> sum_rows(e), solved_rows(e);
    for (int i = 0; i < e; ++i) {
      sum_rows[i] = sums.data() + size * i;
      solved_rows[i] = solved.data() + size * i;
    }
    for (int j = 0; j < k; ++j) {
      const uint64_t block = static_cast<uint64_t>(j) * shape_.stripes() + stripe;
      if (block >= shape_.blocks() || place_[block] == nowhere) continue;
      LLMC_TRY(read(block, block_bytes));
      ec_encode_data_update(static_cast<int>(size), k, e, j, tables.data(), block_bytes.data(), sum_rows.data());
    }
    for (int i = 0; i < e; ++i) {
      LLMC_TRY(parity_.read_at(table_.parity_offsets[stripe * shape_.parity + static_cast<uint64_t>(rows[i])], block_bytes));
      for (size_t b = 0; b < size; ++b) sum_rows[i][b] ^= block_bytes[b];
    }
    tables.resize(static_cast<size_t>(32) * e * e);
    ec_init_tables(e, e, inverse.data(), tables.data());
    ec_encode_data(static_cast<int>(size), e, e, tables.data(), sum_rows.data(), solved_rows.data());
    for (int i = 0; i < e; ++i) {
      const uint64_t block = lost[i] * shape_.stripes() + stripe;
      LLMC_TRY(out.write_at(block * size, ByteView(solved).subspan(size * i, parity_block_size(shape_, block))));
    }
    return {};
  }

  const File* file_;  // null: it is gone
  const uint64_t size_;
  const ParityTable table_;
  const File& parity_;
  const ParityShape& shape_;
  const StopRequest& stop_;
  std::vector<uint64_t> place_;  // of each block in the file; nowhere: lost
};

// `then` gets the Repair after examine().
Result<RepairReport> with_repair(const fs::path& path, const fs::path& parity_file, const StopRequest& stop,
                                 const std::function<Status(Repair&, const RepairReport&)>& then) {
  LLMC_ASSIGN(ParityTable table, ParityTable::load(parity_file, stop));
  LLMC_ASSIGN(const File parity, File::open_read(parity_file));
  auto file = File::open_read(path);
  if (!file.ok() && file.status().code() != Code::missing) return file.status();
  uint64_t size = 0;
  if (file.ok()) {
    LLMC_ASSIGN(size, file->size());
  }
  Repair repair(file.ok() ? &*file : nullptr, size, std::move(table), parity, stop);
  LLMC_ASSIGN(const RepairReport report, repair.examine());
  LLMC_TRY(then(repair, report));
  return report;
}

}  // namespace

std::string RepairReport::describe() const {
  std::string text = std::to_string(damaged) + " of " + std::to_string(blocks) + " blocks are damaged";
  if (moved) text += ", " + std::to_string(moved) + " have moved";
  if (hopeless) return text + ", more than the parity can bring back";
  return text + ", the parity brings them back";
}

Result<RepairReport> examine_parity(const fs::path& file, const fs::path& parity, const StopRequest& stop) {
  return with_repair(file, parity, stop, [](Repair&, const RepairReport&) { return Status(); });
}

Result<RepairReport> repair_file(const fs::path& file, const fs::path& parity, const fs::path& out, const StopRequest& stop) {
  return with_repair(file, parity, stop, [&](Repair& repair, const RepairReport& report) -> Status {
    const std::string name = printable(file.native());
    if (!report.possible()) return {Code::corrupt, name + ": " + report.describe()};
    const Status status = repair.write(out);
    if (status.ok()) return {};
    std::error_code ignored;
    fs::remove(out, ignored);
    return status.with(name);
  });
}

}  // namespace llmc
