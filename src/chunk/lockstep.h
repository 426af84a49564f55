// The loops that keep a session's rows full: one for each direction, each on one thread.
#pragma once

#include "base/status.h"
#include "chunk/codec.h"
#include "chunk/feed.h"
#include "chunk/token_engine.h"

namespace llmc {

struct LockstepJob {
  const TokenEngine* engine = nullptr;  // may be null, see ChunkCodec
  Codec codec = Codec::range;
  uint32_t window = 0;  // resolved: carry < window <= context
  uint32_t carry = 0;
  int streams = 1;
};

Status encode_in_lockstep(const LockstepJob& job, ChunkFeed& feed);
Status decode_in_lockstep(const LockstepJob& job, ChunkFeed& feed);

inline std::string chunk_name(const ChunkItem& item) {
  return item.chunk == frame_any_chunk ? "the chunk" : "chunk " + std::to_string(item.chunk);
}

}  // namespace llmc
