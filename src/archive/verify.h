// Whether an archive is still what was committed: no model is needed and no text is decoded.
//
// For each shard: the user block, SHA-256 of all bytes behind it and (in a set) of the whole
// file, the index, and every frame's CRC and agreement with the index. What is found wrong is
// named by shard, chunk and entry, and the search goes on; what the medium does not give (EIO) is damage.
// Like the reader it never runs libhdf5 over a file. Each function is one thread's; different shards may
// be checked by different threads.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/file_digest.h"
#include "archive/manifest.h"

namespace llmc {

struct Finding {
  std::filesystem::path file;
  std::optional<uint32_t> shard;     // number in the set
  std::optional<uint32_t> chunk;     // in the shard
  std::vector<std::string> entries;  // names of what is lost with it, at most max_finding_entries
  uint64_t more_entries = 0;         // beyond these
  std::string message;

  std::string describe() const;
};

inline constexpr size_t max_finding_entries = 100;

struct VerifyReport {
  std::vector<Finding> findings;
  uint64_t shards = 0;  // looked at
  uint64_t chunks = 0;  // frames whose CRC was checked
  uint64_t bytes = 0;   // hashed
  uint64_t unreadable = 0;  // of these, taken for zeros since the medium refused them
  // Of damaged files with a parity file beside them: how many of them it can bring back, and the rest.
  uint64_t repairable = 0, beyond_repair = 0;
  uint64_t parity_files = 0;  // looked at
  bool stopped = false; // by `stop`: what was not reached is not claimed

  bool sound() const { return findings.empty() && !stopped; }
};

// One shard file. `expected` is its row in the manifest; null for a file alone. A damaged file is
// a finding; a Status is returned only where the check itself could not be made (I/O error).
Status verify_shard(const std::filesystem::path& path, const ManifestShard* expected, const Manifest* manifest,
                    uint32_t number, const StopRequest& stop, VerifyReport* report);

// A set or a file. Code::missing where there is none. Beyond single shards, entries that are cut
// over shards must join, and the content digest must be the manifest's.
//
// Parity files are checked too, and where a file is damaged its parity is asked whether it can bring it
// back: a finding of its own for each file says so.
Result<VerifyReport> verify_archive(const std::filesystem::path& path, const StopRequest& stop = {});

}  // namespace llmc
