// Chunks to frames and back: the only way in or out of the coded world.
//
// A chunk is coded alone: its tokens, from the start token on, through windows of the
// model's context, each window after the first carrying the last tokens of the one before.
// A chunk that the chosen codec cannot shrink is stored or compressed by zstd, whichever is
// smaller, so output never grows by more than the frame header.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"
#include "chunk/feed.h"
#include "chunk/primed_states.h"
#include "chunk/token_engine.h"
#include "frame/frame.h"
#include "model/session.h"

namespace llmc {

// Everything but the model that decides the bits of a frame. Stored in every archive.
struct CodecParameters {
  Codec codec = Codec::range;
  uint32_t window = 0;  // tokens a window codes at most (n); 0: the model's context
  uint32_t carry = 0;   // tokens carried into the next window (c), c + 1 <= n
  // Bytes of each shard's dictionary at most, for mix; 0: none. `only_if_worth`: where it gains enough on a sample.
  uint32_t dictionary = 0;
  bool only_if_worth = false;
  // SHA-256 of what the model was fitted to the text with (model/adaptation.h); zeros: nothing.
  Digest adaptation{};
  // Stable bytes: part of the plan digest and of the frame seed. codec u8, window u32, carry u32,
  // little-endian; with a dictionary also dictionary u32, only_if_worth u8; with an adaptation also its digest.
  Bytes serialize() const;
  // Code::corrupt, or Code::failure for a codec of a later version.
  static Result<CodecParameters> parse(ByteView bytes);
};

// What a shard's dictionary is made of, and what decides whether it is worth it.
struct DictionaryWork {
  uint32_t seed = 0;         // of the shard's frames
  uint32_t chunk_bytes = 0;  // of its chunks
  uint32_t chunks = 0;       // how many
  Bytes text;
  std::vector<Bytes> sample;  // chunks to measure on; none: it is always worth it
};

// First 4 bytes of SHA-256(model digest, parameters, shard number as u32, plain bytes of the
// shard's first chunk), little-endian: frames of another archive are recognised by it.
uint32_t frame_seed(const Digest& model, const CodecParameters& parameters, uint32_t shard, ByteView first_chunk);

// One per process; any number of threads may be inside encode() and decode() at once, each
// with a session of its own, each until the feed ends. Without an engine (null) only stored
// and zstd frames can be made or read; frames that need a model then fail (Code::model).
class ChunkCodec {
 public:
  // `engine` must outlive the codec.
  ChunkCodec(Engine* engine, const CodecParameters& parameters);
  ChunkCodec(std::unique_ptr<TokenEngine> engine, const CodecParameters& parameters);
  ~ChunkCodec();

  // streams: how many chunks a thread works on in lock-step, at most.
  //
  // What is wrong with one item is told to the feed, by name, and the work goes on. Returned
  // are the errors that end it: the parameters do not fit the model (no item is taken), no
  // session can be made, or feeding one failed (the items held get that error as their
  // outcome). Code::interrupted after stopped(): items held then get no outcome.
  Status encode(ChunkFeed& feed, int streams) const;
  Status decode(ChunkFeed& feed, int streams) const;

  // One item on the calling thread, with a session of its own where one is needed: the
  // plugin, repair, tests. `item` as for encode() and decode(); its ticket has no meaning.
  Result<Bytes> encode_one(ChunkItem item) const;
  Result<Bytes> decode_one(ChunkItem item) const;

  // The frame of a dictionary; no bytes where it is not worth its place: where its text does not shrink, or
  // where it gains less than `least_gain_percent` of the frames, its own frame counted, going by the
  // sample. A pure function of the work. Tells `feed` of progress and asks it whether to stop; takes no items.
  Result<Bytes> make_dictionary(const DictionaryWork& work, ChunkFeed& feed) const;
  static constexpr int least_gain_percent = 3;

 private:
  std::unique_ptr<TokenEngine> engine_;
  CodecParameters parameters_;
  std::unique_ptr<PrimedStates> primed_;
};

// The same with an engine and codec for this call alone.
Result<Bytes> encode_chunk(Engine* engine, const CodecParameters& parameters, uint32_t chunk, uint32_t seed, ByteView text);
Result<Bytes> decode_frame(Engine* engine, const CodecParameters& parameters, uint32_t chunk, uint32_t seed, ByteView frame,
                           uint32_t text_size);

}  // namespace llmc
