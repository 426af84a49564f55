// A feed over items that are all in memory: for one chunk, for measuring and for tests.
#pragma once

#include <mutex>
#include <vector>

#include "chunk/feed.h"

namespace llmc {

class ChunkCodec;

// Thread-safe. Outcomes stand in the order of the items.
class MemoryFeed final : public ChunkFeed {
 public:
  // Tickets are set to the items' positions. `threads`: how many will ask; none is given more
  // than its share of what is unfinished, so that all stay busy to the end. `outer`: hears of progress and is
  // asked whether to stop; null: nobody.
  explicit MemoryFeed(std::vector<ChunkItem> items, int threads = 1, ChunkFeed* outer = nullptr);

  bool next(ChunkItem* item, int held, bool wait) override;
  void finished(uint64_t ticket, Result<Bytes> outcome) override;
  void progress(uint64_t tokens) override;
  bool stopped() const override;

  void stop();
  uint64_t tokens() const;
  // Once the codec has returned.
  std::vector<Result<Bytes>>& outcomes() { return outcomes_; }

 private:
  mutable std::mutex mutex_;
  std::vector<ChunkItem> items_;
  std::vector<Result<Bytes>> outcomes_;
  size_t given_ = 0;
  size_t finished_ = 0;
  size_t threads_;
  uint64_t tokens_ = 0;
  bool stopped_ = false;
  ChunkFeed* outer_ = nullptr;
};

// Encodes or decodes all items on `threads` threads, the caller's among them, with `streams` chunks in lock-step on each,
// and waits; there are no more threads and streams than items. The outcomes stand in the order of the items. An error is one
// that ended the work (ChunkCodec::encode): Code::interrupted where `outer` (as for MemoryFeed) asked to stop.
Result<std::vector<Result<Bytes>>> encode_all(const ChunkCodec& codec, std::vector<ChunkItem> items, int streams, int threads = 1,
                                              ChunkFeed* outer = nullptr);
Result<std::vector<Result<Bytes>>> decode_all(const ChunkCodec& codec, std::vector<ChunkItem> items, int streams, int threads = 1,
                                              ChunkFeed* outer = nullptr);

}  // namespace llmc
