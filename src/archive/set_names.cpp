#include "archive/set_names.h"

#include <algorithm>

#include "archive/format.h"
#include "archive/set_files.h"
#include "base/fault.h"
#include "base/log.h"

namespace llmc {

namespace fs = std::filesystem;

namespace {

Result<NameIndexFacts> write_all(NameStream& stream, uint32_t first, uint32_t end, const fs::path& path) {
  LLMC_ASSIGN(NameIndexWriter writer, NameIndexWriter::create(path, first, end - first));
  for (;;) {
    LLMC_ASSIGN(const NamedPlace* const place, stream.next());
    if (!place) return writer.finish();
    LLMC_TRY(writer.add(*place));
  }
}

// One of the files that update_names works with: it has its name, or is still a temporary one.
struct Run {
  ManifestNames row;
  fs::path path;
  bool temporary = false;
};

class Builder {
 public:
  Builder(const fs::path& folder, const Manifest& manifest, const fs::path& work, const StopRequest& stop = {})
      : folder_(folder), manifest_(manifest), work_(work), stop_(stop) {}

  // Of shards that lie in one part.
  Result<Run> of_shards(uint32_t first, uint32_t end) {
    ShardNames names(
        [this](uint32_t shard) -> Result<std::shared_ptr<const ShardFile>> {
          if (stop_ && stop_()) return Status(Code::interrupted, "interrupted");
          LLMC_ASSIGN(ShardFile file, open_set_shard(folder_, manifest_, shard));
          return std::make_shared<const ShardFile>(std::move(file));
        },
        first, end);
    return write(names, first, end);
  }

  Result<Run> merged(const std::vector<Run>& runs) {
    std::vector<NameIndex> indexes;
    indexes.reserve(runs.size());
    for (const Run& run : runs) {
      LLMC_ASSIGN(NameIndex index, NameIndex::open(run.path, run.row.first, run.row.end - run.row.first));
      indexes.push_back(std::move(index));
    }
    std::vector<NameIndexStream> streams;
    streams.reserve(indexes.size());
    for (NameIndex& index : indexes) streams.emplace_back(index);
    std::vector<NameStream*> all;
    for (NameIndexStream& stream : streams) all.push_back(&stream);
    MergedNames names(std::move(all));
    LLMC_ASSIGN(Run run, write(names, runs.front().row.first, runs.back().row.end));
    for (const Run& old : runs) {
      if (old.temporary) LLMC_TRY(remove_file(old.path));
    }
    return run;
  }

 private:
  Result<Run> write(NameStream& names, uint32_t first, uint32_t end) {
    Run run;
    run.temporary = true;
    run.path = work_ / ("names-" + std::to_string(number_++) + ".tmp");
    LLMC_ASSIGN(const NameIndexFacts facts, write_all(names, first, end, run.path));
    run.row = {first, end, facts.names, facts.bytes, facts.sha256};
    return run;
  }

  const fs::path& folder_;
  const Manifest& manifest_;
  const fs::path& work_;
  const StopRequest stop_;
  int number_ = 0;
};

// Of shards [first, end), whatever parts they lie in, one for each part.
Status add_parts(Builder& builder, const Manifest& manifest, uint32_t first, uint32_t end, std::vector<Run>* runs) {
  for (const ManifestPart& part : manifest.parts) {
    const uint32_t from = std::max(first, part.first_shard), to = std::min(end, part.first_shard + part.shards);
    if (from >= to) continue;
    LLMC_ASSIGN(Run run, builder.of_shards(from, to));
    runs->push_back(std::move(run));
  }
  return {};
}

}  // namespace

std::string names_name(uint32_t first, uint32_t end) {
  const auto digits = [](uint32_t n) {
    const std::string text = std::to_string(n);
    return std::string(6 - std::min<size_t>(6, text.size()), '0') + text;
  };
  return "names-" + digits(first) + "-" + digits(end - 1) + ".index";
}

bool is_names_name(const std::string& name) {
  constexpr std::string_view pattern = "names-000000-000000.index";
  return name.size() == pattern.size() && std::equal(name.begin(), name.end(), pattern.begin(), [](char a, char b) {
           return b == '0' ? a >= '0' && a <= '9' : a == b;
         });
}

Result<ShardFile> open_set_shard(const fs::path& folder, const Manifest& manifest, uint32_t number) {
  const ManifestShard& row = manifest.shards[number];
  const fs::path path = folder / row.file;
  auto file = ShardFile::open(path);
  if (!file.ok()) {
    // The archive is there; a part of it is not.
    if (file.status().code() == Code::missing) return Status(Code::corrupt, shown(path) + ": this shard of the set is missing");
    return file.status();
  }
  const UserBlock& block = file->block();
  if (file->block_digest() != row.user_block || block.plan != manifest.parts[row.part].plan || block.shard != row.number ||
      block.text_bytes != row.text_bytes || block.text_offset != row.part_offset || block.chunks != row.chunks ||
      block.chunk_bytes != manifest.chunk_bytes || block.model != manifest.model || file->index().entries.size() != row.entries ||
      file->index().parameters != manifest.parameters) {
    return Status(Code::corrupt, shown(path) + ": not the shard that the manifest speaks of");
  }
  return file;
}

Result<const NamedPlace*> ShardNames::next() {
  here_ = nullptr;
  for (;;) {
    if (!file_) {
      if (shard_ >= end_) return here_;
      LLMC_ASSIGN(file_, open_(shard_));
      entry_ = 0;
    }
    const auto& entries = file_->index().entries;
    while (entry_ < entries.size() && entries[entry_].offset > 0) ++entry_;  // goes on from the shard before
    if (entry_ == entries.size()) {
      file_.reset();
      ++shard_;
      continue;
    }
    place_.name = entries[entry_].entry.name;
    place_.shard = shard_;
    place_.entry = static_cast<uint32_t>(entry_++);
    here_ = &place_;
    return here_;
  }
}

Result<const NamedPlace*> MergedNames::next() {
  const auto take = [&](size_t i) -> Status {
    LLMC_ASSIGN(const NamedPlace* const place, streams_[i]->next());
    if (place) heads_.emplace(place->name, std::pair(i, place));
    return {};
  };
  if (!begun_) {
    for (size_t i = 0; i < streams_.size(); ++i) LLMC_TRY(take(i));
  } else if (here_) {
    heads_.erase(heads_.begin());  // before its stream changes the name that it points to
    LLMC_TRY(take(last_));
  }
  begun_ = true;
  here_ = nullptr;
  if (heads_.empty()) return here_;
  last_ = heads_.begin()->second.first;
  here_ = heads_.begin()->second.second;
  return here_;
}

Result<std::vector<ManifestNames>> update_names(const fs::path& folder, const Manifest& manifest, const fs::path& work) {
  const auto count = static_cast<uint32_t>(manifest.shards.size());
  if (count <= shards_without_names && manifest.parts.size() == 1) return std::vector<ManifestNames>();
  Builder builder(folder, manifest, work);
  std::vector<Run> runs;
  uint32_t covered = 0;
  for (const ManifestNames& row : manifest.names) {
    LLMC_ASSIGN(const std::optional<std::string> wrong, check_names(folder, row));
    if (wrong) {
      log::warn("{}; it is made again", *wrong);
      LLMC_TRY(add_parts(builder, manifest, row.first, row.end, &runs));
    } else {
      runs.push_back({row, folder / names_name(row.first, row.end), false});
    }
    covered = row.end;
  }
  LLMC_TRY(add_parts(builder, manifest, covered, count, &runs));
  while (runs.size() > 1) {
    // As many of the last ones as belong together, in one go.
    size_t from = runs.size() - 1;
    uint64_t names = runs[from].row.names;
    while (from > 0 && runs[from - 1].row.names <= 2 * names) names += runs[--from].row.names;
    if (from + 1 == runs.size()) break;
    LLMC_ASSIGN(Run run, builder.merged(std::vector<Run>(runs.begin() + static_cast<ptrdiff_t>(from), runs.end())));
    runs.resize(from);
    runs.push_back(std::move(run));
  }
  std::vector<ManifestNames> rows;
  for (const Run& run : runs) {
    if (run.temporary) {
      LLMC_TRY(fault_point("archive.names"));
      LLMC_TRY(rename_durable(run.path, folder / names_name(run.row.first, run.row.end)));
    }
    rows.push_back(run.row);
  }
  return rows;
}

Status remove_unused_names(const fs::path& folder, const Manifest& manifest) {
  std::error_code error;
  std::vector<fs::path> unused;
  for (const auto& item : fs::directory_iterator(folder, error)) {
    const std::string name = item.path().filename();
    if (!is_names_name(name)) continue;
    const bool used = std::any_of(manifest.names.begin(), manifest.names.end(),
                                  [&](const ManifestNames& row) { return names_name(row.first, row.end) == name; });
    if (!used) unused.push_back(item.path());
  }
  if (error) return errno_status(error.value(), folder);
  for (const fs::path& path : unused) LLMC_TRY(remove_file(path));
  return {};
}

Result<std::optional<std::string>> check_names(const fs::path& folder, const ManifestNames& row, const StopRequest& stop) {
  using Answer = std::optional<std::string>;
  const fs::path path = folder / names_name(row.first, row.end);
  auto file = File::open_read(path);
  if (file.status().code() == Code::missing) return Answer(shown(path) + ": this index of names is missing");
  LLMC_TRY(file.status());
  const auto digest = file_digest(*file, stop);
  if (digest.status().code() == Code::corrupt) return Answer(digest.status().message());
  LLMC_TRY(digest.status());
  if (*digest == row.sha256) return Answer();
  return Answer(shown(path) + ": this index of names is damaged (SHA-256)");
}

Status rebuild_names(const fs::path& folder, const Manifest& manifest, const ManifestNames& row, const fs::path& path,
                     const StopRequest& stop) {
  const fs::path work = path.native() + ".parts";
  std::error_code error;
  fs::remove_all(work, error);
  fs::create_directory(work, error);
  if (error) return errno_status(error.value(), work);
  const auto make = [&]() -> Status {
    Builder builder(folder, manifest, work, stop);
    std::vector<Run> runs;
    LLMC_TRY(add_parts(builder, manifest, row.first, row.end, &runs));
    Run run = runs.front();
    if (runs.size() > 1) {
      LLMC_ASSIGN(run, builder.merged(runs));
    }
    if (run.row.sha256 != row.sha256) {
      return {Code::corrupt, shown(folder / names_name(row.first, row.end)) + ": the shards hold other names than it had"};
    }
    return rename_durable(run.path, path);
  };
  const Status made = make();
  fs::remove_all(work, error);
  return made;
}

void NamesSum::add(const NamedPlace& place) {
  ByteWriter out;
  out.string(place.name);
  out.u32(place.shard);
  out.u32(place.entry);
  const Digest digest = sha256(out.view());
  ByteReader in(digest);
  for (uint64_t& word : words_) word += in.u64();
  ++names_;
}

}  // namespace llmc
