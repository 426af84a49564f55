// Where a codec's work comes from and where it goes: implemented by the dispatcher's
// worker, by the HDF5 plugin and the Python package (one item), and by tests.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/status.h"

namespace llmc {

// One chunk on its way in (plain bytes) or out (a frame).
struct ChunkItem {
  uint64_t ticket = 0;  // the feed's own name for it
  uint32_t chunk = 0;   // chunk number within its shard
  uint32_t seed = 0;    // frame seed of its shard
  uint32_t size = 0;    // decoding: plain bytes expected; encoding: bytes.size()
  Bytes bytes;
  // Decoding: text after which to stop, in bytes; the outcome is cut to it. 0: all of it, and only then is the text held
  // against its CRC; the frame's CRC is checked in any case.
  uint32_t wanted = 0;
  // The frame of the shard's dictionary; null: there is none. Encoding begins with it, decoding needs it for
  // frames that were coded so.
  std::shared_ptr<const Bytes> dictionary = nullptr;
};

// All calls may come from several compute threads at once.
class ChunkFeed {
 public:
  virtual ~ChunkFeed() = default;
  // Takes the next item. `held` is how many items the calling thread holds already: a feed
  // gives to the thread that holds least. With `wait`, blocks until there is one and returns
  // false only when no more will come or stopped(); without, false means "none for you now".
  virtual bool next(ChunkItem* item, int held, bool wait) = 0;
  // The outcome of one item: the frame (encoding) or the plain bytes (decoding).
  virtual void finished(uint64_t ticket, Result<Bytes> outcome) = 0;
  // Tokens done since the last call: the sign of life that keeps a lease.
  virtual void progress(uint64_t tokens) = 0;
  // True once the work is to be given up; asked between steps. Items held then get no outcome.
  virtual bool stopped() const = 0;
};

}  // namespace llmc
