// list ARCHIVE: entries, documents or chunks, one a line.
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "archive/reader.h"
#include "base/log.h"
#include "commands/options.h"
#include "commands/selection.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

namespace {

// One row of a listing; names that are not UTF-8 also stand in hexadecimal, so that nothing is lost.
void put_name(ordered_json* row, const std::string& name) {
  (*row)["name"] = name;
  size_t pos = 0;
  bool utf8 = true;
  while (pos < name.size()) utf8 &= next_code_point(name, &pos) < invalid_utf8;
  if (!utf8) (*row)["name_hex"] = to_hex(as_bytes(name));
}

void print_row(const ordered_json& row) {
  std::puts(row.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

std::string time_text(int64_t ns) {
  const std::time_t seconds = static_cast<std::time_t>(ns / 1000000000 - (ns % 1000000000 < 0));
  std::tm parts{};
  char text[32] = "?";
  if (gmtime_r(&seconds, &parts)) std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string mode_text(const Entry& entry) {
  std::string text = entry.kind == Entry::Kind::directory ? "d" : entry.kind == Entry::Kind::symlink ? "l" : "-";
  for (int bit = 8; bit >= 0; --bit) text += entry.mode >> bit & 1 ? "xwr"[bit % 3] : '-';
  return text;
}

void list_entry(const IndexEntry& e, bool json) {
  static const char* const kinds[] = {"file", "directory", "symlink"};
  const Entry& entry = e.entry;
  if (json) {
    ordered_json row;
    put_name(&row, entry.name);
    row["kind"] = kinds[static_cast<int>(entry.kind)];
    row["size"] = entry.size;
    row["mode"] = entry.mode;
    row["mtime_ns"] = entry.mtime_ns;
    if (entry.kind == Entry::Kind::symlink) row["target"] = entry.target;
    if (entry.records_kind != RecordKind::whole) row["records"] = record_kind_name(entry.records_kind);
    if (e.size > 0 && e.whole()) row["sha256"] = to_hex(e.sha256);
    if (entry.unpacked) row["packed_sha256"] = to_hex(entry.source_digest);
    print_row(row);
    return;
  }
  std::printf("%s %14llu  %s  %s%s%s\n", mode_text(entry).c_str(), static_cast<unsigned long long>(entry.size),
              time_text(entry.mtime_ns).c_str(), printable(entry.name).c_str(),
              entry.kind == Entry::Kind::symlink ? " -> " : "", printable(entry.target).c_str());
}

// As sha256sum prints and reads it: a name with a newline, return or backslash is escaped and said to be.
void print_checksum(const std::string& name, const Digest& digest) {
  std::string shown;
  for (const char c : name) {
    shown += c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : std::string(1, c);
  }
  std::printf("%s%s  %s\n", shown == name ? "" : "\\", to_hex(digest).c_str(), shown.c_str());
}

Status list_checksums(ArchiveReader& archive) {
  uint64_t cut = 0;
  for (uint32_t s = 0; s < archive.shards().size(); ++s) {
    LLMC_ASSIGN(const auto file, archive.shard(s));
    for (size_t i = 0; i < file->index().entries.size(); ++i) {
      const IndexEntry& e = file->index().entries[i];
      if (e.entry.kind != Entry::Kind::file) continue;
      if (e.whole()) {
        print_checksum(e.entry.name, e.size ? e.sha256 : sha256({}));
      } else if (e.offset == 0 || (s == 0 && i == 0)) {
        log::error("{}: lies in several shards, which have the SHA-256 of their parts only; for the whole: "
                   "llmc-batch extract {} -o - --document '{}' | sha256sum",
                   printable(e.entry.name), printable(archive.path().native()), printable(e.entry.name));
        ++cut;
      }
    }
  }
  if (cut == 0) return {};
  return {Code::partial, std::to_string(cut) + " files have no line, since they are cut over shards"};
}

Status list_records(const IndexEntry& e, bool json) {
  RecordReader records(e.entry.records_kind, e.entry.records);
  Record record;
  for (uint64_t n = e.first_record; records.next(&record); ++n) {
    const std::string name = record_name(e.entry, record, n);
    if (json) {
      ordered_json row;
      put_name(&row, name);
      row["kind"] = record_kind_name(e.entry.records_kind);
      row["size"] = record.length;
      print_row(row);
    } else {
      std::printf("%14llu  %s\n", static_cast<unsigned long long>(record.length), printable(name).c_str());
    }
  }
  return {};
}

Status list_chunks(const ArchiveReader::ShardInfo& info, const ShardFile& file, bool json) {
  const auto& chunks = file.index().chunks;
  for (uint32_t c = 0; c < chunks.size(); ++c) {
    const uint64_t offset = info.text_offset + uint64_t{c} * file.block().chunk_bytes;
    if (json) {
      print_row({{"shard", info.number}, {"chunk", c}, {"text_offset", offset}, {"text_bytes", file.block().chunk_size(c)},
                 {"frame_offset", chunks[c].offset}, {"frame_bytes", chunks[c].frame_size}, {"tokens", chunks[c].tokens},
                 {"codec", codec_name(chunks[c].codec)}, {"text_crc32c", chunks[c].text_crc}});
    } else {
      std::printf("%6u %8u %14llu %10u %10u %9u  %s\n", info.number, c, static_cast<unsigned long long>(offset),
                  file.block().chunk_size(c), chunks[c].frame_size, chunks[c].tokens, codec_name(chunks[c].codec));
    }
  }
  return {};
}

}  // namespace

Status run_list(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("list", "llmc-batch list ARCHIVE [options]",
                "What an archive holds, one line each: mode, bytes, time (UTC), name.");
  set.positional("archive", 1);
  set.group("List").add_options()
      ("documents", po::bool_switch(), "documents, those inside files too (members, records, lines): bytes, name")
      ("chunks", po::bool_switch(), "chunks: shard, chunk, place in the text, bytes, coded bytes, tokens, codec")
      ("sha256", po::bool_switch(), "checksums of all files, for 'sha256sum -c' where they were extracted")
      ("json", po::bool_switch(), "one JSON object a line");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "list: no archive given"};
  const bool documents = set.get<bool>("documents"), chunks = set.get<bool>("chunks"), json = set.get<bool>("json");
  if (documents && chunks) return {Code::usage, "--documents and --chunks exclude each other"};
  if (set.get<bool>("sha256") && (documents || chunks || json)) {
    return {Code::usage, "--sha256 excludes --documents, --chunks and --json"};
  }
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(set.words()[0]));
  if (set.get<bool>("sha256")) return list_checksums(archive);
  for (uint32_t s = 0; s < archive.shards().size(); ++s) {
    LLMC_ASSIGN(const auto file, archive.shard(s));
    if (chunks) {
      LLMC_TRY(list_chunks(archive.shards()[s], *file, json));
      continue;
    }
    for (size_t i = 0; i < file->index().entries.size(); ++i) {
      const IndexEntry& e = file->index().entries[i];
      const bool first_here = e.offset == 0 || (s == 0 && i == 0);
      if (!documents) {
        if (first_here) list_entry(e, json);
      } else if (e.entry.records_kind != RecordKind::whole) {
        LLMC_TRY(list_records(e, json));
      } else if (e.entry.kind == Entry::Kind::file && first_here) {
        if (json) {
          list_entry(e, true);
        } else {
          std::printf("%14llu  %s\n", static_cast<unsigned long long>(e.entry.size), printable(e.entry.name).c_str());
        }
      }
    }
  }
  return {};
}

}  // namespace llmc
