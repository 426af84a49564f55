#include "commands/selection.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "corpus/names.h"
#include "plan/plan.h"

namespace llmc {

namespace {

bool parse_number(std::string_view text, uint64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool is_glob(const std::string& pattern) { return pattern.find_first_of("*?[\\") != std::string::npos; }

bool lies_below(const std::string& name, const std::string& folder) {
  return name.size() > folder.size() + 1 && name.starts_with(folder) && name[folder.size()] == '/';
}

bool matches(const std::string& pattern, const std::string& name) {
  return name == pattern || lies_below(name, pattern) || (is_glob(pattern) && match_glob(pattern, name));
}

class Selector {
 public:
  Selector(ArchiveReader& archive, const Selection& selection) : archive_(archive), selection_(selection) {}

  Result<Selected> run() {
    hits_.assign(selection_.documents.size(), false);
    if (!selection_.range || !selection_.documents.empty()) {
      LLMC_ASSIGN(const std::vector<uint32_t> shards, shards_to_look_at());
      for (const uint32_t shard : shards) {
        const auto file = archive_.shard(shard);
        if (file.ok() || file.status().code() != Code::corrupt) {
          LLMC_TRY(take_shard(shard));
        } else {
          lose_shard(shard, file.status());
        }
      }
    }
    for (size_t i = 0; i < hits_.size(); ++i) {
      if (!hits_[i] && !out_.lost_shards.empty()) {
        return Status(Code::corrupt, archive_.path().string() + ": no document '" + selection_.documents[i] +
                                         "' in what can be read; " + out_.lost_shards[0]);
      }
      if (!hits_[i]) {
        return Status(Code::failure, archive_.path().string() + ": holds no document '" + selection_.documents[i] +
                                         "'; 'llmc-batch list --documents' shows all names");
      }
    }
    LLMC_TRY(cut_range());
    std::sort(out_.parts.begin(), out_.parts.end(), [](const Part& a, const Part& b) { return a.begin < b.begin; });
    LLMC_TRY(collect_chunks(archive_, &out_));
    return std::move(out_);
  }

 private:
  Result<std::vector<uint32_t>> shards_to_look_at() {
    std::vector<uint32_t> shards;
    if (selection_.shards.parts) {
      const ShardRange part = selection_.shards.part_of(static_cast<uint32_t>(archive_.shards().size()));
      for (uint32_t s = part.first; s < part.end; ++s) shards.push_back(s);
      return shards;
    }
    if (!selection_.shards.all()) {
      for (const auto& [first, last] : selection_.shards.numbers) {
        if (last >= archive_.shards().size()) {
          return Status(Code::usage, archive_.path().string() + ": has shards 0 to " +
                                         std::to_string(archive_.shards().size() - 1) + ", not " + std::to_string(last));
        }
        for (uint32_t s = first; s <= last; ++s) shards.push_back(s);
      }
      std::sort(shards.begin(), shards.end());
      shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
      return shards;
    }
    LLMC_ASSIGN(const std::optional<std::set<uint32_t>> few, shards_of_names());
    if (few) return std::vector<uint32_t>(few->begin(), few->end());
    for (uint32_t s = 0; s < archive_.shards().size(); ++s) shards.push_back(s);
    return shards;
  }

  // Where every document is named in full: the shards that hold them, found without reading all
  // indexes. Nothing where a name is a glob, a folder, or not found in this way.
  Result<std::optional<std::set<uint32_t>>> shards_of_names() {
    using Answer = std::optional<std::set<uint32_t>>;
    if (selection_.documents.empty()) return Answer();
    std::set<uint32_t> shards;
    for (const std::string& name : selection_.documents) {
      if (is_glob(name)) return Answer();
      bool found = false;
      // The name itself, then what stands before each '/' or ':' in it: a record's file.
      for (size_t end = name.size(); end != std::string::npos && end > 0 && !found;
           end = name.find_last_of("/:", end - 1)) {
        const auto searched = archive_.find(name.substr(0, end));
        // Past a damaged index the others are all looked through.
        if (!searched.ok() && searched.status().code() == Code::corrupt) return Answer();
        LLMC_TRY(searched.status());
        const auto& place = *searched;
        if (!place) continue;
        LLMC_ASSIGN(const auto file, archive_.shard(place->shard));
        const IndexEntry& entry = file->index().entries[place->entry];
        if (entry.entry.kind == Entry::Kind::directory) return Answer();
        found = true;
        uint64_t left = entry.entry.size - entry.offset;
        for (uint32_t s = place->shard; s < archive_.shards().size(); ++s) {
          shards.insert(s);
          const auto& info = archive_.shards()[s];
          const uint64_t here = s == place->shard ? entry.size : std::min(left, info.text_bytes);
          left -= here;
          if (left == 0) break;
        }
      }
      if (!found) return Answer();
    }
    return Answer(std::move(shards));
  }

  bool wanted(const std::string& name) {
    if (selection_.documents.empty()) return true;
    bool any = false;
    for (size_t i = 0; i < selection_.documents.size(); ++i) {
      if (matches(selection_.documents[i], name)) hits_[i] = any = true;
    }
    return any;
  }

  // Its entries cannot be named, only where they stood.
  void lose_shard(uint32_t shard, const Status& why) {
    const auto& info = archive_.shards()[shard];
    std::string text = why.message() + "; lost with it: " + std::to_string(info.entries) + " entries";
    if (!last_seen_.empty()) text += " behind '" + printable(last_seen_) + "'";
    out_.lost_shards.push_back(std::move(text));
  }

  Status take_shard(uint32_t shard) {
    LLMC_ASSIGN(const auto file, archive_.shard(shard));
    if (!file->index().entries.empty()) last_seen_ = file->index().entries.back().entry.name;
    const uint64_t base = archive_.shards()[shard].text_offset;
    const auto& entries = file->index().entries;
    for (uint32_t i = 0; i < entries.size(); ++i) {
      const IndexEntry& e = entries[i];
      if (!wanted(e.entry.name)) {
        if (!selection_.documents.empty()) LLMC_TRY(take_records(shard, i, e, base));
        continue;
      }
      // Pieces of one entry that follow each other are one target.
      const bool goes_on = e.offset > 0 && !out_.targets.empty() && last_name_ == e.entry.name &&
                           out_.targets.back().offset + out_.targets.back().size == e.offset;
      if (!goes_on) {
        out_.targets.push_back({shard, i, -1, "", e.offset, 0, 0});
        last_name_ = e.entry.name;
      }
      if (e.size == 0) continue;
      out_.targets.back().size += e.size;
      const uint64_t begin = base + e.shard_offset;
      out_.parts.push_back({begin, begin + e.size, static_cast<uint32_t>(out_.targets.size() - 1), shard, i, true});
    }
    return {};
  }

  Status take_records(uint32_t shard, uint32_t index, const IndexEntry& e, uint64_t base) {
    if (e.entry.records_kind == RecordKind::whole) return {};
    RecordReader records(e.entry.records_kind, e.entry.records);
    Record record;
    for (uint64_t n = e.first_record; records.next(&record); ++n) {
      const std::string name = record_name(e.entry, record, n);
      if (!wanted(name)) continue;
      out_.targets.push_back({shard, index, static_cast<int64_t>(n), name, 0, record.length, record.method});
      last_name_.clear();
      if (record.length == 0) continue;
      const uint64_t in_entry = e.records_base + record.offset;
      const uint64_t begin = base + e.shard_offset + (in_entry - e.offset);
      out_.parts.push_back({begin, begin + record.length, static_cast<uint32_t>(out_.targets.size() - 1), shard, index, false});
    }
    return {};
  }

  Status cut_range() {
    if (!selection_.range) return {};
    auto [from, to] = *selection_.range;
    uint64_t origin = 0, size = archive_.text_bytes();
    std::string what = archive_.path().string();
    if (!selection_.documents.empty()) {
      if (out_.targets.size() != 1) {
        return {Code::usage, "--range goes with one document; " + std::to_string(out_.targets.size()) + " match"};
      }
      origin = out_.parts.empty() ? 0 : out_.parts[0].begin;
      size = out_.targets[0].size;
      what = selection_.documents[0];
    }
    if (from > to || to > size) {
      return {Code::usage, "--range " + std::to_string(from) + ":" + std::to_string(to) + " is not inside the " +
                               std::to_string(size) + " bytes of " + what};
    }
    // What is given back is a stretch of text, whatever it belongs to.
    const uint64_t begin = origin + from, end = origin + to;
    out_.targets.assign(1, {0, 0, -1, "range", 0, end - begin, 0});
    out_.parts.clear();
    if (begin < end) out_.parts.push_back({begin, end, 0, 0, 0, false});
    return {};
  }

  ArchiveReader& archive_;
  const Selection& selection_;
  std::vector<char> hits_;
  std::string last_name_;
  std::string last_seen_;  // in the last shard that could be read
  Selected out_;
};

}  // namespace

ShardRange ShardList::part_of(uint32_t count) const {
  const auto border = [&](uint64_t n) { return static_cast<uint32_t>(n * count / parts); };
  return {border(part - 1), border(part)};
}

Result<ShardList> parse_shard_list(const std::string& text, const std::string& option) {
  const Status wrong(Code::usage, option + " is a list such as 0,3-5 or a part such as 2/16, not '" + printable(text) + "'");
  ShardList list;
  if (const size_t slash = text.find('/'); slash != std::string::npos) {
    uint64_t part = 0, parts = 0;
    if (!parse_number(text.substr(0, slash), &part) || !parse_number(text.substr(slash + 1), &parts)) return wrong;
    if (part < 1 || part > parts || parts > max_shards) return wrong;
    list.part = static_cast<uint32_t>(part);
    list.parts = static_cast<uint32_t>(parts);
    return list;
  }
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    const size_t dash = item.find('-');
    uint64_t first = 0, last = 0;
    const bool good = dash == std::string::npos
                          ? parse_number(item, &first) && (last = first, true)
                          : parse_number(item.substr(0, dash), &first) && parse_number(item.substr(dash + 1), &last);
    if (!good || first > last || last > UINT32_MAX) return wrong;
    list.numbers.emplace_back(first, last);
    at = comma + 1;
  }
  return list;
}

Result<std::pair<uint64_t, uint64_t>> parse_range(const std::string& text) {
  const size_t colon = text.find(':');
  uint64_t from = 0, to = 0;
  if (colon == std::string::npos || !parse_number(text.substr(0, colon), &from) || !parse_number(text.substr(colon + 1), &to) || from > to) {
    return Status(Code::usage, "--range is A:B in bytes, A not above B, not '" + text + "'");
  }
  return std::pair(from, to);
}

std::string record_name(const Entry& entry, const Record& record, uint64_t number) {
  const bool lines = entry.records_kind == RecordKind::lines || entry.records_kind == RecordKind::jsonl;
  return lines ? entry.name + ":" + std::to_string(number + 1) : entry.name + "/" + record.name;
}

Status collect_chunks(ArchiveReader& archive, Selected* selected) {
  selected->chunks.clear();
  selected->chunk_count = selected->chunk_bytes = 0;
  for (const Part& part : selected->parts) {
    LLMC_ASSIGN(const std::vector<ArchiveReader::Span> spans, archive.spans(part.begin, part.end));
    for (const ArchiveReader::Span& span : spans) {
      auto& chunks = selected->chunks;
      const uint64_t from_begin = span.end - uint64_t{span.last_chunk} * archive.chunk_bytes();
      const bool all = span.end == archive.shards()[span.shard].text_bytes || from_begin == archive.chunk_bytes();
      const ChunkRun run{span.shard, span.first_chunk, span.last_chunk, all ? 0 : static_cast<uint32_t>(from_begin)};
      ChunkRun* const before = !chunks.empty() && chunks.back().shard == span.shard ? &chunks.back() : nullptr;
      // Parts rise: what a part wants of a chunk goes beyond what those before it want.
      if (before && (run.first == before->last || (run.first == before->last + 1 && before->wanted == 0))) {
        before->last = run.last;
        before->wanted = run.wanted;
      } else {
        chunks.push_back(run);
      }
    }
  }
  for (const ChunkRun& run : selected->chunks) {
    selected->chunk_count += uint64_t{run.last} - run.first + 1;
    const uint64_t text = archive.shards()[run.shard].text_bytes;
    const uint64_t last = uint64_t{run.last} * archive.chunk_bytes();
    const uint64_t end = run.wanted ? last + run.wanted : std::min(text, last + archive.chunk_bytes());
    selected->chunk_bytes += end - uint64_t{run.first} * archive.chunk_bytes();
  }
  return {};
}

Result<Selected> select(ArchiveReader& archive, const Selection& selection) { return Selector(archive, selection).run(); }

}  // namespace llmc
