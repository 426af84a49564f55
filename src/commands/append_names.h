// What of new entries a set has already.
#pragma once

#include <string>
#include <vector>

#include "archive/reader.h"
#include "base/entry.h"

namespace llmc {

enum class Existing { refuse, skip };  // of names that the set has

struct NewEntries {
  std::vector<Entry> entries;  // without folders that the set has, and what was skipped
  uint64_t skipped = 0;        // names that the set has
  uint64_t changed = 0;        // of these, with another size or time than there
};

// `entries` are sorted by name; the set's shards from `end` on do not count. Code::failure, naming the first: a name that the set
// has already (unless skipped), or that cannot stand beside what it has: a folder and a file of one name, or something below
// a file. Reads indexes of names where there are any, each once whole to hold it against its SHA-256, else the shards' indexes, one
// after the other.
Result<NewEntries> without_existing(ArchiveReader& archive, uint32_t end, std::vector<Entry> entries, Existing existing);

}  // namespace llmc
