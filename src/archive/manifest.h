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
};

struct Manifest {
  Digest plan{};
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
  // The chunks that were decoded again before they were kept; see commands/sample.h. Nothing: not recorded.
  std::optional<VerifiedSample> verified;
  double parity = 0;  // rate of the parity files; 0: there are none
  std::vector<ManifestShard> shards;
  std::vector<ManifestCompanion> companions;  // files beside the shards; none where made with --bare

  std::string serialize() const;
  // Every value and sum is checked. Code::corrupt, with `name` in the message; Code::failure where a
  // newer version wrote it.
  static Result<Manifest> parse(ByteView bytes, const std::string& name);
  static Result<Manifest> load(const std::filesystem::path& path);
};

}  // namespace llmc
