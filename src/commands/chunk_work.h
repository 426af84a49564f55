// What travels between coordinator and workers: chunks to encode and frames to decode,
// and the processor that puts a worker's compute threads behind the dispatcher's queue.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "chunk/codec.h"
#include "dispatch/job.h"

namespace llmc {

struct ChunkTask {
  enum class Kind : uint8_t { encode = 0, decode = 1, check = 2, dictionary = 3 };
  Kind kind = Kind::encode;
  bool other = false;    // not by the engine that works here first, but by the second one
  uint32_t chunk = 0;  // in its shard
  uint32_t seed = 0;   // of its shard's frames
  uint32_t size = 0;   // plain bytes
  uint32_t text_crc = 0;  // check: CRC-32C of the plain bytes
  uint32_t wanted = 0;    // decode: as ChunkItem::wanted
  Bytes dictionary;    // the frame of its shard's dictionary; empty: none
  Bytes bytes;         // plain bytes to encode, the frame to decode, or what a dictionary is made of
};

Bytes pack_dictionary_work(const DictionaryWork& work);
Result<DictionaryWork> unpack_dictionary_work(ByteView bytes);

// The payload of a dispatcher's task.
Bytes pack_task(const ChunkTask& task);
Result<ChunkTask> unpack_task(ByteView payload);

// The result of a check, whether the frame gives the text back or not.
struct CheckVerdict {
  bool sound = false;
  bool other = false;  // by an engine other than the first
  std::string by;   // the engine
  std::string why;  // where it is not sound
};
Bytes pack_verdict(const CheckVerdict& verdict);
Result<CheckVerdict> unpack_verdict(ByteView bytes);

// Makes the engine for tasks that ask for the `other` one; null: this machine has no other.
using OtherEngine = std::function<Result<std::unique_ptr<Engine>>()>;

// Runs tasks on `threads` threads with up to `streams` chunks each. The engine is null where no
// model is needed; it and the parameters outlive the processor.
class ChunkProcessor : public Processor {
 public:
  ChunkProcessor(Engine* engine, const CodecParameters& parameters, int threads, int streams, OtherEngine make_other = {});
  int threads() const override { return threads_; }
  int streams() const override { return threads_ * streams_; }
  Status run(WorkQueue& queue, int thread) override;

 private:
  struct Coder {
    const ChunkCodec* codec = nullptr;
    std::string name;
  };
  Result<Coder> other();
  static void make_dictionary(const Coder& coder, WorkQueue& queue, uint64_t ticket, uint32_t seed, ByteView bytes);

  ChunkCodec codec_;
  CodecParameters parameters_;
  std::string name_;
  int threads_;
  int streams_;
  OtherEngine make_other_;
  std::mutex mutex_;  // of what follows: made when it is first wanted
  std::unique_ptr<Engine> other_engine_;
  std::unique_ptr<ChunkCodec> other_codec_;
};

}  // namespace llmc
