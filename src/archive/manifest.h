// manifest.json: what a set of shards consists of. Its appearance is what commits a set.
//
// JSON, so that people and scripts read it; its last member is the SHA-256 of all bytes before it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "archive/companion.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"

namespace llmc {

struct VerifiedSample {
  double rate = 0;  // 0..1
  uint32_t seed = 0;
  bool operator==(const VerifiedSample&) const = default;
};

// What one run of compress or append has brought: a set of its own, whose shards follow those of the parts before.
struct ManifestPart {
  Digest plan{};
  Digest content{};  // of its entries; see content_digest()
  uint32_t shards = 0;
  uint64_t entries = 0;  // one that is cut over shards counts once
  std::optional<VerifiedSample> verified;  // the chunks that were decoded again before they were kept; nothing: not recorded

  uint32_t first_shard = 0;  // number in the set; by settle()
};

struct ManifestShard {
  std::string file;  // shard_name() of its place in the list
  uint64_t bytes = 0;
  Digest sha256{};      // of the whole file, as sha256sum prints it
  Digest user_block{};  // SHA-256 of its first 512 bytes: ties the shard to this set
  uint64_t text_bytes = 0;
  uint64_t entries = 0;  // pieces of entries
  uint32_t chunks = 0;
  uint64_t parity_bytes = 0;  // of its parity file; 0: it has none
  Digest parity{};            // SHA-256 of that file

  // By settle(): where it stands in its part, as its own user block says.
  uint32_t part = 0, number = 0;
  uint64_t part_offset = 0;  // in the text of the part
};

// An index of the names in shards [first, end); see name_index.h.
struct ManifestNames {
  uint32_t first = 0, end = 0;
  uint64_t names = 0, bytes = 0;
  Digest sha256{};  // of the file
};

// The content digest of a set of parts with these: that of a part alone; of several, SHA-256 over all.
Digest content_of_parts(const std::vector<Digest>& contents);

struct Manifest {
  Digest content{};  // of names, attributes and bytes of all entries; see content_digest()
  Digest model{};
  std::string model_name;
  Bytes parameters;
  uint32_t chunk_bytes = 0;
  uint64_t shard_bytes = 0;
  uint64_t entries = 0;  // of the set: one that is cut over shards counts once
  uint64_t text_bytes = 0;
  uint64_t chunks = 0;
  uint64_t tokens = 0;
  uint64_t coded_bytes = 0;  // sum of all frames
  double parity = 0;  // rate of the parity files; 0: there are none
  std::vector<ManifestShard> shards;
  std::vector<ManifestPart> parts;  // at least one
  std::vector<ManifestNames> names;  // from shard 0 on, without gaps; empty: none
  std::vector<ManifestCompanion> companions;  // files beside the shards; none where made with --bare

  const ManifestPart& part_of(uint32_t shard) const { return parts[shards[shard].part]; }
  // Fills in what follows from the rest; false where parts and shards do not agree. parse() has called it.
  bool settle();
  std::string serialize() const;
  // Every value and sum is checked. Code::corrupt, with `name` in the message; Code::failure where a
  // newer version wrote it.
  static Result<Manifest> parse(ByteView bytes, const std::string& name);
  static Result<Manifest> load(const std::filesystem::path& path);
};

}  // namespace llmc
