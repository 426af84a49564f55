// What the dictionaries of shards have taught the mix predictor: learned once, then every chunk starts from a copy.
//
// One per codec; any thread. Keeps the states of the dictionaries that were used last: each takes what a stream
// takes (mix_model.h) and stays as long as anybody holds it.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"
#include "coder/mix_model.h"

namespace llmc {

class ChunkFeed;
struct ChunkItem;
struct DictionaryWork;
struct LockstepJob;

struct Primed {
  explicit Primed(const MixTree& tree) : model(tree) {}
  MixModel model;  // behind the dictionary's last token
  Bytes text;      // the dictionary
};

class PrimedStates {
 public:
  // The state behind a dictionary's frame. The first thread to ask makes it, in a session of its own;
  // others wait. Both tell `feed` of progress and give up (Code::interrupted) once it is stopped.
  // Code::corrupt where the frame is no sound dictionary.
  Result<std::shared_ptr<const Primed>> get(const LockstepJob& job, ByteView frame, uint32_t seed, ChunkFeed& feed);
  // The frame of a dictionary, whose state is kept as get() would; no bytes where its text does not shrink.
  Result<Bytes> make(const LockstepJob& job, const DictionaryWork& work, ChunkFeed& feed);

 private:
  struct State {
    Digest key{};
    std::shared_ptr<Primed> primed;  // null: in the making, or it failed
    Status status;                   // why it failed
    bool made = false;
    uint64_t progress = 0;           // tokens so far, for those who wait
  };
  class Relay;

  static constexpr size_t kept = 2;

  std::shared_ptr<State> start(const Digest& key);
  void learn(const LockstepJob& job, const MixTree& leaves, ByteView frame, uint32_t seed, State& state, ChunkFeed& feed);
  const MixTree& tree(const LockstepJob& job);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<MixTree> tree_;
  std::list<std::shared_ptr<State>> states_;  // the last used first
};

}  // namespace llmc
