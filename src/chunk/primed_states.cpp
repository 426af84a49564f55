#include "chunk/primed_states.h"

#include <chrono>
#include <new>

#include "chunk/codec.h"
#include "chunk/lockstep.h"
#include "chunk/mix_symbol_coder.h"
#include "frame/frame.h"

namespace llmc {
namespace {

Digest key_of(ByteView frame, uint32_t seed) {
  ByteWriter head;
  head.u32(seed);
  Sha256 hash;
  hash.update(head.view());
  hash.update(frame);
  return hash.finish();
}

}  // namespace

// One item in, its outcome out; whoever waits for it hears of progress too.
class PrimedStates::Relay final : public ChunkFeed {
 public:
  Relay(PrimedStates& states, State& state, ChunkItem item, ChunkFeed& outer)
      : states_(states), state_(state), item_(std::move(item)), outer_(outer) {}
  bool next(ChunkItem* item, int, bool) override {
    if (given_) return false;
    given_ = true;
    *item = std::move(item_);
    return true;
  }
  void finished(uint64_t, Result<Bytes> outcome) override { outcome_ = std::move(outcome); }
  void progress(uint64_t tokens) override {
    {
      const std::lock_guard lock(states_.mutex_);
      state_.progress += tokens;
    }
    outer_.progress(tokens);
  }
  bool stopped() const override { return outer_.stopped(); }
  Result<Bytes>& outcome() { return outcome_; }

 private:
  PrimedStates& states_;
  State& state_;
  ChunkItem item_;
  ChunkFeed& outer_;
  bool given_ = false;
  Result<Bytes> outcome_ = Status(Code::interrupted, "stopped on request");
};

// Under the lock.
std::shared_ptr<PrimedStates::State> PrimedStates::start(const Digest& key) {
  const auto state = std::make_shared<State>();
  state->key = key;
  states_.push_front(state);
  while (states_.size() > kept && states_.back()->made) states_.pop_back();
  return state;
}

const MixTree& PrimedStates::tree(const LockstepJob& job) {
  const std::lock_guard lock(mutex_);
  if (!tree_) tree_.emplace(mix_tree_of(job.engine->tokenizer()));
  return *tree_;
}

Result<std::shared_ptr<const Primed>> PrimedStates::get(const LockstepJob& job, ByteView frame, uint32_t seed, ChunkFeed& feed) {
  if (!job.engine) return Status(Code::model, "a dictionary was coded with a model, and none is given");
  const MixTree& leaves = tree(job);
  const Digest key = key_of(frame, seed);
  for (;;) {
    std::shared_ptr<State> state;
    bool mine = false;
    {
      std::unique_lock lock(mutex_);
      for (auto it = states_.begin(); it != states_.end(); ++it) {
        if ((*it)->key != key) continue;
        states_.splice(states_.begin(), states_, it);
        state = states_.front();
        break;
      }
      if (!state) {
        mine = true;
        state = start(key);
      }
      for (uint64_t heard = 0; !mine && !state->made;) {
        changed_.wait_for(lock, std::chrono::milliseconds(200));
        const bool moved = std::exchange(heard, state->progress) != state->progress;
        lock.unlock();
        if (feed.stopped()) return Status(Code::interrupted, "stopped on request");
        if (moved) feed.progress(0);
        lock.lock();
      }
    }
    if (mine) learn(job, leaves, frame, seed, *state, feed);
    if (state->status.ok()) return std::shared_ptr<const Primed>(state->primed);
    // Whoever made it was stopped, say; the caller was not.
    const bool another_time = !mine && state->status.code() != Code::corrupt;
    if (!another_time) return state->status;
  }
}

// Fills a state that others may wait for.
void PrimedStates::learn(const LockstepJob& job, const MixTree& leaves, ByteView frame, uint32_t seed, State& state, ChunkFeed& feed) {
  std::shared_ptr<Primed> primed;
  Status status(Code::corrupt, "these bytes are no dictionary");
  try {
    Frame header;
    size_t size = 0;
    if (peek_frame(frame, &header, &size) && header.codec == Codec::dictionary) {
      primed = std::make_shared<Primed>(leaves);
      LockstepJob inner = job;
      inner.streams = 1;
      inner.learner = &primed->model;
      ChunkItem item;
      item.chunk = frame_dictionary;
      item.seed = seed;
      item.size = header.text_size;
      item.bytes.assign(frame.begin(), frame.end());
      Relay relay(*this, state, std::move(item), feed);
      status = decode_in_lockstep(inner, relay);
      if (status.ok()) status = relay.outcome().status();
      if (status.ok()) primed->text = std::move(*relay.outcome());
    }
  } catch (const std::bad_alloc&) {  // those who wait must hear of it
    status = Status(Code::failure, "out of memory while learning a dictionary");
  }
  const std::lock_guard lock(mutex_);
  state.status = status;
  if (status.ok()) state.primed = std::move(primed);
  state.made = true;
  // What is no fault of the frame may work another time.
  if (!status.ok() && status.code() != Code::corrupt) {
    states_.remove_if([&](const auto& known) { return known.get() == &state; });
  }
  changed_.notify_all();
}

Result<Bytes> PrimedStates::make(const LockstepJob& job, const DictionaryWork& work, ChunkFeed& feed) {
  auto primed = std::make_shared<Primed>(tree(job));
  primed->text = work.text;
  LockstepJob inner = job;
  inner.codec = Codec::dictionary;
  inner.streams = 1;
  inner.learner = &primed->model;
  inner.room = static_cast<uint32_t>(work.text.size()) + work.chunk_bytes;
  ChunkItem item;
  item.chunk = frame_dictionary;
  item.seed = work.seed;
  item.size = static_cast<uint32_t>(work.text.size());
  item.bytes = work.text;
  State unshared;
  Relay relay(*this, unshared, std::move(item), feed);
  LLMC_TRY(encode_in_lockstep(inner, relay));
  LLMC_ASSIGN(Bytes frame, std::move(relay.outcome()));
  Frame header;
  size_t size = 0;
  if (!peek_frame(frame, &header, &size) || header.codec != Codec::dictionary) return Bytes();
  const std::lock_guard lock(mutex_);
  const auto state = start(key_of(frame, work.seed));
  state->primed = std::move(primed);
  state->made = true;
  return frame;
}

}  // namespace llmc
