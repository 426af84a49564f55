// Brings a damaged archive back with its parity files, byte for byte, in place.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "archive/parity.h"

namespace llmc {

struct ArchiveRepair {
  std::vector<std::string> repaired;  // one sentence for each file that was, or could be, made whole
  std::vector<std::string> lost;      // and for each that cannot
  uint64_t sound = 0;                 // files that need nothing
  bool stopped = false;               // by `stop`: the other files were not looked at
};

// Looks at each file of the archive that has parity, at each parity file, and at the indexes of names,
// which are made from the shards; of a set that has these and no parity, at whether the shards are
// whole. With `dry_run` nothing is written. A repaired file is made beside the damaged one, held against
// its SHA-256, and then takes its place. What the medium does not give (EIO) is damage; any other error of reading, such as a file that
// may not be read, is returned. `stop` ends it between two readings; the file in work stays as it was. Code::failure where the archive has neither, Code::missing
// where there is no archive, Code::locked where another repair is at work. One thread.
Result<ArchiveRepair> repair_archive(const std::filesystem::path& path, bool dry_run, const StopRequest& stop = {});

}  // namespace llmc
