// An archive, open for reading: a folder with a manifest, one .h5 file, or one shard out of a
// set (an archive of its own, with the text and entries of that shard alone).
//
// What is checked on opening and reading, before a byte is believed: the manifest's SHA-256; a
// shard's user block (CRC, and for sets its SHA-256 in the manifest, so that a shard of another set
// is refused); the index's SHA-256 and every value in it; each frame's seeded CRC and its agreement
// with the index. libhdf5 is not used at all. What is *not* checked here is HDF5's own metadata,
// which our reader does not need: verify.h hashes whole files.
//
// Keeps one shard open, the one used last; its index is in memory. One thread; several readers
// may be open on one archive, each with its thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/manifest.h"
#include "archive/name_index.h"
#include "archive/shard_file.h"

namespace llmc {

class ArchiveReader {
 public:
  // Shards are counted from 0 in the order of their text, also where a lone shard of a set is open.
  struct ShardInfo {
    std::filesystem::path path;
    uint32_t number = 0;       // in its set: names the shard to the user, seeds frames
    uint64_t file_bytes = 0;
    uint64_t text_offset = 0;  // in the text of this archive
    uint64_t text_bytes = 0;
    uint64_t entries = 0;
    uint32_t chunks = 0;
  };
  // A part of one shard's text, and the chunks that hold it.
  struct Span {
    uint32_t shard = 0;
    uint64_t begin = 0, end = 0;  // in the shard's text
    uint32_t first_chunk = 0, last_chunk = 0;  // inclusive
  };
  struct Found {
    uint32_t shard = 0;
    size_t entry = 0;  // in that shard's index; pieces of a cut entry go on in the next shards
  };

  // Code::missing: no such file, or a set that was never finished. Code::corrupt: not an archive, or
  // damaged. Code::failure: written by a newer version.
  static Result<ArchiveReader> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  bool is_set() const { return manifest_.has_value(); }
  const Manifest* manifest() const { return manifest_ ? &*manifest_ : nullptr; }

  const Digest& model() const { return model_; }
  const std::string& model_name() const { return model_name_; }
  const Bytes& parameters() const { return parameters_; }
  uint32_t chunk_bytes() const { return chunk_bytes_; }
  uint64_t text_bytes() const { return text_bytes_; }
  uint64_t chunks() const { return chunks_; }
  const std::vector<ShardInfo>& shards() const { return shards_; }

  // Valid for as long as the caller holds it, also when another shard is opened.
  Result<std::shared_ptr<const ShardFile>> shard(uint32_t shard);
  Result<Bytes> read_frame(uint32_t shard, uint32_t chunk);
  // What the model is to be adapted with; no bytes: nothing. Each shard has a copy: the first sound one is given.
  Result<Bytes> adaptation();

  // The parts of shards that hold bytes [begin, end) of the text. Code::usage beyond its end.
  Result<std::vector<Span>> spans(uint64_t begin, uint64_t end) const;
  // The (first piece of the) entry of this name: by the indexes of names, and where there are none (or they cannot be
  // used, of which the log tells once) by bisection over the shards of each part.
  Result<std::optional<Found>> find(std::string_view name);
  // The parts of a set, in the order of its text; one for all else.
  size_t parts() const { return manifest_ ? manifest_->parts.size() : 1; }
  // Shards [first, end) of one.
  std::pair<uint32_t, uint32_t> part_shards(size_t part) const;
  // What find() has read of indexes of names.
  uint64_t name_blocks_read() const;

  // SHA-256 of what the archive holds, whatever model, codec or chunk size it was made with: for
  // each piece its name, kind, mode, mtime, target, size, packing and SHA-256; of several parts, that of
  // their digests. Reads all indexes.
  Result<Digest> content_digest();

 private:
  void open_names();
  Result<std::optional<Found>> find_in(std::string_view name, uint32_t first, uint32_t end);

  std::filesystem::path path_;
  std::optional<Manifest> manifest_;
  Digest model_{};
  std::string model_name_;
  Bytes parameters_;
  uint32_t chunk_bytes_ = 0;
  uint64_t text_bytes_ = 0;
  uint64_t chunks_ = 0;
  std::vector<ShardInfo> shards_;
  // By number of the row; null where it cannot be used.
  std::vector<std::unique_ptr<NameIndex>> names_;
  bool names_opened_ = false;
  std::shared_ptr<const ShardFile> current_;
  uint32_t current_shard_ = 0;
};

// The sum behind content_digest: pieces in order.
class ContentDigest {
 public:
  ContentDigest();
  void add(const IndexEntry& entry);
  Digest finish() { return hash_.finish(); }

 private:
  Sha256 hash_;
};

}  // namespace llmc
