// Finished work, kept safe until its shard is written: an append-only log in the work folder.
//
// The log is a row of segment files, spool-000000, spool-000001, ...; each starts with a header
// (plan digest) and holds records that carry their own length and CRC. A segment goes when every
// shard that has a record in it is committed, so that disk space follows the shards in work. On
// open, each segment is read up to its last valid record and cut there. Frames stay on disk; the
// index in memory takes 16 bytes a chunk of the shards in work.
//
// One thread; one process at a time (the set's lock sees to that). A segment that could not be
// written is cut back to its last record, so that a full disk loses nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "plan/plan.h"

namespace llmc {

struct SpoolOptions {
  uint64_t segment_bytes = uint64_t{64} << 20;  // a segment that has grown to this is followed by the next
  double sync_seconds = 10;                     // at most this much work is lost to a power cut
  bool read_only = false;                       // only looks: nothing is cut off, removed or added
  std::function<double()> now;                  // seconds on a steady clock; empty: the system's
};

class Spool {
 public:
  // `plan` must outlive the spool. `folder` exists.
  static Result<Spool> open(const std::filesystem::path& folder, const Plan& plan, SpoolOptions options = {});

  std::optional<uint32_t> seed(uint32_t shard) const;
  bool has_frame(uint32_t shard, uint32_t chunk) const;
  const Digest* digest(size_t piece) const;  // by index into Plan::pieces(); null: not there
  // The shard's dictionary is here; one of no bytes says that it has none.
  bool has_dictionary(uint32_t shard) const;
  uint32_t frames(uint32_t shard) const;     // how many frames of this shard are here

  // What is here already is left as it is. Frames are taken as they come: their owner has
  // checked them.
  Status add_seed(uint32_t shard, uint32_t seed);
  Status add_frame(uint32_t shard, uint32_t chunk, ByteView frame);
  Status add_digest(size_t piece, const Digest& digest);
  Status add_dictionary(uint32_t shard, ByteView frame);

  // Code::corrupt where the bytes on disk have changed since.
  Result<Bytes> read_frame(uint32_t shard, uint32_t chunk) const;
  Result<Bytes> read_dictionary(uint32_t shard) const;

  // The shard is committed: forgets all of it and deletes segments that nothing needs any more.
  Status drop(uint32_t shard);

  // Makes what was added durable: now, or where sync_seconds have gone by since the last time.
  Status sync();
  Status sync_if_due();

  uint64_t bytes_on_disk() const;
  uint64_t syncs() const { return syncs_; }  // fdatasync calls so far
  // Bytes cut off on open: torn or damaged records.
  uint64_t bytes_cut() const { return cut_; }
  // Deletes all segments.
  Status remove();

 private:
  struct Location {
    uint64_t offset = 0;   // of the payload
    uint32_t segment = 0;
    uint32_t length = 0;   // 0: not here (no frame is empty)
  };
  struct ShardState {
    std::optional<uint32_t> seed;
    uint32_t frames = 0;
    std::vector<Location> chunks;
    std::optional<Location> dictionary;
    std::vector<uint32_t> segments;  // that hold a record of this shard, each once
  };
  struct Segment {
    uint64_t bytes = 0;  // up to the end of its last record
    uint32_t shards = 0;  // not dropped, with a record in it
  };

  Spool(const std::filesystem::path& folder, const Plan& plan, SpoolOptions options);
  std::filesystem::path segment_path(uint32_t number) const;
  uint32_t crc_seed() const;
  Status scan(uint32_t number);
  Status create_segment();
  // Notes a record that stands on disk. Numbers that the plan does not have are passed over.
  void note(uint32_t segment, uint8_t kind, uint32_t shard, uint32_t number, uint64_t offset, uint32_t length,
            ByteView payload);
  Result<Bytes> read_record(const Location& where) const;
  Status append(uint8_t kind, uint32_t shard, uint32_t number, ByteView payload);
  ShardState& state(uint32_t shard);
  Status delete_unused();
  double now() const;

  std::filesystem::path folder_;
  const Plan* plan_;
  SpoolOptions options_;
  std::map<uint32_t, Segment> segments_;
  File active_;  // the last segment, for writing; not open: the next record opens a new one
  mutable File reader_;  // the segment that was read last
  mutable uint32_t reader_segment_ = 0;
  uint32_t next_segment_ = 0;
  std::unordered_map<uint32_t, ShardState> shards_;
  std::unordered_map<size_t, Digest> digests_;
  uint64_t cut_ = 0;
  bool unsynced_ = false;
  uint64_t syncs_ = 0;
  double synced_at_ = 0;
};

}  // namespace llmc
