#include "chunk/memory_feed.h"

#include <algorithm>
#include <thread>

#include "chunk/codec.h"

namespace llmc {

MemoryFeed::MemoryFeed(std::vector<ChunkItem> items, int threads, ChunkFeed* outer)
    : items_(std::move(items)), threads_(static_cast<size_t>(std::max(threads, 1))), outer_(outer) {
  for (size_t i = 0; i < items_.size(); ++i) {
    items_[i].ticket = i;
    outcomes_.emplace_back(Status(Code::failure, "chunk " + std::to_string(items_[i].chunk) + " was not reached"));
  }
}

bool MemoryFeed::next(ChunkItem* item, int held, bool wait) {
  const std::lock_guard lock(mutex_);
  if (given_ == items_.size()) return false;
  const size_t share = (items_.size() - finished_ + threads_ - 1) / threads_;
  if (!wait && static_cast<size_t>(held) >= share) return false;
  *item = std::move(items_[given_++]);
  return true;
}

void MemoryFeed::finished(uint64_t ticket, Result<Bytes> outcome) {
  const std::lock_guard lock(mutex_);
  ++finished_;
  outcomes_[ticket] = std::move(outcome);
}

void MemoryFeed::progress(uint64_t tokens) {
  if (outer_) outer_->progress(tokens);
  const std::lock_guard lock(mutex_);
  tokens_ += tokens;
}

bool MemoryFeed::stopped() const {
  if (outer_ && outer_->stopped()) return true;
  const std::lock_guard lock(mutex_);
  return stopped_;
}

void MemoryFeed::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

uint64_t MemoryFeed::tokens() const {
  const std::lock_guard lock(mutex_);
  return tokens_;
}

namespace {

using Way = Status (ChunkCodec::*)(ChunkFeed&, int) const;

Result<std::vector<Result<Bytes>>> code_all(const ChunkCodec& codec, Way way, std::vector<ChunkItem> items, int streams, int threads,
                                            ChunkFeed* outer) {
  // A session takes its memory for all its streams, used or not.
  const int most = static_cast<int>(std::clamp<size_t>(items.size(), 1, 1u << 16));
  threads = std::clamp(threads, 1, most);
  streams = std::min(streams, (most + threads - 1) / threads);
  MemoryFeed feed(std::move(items), threads, outer);
  std::vector<Status> ends(static_cast<size_t>(threads));
  const auto work = [&](size_t thread) { ends[thread] = (codec.*way)(feed, streams); };
  std::vector<std::thread> others;
  for (size_t thread = 1; thread < ends.size(); ++thread) others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
  for (const Status& end : ends) LLMC_TRY(end);
  return std::move(feed.outcomes());
}

}  // namespace

Result<std::vector<Result<Bytes>>> encode_all(const ChunkCodec& codec, std::vector<ChunkItem> items, int streams, int threads, ChunkFeed* outer) {
  return code_all(codec, &ChunkCodec::encode, std::move(items), streams, threads, outer);
}

Result<std::vector<Result<Bytes>>> decode_all(const ChunkCodec& codec, std::vector<ChunkItem> items, int streams, int threads, ChunkFeed* outer) {
  return code_all(codec, &ChunkCodec::decode, std::move(items), streams, threads, outer);
}

}  // namespace llmc
