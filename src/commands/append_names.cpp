#include "commands/append_names.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "archive/format.h"
#include "archive/set_names.h"
#include "base/log.h"

namespace llmc {
namespace {

struct Query {
  std::string name;
  size_t entry = 0;     // of the new ones
  enum { itself, below, above } kind = itself;
};

// Each new name; for what is no folder, what lies below it; and the folders above.
std::vector<Query> queries_of(const std::vector<Entry>& entries) {
  std::vector<Query> queries;
  std::string_view before;
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string& name = entries[i].name;
    queries.push_back({name, i, Query::itself});
    if (entries[i].kind != Entry::Kind::directory) queries.push_back({name + "/", i, Query::below});
    for (size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      const std::string_view folder = std::string_view(name).substr(0, slash + 1);
      if (!before.starts_with(folder)) queries.push_back({name.substr(0, slash), i, Query::above});
    }
    before = name;
  }
  std::sort(queries.begin(), queries.end(), [](const Query& a, const Query& b) { return a.name < b.name; });
  return queries;
}

class Comparison {
 public:
  Comparison(ArchiveReader& archive, uint32_t end, std::vector<Entry>& entries, Existing existing)
      : archive_(archive), end_(end), entries_(entries), existing_(existing), drop_(entries.size()), queries_(queries_of(entries)) {}

  Status run() {
    uint32_t covered = 0;
    if (const Manifest* manifest = archive_.manifest()) {
      for (const ManifestNames& row : manifest->names) {
        // The very file: one that lacks a name would let it in twice.
        LLMC_ASSIGN(const std::optional<std::string> wrong, check_names(archive_.path(), row));
        if (wrong) {
          log::warn("{}; the shards are read instead", *wrong);
          LLMC_TRY(compare_shards(row.first, row.end));
        } else {
          LLMC_ASSIGN(NameIndex index, NameIndex::open(archive_.path() / names_name(row.first, row.end), row.first, row.end - row.first));
          NameIndexStream stream(index);
          LLMC_TRY(compare(stream));
        }
        covered = row.end;
      }
    }
    return compare_shards(covered, static_cast<uint32_t>(archive_.shards().size()));
  }

  Result<NewEntries> take() {
    if (first_) {
      std::string text = *first_;
      if (clashes_ > 1) text += " (and " + std::to_string(clashes_ - 1) + " more)";
      return Status(Code::failure, text);
    }
    NewEntries out;
    out.skipped = skipped_;
    out.changed = changed_;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (!drop_[i]) out.entries.push_back(std::move(entries_[i]));
    }
    return out;
  }

 private:
  Status compare_shards(uint32_t first, uint32_t end) {
    for (size_t p = 0; p < archive_.parts(); ++p) {
      const auto [part_first, part_end] = archive_.part_shards(p);
      const uint32_t from = std::max(first, part_first), to = std::min({end, part_end, end_});
      if (from >= to) continue;
      ShardNames stream([this](uint32_t shard) { return archive_.shard(shard); }, from, to);
      LLMC_TRY(compare(stream));
    }
    return {};
  }

  Status compare(NameStream& stream) {
    for (const Query& query : queries_) {
      LLMC_ASSIGN(const NamedPlace* const place, stream.seek(query.name));
      if (!place) return {};
      const bool hit = query.kind == Query::below ? place->name.starts_with(query.name) : place->name == query.name;
      if (!hit || place->shard >= end_) continue;
      LLMC_TRY(found(query, *place));
    }
    return {};
  }

  Status found(const Query& query, const NamedPlace& place) {
    const Entry& mine = entries_[query.entry];
    LLMC_ASSIGN(const auto file, archive_.shard(place.shard));
    if (place.entry >= file->index().entries.size() || file->index().entries[place.entry].entry.name != place.name) {
      return {Code::corrupt, printable(archive_.path().native()) + ": its index of names does not fit the shards; 'llmc-batch repair' "
                                 "makes it anew"};
    }
    const Entry& theirs = file->index().entries[place.entry].entry;
    const bool folder = theirs.kind == Entry::Kind::directory;
    switch (query.kind) {
      case Query::below:
        clash(query.entry, "the set holds '" + printable(place.name) + "' below it, so it cannot be a file or link");
        break;
      case Query::above:
        if (!folder) clash(query.entry, "the set has '" + printable(place.name) + "' as a file or link, so nothing can stand below it");
        break;
      case Query::itself:
        if (folder && mine.kind == Entry::Kind::directory) {
          drop_[query.entry] = true;
        } else if (folder != (mine.kind == Entry::Kind::directory)) {
          clash(query.entry, folder ? "the set has a folder of this name" : "the set has a file or link of this name");
        } else if (existing_ == Existing::refuse) {
          clash(query.entry, "the set holds this name already; leave it out, or all such names with --existing skip");
        } else if (!drop_[query.entry]) {
          drop_[query.entry] = true;
          ++skipped_;
          changed_ += theirs.size != mine.size || theirs.mtime_ns != mine.mtime_ns || theirs.kind != mine.kind;
        }
        break;
    }
    return {};
  }

  void clash(size_t entry, const std::string& what) {
    ++clashes_;
    if (first_ && first_entry_ <= entry) return;
    first_ = printable(entries_[entry].name) + ": " + what;
    first_entry_ = entry;
  }

  ArchiveReader& archive_;
  const uint32_t end_;
  std::vector<Entry>& entries_;
  const Existing existing_;
  std::vector<bool> drop_;
  const std::vector<Query> queries_;
  std::optional<std::string> first_;
  size_t first_entry_ = 0;
  uint64_t clashes_ = 0, skipped_ = 0, changed_ = 0;
};

}  // namespace

Result<NewEntries> without_existing(ArchiveReader& archive, uint32_t end, std::vector<Entry> entries, Existing existing) {
  Comparison comparison(archive, end, entries, existing);
  LLMC_TRY(comparison.run());
  return comparison.take();
}

}  // namespace llmc
