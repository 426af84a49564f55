#include "commands/compress_job.h"

#include <algorithm>

#include "commands/chunk_work.h"

namespace llmc {

Result<VerifyRate> VerifyRate::parse(const std::string& text) {
  VerifyRate verify;
  if (text == "all") {
    verify.rate = 1;
    return verify;
  }
  if (text == "none") {
    verify.rate = 0;
    return verify;
  }
  char* end = nullptr;
  verify.rate = std::strtod(text.c_str(), &end) / 100;
  if (end == text.c_str() || std::string(end) != "%" || !(verify.rate >= 0 && verify.rate <= 1)) {
    return Status(Code::usage, "--verify is a percentage such as 1%, all or none, not '" + text + "'");
  }
  return verify;
}

bool VerifyRate::picks(const Digest& plan, uint32_t shard, uint32_t chunk) const {
  if (rate <= 0) return false;
  if (rate >= 1) return true;
  ByteWriter key;
  key.bytes(plan);
  key.u32(shard);
  key.u32(chunk);
  // CRC-32C spreads well enough to sample by, and costs nothing beside coding a chunk.
  return crc32c(key.view()) < rate * 4294967296.0;
}

CompressJob::CompressJob(const Plan& plan, const CodecParameters& parameters, VerifyRate verify, SetWriter& set)
    : plan_(plan), parameters_(parameters), verify_(verify), set_(set), reader_(plan.entries()) {
  text_ended_ = plan.chunks() == 0;
}

Status CompressJob::read_chunk(Bytes* text) {
  const Shard& shard = plan_.shards()[shard_];
  text->resize(plan_.chunk_size(shard_, chunk_));
  LLMC_TRY(reader_.read(*text));
  // The digest of each piece ends with the chunk that holds its last byte.
  const uint64_t begin = plan_.chunk_offset(chunk_), end = begin + text->size();
  const uint64_t last = shard.first_piece + shard.pieces;
  piece_ = std::max(piece_, shard.first_piece);
  uint64_t at = begin;
  while (piece_ < last) {
    const Piece& piece = plan_.pieces()[piece_];
    const uint64_t piece_end = piece.shard_offset + piece.size;
    const uint64_t to = std::min(piece_end, end);
    piece_hash_.update(ByteView(*text).subspan(at - begin, to - at));
    at = to;
    if (piece_end > end) break;
    if (plan_.has_digest(piece)) LLMC_TRY(set_.put_digest(piece_, piece_hash_.finish()));
    ++piece_;
  }
  return {};
}

Result<std::optional<Task>> CompressJob::next() {
  LLMC_TRY(sync_);
  // Checks go out together, so that a worker decodes many at once, and last.
  constexpr size_t check_batch = 16;
  if (checks_.size() >= check_batch || (text_ended_ && !checks_.empty())) return next_check();
  while (!text_ended_) {
    const uint32_t shard = shard_, chunk = chunk_;
    Bytes text;
    if (plan_.shard_chunks(shard) > 0) {
      LLMC_TRY(read_chunk(&text));
      if (chunk == 0) {
        const uint32_t seed = frame_seed(plan_.options().model, parameters_, shard, text);
        LLMC_TRY(set_.set_seed(shard, seed));
        seeds_[shard] = seed;
      }
      ++chunk_;
    }
    if (chunk_ >= plan_.shard_chunks(shard)) {
      chunk_ = 0;
      text_ended_ = ++shard_ == plan_.shards().size();
    }
    if (text.empty()) continue;
    if (set_.have(shard, chunk)) {
      ++totals_.kept_chunks;
      continue;
    }
    ChunkTask work{ChunkTask::Kind::encode, chunk, seeds_[shard], static_cast<uint32_t>(text.size()), std::move(text)};
    Task task{next_id_++, pack_task(work), work.size};
    out_[task.id] = Out{shard, chunk, {}, false, work.size};
    return std::optional(std::move(task));
  }
  return std::optional<Task>();
}

std::optional<Task> CompressJob::next_check() {
  Check check = std::move(checks_.front());
  checks_.pop_front();
  const ChunkTask work{ChunkTask::Kind::decode, check.chunk, check.seed, check.size, check.frame};
  Task task{next_id_++, pack_task(work), 0};
  out_[task.id] = Out{check.shard, check.chunk, std::move(check.frame), true, check.size};
  return task;
}

Status CompressJob::keep(uint32_t shard, uint32_t chunk, Bytes frame) {
  Frame header;
  size_t size = 0;
  if (peek_frame(frame, &header, &size)) ++totals_.codecs[header.codec];
  return set_.put(shard, chunk, frame);
}

Status CompressJob::finished(uint64_t id, Bytes result, int) {
  const auto found = out_.find(id);
  if (found == out_.end()) return {Code::failure, "a result came for a task that was not given out"};
  Out out = std::move(found->second);
  out_.erase(found);
  if (out.check) {
    ++totals_.checked_chunks;
    return keep(out.shard, out.chunk, std::move(out.frame));
  }
  // Nothing goes to disk that is not a frame of this chunk.
  const uint32_t seed = seeds_[out.shard];
  const Result<Frame> frame = parse_frame(result, seed);
  if (!frame.ok() || frame->chunk != out.chunk || frame->text_size != out.size) {
    return {Code::failure, "a worker returned a damaged frame for shard " + std::to_string(out.shard) + " chunk " + std::to_string(out.chunk)};
  }
  ++totals_.chunks;
  totals_.text_bytes += out.size;
  if (verify_.picks(plan_.digest(), out.shard, out.chunk)) {
    checks_.push_back({out.shard, out.chunk, seed, out.size, std::move(result)});
    return {};
  }
  return keep(out.shard, out.chunk, std::move(result));
}

Status CompressJob::failed(uint64_t id, const Status& why, int worker) {
  const auto found = out_.find(id);
  if (found == out_.end()) return {};
  totals_.failures.push_back("shard " + std::to_string(found->second.shard) + " chunk " +
                             std::to_string(found->second.chunk) +
                             (found->second.check ? ": does not decode again on rank " : ": failed on rank ") +
                             std::to_string(worker) + ": " + why.message());
  out_.erase(found);
  return {};
}

}  // namespace llmc
