#include "archive/verify.h"

#include <algorithm>

#include "archive/companion.h"
#include "archive/format.h"
#include "archive/parity.h"
#include "archive/reader.h"
#include "archive/scan_window.h"
#include "archive/set_names.h"
#include "archive/shard_file.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

bool asked(const StopRequest& stop) { return stop && stop(); }

// Names those of the entries from number `from` on. Returns where to go on, so that none is named twice.
size_t name_entries(const ShardIndex& index, uint64_t begin, uint64_t end, Finding* finding, size_t from = 0) {
  const auto [first, last] = index.entries_in(begin, end);
  for (size_t i = std::max(first, from); i < last; ++i) {
    if (index.entries[i].size == 0) continue;
    if (finding->entries.size() < max_finding_entries) {
      finding->entries.push_back(index.entries[i].entry.name);
    } else {
      ++finding->more_entries;
    }
  }
  return std::max(last, from);
}

// SHA-256 of a whole file and of all behind its user block, in one reading. `unread`: which bytes the medium did not give.
Status hash_file(const File& file, uint64_t size, const StopRequest& stop, Digest* whole, Digest* body,
                 VerifyReport* report, std::string* unread) {
  Sha256 all, behind;
  ScanWindow window(file, size, stop);
  for (uint64_t at = 0; at < size;) {
    const ByteView part = window.at(at, 1u << 20);
    if (window.stopped()) {
      report->stopped = true;
      return {};
    }
    LLMC_TRY(window.failure());
    all.update(part);
    const uint64_t skip = at < user_block_bytes ? std::min<uint64_t>(user_block_bytes - at, part.size()) : 0;
    behind.update(part.subspan(skip));
    at += part.size();
    report->bytes += part.size();
  }
  *whole = all.finish();
  *body = behind.finish();
  if (window.gaps().empty()) return {};
  report->unreadable += window.unreadable();
  const auto& [begin, end] = *window.gaps().begin();
  *unread = std::to_string(window.unreadable()) + " bytes cannot be read from the medium, the first of them " + std::to_string(begin) + " to " +
            std::to_string(end - 1) + " in the file";
  return {};
}

}  // namespace

std::string Finding::describe() const {
  std::string text = printable(file.native());
  if (shard) text += ", shard " + std::to_string(*shard);
  if (chunk) text += ", chunk " + std::to_string(*chunk);
  text += ": " + message;
  const char* separator = "; lost with it: ";
  for (const std::string& name : entries) {
    text += separator + printable(name);
    separator = ", ";
  }
  if (more_entries) text += " and " + std::to_string(more_entries) + " more";
  return text;
}

Status verify_shard(const fs::path& path, const ManifestShard* expected, const Manifest* manifest, uint32_t number,
                    const StopRequest& stop, VerifyReport* report) {
  ++report->shards;
  auto found = [&](const std::string& message) -> Finding& {
    Finding finding;
    finding.file = path;
    if (expected) finding.shard = number;
    finding.message = message;
    report->findings.push_back(std::move(finding));
    return report->findings.back();
  };
  // Messages from below begin with the file's name, which a finding has already.
  auto strip = [&](const Status& status) {
    const std::string prefix = printable(path.native()) + ": ";
    return status.message().rfind(prefix, 0) == 0 ? status.message().substr(prefix.size()) : status.message();
  };
  auto opened = File::open_read(path);
  if (!opened.ok()) {
    if (opened.status().code() != Code::missing || !expected) return opened.status();
    found("this shard of the set is missing");
    return {};
  }
  const File file = std::move(*opened);
  LLMC_ASSIGN(const uint64_t size, file.size());

  Digest whole{}, body{};
  std::string unread;
  LLMC_TRY(hash_file(file, size, stop, &whole, &body, report, &unread));
  if (report->stopped) return {};
  if (!unread.empty()) found(unread);
  if (expected && expected->bytes != size) {
    found("has " + std::to_string(size) + " bytes instead of " + std::to_string(expected->bytes));
  }
  const bool whole_matches = !expected || whole == expected->sha256;

  Digest block_digest{};
  auto block = ShardFile::read_block(path, &block_digest);
  if (!block.ok()) {
    if (block.status().code() != Code::corrupt) return block.status();
    found(strip(block.status()));
    return {};
  }
  if (expected && (block_digest != expected->user_block || block->plan != manifest->part_of(number).plan ||
                   block->shard != expected->number)) {
    found("not the shard that the manifest speaks of: it is shard " + std::to_string(block->shard) +
          " of another archive, or another version of it");
    return {};
  }
  // In an appended set the block has the number in its part.
  const uint32_t shown = expected ? number : block->shard;
  auto shard = ShardFile::open(path);
  if (!shard.ok()) {
    if (shard.status().code() != Code::corrupt) return shard.status();
    found(strip(shard.status())).shard = shown;
    return {};
  }
  if (expected && (shard->index().entries.size() != expected->entries ||
                   shard->block().text_bytes != expected->text_bytes || shard->block().chunks != expected->chunks)) {
    found("the manifest and the shard disagree about its size");
  }
  uint64_t damaged = 0;
  if (shard->has_dictionary()) {
    const auto dictionary = shard->read_dictionary();
    if (!dictionary.ok()) {
      if (dictionary.status().code() != Code::corrupt) return dictionary.status();
      ++damaged;
      uint64_t depending = 0;
      Finding& finding = found(strip(dictionary.status()));
      finding.shard = shown;
      size_t named = 0;
      for (uint32_t c = 0; c < shard->block().chunks; ++c) {
        if (shard->index().chunks[c].codec != Codec::primed) continue;
        ++depending;
        const uint64_t begin = uint64_t{c} * block->chunk_bytes;
        named = name_entries(shard->index(), begin, begin + block->chunk_size(c), &finding, named);
      }
      finding.message += "; " + std::to_string(depending) + " of " + std::to_string(shard->block().chunks) + " chunks begin with it";
    }
  }
  if (const auto adaptation = shard->read_adaptation(); !adaptation.ok()) {
    if (adaptation.status().code() != Code::corrupt) return adaptation.status();
    ++damaged;
    found(strip(adaptation.status()) + "; without a sound copy of it the model cannot decode").shard = shown;
  }
  for (uint32_t c = 0; c < shard->block().chunks; ++c) {
    if (asked(stop)) {
      report->stopped = true;
      return {};
    }
    auto frame = shard->read_frame(c);
    if (frame.ok()) {
      ++report->chunks;
      continue;
    }
    if (frame.status().code() != Code::corrupt) return frame.status();
    ++report->chunks;
    ++damaged;
    std::string message = strip(frame.status());
    const std::string prefix = "shard " + std::to_string(block->shard) + " chunk " + std::to_string(c) + ": ";
    if (message.rfind(prefix, 0) == 0) message = message.substr(prefix.size());
    Finding& finding = found(message);
    finding.shard = shown;
    finding.chunk = c;
    const uint64_t begin = uint64_t{c} * block->chunk_bytes;
    name_entries(shard->index(), begin, begin + block->chunk_size(c), &finding);
  }
  if (damaged == 0 && unread.empty() && (body != block->body || !whole_matches)) {
    found("bytes outside of the frames and the index have changed (SHA-256): llmc-batch reads all of it, HDF5 tools "
          "may not")
        .shard = shown;
  }
  return {};
}

namespace {

// `damaged`: findings about `file` were made. `stated`: by the manifest, that there is parity.
Status verify_parity(const fs::path& file, bool damaged, bool stated, std::optional<uint32_t> shard, const StopRequest& stop,
                     VerifyReport* report) {
  const fs::path parity = parity_path(file);
  std::error_code error;
  if (!stated && !fs::exists(parity, error)) return {};
  ++report->parity_files;
  auto found = [&](const fs::path& where, const std::string& message) {
    Finding finding;
    finding.file = where;
    finding.shard = shard;
    finding.message = message;
    report->findings.push_back(std::move(finding));
  };
  const auto state = examine_parity(file, parity, stop);
  if (state.status().code() == Code::interrupted) {
    report->stopped = true;
    return {};
  }
  if (!state.ok()) {
    if (state.status().code() != Code::missing && state.status().code() != Code::corrupt) return state.status();
    found(parity, state.status().code() == Code::missing ? "this parity file is missing" : "this parity file cannot be used");
    if (damaged) ++report->beyond_repair;
    return {};
  }
  if (!damaged && !state->file_sound) {
    found(parity, "this is the parity of another file");
    return {};
  }
  if (!state->parity_sound) found(parity, "this parity file is damaged; 'repair' makes it anew");
  if (!damaged) return {};
  ++(state->possible() ? report->repairable : report->beyond_repair);
  found(file, (state->possible() ? "can be repaired: " : "cannot be repaired: ") + state->describe());
  return {};
}

// Of all shards, which are sound, and of the indexes of names beside them.
class Joined {
 public:
  Joined(const fs::path& path, ArchiveReader& reader, VerifyReport* report) : path_(path), reader_(reader), report_(report) {}

  Status check_parts() {
    const Manifest& manifest = *reader_.manifest();
    uint64_t entries = 0, tokens = 0, coded = 0;
    for (size_t p = 0; p < reader_.parts(); ++p) {
      const auto [first, end] = reader_.part_shards(p);
      ContentDigest content;
      uint64_t entries_here = 0, last_end = 0, last_size = 0;
      std::string last;
      for (uint32_t s = first; s < end; ++s) {
        LLMC_ASSIGN(const auto shard, reader_.shard(s));
        for (size_t i = 0; i < shard->index().entries.size(); ++i) {
          const IndexEntry& e = shard->index().entries[i];
          const bool goes_on = e.offset > 0;
          const bool joins = goes_on ? e.entry.name == last && e.offset == last_end && e.entry.size == last_size
                                     : last_end == last_size && (entries_here == 0 || e.entry.name > last);
          if (!joins) found("'" + printable(e.entry.name) + "' does not go on where the shard before ended", s);
          last = e.entry.name;
          last_end = e.offset + e.size;
          last_size = e.entry.size;
          if (!goes_on) {
            ++entries_here;
            if (s < named_end()) shards_sum_.add({last, s, static_cast<uint32_t>(i)});
          }
          content.add(e);
        }
        for (const IndexChunk& c : shard->index().chunks) {
          tokens += c.tokens;
          coded += c.frame_size;
        }
      }
      if (last_end != last_size) found("'" + printable(last) + "' has no end", end - 1);
      if (entries_here != manifest.parts[p].entries || content.finish() != manifest.parts[p].content) {
        found("the shards do not hold what the manifest says", end - 1);
      }
      entries += entries_here;
    }
    if (entries != manifest.entries || tokens != manifest.tokens || coded != manifest.coded_bytes) {
      found("the shards do not hold what the manifest says", static_cast<uint32_t>(manifest.shards.size() - 1));
    }
    return {};
  }

  // They hold each name of their shards once; a name that two parts have is told here too.
  Status check_names(const StopRequest& stop) {
    const std::vector<ManifestNames>& rows = reader_.manifest()->names;
    std::vector<NameIndex> indexes;
    indexes.reserve(rows.size());
    for (const ManifestNames& row : rows) {
      auto index = NameIndex::open(path_ / names_name(row.first, row.end), row.first, row.end - row.first);
      if (!index.ok()) return wrong(index.status());
      indexes.push_back(std::move(*index));
    }
    std::vector<NameIndexStream> streams;
    for (NameIndex& index : indexes) streams.emplace_back(index);
    std::vector<NameStream*> all;
    for (NameIndexStream& stream : streams) all.push_back(&stream);
    MergedNames names(std::move(all));
    NamesSum sum;
    std::string last;
    for (uint64_t n = 0;; ++n) {
      if (n % 65536 == 0 && asked(stop)) {
        report_->stopped = true;
        return {};
      }
      const auto place = names.next();
      if (!place.ok()) return wrong(place.status());
      if (!*place) break;
      if ((*place)->name == last) found("'" + printable(last) + "' is there twice", (*place)->shard);
      last = (*place)->name;
      sum.add(**place);
    }
    if (!(sum == shards_sum_)) return wrong({Code::corrupt, printable(path_.native()) + ": the indexes of names do not hold the names of the shards"});
    return {};
  }

 private:
  uint32_t named_end() const { return reader_.manifest()->names.empty() ? 0 : reader_.manifest()->names.back().end; }
  void found(const std::string& message, uint32_t shard) {
    Finding finding;
    finding.file = reader_.shards()[shard].path;
    finding.shard = shard;
    finding.message = message;
    report_->findings.push_back(std::move(finding));
  }
  Status wrong(const Status& status) {
    if (status.code() != Code::corrupt) return status;
    Finding finding;
    finding.file = path_;
    finding.message = status.message() + "; names are found without it, more slowly";
    report_->findings.push_back(std::move(finding));
    return {};
  }

  const fs::path& path_;
  ArchiveReader& reader_;
  VerifyReport* report_;
  NamesSum shards_sum_;
};

}  // namespace

Result<VerifyReport> verify_archive(const fs::path& path, const StopRequest& stop) {
  VerifyReport report;
  auto opened = ArchiveReader::open(path);
  if (!opened.ok()) {
    if (opened.status().code() != Code::corrupt) return opened.status();
    std::error_code error;
    const bool single = fs::is_regular_file(path, error);
    if (single) LLMC_TRY(verify_shard(path, nullptr, nullptr, 0, stop, &report));
    if (report.findings.empty() && !report.stopped) {
      Finding finding;
      finding.file = path;
      finding.message = opened.status().message();
      report.findings.push_back(std::move(finding));
    }
    if (!report.stopped) LLMC_TRY(verify_parity(single ? path : path / manifest_name, true, false, {}, stop, &report));
    return report;
  }
  ArchiveReader& reader = *opened;
  const Manifest* manifest = reader.manifest();
  for (uint32_t s = 0; s < reader.shards().size() && !report.stopped; ++s) {
    const ManifestShard* row = manifest ? &manifest->shards[s] : nullptr;
    const size_t before = report.findings.size();
    LLMC_TRY(verify_shard(reader.shards()[s].path, row, manifest, s, stop, &report));
    if (report.stopped) break;
    const auto number = manifest ? std::optional(s) : std::nullopt;
    LLMC_TRY(verify_parity(reader.shards()[s].path, report.findings.size() > before, row && row->parity_bytes > 0, number, stop, &report));
  }
  if (manifest && !report.stopped) LLMC_TRY(verify_parity(path / manifest_name, false, manifest->parity > 0, {}, stop, &report));
  if (manifest && !report.stopped) {
    LLMC_ASSIGN(const std::vector<std::string> wrong, check_companions(path, manifest->companions));
    for (const std::string& message : wrong) {
      Finding finding;
      finding.file = path;
      finding.message = message + "; the archive itself does not need this file";
      report.findings.push_back(std::move(finding));
    }
  }
  if (manifest && !report.stopped) {
    for (const ManifestNames& row : manifest->names) {
      const auto checked = check_names(path, row, stop);
      if (checked.status().code() == Code::interrupted) {
        report.stopped = true;
        return report;
      }
      LLMC_TRY(checked.status());
      if (!*checked) continue;
      Finding finding;
      finding.file = path / names_name(row.first, row.end);
      finding.message = "this index of names is missing, damaged or cannot be read from the medium: names are found without it, "
                        "more slowly; 'repair' makes it anew";
      report.findings.push_back(std::move(finding));
      ++report.repairable;
    }
  }
  if (!manifest || !report.sound()) return report;

  // All shards are what the manifest says; now whether they belong together.
  Joined joined(path, reader, &report);
  LLMC_TRY(joined.check_parts());
  if (!manifest->names.empty()) LLMC_TRY(joined.check_names(stop));
  return report;
}

}  // namespace llmc
