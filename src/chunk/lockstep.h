// The loops that keep a session's rows full: one for each direction, each on one thread.
#pragma once

#include "base/status.h"
#include "chunk/codec.h"
#include "chunk/feed.h"
#include "chunk/token_engine.h"

namespace llmc {

class MixModel;

struct LockstepJob {
  const TokenEngine* engine = nullptr;  // may be null, see ChunkCodec
  Codec codec = Codec::range;
  uint32_t window = 0;  // resolved: carry < window <= context
  uint32_t carry = 0;
  int streams = 1;
  PrimedStates* primed = nullptr;  // for items with a dictionary
  // A dictionary is coded or decoded, and this predictor keeps what it has learned. Else null.
  MixModel* learner = nullptr;
  uint32_t room = 0;  // of a dictionary that is coded: bytes that the predictor's tables are made for
};

Status encode_in_lockstep(const LockstepJob& job, ChunkFeed& feed);
Status decode_in_lockstep(const LockstepJob& job, ChunkFeed& feed);

inline std::string chunk_name(const ChunkItem& item) {
  return item.chunk == frame_any_chunk    ? "the chunk"
         : item.chunk == frame_dictionary ? "the dictionary"
                                          : "chunk " + std::to_string(item.chunk);
}

}  // namespace llmc
