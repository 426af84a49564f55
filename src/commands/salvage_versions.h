// Pieces of files as they were found -> files. A folder may hold several versions of an archive, and copies of one: pieces
// of one name are then not all of one file.
//
// Pieces are of one file where the user blocks of their shards name one plan. What two versions have in common, by place, size
// and SHA-256, is the same whichever of them it is taken from. Pieces of shards without a user block join the one file
// that they fit, of the same mode and time; where several would do, they stay by themselves: a file that is put together of two
// versions would have the right checksums and yet never have been.
//
// Plain functions, any thread.
#pragma once

#include <optional>
#include <vector>

#include "archive/salvage.h"

namespace llmc {

struct FoundPiece {
  size_t shard = 0;  // in Salvaged::shards
  const IndexEntry* e = nullptr;
};

struct FoundVersion {
  Entry entry;                 // of the newest with these bytes
  std::optional<Digest> plan;  // not known: of shards without user block
  // By offset, not overlapping; the pieces of one have the same bytes, from several shards.
  std::vector<std::vector<FoundPiece>> parts;
};

// All versions of one name: folders first, then the newest first. What a version lacks is missing in `parts`.
// One that holds nothing that another of its size does not hold is left out.
std::vector<FoundVersion> versions_of(const Salvaged& salvaged, const std::vector<FoundPiece>& pieces);

}  // namespace llmc
