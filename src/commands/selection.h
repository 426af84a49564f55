// What of an archive is wanted: all, some shards, some documents, a range of bytes; as parts of
// its text in rising order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/reader.h"
#include "base/status.h"

namespace llmc {

struct ShardRange {
  uint32_t first = 0, end = 0;  // exclusive
  bool empty() const { return first >= end; }
};

// Shards as the user names them: "0,3-5", or "2/16" for the second of sixteen equal parts.
struct ShardList {
  std::vector<std::pair<uint32_t, uint32_t>> numbers;  // inclusive
  uint32_t part = 0, parts = 0;                        // instead, where parts > 0; part from 1
  bool all() const { return numbers.empty() && parts == 0; }
  // The part's shards of `count`: none where there are more parts than shards.
  ShardRange part_of(uint32_t count) const;
};
Result<ShardList> parse_shard_list(const std::string& text, const std::string& option);

struct Selection {
  ShardList shards;
  std::vector<std::string> documents;                   // names, names of folders, or globs; empty: all
  std::optional<std::pair<uint64_t, uint64_t>> range;   // of the archive's text or of the one document
};

Result<std::pair<uint64_t, uint64_t>> parse_range(const std::string& text);  // "A:B", B exclusive

// Something to be given back: an entry, or one record of it.
struct Target {
  uint32_t shard = 0;     // where its (first piece's) entry stands
  uint32_t entry = 0;     // in that shard's index
  int64_t record = -1;    // number in the entry, from 0; -1: the entry itself
  std::string name;       // of a record: as `list --documents` prints it
  uint64_t offset = 0;    // of its first byte here in the entry: not 0 where a shard was left out
  uint64_t size = 0;      // bytes of text
  uint8_t method = 0;     // 8: a deflated zip member
};

// A stretch of text that belongs to one target.
struct Part {
  uint64_t begin = 0, end = 0;  // in the archive's text
  uint32_t target = 0;          // index into Selected::targets
  uint32_t shard = 0, entry = 0;
  bool piece = false;           // all of the entry's piece in that shard: its SHA-256 is known
};

// A run of chunks of one shard, inclusive.
struct ChunkRun {
  uint32_t shard = 0, first = 0, last = 0;
  uint32_t wanted = 0;  // bytes of the last one's text, from its begin; 0: all of it
};

struct Selected {
  std::vector<Target> targets;  // entries without text included
  std::vector<Part> parts;      // rising, not overlapping, none empty
  std::vector<ChunkRun> chunks;
  uint64_t chunk_count = 0;
  uint64_t chunk_bytes = 0;     // plain bytes of these chunks
  std::vector<std::string> lost_shards;  // one sentence for each that cannot be read: nothing of it is in the above
};

// Errors: Code::usage for shards and ranges that the archive does not have, Code::failure for a
// document that is not there.
Result<Selected> select(ArchiveReader& archive, const Selection& selection);
// Chunks and their sums anew, from the parts.
Status collect_chunks(ArchiveReader& archive, Selected* selected);

// "corpus.tar/member", "log.jsonl:17": how a record is called. `number` counts from 0.
std::string record_name(const Entry& entry, const Record& record, uint64_t number);

}  // namespace llmc
