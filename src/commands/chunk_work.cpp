#include "commands/chunk_work.h"

#include <optional>

namespace llmc {

Bytes pack_task(const ChunkTask& task) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(task.kind));
  out.u32(task.chunk);
  out.u32(task.seed);
  out.u32(task.size);
  out.bytes(task.bytes);
  return out.take();
}

Result<ChunkTask> unpack_task(ByteView payload) {
  ByteReader in(payload);
  ChunkTask task;
  const uint8_t kind = in.u8();
  task.kind = static_cast<ChunkTask::Kind>(kind);
  task.chunk = in.u32();
  task.seed = in.u32();
  task.size = in.u32();
  if (!in.ok() || kind > 1 || task.size > max_chunk_bytes) return Status(Code::failure, "a task message is damaged");
  const ByteView bytes = in.bytes(in.left());
  task.bytes.assign(bytes.begin(), bytes.end());
  return task;
}

namespace {

// Shows one thread the tasks of one kind. The first task of the other kind ends this feed's
// work: it waits in `other` for the thread's next round.
class KindFeed : public ChunkFeed {
 public:
  KindFeed(WorkQueue& queue, ChunkTask::Kind kind, std::optional<ChunkItem> first) : queue_(queue), kind_(kind), first_(std::move(first)) {}

  bool next(ChunkItem* item, int held, bool wait) override {
    if (first_) {
      *item = std::move(*first_);
      first_.reset();
      return true;
    }
    while (!other) {
      Task task;
      if (!queue_.next(&task, held, wait)) return false;
      Result<ChunkTask> chunk = unpack_task(task.payload);
      if (!chunk.ok()) {
        queue_.finished(task.id, chunk.status());
        continue;
      }
      ChunkItem found{task.id, chunk->chunk, chunk->seed, chunk->size, std::move(chunk->bytes)};
      if (chunk->kind == kind_) {
        *item = std::move(found);
        return true;
      }
      other = std::move(found);
    }
    return false;
  }
  void finished(uint64_t ticket, Result<Bytes> outcome) override { queue_.finished(ticket, std::move(outcome)); }
  void progress(uint64_t tokens) override { queue_.progress(tokens); }
  bool stopped() const override { return queue_.stopped(); }

  std::optional<ChunkItem> other;

 private:
  WorkQueue& queue_;
  ChunkTask::Kind kind_;
  std::optional<ChunkItem> first_;
};

}  // namespace

ChunkProcessor::ChunkProcessor(Engine* engine, const CodecParameters& parameters, int threads, int streams)
    : codec_(engine, parameters), threads_(threads), streams_(streams) {}

Status ChunkProcessor::run(WorkQueue& queue, int thread) {
  auto kind = ChunkTask::Kind::encode;
  std::optional<ChunkItem> first;
  for (;;) {
    KindFeed feed(queue, kind, std::move(first));
    LLMC_TRY(kind == ChunkTask::Kind::encode ? codec_.encode(feed, streams_) : codec_.decode(feed, streams_));
    if (!feed.other) return {};
    first = std::move(feed.other);
    kind = kind == ChunkTask::Kind::encode ? ChunkTask::Kind::decode : ChunkTask::Kind::encode;
  }
}

}  // namespace llmc
