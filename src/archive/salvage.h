// What is left of an archive when nothing of it can be trusted: frames are found by their magic, wherever
// they stand, whether or not HDF5's metadata, the user block or the index are left.
//
// A frame's CRC starts from its shard's seed. Where the seed is lost it is computed back from the CRC:
// all sound frames of one shard give the same, a damaged one gives some other. So frames of one seed are of one shard, or of
// several that have the same number and begin with the same chunk: of two parts of a set, or of two versions of an archive. These are
// told apart by the user block of the file that a frame lies in (its plan and index), else by what contradicts: frames of one
// number with other bytes. Two frames of one seed are believed (a chance of 2^-32 for each damaged frame to be taken for
// sound; its text then still has to match its own CRC).
//
// One thread. Memory: some 100 bytes a frame, and the indexes. Time: a few readings of what is searched, whatever is in it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/file_digest.h"
#include "archive/shard_index.h"

namespace llmc {

struct FoundFrame {
  uint32_t file = 0;    // index into Salvaged::files
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t seed = 0;    // stated, or computed back
  uint32_t chunk = 0;
  uint32_t text_size = 0;
  uint32_t tokens = 0;
  Codec codec = Codec::stored;
  uint32_t text_crc = 0;
};

// Frames of one seed that belong together: one shard. Several may have the same seed.
struct FoundShard {
  uint32_t seed = 0;
  std::string label;                       // for files without a name: "shard-000003", or that of the file
  std::optional<UserBlock> block;
  std::optional<ShardIndex> index;
  uint32_t chunk_bytes = 0;                // 0: not known, then there is but one frame
  uint32_t chunks = 0;                     // with what is missing; as far as it is known
  std::map<uint32_t, FoundFrame> frames;   // by chunk
  std::optional<FoundFrame> dictionary;    // frames of codec primed begin with it
  uint64_t text_size(uint32_t chunk) const;
};

struct Salvaged {
  std::vector<std::filesystem::path> files;  // that were searched
  std::vector<FoundShard> shards;
  std::vector<FoundFrame> strays;            // belong to no shard: damaged, or the last of theirs
  uint64_t bytes = 0;                        // searched
  uint64_t unreadable = 0;                   // of these, taken for zeros since the device refused them
  bool gave_up = false;                      // looking for indexes: more that look like some than any archive has
  Digest model{};                            // zeros: not known, or none
  std::string model_name;
  Bytes parameters;                          // of coding; empty: not known
  // What the parameters say the model was adapted with; where they are lost, what was found if there is one only. Empty:
  // nothing, or it is lost.
  Bytes adaptation;
};

// Searches a file, or all files below a folder. Code::missing where there is none; Code::interrupted
// where `stop` says so.
Result<Salvaged> search_frames(const std::filesystem::path& path, const StopRequest& stop = {});
Result<Bytes> read_found(const Salvaged& salvaged, const FoundFrame& frame);

// The start value with which the frame's CRC fits its bytes.
uint32_t implied_seed(ByteView frame);

}  // namespace llmc
