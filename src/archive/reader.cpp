#include "archive/reader.h"

#include <algorithm>
#include <utility>

#include "archive/format.h"
#include "archive/set_names.h"
#include "base/log.h"
#include "plan/plan.h"

namespace llmc {

namespace fs = std::filesystem;

ContentDigest::ContentDigest() { hash_.update(as_bytes("llmc-batch content 1\n")); }

void ContentDigest::add(const IndexEntry& e) {
  ByteWriter out;
  out.string(e.entry.name);
  out.u8(static_cast<uint8_t>(e.entry.kind));
  out.varint(e.entry.mode);
  out.svarint(e.entry.mtime_ns);
  out.string(e.entry.target);
  out.varint(e.entry.size);
  out.u8(e.entry.unpacked);
  if (e.entry.unpacked) out.bytes(e.entry.source_digest);
  out.varint(e.offset);
  out.varint(e.size);
  if (e.size > 0) out.bytes(e.sha256);
  hash_.update(out.view());
}

Result<ArchiveReader> ArchiveReader::open(const fs::path& path) {
  const std::string name = printable(path.native());
  ArchiveReader reader;
  reader.path_ = path;
  std::error_code error;
  const fs::file_status found = fs::status(path, error);
  if (found.type() == fs::file_type::not_found) {
    if (fs::exists(path.native() + ".work", error)) {
      return Status(Code::missing, name + ": was begun and never finished; run compress --resume");
    }
    return Status(Code::missing, name + ": there is no such file or folder");
  }
  if (found.type() == fs::file_type::none) return errno_status(error.value(), path);

  if (found.type() != fs::file_type::directory) {
    if (found.type() != fs::file_type::regular) return Status(Code::corrupt, name + ": not an archive");
    auto shard = ShardFile::open(path);
    if (!shard.ok()) return shard.status();
    const UserBlock& block = shard->block();
    ShardInfo info;
    info.path = path;
    info.number = block.shard;
    info.file_bytes = block.file_bytes;
    info.text_bytes = block.text_bytes;
    info.entries = shard->index().entries.size();
    info.chunks = block.chunks;
    reader.shards_.push_back(info);
    reader.model_ = block.model;
    reader.model_name_ = shard->index().model_name;
    reader.parameters_ = shard->index().parameters;
    reader.chunk_bytes_ = block.chunk_bytes;
    reader.text_bytes_ = block.text_bytes;
    reader.chunks_ = block.chunks;
    reader.current_ = std::make_shared<ShardFile>(std::move(*shard));
    return reader;
  }

  auto manifest = Manifest::load(path / manifest_name);
  if (!manifest.ok()) {
    if (manifest.status().code() != Code::missing) return manifest.status();
    if (fs::exists(path / ".work", error) || fs::exists(path / shard_name(0), error)) {
      return Status(Code::missing, name + ": was never finished (no manifest.json); run compress --resume");
    }
    // Killed between the making of the folder and of its work folder.
    if (fs::is_empty(path, error)) return Status(Code::missing, name + ": an empty folder, no archive");
    return Status(Code::corrupt, name + ": a folder without manifest.json, not an archive");
  }
  for (size_t i = 0; i < manifest->shards.size(); ++i) {
    const ManifestShard& row = manifest->shards[i];
    ShardInfo info;
    info.path = path / row.file;
    info.number = static_cast<uint32_t>(i);
    info.file_bytes = row.bytes;
    info.text_offset = reader.text_bytes_;
    info.text_bytes = row.text_bytes;
    info.entries = row.entries;
    info.chunks = row.chunks;
    reader.text_bytes_ += row.text_bytes;
    reader.shards_.push_back(std::move(info));
  }
  reader.model_ = manifest->model;
  reader.model_name_ = manifest->model_name;
  reader.parameters_ = manifest->parameters;
  reader.chunk_bytes_ = manifest->chunk_bytes;
  reader.chunks_ = manifest->chunks;
  reader.manifest_ = std::move(*manifest);
  return reader;
}

Result<std::shared_ptr<const ShardFile>> ArchiveReader::shard(uint32_t number) {
  if (number >= shards_.size()) {
    return Status(Code::usage, printable(path_.native()) + ": there is no shard " + std::to_string(number));
  }
  if (current_ && current_shard_ == number) return current_;
  LLMC_ASSIGN(ShardFile file, open_set_shard(path_, *manifest_, number));
  current_ = std::make_shared<ShardFile>(std::move(file));
  current_shard_ = number;
  return current_;
}

Result<Bytes> ArchiveReader::read_frame(uint32_t number, uint32_t chunk) {
  LLMC_ASSIGN(const auto file, shard(number));
  return file->read_frame(chunk);
}

Result<Bytes> ArchiveReader::adaptation() {
  if (adaptation_of(parameters_) == Digest{}) return Bytes();
  Result<Bytes> bytes = Status(Code::corrupt, printable(path_.native()) + ": there is no shard");
  for (uint32_t number = 0; number < shards_.size() && !bytes.ok(); ++number) {
    const auto file = shard(number);
    bytes = file.ok() ? (*file)->read_adaptation() : file.status();
  }
  return bytes;
}

Result<std::vector<ArchiveReader::Span>> ArchiveReader::spans(uint64_t begin, uint64_t end) const {
  if (begin > end || end > text_bytes_) {
    return Status(Code::usage, "range " + std::to_string(begin) + ":" + std::to_string(end) +
                                   " does not lie in the text of " + std::to_string(text_bytes_) + " bytes");
  }
  std::vector<Span> result;
  auto at = std::partition_point(shards_.begin(), shards_.end(),
                                 [&](const ShardInfo& s) { return s.text_offset + s.text_bytes <= begin; });
  for (; at != shards_.end() && at->text_offset < end; ++at) {
    if (at->text_bytes == 0) continue;
    Span span;
    span.shard = static_cast<uint32_t>(at - shards_.begin());
    span.begin = std::max(begin, at->text_offset) - at->text_offset;
    span.end = std::min(end - at->text_offset, at->text_bytes);
    span.first_chunk = static_cast<uint32_t>(span.begin / chunk_bytes_);
    span.last_chunk = static_cast<uint32_t>((span.end - 1) / chunk_bytes_);
    result.push_back(span);
  }
  return result;
}

std::pair<uint32_t, uint32_t> ArchiveReader::part_shards(size_t part) const {
  if (!manifest_) return {0, static_cast<uint32_t>(shards_.size())};
  const ManifestPart& p = manifest_->parts[part];
  return {p.first_shard, p.first_shard + p.shards};
}

void ArchiveReader::open_names() {
  if (std::exchange(names_opened_, true) || !manifest_) return;
  for (const ManifestNames& row : manifest_->names) {
    auto index = NameIndex::open(path_ / names_name(row.first, row.end), row.first, row.end - row.first);
    if (index.ok() && (index->bytes() != row.bytes || index->names() != row.names)) {
      index = Status(Code::corrupt, names_name(row.first, row.end) + ": not the index of names that the manifest speaks of");
    }
    if (!index.ok()) {
      log::warn("{}; names are looked for in the shards, which takes longer ('llmc-batch repair' makes it anew)", index.status().message());
      names_.push_back(nullptr);
      continue;
    }
    names_.push_back(std::make_unique<NameIndex>(std::move(*index)));
  }
}

uint64_t ArchiveReader::name_blocks_read() const {
  uint64_t blocks = 0;
  for (const auto& index : names_) blocks += index ? index->blocks_read() : 0;
  return blocks;
}

// Shards [first, end) of one part, by bisection.
Result<std::optional<ArchiveReader::Found>> ArchiveReader::find_in(std::string_view name, uint32_t first, uint32_t end) {
  const auto before = [&](const IndexEntry& e) { return std::string_view(e.entry.name) < name; };
  // The first shard whose last name is not before `name`. Only the last shard may be empty of
  // entries, and then it is the only one.
  uint32_t low = first, high = end;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    LLMC_ASSIGN(const auto file, shard(middle));
    const auto& entries = file->index().entries;
    if (entries.empty() || before(entries.back())) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == end) return std::optional<Found>();
  LLMC_ASSIGN(const auto file, shard(low));
  const auto& entries = file->index().entries;
  const auto at = std::partition_point(entries.begin(), entries.end(), before);
  if (at == entries.end() || at->entry.name != name) return std::optional<Found>();
  return std::optional<Found>(Found{low, static_cast<size_t>(at - entries.begin())});
}

Result<std::optional<ArchiveReader::Found>> ArchiveReader::find(std::string_view name) {
  open_names();
  std::vector<std::pair<uint32_t, uint32_t>> unnamed;  // shards that no index speaks for
  uint32_t covered = 0;
  for (size_t i = 0; i < names_.size(); ++i) {
    const ManifestNames& row = manifest_->names[i];
    covered = row.end;
    std::optional<NamedPlace> place;
    if (names_[i]) {
      auto found = names_[i]->find(name);
      if (found.ok()) {
        place = std::move(*found);
      } else {
        log::warn("{}; names are looked for in the shards ('llmc-batch repair' makes it anew)", found.status().message());
        names_[i].reset();
      }
    }
    if (!names_[i]) unnamed.emplace_back(row.first, row.end);
    if (!place) continue;
    LLMC_ASSIGN(const auto file, shard(place->shard));
    const auto& entries = file->index().entries;
    if (place->entry >= entries.size() || entries[place->entry].entry.name != name || entries[place->entry].offset > 0) {
      return Status(Code::corrupt, printable((path_ / names_name(row.first, row.end)).native()) +
                                       ": this index of names does not fit the shards ('llmc-batch repair' makes it anew)");
    }
    return std::optional<Found>(Found{place->shard, place->entry});
  }
  const auto count = static_cast<uint32_t>(shards_.size());
  if (covered < count) unnamed.emplace_back(covered, count);
  for (const auto& [first, end] : unnamed) {
    for (size_t p = 0; p < parts(); ++p) {
      const auto [part_first, part_end] = part_shards(p);
      const uint32_t from = std::max(first, part_first), to = std::min(end, part_end);
      if (from >= to) continue;
      LLMC_ASSIGN(std::optional<Found> found, find_in(name, from, to));
      if (found) return found;
    }
  }
  return std::optional<Found>();
}

Result<Digest> ArchiveReader::content_digest() {
  std::vector<Digest> contents;
  for (size_t p = 0; p < parts(); ++p) {
    ContentDigest digest;
    const auto [first, end] = part_shards(p);
    for (uint32_t s = first; s < end; ++s) {
      LLMC_ASSIGN(const auto file, shard(s));
      for (const IndexEntry& e : file->index().entries) digest.add(e);
    }
    contents.push_back(digest.finish());
  }
  return content_of_parts(contents);
}

}  // namespace llmc
