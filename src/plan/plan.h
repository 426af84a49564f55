// What a set will look like: entries, cut into shards and chunks, before a byte is coded.
//
// The text of a set is the plain bytes of its regular files, one after the other in entry
// order. It is cut into shards (one HDF5 file each): a shard ends where an entry ends; an
// entry that does not fit in what is left of a shard that holds text opens the next; an entry
// larger than a shard is cut at the shard size into pieces over consecutive shards. The text
// of a shard is cut into chunks of equal size, but for the last. Entries without text
// (folders, links, empty files) stand as pieces of size 0 in the shard that is open then.
//
// A plan is a pure function of entries and options: never of ranks, time or hosts. It is
// immutable once made: any thread may read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/entry.h"
#include "base/status.h"

namespace llmc {

// Limits of the format. Readers enforce them before they take memory.
inline constexpr uint64_t max_shards = 1'000'000;
inline constexpr uint32_t max_plan_chunk_bytes = 1u << 30;
inline constexpr uint64_t max_shard_chunks = 0xFFFFFFFE;  // 0xFFFFFFFF marks "any chunk" in frames
inline constexpr uint64_t max_shard_pieces = 1u << 20;     // entries, whole or cut; the next one opens a shard
inline constexpr size_t max_name_bytes = 4095;             // names of entries and targets of links: PATH_MAX
inline constexpr size_t max_parameter_bytes = 512;  // they travel in HDF5 filter values as well
inline constexpr size_t max_model_name_bytes = 255;
inline constexpr size_t max_plan_adaptation_bytes = size_t{1} << 20;

struct PlanOptions {
  uint64_t shard_bytes = uint64_t{256} << 20;  // text bytes of a shard; 0: one shard, however large
  uint32_t chunk_bytes = 64u << 10;            // text bytes of a chunk, 1..max_plan_chunk_bytes
  Bytes parameters;                            // coding parameters as their owner serialises them
  Digest model{};                              // SHA-256 of the model file; zeros: no model
  std::string model_name;                      // for messages; UTF-8
  Bytes adaptation;                            // what the model is adapted with, which each shard keeps; empty: nothing
};

// The part of one entry that stands in one shard.
struct Piece {
  uint32_t entry = 0;         // index into Plan::entries()
  uint32_t shard = 0;
  uint64_t offset = 0;        // of the piece in its entry, bytes
  uint64_t size = 0;
  uint64_t shard_offset = 0;  // of the piece in its shard's text, bytes
  // The records that start in this piece: a slice of Entry::records.
  uint64_t first_record = 0;
  uint64_t record_count = 0;
  uint64_t records_base = 0;  // end of the record before the first one: offsets count from it
  uint64_t packed_begin = 0, packed_end = 0;  // of Records::packed
};

struct Shard {
  uint64_t text_offset = 0;  // of the shard in the set's text, bytes
  uint64_t text_size = 0;
  uint64_t first_piece = 0;
  uint64_t pieces = 0;
};

class Plan {
 public:
  // Checks names, kinds, order, records and limits: Code::usage with the name of the entry.
  static Result<Plan> make(std::vector<Entry> entries, PlanOptions options);

  const PlanOptions& options() const { return options_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<Shard>& shards() const { return shards_; }  // at least one
  const std::vector<Piece>& pieces() const { return pieces_; }  // of all shards, in order
  std::span<const Piece> pieces(uint32_t shard) const;
  uint64_t text_size() const { return text_size_; }
  uint64_t chunks() const { return chunks_; }

  uint32_t shard_chunks(uint32_t shard) const;
  uint64_t chunk_offset(uint32_t chunk) const { return uint64_t{chunk} * options_.chunk_bytes; }  // in its shard
  uint32_t chunk_size(uint32_t shard, uint32_t chunk) const;
  // The shard that holds this byte of the set's text; offset < text_size().
  uint32_t shard_of(uint64_t text_offset) const;
  // The pieces with text in [begin, end) of the shard's text, in order. Pieces of size 0
  // between them are included.
  std::span<const Piece> pieces_in(uint32_t shard, uint64_t begin, uint64_t end) const;
  // Whether a piece has bytes of a file whose SHA-256 the archive keeps.
  bool has_digest(const Piece& piece) const { return piece.size > 0; }

  // SHA-256 over all that decides the archive's bytes: names, sizes, modes, times, records,
  // options, coding parameters, model digest. Sources (paths, inodes) are not part of it.
  const Digest& digest() const { return digest_; }

  // Stable, checksummed bytes, sources included.
  Bytes serialize() const;
  static Result<Plan> parse(ByteView bytes, const std::string& name);
  Status save(const std::filesystem::path& path) const;  // atomically
  static Result<Plan> load(const std::filesystem::path& path);

  // OK where a job that was planned as `saved` may go on with this plan: equal digests, and
  // every source file still the one that was planned (size, mtime, inode). Else Code::failure
  // with the first difference, by name.
  Status check_same_as(const Plan& saved) const;

 private:
  Status check_entries() const;
  Status cut();
  Status cut_records();
  Bytes archived_bytes() const;
  void close_shard(uint64_t* filled);

  PlanOptions options_;
  std::vector<Entry> entries_;
  std::vector<Shard> shards_;
  std::vector<Piece> pieces_;
  uint64_t text_size_ = 0;
  uint64_t chunks_ = 0;
  Digest digest_{};
};

// What check_entry_name lets through, at most max_name_bytes long: a name that
// an archive may carry and that cannot leave the folder it is extracted to by itself.
bool valid_entry_name(std::string_view name);

// Whether the input behind an entry is still the one that was planned (size, mtime, inode;
// standard input and entries without text always are). Code::failure by name where it is
// not, Code::missing where it has gone.
Status check_source(const Entry& entry);

}  // namespace llmc
