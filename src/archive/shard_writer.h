// Writes one shard file: frames in chunk order into an HDF5 file, the index behind them, the
// user block last.
//
// The bytes depend on the plan, the frames, the digests and the versions of libhdf5 and libzstd
// alone. libhdf5 is not thread-safe: one thread of the process at a time may be inside
// write_shard or check_hdf5_view.
#pragma once

#include <filesystem>
#include <functional>

#include "archive/user_block.h"
#include "plan/plan.h"

namespace llmc {

// Where a shard's contents come from. All is checked again before it is written.
struct ShardContents {
  const Plan* plan = nullptr;
  uint32_t shard = 0;
  uint32_t seed = 0;
  Bytes dictionary;  // its frame; empty: the shard has none
  std::function<Result<Bytes>(uint32_t chunk)> frame;
  std::function<Digest(size_t piece)> digest;  // by index into Plan::pieces()
};

struct WrittenShard {
  UserBlock block;
  Digest file{};  // SHA-256 of the whole file
};

// Creates or replaces `path`, which is on the device when this returns; the caller renames it.
// Memory: one frame, the index, and about 40 bytes a chunk. On failure what is at `path` is
// not a shard. Code::corrupt where a frame is not the one that the plan wants.
Result<WrittenShard> write_shard(const ShardContents& contents, const std::filesystem::path& path);

// Whether the HDF5 view of a shard file shows the frames and the index that the user block
// speaks of: what h5py will see. Runs libhdf5 over the file, which is no safe parser: only for
// files whose digests were checked and whose maker is trusted.
Status check_hdf5_view(const std::filesystem::path& path);

// "HDF5 1.10.8": the library that writes.
std::string hdf5_version();

}  // namespace llmc
