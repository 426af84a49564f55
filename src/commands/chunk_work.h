// What travels between coordinator and workers: chunks to encode and frames to decode,
// and the processor that puts a worker's compute threads behind the dispatcher's queue.
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "chunk/codec.h"
#include "dispatch/job.h"

namespace llmc {

struct ChunkTask {
  enum class Kind : uint8_t { encode = 0, decode = 1 };
  Kind kind = Kind::encode;
  uint32_t chunk = 0;  // in its shard
  uint32_t seed = 0;   // of its shard's frames
  uint32_t size = 0;   // plain bytes
  Bytes bytes;         // plain bytes to encode, or the frame to decode
};

// The payload of a dispatcher's task: 13 bytes of header, then the bytes.
Bytes pack_task(const ChunkTask& task);
Result<ChunkTask> unpack_task(ByteView payload);

// Runs encode and decode tasks on `threads` threads with up to `streams` chunks each. The
// engine is null where no model is needed; it and the parameters outlive the processor.
class ChunkProcessor : public Processor {
 public:
  ChunkProcessor(Engine* engine, const CodecParameters& parameters, int threads, int streams);
  int threads() const override { return threads_; }
  int streams() const override { return threads_ * streams_; }
  Status run(WorkQueue& queue, int thread) override;

 private:
  ChunkCodec codec_;
  int threads_;
  int streams_;
};

}  // namespace llmc
