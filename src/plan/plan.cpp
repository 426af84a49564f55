#include "plan/plan.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"

namespace llmc {

bool valid_entry_name(std::string_view name) {
  return name.size() <= max_name_bytes && check_entry_name(name).ok();
}

Status check_source(const Entry& entry) {
  if (entry.kind != Entry::Kind::file || entry.source.empty() || entry.source == "-") return {};
  struct stat st;
  if (::stat(entry.source.c_str(), &st) != 0) return errno_status(errno, entry.source);
  const int64_t mtime_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
  const char* what = nullptr;
  if (static_cast<uint64_t>(st.st_size) != entry.source_size) what = "size";
  else if (mtime_ns != entry.source_mtime_ns) what = "modification time";
  else if (entry.source_inode != 0 && st.st_ino != entry.source_inode) what = "inode";
  if (!what) return {};
  return {Code::failure, printable(entry.source) + ": changed since it was planned (" + what + ")"};
}

Result<Plan> Plan::make(std::vector<Entry> entries, PlanOptions options) {
  Plan plan;
  plan.options_ = std::move(options);
  plan.entries_ = std::move(entries);
  LLMC_TRY(plan.check_entries());
  LLMC_TRY(plan.cut());
  LLMC_TRY(plan.cut_records());
  plan.digest_ = sha256(plan.archived_bytes());
  return plan;
}

Status Plan::check_entries() const {
  auto refuse = [](const std::string& what) { return Status(Code::usage, what); };
  if (options_.chunk_bytes == 0 || options_.chunk_bytes > max_plan_chunk_bytes) {
    return refuse("chunk size " + std::to_string(options_.chunk_bytes) + " is not in 1.." +
                  std::to_string(max_plan_chunk_bytes));
  }
  if (options_.parameters.size() > max_parameter_bytes) return refuse("coding parameters are too long");
  if (options_.model_name.size() > max_model_name_bytes) return refuse("the model's name is longer than 255 bytes");
  if (entries_.size() > 0xFFFFFFFF) return refuse("more than 2^32 inputs");
  uint64_t total = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& e = entries_[i];
    if (!valid_entry_name(e.name)) {
      return refuse("'" + printable(e.name) + "' is not a name that an archive may carry");
    }
    if (i > 0 && entries_[i - 1].name >= e.name) {
      const bool twice = entries_[i - 1].name == e.name;
      return refuse(printable(e.name) + (twice ? ": two inputs have this name" : ": names are not sorted"));
    }
    if (e.mode > 07777) return refuse(printable(e.name) + ": impossible mode");
    if (e.kind != Entry::Kind::file && (e.size != 0 || e.records_kind != RecordKind::whole || e.unpacked != 0)) {
      return refuse(printable(e.name) + ": only regular files have text");
    }
    const bool link = e.kind == Entry::Kind::symlink;
    if (link != !e.target.empty() || e.target.size() > max_name_bytes || e.target.find('\0') != std::string::npos) {
      return refuse(printable(e.name) + ": only a symbolic link has a target, of 1 to 4095 bytes");
    }
    if (e.records_kind == RecordKind::whole && (e.records.count != 0 || !e.records.packed.empty())) {
      return refuse(printable(e.name) + ": a whole file has no records");
    }
    if (e.size > (uint64_t{1} << 62) - total) return refuse(printable(e.name) + ": more than 2^62 bytes of text");
    total += e.size;
    // A parent that is no folder would make extraction write through a link or over a file.
    for (size_t slash = e.name.find('/'); slash != std::string::npos; slash = e.name.find('/', slash + 1)) {
      const std::string_view parent = std::string_view(e.name).substr(0, slash);
      const auto at = std::partition_point(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(i),
                                           [&](const Entry& a) { return std::string_view(a.name) < parent; });
      if (at != entries_.end() && at->name == parent && at->kind != Entry::Kind::directory) {
        return refuse(printable(e.name) + ": its parent '" + printable(at->name) + "' is an input, but no folder");
      }
    }
  }
  return {};
}

void Plan::close_shard(uint64_t* filled) {
  Shard next;
  next.text_offset = shards_.back().text_offset + shards_.back().text_size;
  next.first_piece = pieces_.size();
  shards_.push_back(next);
  *filled = 0;
}

Status Plan::cut() {
  const uint64_t limit = options_.shard_bytes ? options_.shard_bytes : uint64_t{1} << 62;
  uint64_t filled = 0;  // text bytes of the open shard
  shards_.assign(1, Shard{});
  auto add = [&](uint32_t entry, uint64_t offset, uint64_t size) {
    Shard& shard = shards_.back();
    Piece piece;
    piece.entry = entry;
    piece.shard = static_cast<uint32_t>(shards_.size() - 1);
    piece.offset = offset;
    piece.size = size;
    piece.shard_offset = filled;
    pieces_.push_back(piece);
    ++shard.pieces;
    shard.text_size += size;
    filled += size;
  };
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    const uint64_t size = entries_[i].size;
    const bool full = options_.shard_bytes != 0 && shards_.back().pieces == max_shard_pieces;
    if (full || (size > limit - filled && filled > 0)) close_shard(&filled);
    uint64_t offset = 0;
    for (; size - offset > limit; offset += limit) {
      add(i, offset, limit);
      close_shard(&filled);
      if (shards_.size() > max_shards) break;
    }
    add(i, offset, size - offset);
    if (shards_.size() > max_shards) {
      return {Code::usage, "more than " + std::to_string(max_shards) + " shards: choose a larger shard size"};
    }
  }
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    const Shard& shard = shards_[s];
    const uint64_t chunks = (shard.text_size + options_.chunk_bytes - 1) / options_.chunk_bytes;
    if (chunks > max_shard_chunks) {
      return {Code::usage, "more than 2^32 - 2 chunks in a shard: choose larger chunks or smaller shards"};
    }
    if (shard.pieces > max_shard_pieces) {
      return {Code::usage, "more than " + std::to_string(max_shard_pieces) +
                               " inputs in one shard: name an output folder, not one .h5 file"};
    }
    text_size_ += shard.text_size;
    chunks_ += chunks;
  }
  return {};
}

Status Plan::cut_records() {
  for (size_t p = 0; p < pieces_.size();) {
    const uint32_t index = pieces_[p].entry;
    const Entry& e = entries_[index];
    size_t end = p + 1;
    while (end < pieces_.size() && pieces_[end].entry == index) ++end;
    if (e.records_kind != RecordKind::whole) {
      RecordReader reader(e.records_kind, e.records);
      Record record;
      uint64_t number = 0, base = 0;
      uint64_t packed = 0;
      size_t at = p;
      while (reader.next(&record)) {
        if (record.offset > e.size || record.length > e.size - record.offset) {
          return {Code::usage, printable(e.name) + ": record " + std::to_string(number) + " does not lie in the file"};
        }
        while (at + 1 < end && record.offset >= pieces_[at + 1].offset) {
          pieces_[at].packed_end = packed;
          ++at;
          pieces_[at].first_record = number;
          pieces_[at].records_base = base;
          pieces_[at].packed_begin = packed;
        }
        ++pieces_[at].record_count;
        ++number;
        base = record.offset + record.length;
        packed = e.records.packed.size() - reader.bytes_left();
      }
      if (!reader.ok()) return {Code::usage, printable(e.name) + ": its list of records is damaged"};
      pieces_[at].packed_end = packed;
      while (++at < end) {
        pieces_[at].first_record = number;
        pieces_[at].records_base = base;
        pieces_[at].packed_begin = pieces_[at].packed_end = packed;
      }
    }
    p = end;
  }
  return {};
}

std::span<const Piece> Plan::pieces(uint32_t shard) const {
  return std::span(pieces_).subspan(shards_[shard].first_piece, shards_[shard].pieces);
}

uint32_t Plan::shard_chunks(uint32_t shard) const {
  return static_cast<uint32_t>((shards_[shard].text_size + options_.chunk_bytes - 1) / options_.chunk_bytes);
}

uint32_t Plan::chunk_size(uint32_t shard, uint32_t chunk) const {
  const uint64_t left = shards_[shard].text_size - chunk_offset(chunk);
  return static_cast<uint32_t>(std::min<uint64_t>(left, options_.chunk_bytes));
}

uint32_t Plan::shard_of(uint64_t text_offset) const {
  const auto at = std::upper_bound(shards_.begin(), shards_.end(), text_offset,
                                   [](uint64_t offset, const Shard& s) { return offset < s.text_offset; });
  // Shards without text share their offset with the next one: the last of them holds the byte.
  return static_cast<uint32_t>(at - shards_.begin() - 1);
}

std::span<const Piece> Plan::pieces_in(uint32_t shard, uint64_t begin, uint64_t end) const {
  const auto all = pieces(shard);
  const auto ends_before = [&](const Piece& p) { return p.shard_offset + p.size <= begin; };
  const auto first = std::partition_point(all.begin(), all.end(), ends_before);
  const auto last = std::partition_point(first, all.end(), [&](const Piece& p) { return p.shard_offset < end; });
  return {first, last};
}

}  // namespace llmc
