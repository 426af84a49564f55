#include "commands/compress_job.h"

#include <algorithm>

#include "base/log.h"
#include "commands/chunk_work.h"

namespace llmc {

CompressJob::CompressJob(const Plan& plan, ShardRange shards, const CodecParameters& parameters, const Sample& verify,
                         SetWriter& set, const std::vector<std::string>& workers)
    : plan_(plan), shards_(shards), parameters_(parameters), verify_(verify), set_(set), workers_(workers),
      reader_(plan.entries()), shard_(shards.first) {
  text_ended_ = shards.empty() || plan.chunks() == 0;
}

std::string CompressJob::name_of(int worker) const {
  const auto at = static_cast<size_t>(worker);
  return at < workers_.size() && !workers_[at].empty() ? workers_[at] : "rank " + std::to_string(worker);
}

// The text of shards that are finished is not read again: neither their frames nor their digests are missing.
Status CompressJob::skip_committed() {
  if (chunk_ > 0) return {};
  while (shard_ < shards_.end && set_.committed(shard_)) {
    totals_.kept_chunks += plan_.shard_chunks(shard_);
    ++shard_;
  }
  text_ended_ = shard_ >= shards_.end;
  if (text_ended_ || reader_.position() == plan_.shards()[shard_].text_offset) return {};
  return reader_.skip_to(plan_.shards()[shard_].text_offset);
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

Task CompressJob::give(Work work) {
  Task task;
  task.id = next_id_++;
  task.size = work.size;
  task.not_on_worker = work.codings ? work.coder : 0;
  task.extra = work.codings > 0;
  ChunkTask chunk;
  chunk.kind = work.check ? ChunkTask::Kind::check : ChunkTask::Kind::encode;
  chunk.other = work.other;
  chunk.chunk = work.chunk;
  chunk.seed = seeds_[work.shard];
  chunk.size = work.size;
  chunk.text_crc = work.text_crc;
  // While a chunk is coded, `frame` holds its text.
  chunk.bytes = work.check ? work.frame : std::move(work.frame);
  task.payload = pack_task(chunk);
  out_[task.id] = std::move(work);
  return task;
}

Result<std::optional<Task>> CompressJob::next() {
  LLMC_TRY(sync_);
  if (!again_.empty()) return next_again();
  // Checks go out together, so that a worker decodes many at once, and last.
  constexpr size_t check_batch = 16;
  if (checks_.size() >= check_batch || (text_ended_ && !checks_.empty())) {
    Work work = std::move(checks_.front());
    checks_.pop_front();
    return std::optional(give(std::move(work)));
  }
  while (!text_ended_) {
    LLMC_TRY(skip_committed());
    if (text_ended_) break;
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
      text_ended_ = ++shard_ == shards_.end;
    }
    if (text.empty()) continue;
    if (set_.have(shard, chunk)) {
      ++totals_.kept_chunks;
      continue;
    }
    Work work;
    work.shard = shard;
    work.chunk = chunk;
    work.size = static_cast<uint32_t>(text.size());
    work.text_crc = crc32c(text);
    work.frame = std::move(text);
    return std::optional(give(std::move(work)));
  }
  return std::optional<Task>();
}

// Its text is read once more: it is seldom needed, and not kept for the case.
Result<std::optional<Task>> CompressJob::next_again() {
  Work work = std::move(again_.front());
  again_.pop_front();
  TextReader reader(plan_.entries());
  Bytes text(work.size);
  LLMC_TRY(reader.skip_to(plan_.shards()[work.shard].text_offset + plan_.chunk_offset(work.chunk)));
  LLMC_TRY(reader.read(text));
  if (crc32c(text) != work.text_crc) return Status(Code::failure, "an input has changed while it was read");
  work.frame = std::move(text);
  return std::optional(give(std::move(work)));
}

std::string CompressJob::describe(uint64_t id) const {
  const auto at = out_.find(id);
  return at == out_.end() ? Job::describe(id) : at->second.where() + (at->second.check ? " (check)" : "");
}

// The ending of the file that the chunk begins with.
std::string CompressJob::kind_of(uint32_t shard, uint32_t chunk) const {
  const uint64_t begin = plan_.chunk_offset(chunk);
  const auto pieces = plan_.pieces_in(shard, begin, begin + 1);
  if (pieces.empty()) return "";
  const std::string& name = plan_.entries()[pieces.back().entry].name;
  const size_t dot = name.rfind('.'), slash = name.rfind('/');
  const bool has = dot != name.npos && (slash == name.npos ? dot > 0 : dot > slash + 1) && name.size() - dot <= 12;
  return has ? printable(name.substr(dot)) : "none";
}

Status CompressJob::keep(uint32_t shard, uint32_t chunk, Bytes frame) {
  Frame header;
  size_t size = 0;
  for (Ratio* sum : {&totals_.tables.kinds[kind_of(shard, chunk)], &totals_.tables.shards[shard]}) {
    ++sum->chunks;
    sum->text_bytes += plan_.chunk_size(shard, chunk);
    sum->coded_bytes += frame.size();
  }
  if (peek_frame(frame, &header, &size)) ++totals_.codecs[header.codec];
  return set_.put(shard, chunk, frame);
}

Status CompressJob::finished(uint64_t id, Bytes result, int worker) {
  const auto found = out_.find(id);
  if (found == out_.end()) return {Code::failure, "a result came for a task that was not given out"};
  Work work = std::move(found->second);
  out_.erase(found);
  return work.check ? checked(std::move(work), std::move(result), worker) : coded(std::move(work), std::move(result), worker);
}

Status CompressJob::coded(Work work, Bytes bytes, int worker) {
  const bool first = work.codings++ == 0;
  if (!first && work.old_frame_crc) {
    // Two that agree against one that does not.
    const bool same = crc32c(bytes) == *work.old_frame_crc;
    totals_.mismatches.push_back(work.where() + ": coded again by " + name_of(worker) + ": " +
                                 (same ? "the same frame, so " + name_of(work.checker) + " decodes wrongly"
                                       : "another frame, so " + name_of(work.coder) + " coded wrongly"));
    log::warn("{}", totals_.mismatches.back());
  }
  work.coder = worker;
  work.coded_other = work.other;
  // Nothing goes to disk that is not a frame of this chunk and its text.
  const Result<Frame> frame = parse_frame(bytes, seeds_[work.shard]);
  if (!frame.ok() || frame->chunk != work.chunk || frame->text_size != work.size || frame->text_crc != work.text_crc) {
    return mismatch(std::move(work), worker, "the frame that came back is damaged or codes another text");
  }
  if (first) {
    ++totals_.chunks;
    totals_.text_bytes += work.size;
  }
  if (first && !verify_.picks(work.shard, work.chunk)) return keep(work.shard, work.chunk, std::move(bytes));
  work.frame = std::move(bytes);
  work.check = true;
  work.other = alone_ && !work.coded_other;
  checks_.push_back(std::move(work));
  return {};
}

Status CompressJob::checked(Work work, Bytes result, int worker) {
  LLMC_ASSIGN(const CheckVerdict verdict, unpack_verdict(result));
  if (!verdict.sound) return mismatch(std::move(work), worker, verdict.why);
  ++totals_.checked_chunks;
  std::string by = name_of(worker);
  if (worker == work.coder) by += verdict.other ? ", checking with " + verdict.by : ", which had coded them as well";
  ++totals_.checked_by[by];
  return keep(work.shard, work.chunk, std::move(work.frame));
}

Status CompressJob::mismatch(Work work, int worker, const std::string& why) {
  std::string text = work.where() + ": coded by " + name_of(work.coder);
  if (work.check) text += ", does not decode again on " + name_of(worker);
  text += ": " + why;
  if (work.codings >= max_codings) {
    totals_.failures.push_back(text);
    return {};
  }
  totals_.mismatches.push_back(text + "; it is coded again elsewhere");
  log::warn("{}", totals_.mismatches.back());
  work.old_frame_crc.reset();
  if (work.check) work.old_frame_crc = crc32c(work.frame);
  work.checker = worker;
  work.check = false;
  work.other = alone_ && !work.coded_other;
  work.frame.clear();
  again_.push_back(std::move(work));
  return {};
}

Status CompressJob::failed(uint64_t id, const Status& why, int worker) {
  const auto found = out_.find(id);
  if (found == out_.end()) return {};
  totals_.failures.push_back(found->second.where() + (found->second.check ? ": cannot be decoded again on " : ": failed on ") +
                             name_of(worker) + ": " + why.message());
  out_.erase(found);
  return {};
}

}  // namespace llmc
