#include "commands/chunk_work.h"

#include <optional>
#include <unordered_map>

#include "base/fault.h"

namespace llmc {

Bytes pack_task(const ChunkTask& task) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(task.kind));
  out.u8(task.other);
  out.u32(task.chunk);
  out.u32(task.seed);
  out.u32(task.size);
  out.u32(task.text_crc);
  out.u32(task.wanted);
  out.string(as_text(task.dictionary));
  out.bytes(task.bytes);
  return out.take();
}

Bytes pack_dictionary_work(const DictionaryWork& work) {
  ByteWriter out;
  out.u32(work.chunk_bytes);
  out.u32(work.chunks);
  out.string(as_text(work.text));
  out.varint(work.sample.size());
  for (const Bytes& text : work.sample) out.string(as_text(text));
  return out.take();
}

Result<DictionaryWork> unpack_dictionary_work(ByteView bytes) {
  ByteReader in(bytes);
  DictionaryWork work;
  const auto take = [&] {
    const ByteView text = as_bytes(in.string());
    return Bytes(text.begin(), text.end());
  };
  work.chunk_bytes = in.u32();
  work.chunks = in.u32();
  work.text = take();
  const uint64_t count = in.varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) work.sample.push_back(take());
  if (!in.done() || work.chunk_bytes > max_primed_chunk_bytes || work.text.size() > max_dictionary_bytes) {
    return Status(Code::failure, "a task message is damaged");
  }
  return work;
}

Result<ChunkTask> unpack_task(ByteView payload) {
  ByteReader in(payload);
  ChunkTask task;
  const uint8_t kind = in.u8(), other = in.u8();
  task.kind = static_cast<ChunkTask::Kind>(kind);
  task.other = other == 1;
  task.chunk = in.u32();
  task.seed = in.u32();
  task.size = in.u32();
  task.text_crc = in.u32();
  task.wanted = in.u32();
  const ByteView dictionary = as_bytes(in.string());
  task.dictionary.assign(dictionary.begin(), dictionary.end());
  if (!in.ok() || kind > 3 || other > 1 || task.size > max_chunk_bytes || task.wanted > task.size) return Status(Code::failure, "a task message is damaged");
  const ByteView bytes = in.bytes(in.left());
  task.bytes.assign(bytes.begin(), bytes.end());
  return task;
}

Bytes pack_verdict(const CheckVerdict& verdict) {
  ByteWriter out;
  out.u8(verdict.sound | verdict.other << 1);
  out.string(verdict.by);
  out.string(verdict.why);
  return out.take();
}

Result<CheckVerdict> unpack_verdict(ByteView bytes) {
  ByteReader in(bytes);
  CheckVerdict verdict;
  const uint8_t flags = in.u8();
  verdict.sound = flags & 1;
  verdict.other = flags & 2;
  verdict.by = in.string();
  verdict.why = in.string();
  if (!in.done() || flags > 3) return Status(Code::failure, "the result of a check is damaged");
  return verdict;
}

namespace {

// What one call of the codec can take: one direction, one engine.
struct Kind {
  bool encode = true;
  bool other = false;
  bool dictionary = false;
  bool operator==(const Kind&) const = default;
};

struct Waiting {
  Kind kind;
  ChunkItem item;
  std::optional<uint32_t> text_crc;  // a check
};

// Shows one thread the tasks of one kind. The first task of another kind ends this feed's
// work: it waits in `other` for the thread's next round.
class KindFeed : public ChunkFeed {
 public:
  KindFeed(WorkQueue& queue, Kind kind, CheckVerdict checker, std::optional<Waiting> first)
      : queue_(queue), kind_(kind), checker_(std::move(checker)), first_(std::move(first)) {}

  bool next(ChunkItem* item, int held, bool wait) override {
    if (first_) {
      take(std::move(*first_), item);
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
      Waiting found{{chunk->kind == ChunkTask::Kind::encode, chunk->other, chunk->kind == ChunkTask::Kind::dictionary},
                    {task.id, chunk->chunk, chunk->seed, chunk->size, std::move(chunk->bytes), chunk->wanted},
                    {}};
      if (!chunk->dictionary.empty()) found.item.dictionary = std::make_shared<const Bytes>(std::move(chunk->dictionary));
      if (chunk->kind == ChunkTask::Kind::check) found.text_crc = chunk->text_crc;
      if (found.kind == kind_) {
        take(std::move(found), item);
        return true;
      }
      other = std::move(found);
    }
    return false;
  }
  void finished(uint64_t ticket, Result<Bytes> outcome) override {
    const auto check = checks_.find(ticket);
    if (check == checks_.end()) return queue_.finished(ticket, std::move(outcome));
    const uint32_t expected = check->second;
    checks_.erase(check);
    if (!outcome.ok() && outcome.status().code() != Code::corrupt) return queue_.finished(ticket, outcome.status());
    CheckVerdict verdict = checker_;
    verdict.sound = outcome.ok() && crc32c(*outcome) == expected;
    if (!verdict.sound) verdict.why = outcome.ok() ? "another text came out" : outcome.status().message();
    if (const Status injected = fault_point("verify.mismatch"); !injected.ok()) {
      verdict.sound = false;
      verdict.why = injected.message();
    }
    queue_.finished(ticket, pack_verdict(verdict));
  }
  void progress(uint64_t tokens) override { queue_.progress(tokens); }
  bool stopped() const override { return queue_.stopped(); }

  std::optional<Waiting> other;

 private:
  void take(Waiting found, ChunkItem* item) {
    if (found.text_crc) checks_[found.item.ticket] = *found.text_crc;
    *item = std::move(found.item);
  }

  WorkQueue& queue_;
  Kind kind_;
  const CheckVerdict checker_;  // who this thread is now
  std::optional<Waiting> first_;
  std::unordered_map<uint64_t, uint32_t> checks_;  // text CRCs by ticket
};

}  // namespace

ChunkProcessor::ChunkProcessor(Engine* engine, const CodecParameters& parameters, int threads, int streams, OtherEngine make_other)
    : codec_(engine, parameters), parameters_(parameters), name_(engine ? engine->name() : "no model"), threads_(threads),
      streams_(streams), make_other_(std::move(make_other)) {}

// Where there is no second engine, the first one in a session of its own.
Result<ChunkProcessor::Coder> ChunkProcessor::other() {
  std::lock_guard lock(mutex_);
  if (make_other_) {
    LLMC_ASSIGN(other_engine_, make_other_());
    make_other_ = {};
    if (other_engine_) other_codec_ = std::make_unique<ChunkCodec>(other_engine_.get(), parameters_);
  }
  if (!other_codec_) return Coder{&codec_, name_};
  return Coder{other_codec_.get(), other_engine_->name()};
}

namespace {

// Signs of life of a thread that makes a dictionary.
class QueueRelay final : public ChunkFeed {
 public:
  explicit QueueRelay(WorkQueue& queue) : queue_(queue) {}
  bool next(ChunkItem*, int, bool) override { return false; }
  void finished(uint64_t, Result<Bytes>) override {}
  void progress(uint64_t tokens) override { queue_.progress(tokens); }
  bool stopped() const override { return queue_.stopped(); }

 private:
  WorkQueue& queue_;
};

}  // namespace

void ChunkProcessor::make_dictionary(const Coder& coder, WorkQueue& queue, uint64_t ticket, uint32_t seed, ByteView bytes) {
  auto work = unpack_dictionary_work(bytes);
  if (!work.ok()) return queue.finished(ticket, work.status());
  work->seed = seed;
  QueueRelay relay(queue);
  Result<Bytes> frame = coder.codec->make_dictionary(*work, relay);
  if (!queue.stopped()) queue.finished(ticket, std::move(frame));
}

Status ChunkProcessor::run(WorkQueue& queue, int thread) {
  Kind kind;
  std::optional<Waiting> first;
  for (;;) {
    Coder coder{&codec_, name_};
    if (kind.other) {
      LLMC_ASSIGN(coder, other());
    }
    if (kind.dictionary) {
      make_dictionary(coder, queue, first->item.ticket, first->item.seed, first->item.bytes);
      first.reset();
      kind = {};
      continue;
    }
    KindFeed feed(queue, kind, {false, coder.codec != &codec_, coder.name, ""}, std::move(first));
    LLMC_TRY(kind.encode ? coder.codec->encode(feed, streams_) : coder.codec->decode(feed, streams_));
    if (!feed.other) return {};
    first = std::move(feed.other);
    kind = first->kind;
  }
}

}  // namespace llmc
