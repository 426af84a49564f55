#include "commands/decode_job.h"

#include "commands/chunk_work.h"

namespace llmc {

DecodeJob::DecodeJob(ArchiveReader& archive, std::vector<ChunkRun> chunks, TextSink& sink)
    : archive_(archive), chunks_(std::move(chunks)), sink_(sink), chunk_(chunks_.empty() ? 0 : chunks_[0].first) {}

Result<std::optional<Task>> DecodeJob::next() {
  while (!ended()) {
    if (waiting_bytes_ >= max_waiting_bytes) return std::optional<Task>();
    const uint32_t shard = chunks_[run_].shard, chunk = chunk_;
    const uint32_t wanted = chunk == chunks_[run_].last ? chunks_[run_].wanted : 0;
    if (chunk_++ == chunks_[run_].last) {
      ++run_;
      if (!ended()) chunk_ = chunks_[run_].first;
    }
    const auto& info = archive_.shards()[shard];
    const uint64_t begin = uint64_t{chunk} * archive_.chunk_bytes();
    const uint64_t id = next_id_++;
    Arrived& slot = arrived_[id];
    slot.offset = info.text_offset + begin;
    const auto whole = static_cast<uint32_t>(std::min<uint64_t>(archive_.chunk_bytes(), info.text_bytes - begin));
    slot.size = wanted ? wanted : whole;
    waiting_bytes_ += slot.size;

    const Result<std::shared_ptr<const ShardFile>> file = archive_.shard(shard);
    Result<Bytes> frame = file.ok() ? archive_.read_frame(shard, chunk) : file.status();
    ChunkTask work;
    Status status = frame.status();
    if (status.ok() && (*file)->index().chunks[chunk].codec == Codec::primed) {
      Result<Bytes> dictionary = dictionary_of(**file, shard);
      if (dictionary.ok()) work.dictionary = std::move(*dictionary);
      status = dictionary.status().with("chunk " + std::to_string(chunk) + " begins with the dictionary of its shard");
    }
    if (!status.ok()) {
      slot.done = true;
      slot.why = status.message();
      LLMC_TRY(deliver());
      continue;
    }
    work.kind = ChunkTask::Kind::decode;
    work.chunk = chunk;
    work.seed = (*file)->block().seed;
    work.size = whole;
    work.wanted = wanted;
    work.bytes = std::move(*frame);
    return std::optional(Task{id, pack_task(work), slot.size});
  }
  return std::optional<Task>();
}

Result<Bytes> DecodeJob::dictionary_of(const ShardFile& file, uint32_t shard) {
  if (!dictionary_ || dictionary_->first != shard) {
    LLMC_ASSIGN(Bytes bytes, file.read_dictionary());
    dictionary_ = {shard, std::move(bytes)};
  }
  return dictionary_->second;
}

Status DecodeJob::finished(uint64_t id, Bytes result, int) {
  const auto at = arrived_.find(id);
  if (at == arrived_.end() || result.size() != at->second.size) {
    return {Code::failure, "a worker returned a text of another length than was asked for"};
  }
  at->second.done = true;
  at->second.text = std::move(result);
  return deliver();
}

Status DecodeJob::failed(uint64_t id, const Status& why, int worker) {
  // A worker without the model, say, is no damage to the archive.
  if (why.code() != Code::corrupt) return why.with("rank " + std::to_string(worker));
  Arrived& slot = arrived_.at(id);
  slot.done = true;
  slot.why = why.message();
  return deliver();
}

Status DecodeJob::deliver() {
  for (auto at = arrived_.find(first_); at != arrived_.end() && at->second.done; at = arrived_.find(++first_)) {
    const Arrived slot = std::move(at->second);
    arrived_.erase(at);
    waiting_bytes_ -= slot.size;
    LLMC_TRY(slot.why.empty() ? sink_.text(slot.offset, slot.text) : sink_.lost(slot.offset, slot.size, slot.why));
  }
  return {};
}

}  // namespace llmc
