#include "commands/compress_job.h"

#include <algorithm>

#include "base/log.h"
#include "commands/chunk_work.h"
#include "plan/dictionary.h"

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

Result<Bytes> CompressJob::dictionary_of(uint32_t shard) {
  if (parameters_.dictionary == 0) return Bytes();
  if (!dictionary_ || dictionary_->first != shard) {
    LLMC_ASSIGN(Bytes frame, set_.dictionary(shard));
    dictionary_ = {shard, std::move(frame)};
  }
  return dictionary_->second;
}

// Chooses the text of a shard's dictionary, and what decides whether it is worth it. Nothing: it has none, as is noted then.
Result<std::optional<Task>> CompressJob::dictionary_task(uint32_t number) {
  const Shard& shard = plan_.shards()[number];
  const uint32_t chunks = plan_.shard_chunks(number);
  TextReader reader(plan_.entries());
  const auto read = [&](uint64_t offset, uint64_t size) -> Result<Bytes> {
    Bytes text(size);
    LLMC_TRY(reader.skip_to(shard.text_offset + offset));
    LLMC_TRY(reader.read(text));
    return text;
  };
  LLMC_ASSIGN(const Bytes first, read(0, plan_.chunk_size(number, 0)));
  const uint32_t seed = frame_seed(plan_.options().model, parameters_, number, first);
  LLMC_TRY(set_.set_seed(number, seed));
  seeds_[number] = seed;
  const uint64_t size = dictionary_size(shard.text_size, chunks, parameters_.dictionary, parameters_.only_if_worth);
  DictionaryWork made;
  if (size > 0) {
    std::vector<Bytes> blocks;
    const size_t block_bytes = dictionary_block(size);
    for (const uint64_t at : dictionary_candidates(shard.text_size, block_bytes)) {
      LLMC_ASSIGN(Bytes block, read(at, std::min<uint64_t>(block_bytes, shard.text_size - at)));
      blocks.push_back(std::move(block));
    }
    made.text = choose_dictionary(blocks, size);
  }
  if (made.text.empty()) {
    LLMC_TRY(set_.set_dictionary(number, {}));
    return std::optional<Task>();
  }
  made.chunk_bytes = plan_.options().chunk_bytes;
  made.chunks = chunks;
  if (parameters_.only_if_worth) {
    for (const uint32_t chunk : dictionary_sample(chunks)) {
      LLMC_ASSIGN(Bytes text, read(plan_.chunk_offset(chunk), plan_.chunk_size(number, chunk)));
      made.sample.push_back(std::move(text));
    }
  }
  Work work;
  work.shard = number;
  work.chunk = frame_dictionary;
  work.size = static_cast<uint32_t>(made.text.size());
  work.text_crc = crc32c(made.text);
  work.dictionary_work = pack_dictionary_work(made);
  work.frame = work.dictionary_work;
  dictionaries_out_.insert(number);
  LLMC_ASSIGN(Task task, give(std::move(work)));
  return std::optional(std::move(task));
}

// That of this shard, then that of the next one that is not finished.
Result<std::optional<Task>> CompressJob::next_dictionary() {
  int wanted = 2;
  for (uint32_t shard = shard_; shard < shards_.end && wanted > 0; ++shard) {
    if (set_.committed(shard) || plan_.shard_chunks(shard) == 0) continue;
    --wanted;
    if (set_.has_dictionary(shard) || dictionaries_out_.contains(shard)) continue;
    LLMC_ASSIGN(std::optional<Task> task, dictionary_task(shard));
    if (task) return task;
  }
  return std::optional<Task>();
}

Result<Task> CompressJob::give(Work work) {
  Task task;
  task.id = next_id_++;
  task.size = work.dictionary() ? std::max<uint64_t>(work.size, work.frame.size()) : work.size;
  task.not_on_worker = work.codings ? work.coder : 0;
  task.extra = work.codings > 0 || work.dictionary();
  ChunkTask chunk;
  chunk.kind = work.check ? ChunkTask::Kind::check : work.dictionary() ? ChunkTask::Kind::dictionary : ChunkTask::Kind::encode;
  if (!work.dictionary()) {
    LLMC_ASSIGN(chunk.dictionary, dictionary_of(work.shard));
  }
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
  if (checks_.size() >= check_batch || (!checks_.empty() && (text_ended_ || checks_.front().dictionary()))) {
    Work work = std::move(checks_.front());
    checks_.pop_front();
    LLMC_ASSIGN(Task task, give(std::move(work)));
    return std::optional(std::move(task));
  }
  while (!text_ended_) {
    LLMC_TRY(skip_committed());
    if (text_ended_) break;
    if (parameters_.dictionary > 0 && chunk_ == 0) {
      LLMC_ASSIGN(std::optional<Task> dictionary, next_dictionary());
      if (dictionary) return dictionary;
      if (dictionaries_out_.contains(shard_)) return std::optional<Task>();  // its chunks wait for it
    }
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
      LLMC_TRY(set_.check_text(shard, chunk, crc32c(text)));
      ++totals_.kept_chunks;
      continue;
    }
    Work work;
    work.shard = shard;
    work.chunk = chunk;
    work.size = static_cast<uint32_t>(text.size());
    work.text_crc = crc32c(text);
    work.frame = std::move(text);
    LLMC_ASSIGN(Task task, give(std::move(work)));
    return std::optional(std::move(task));
  }
  return std::optional<Task>();
}

// Its text is read once more: it is seldom needed, and not kept for the case.
Result<std::optional<Task>> CompressJob::next_again() {
  Work work = std::move(again_.front());
  again_.pop_front();
  if (work.dictionary()) {
    work.frame = work.dictionary_work;
    LLMC_ASSIGN(Task task, give(std::move(work)));
    return std::optional(std::move(task));
  }
  TextReader reader(plan_.entries());
  Bytes text(work.size);
  LLMC_TRY(reader.skip_to(plan_.shards()[work.shard].text_offset + plan_.chunk_offset(work.chunk)));
  LLMC_TRY(reader.read(text));
  if (crc32c(text) != work.text_crc) return Status(Code::failure, "an input has changed while it was read");
  work.frame = std::move(text);
  LLMC_ASSIGN(Task task, give(std::move(work)));
  return std::optional(std::move(task));
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
  if (chunk == frame_dictionary) {
    dictionaries_out_.erase(shard);
    return set_.set_dictionary(shard, frame);
  }
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
  if (work.dictionary() && bytes.empty()) return keep(work.shard, work.chunk, {});  // not worth its place
  // Nothing goes to disk that is not a frame of this chunk and its text.
  const Result<Frame> frame = parse_frame(bytes, seeds_[work.shard]);
  if (!frame.ok() || frame->chunk != work.chunk || frame->text_size != work.size || frame->text_crc != work.text_crc) {
    return mismatch(std::move(work), worker, "the frame that came back is damaged or codes another text");
  }
  if (first && !work.dictionary()) {
    ++totals_.chunks;
    totals_.text_bytes += work.size;
  }
  // So much depends on a dictionary that each is checked.
  const bool check = work.dictionary() ? verify_.rate > 0 : verify_.picks(work.shard, work.chunk);
  if (first && !check) return keep(work.shard, work.chunk, std::move(bytes));
  work.frame = std::move(bytes);
  work.check = true;
  work.other = alone_ && !work.coded_other;
  if (work.dictionary()) {
    checks_.push_front(std::move(work));
  } else {
    checks_.push_back(std::move(work));
  }
  return {};
}

Status CompressJob::checked(Work work, Bytes result, int worker) {
  LLMC_ASSIGN(const CheckVerdict verdict, unpack_verdict(result));
  if (!verdict.sound) return mismatch(std::move(work), worker, verdict.why);
  if (work.dictionary()) return keep(work.shard, work.chunk, std::move(work.frame));
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
    if (work.dictionary()) return {Code::failure, text};  // nothing of its shard can be coded without it
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
  if (found->second.dictionary()) return why.with(found->second.where() + " cannot be made on " + name_of(worker));
  totals_.failures.push_back(found->second.where() + (found->second.check ? ": cannot be decoded again on " : ": failed on ") +
                             name_of(worker) + ": " + why.message());
  out_.erase(found);
  return {};
}

}  // namespace llmc
