#include "reader/archive_text.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

#include "model/adaptation.h"
#include "model/native_engine.h"
#include "reader/model_choice.h"

namespace llmc {

namespace {

constexpr size_t most_open_shards = 32;
constexpr auto ask_every = std::chrono::milliseconds(100);
// Each stream of a thread has a KV cache; beyond this a step costs what it saves.
constexpr int most_streams = 8;

bool needs_model(Codec codec) { return codec != Codec::stored && codec != Codec::zstd; }

}  // namespace

// The chunks of one span for the codec's threads, in order; their text goes where it belongs in the caller's buffer.
class ArchiveText::Feed final : public ChunkFeed {
 public:
  Feed(ArchiveText& archive, const ShardFile& file, const ArchiveReader::Span& span, uint8_t* out, const GoOn& go_on,
       size_t threads)
      : archive_(archive),
        file_(file),
        span_(span),
        out_(out),
        go_on_(go_on),
        threads_(threads),
        next_(span.first_chunk),
        left_(uint64_t{span.last_chunk} - span.first_chunk + 1) {}

  bool next(ChunkItem* item, int held, bool wait) override {
    const std::lock_guard lock(mutex_);
    while (next_ <= span_.last_chunk && status_.ok()) {
      if (!wait && static_cast<uint64_t>(held) >= (left_ + threads_ - 1) / threads_) return false;
      const auto chunk = static_cast<uint32_t>(next_);
      if (const Text text = archive_.cached(key(chunk))) {
        ++next_;
        --left_;
        ++archive_.counters_.cache_hits;
        deliver(chunk, *text);
        continue;
      }
      auto frame = file_.read_frame(chunk);
      const bool primed = frame.ok() && file_.index().chunks[chunk].codec == Codec::primed;
      if (primed && !dictionary_) {
        auto dictionary = file_.read_dictionary();
        if (dictionary.ok()) dictionary_ = std::make_shared<const Bytes>(std::move(*dictionary));
        else frame = dictionary.status();
      }
      if (!frame.ok()) {
        status_ = frame.status();
        return false;
      }
      ++next_;
      archive_.counters_.bytes_read += frame->size();
      *item = {chunk, chunk, file_.block().seed, file_.block().chunk_size(chunk), std::move(*frame)};
      if (primed) item->dictionary = dictionary_;
      return true;
    }
    return false;
  }

  void finished(uint64_t ticket, Result<Bytes> outcome) override {
    const auto chunk = static_cast<uint32_t>(ticket);
    if (outcome.ok()) {
      ++archive_.counters_.chunks_decoded;
      auto text = std::make_shared<const Bytes>(std::move(*outcome));
      deliver(chunk, *text);
      archive_.keep(key(chunk), std::move(text));
    }
    const std::lock_guard lock(mutex_);
    --left_;
    if (!outcome.ok() && status_.ok()) {
      status_ = outcome.status().with(printable(file_.file().path().native()) + ": shard " +
                                      std::to_string(archive_.reader_.shards()[span_.shard].number));
    }
  }

  void progress(uint64_t tokens) override { archive_.counters_.tokens_decoded += tokens; }

  bool stopped() const override {
    if (go_on_ && std::this_thread::get_id() == caller_ && std::chrono::steady_clock::now() >= ask_again_) {
      if (!go_on_()) interrupted_ = true;
      ask_again_ = std::chrono::steady_clock::now() + ask_every;
    }
    return interrupted_;
  }

  void fail(Status why) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(why);
  }
  // Once all threads have left.
  Status outcome() const {
    if (!status_.ok()) return status_;
    if (interrupted_) return {Code::interrupted, "interrupted"};
    return {};
  }

 private:
  Key key(uint32_t chunk) const { return uint64_t{span_.shard} << 32 | chunk; }
  // Chunks do not overlap: no lock.
  void deliver(uint32_t chunk, const Bytes& text) const {
    const uint64_t at = uint64_t{chunk} * file_.block().chunk_bytes;
    const uint64_t begin = std::max(at, span_.begin), end = std::min(at + text.size(), span_.end);
    std::memcpy(out_ + (begin - span_.begin), text.data() + (begin - at), end - begin);
  }

  ArchiveText& archive_;
  const ShardFile& file_;
  const ArchiveReader::Span span_;
  uint8_t* const out_;
  const GoOn& go_on_;
  const uint64_t threads_;
  const std::thread::id caller_ = std::this_thread::get_id();
  mutable std::chrono::steady_clock::time_point ask_again_ =
      std::chrono::steady_clock::now() + ask_every;  // the caller's alone
  mutable std::atomic<bool> interrupted_{false};
  std::mutex mutex_;  // of what follows
  uint64_t next_;
  uint64_t left_;  // not finished
  std::shared_ptr<const Bytes> dictionary_;  // of the shard, once a chunk needs it
  Status status_;
};

Result<std::unique_ptr<ArchiveText>> ArchiveText::open(const std::filesystem::path& path,
                                                       const ArchiveTextOptions& options) {
  LLMC_ASSIGN(ArchiveReader reader, ArchiveReader::open(path));
  std::unique_ptr<ArchiveText> text(new ArchiveText(std::move(reader), options));
  LLMC_ASSIGN(text->parameters_, CodecParameters::parse(text->reader_.parameters()));
  uint64_t chunks = 0;
  for (const ArchiveReader::ShardInfo& shard : text->reader_.shards()) {
    text->chunks_before_.push_back(chunks);
    chunks += shard.chunks;
  }
  if (const Manifest* manifest = text->reader_.manifest()) {
    text->documents_ = manifest->entries;
    uint64_t before = 0;
    for (const ManifestPart& part : manifest->parts) {
      text->documents_before_.push_back(before);
      before += part.entries;
    }
  } else {
    LLMC_ASSIGN(const auto file, text->shard(0));
    text->documents_ = file->index().entries.size();
    text->first_document_ = file->index().first_entry;
    text->documents_before_.push_back(0);
  }
  return text;
}

Result<std::shared_ptr<const ShardFile>> ArchiveText::shard(uint32_t number) {
  const std::lock_guard lock(archive_mutex_);
  for (auto it = shards_.begin(); it != shards_.end(); ++it) {
    if (it->first != number) continue;
    shards_.splice(shards_.begin(), shards_, it);
    return it->second;
  }
  LLMC_ASSIGN(auto file, reader_.shard(number));
  shards_.emplace_front(number, file);
  if (shards_.size() > most_open_shards) shards_.pop_back();
  return file;
}

Result<const ChunkCodec*> ArchiveText::codec(const ShardFile& file, uint32_t first, uint32_t last) {
  const auto& chunks = file.index().chunks;
  if (std::none_of(chunks.begin() + first, chunks.begin() + last + 1,
                   [](const IndexChunk& c) { return needs_model(c.codec); })) {
    return &plain_codec_;
  }
  const std::lock_guard lock(engine_mutex_);
  if (!codec_) {
    LLMC_ASSIGN(auto model, find_model(options_.model, reader_));
    const auto adaptation = [&] {
      const std::lock_guard reading(archive_mutex_);
      return reader_.adaptation();
    }();
    LLMC_TRY(adaptation.status());
    if (!adaptation->empty()) {
      LLMC_ASSIGN(model, adapt_model(std::move(model), *adaptation));
    }
    LLMC_ASSIGN(engine_, make_native_engine(std::move(model)));
    codec_ = std::make_unique<ChunkCodec>(engine_.get(), parameters_);
  }
  return codec_.get();
}

ArchiveText::Text ArchiveText::cached(Key key) {
  const std::lock_guard lock(cache_mutex_);
  const auto place = cache_places_.find(key);
  if (place == cache_places_.end()) return nullptr;
  cache_.splice(cache_.begin(), cache_, place->second);
  return place->second->second;
}

void ArchiveText::keep(Key key, Text text) {
  const std::lock_guard lock(cache_mutex_);
  if (text->size() > options_.cache_bytes || cache_places_.count(key)) return;
  cache_bytes_ += text->size();
  cache_.emplace_front(key, std::move(text));
  cache_places_[key] = cache_.begin();
  while (cache_bytes_ > options_.cache_bytes) {
    cache_bytes_ -= cache_.back().second->size();
    cache_places_.erase(cache_.back().first);
    cache_.pop_back();
  }
}

Status ArchiveText::read(uint64_t begin, uint64_t end, uint8_t* out, const GoOn& go_on) {
  LLMC_ASSIGN(const auto spans, reader_.spans(begin, end));
  for (const ArchiveReader::Span& span : spans) {
    LLMC_TRY(read_span(span, out, go_on));
    out += span.end - span.begin;
  }
  return {};
}

Status ArchiveText::read_span(const ArchiveReader::Span& span, uint8_t* out, const GoOn& go_on) {
  LLMC_ASSIGN(const auto file, shard(span.shard));
  LLMC_ASSIGN(const ChunkCodec* const codec, this->codec(*file, span.first_chunk, span.last_chunk));
  const uint64_t chunks = uint64_t{span.last_chunk} - span.first_chunk + 1;
  const uint64_t wanted = options_.threads ? options_.threads : std::max(std::thread::hardware_concurrency(), 1u);
  const uint64_t threads = std::min(wanted, chunks);
  const int streams = static_cast<int>(std::min<uint64_t>(most_streams, (chunks + threads - 1) / threads));
  Feed feed(*this, *file, span, out, go_on, threads);
  const auto work = [&] {
    try {
      const Status status = codec->decode(feed, streams);
      if (!status.ok() && status.code() != Code::interrupted) feed.fail(status);
    } catch (const std::exception& e) {
      feed.fail({Code::failure, std::string("while decoding: ") + e.what()});
    }
  };
  std::vector<std::thread> others;
  try {
    for (uint64_t i = 1; i < threads; ++i) others.emplace_back(work);
  } catch (const std::exception&) {
    // No more threads to be had: those that are there do it all.
  }
  work();
  for (std::thread& thread : others) thread.join();
  return feed.outcome();
}

Result<std::pair<uint64_t, uint64_t>> ArchiveText::chunk(uint64_t number) const {
  if (number >= reader_.chunks()) {
    return Status(Code::usage, printable(reader_.path().native()) + ": there is no chunk " + std::to_string(number));
  }
  const auto after = std::upper_bound(chunks_before_.begin(), chunks_before_.end(), number);
  const ArchiveReader::ShardInfo& shard = reader_.shards()[static_cast<size_t>(after - chunks_before_.begin() - 1)];
  const uint64_t begin = (number - *(after - 1)) * reader_.chunk_bytes();
  const uint64_t end = std::min(begin + reader_.chunk_bytes(), shard.text_bytes);
  return std::pair(shard.text_offset + begin, shard.text_offset + end);
}

Result<ArchiveDocument> ArchiveText::describe(uint32_t number, size_t entry) {
  LLMC_ASSIGN(auto file, shard(number));
  const IndexEntry& first = file->index().entries[entry];
  ArchiveDocument document;
  const size_t part = reader_.is_set() ? reader_.manifest()->shards[number].part : 0;
  document.number = documents_before_[part] + file->index().first_entry + entry - first_document_;
  document.begin = reader_.shards()[number].text_offset + first.shard_offset;
  document.offset = first.offset;
  document.size = reader_.is_set() ? first.entry.size : first.size;
  document.shard = number;
  document.entry = entry;
  document.file = std::move(file);
  if (document.begin > reader_.text_bytes() || document.size > reader_.text_bytes() - document.begin ||
      (reader_.is_set() && first.offset > 0)) {
    return Status(Code::corrupt, printable(first.entry.name) + ": its pieces do not join");
  }
  if (first.entry.records_kind != RecordKind::whole) {
    LLMC_TRY(pieces(document, [&](const IndexEntry& piece) {
      document.records += piece.entry.records.count;
      return Status();
    }));
  }
  return document;
}

Result<ArchiveDocument> ArchiveText::document(uint64_t number) {
  if (number >= documents_) {
    return Status(Code::usage, printable(reader_.path().native()) + ": there is no document " + std::to_string(number) +
                                   ", only " + std::to_string(documents_));
  }
  // Shards number their entries in their part.
  const auto after = std::upper_bound(documents_before_.begin(), documents_before_.end(), number);
  const auto part = static_cast<size_t>(after - documents_before_.begin()) - 1;
  const uint64_t wanted = number - documents_before_[part] + first_document_;
  // The first shard whose last entry is not before it.
  auto [low, high] = reader_.part_shards(part);
  --high;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    LLMC_ASSIGN(const auto file, shard(middle));
    if (file->index().first_entry + file->index().entries.size() > wanted) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  LLMC_ASSIGN(const auto file, shard(low));
  const uint64_t first = file->index().first_entry;
  if (wanted < first || wanted - first >= file->index().entries.size()) {
    return Status(Code::corrupt,
                  printable(reader_.path().native()) + ": the shards do not number their entries in a row");
  }
  return describe(low, wanted - first);
}

Result<std::optional<ArchiveDocument>> ArchiveText::find(std::string_view name) {
  std::optional<ArchiveReader::Found> found;
  {
    const std::lock_guard lock(archive_mutex_);
    LLMC_ASSIGN(found, reader_.find(name));
  }
  if (!found) return std::optional<ArchiveDocument>();
  LLMC_ASSIGN(ArchiveDocument document, describe(found->shard, found->entry));
  return std::optional<ArchiveDocument>(std::move(document));
}

Status ArchiveText::pieces(const ArchiveDocument& document, const std::function<Status(const IndexEntry&)>& take) {
  LLMC_TRY(take(document.first()));
  uint64_t done = document.first().size;
  for (uint32_t s = document.shard + 1; done < document.size; ++s) {
    const Status torn(Code::corrupt, printable(document.first().entry.name) + ": its pieces do not join");
    if (s >= reader_.shards().size()) return torn;
    LLMC_ASSIGN(const auto file, shard(s));
    if (file->index().entries.empty()) return torn;
    const IndexEntry& piece = file->index().entries.front();
    if (piece.entry.name != document.first().entry.name || piece.offset != done || piece.size == 0) return torn;
    LLMC_TRY(take(piece));
    done += piece.size;
  }
  return {};
}

Status ArchiveText::read_document(const ArchiveDocument& document, uint8_t* out, const GoOn& go_on) {
  LLMC_TRY(read(document.begin, document.begin + document.size, out, go_on));
  uint64_t at = 0;
  return pieces(document, [&](const IndexEntry& piece) -> Status {
    if (piece.size > 0 && sha256(ByteView(out + at, piece.size)) != piece.sha256) {
      return {Code::corrupt, printable(piece.entry.name) + ": does not have the archived SHA-256"};
    }
    at += piece.size;
    return {};
  });
}

Status ArchiveText::records(const ArchiveDocument& document, const std::function<void(const Record&)>& take) {
  return pieces(document, [&](const IndexEntry& piece) -> Status {
    RecordReader reader(piece.entry.records_kind, piece.entry.records);
    Record record;
    while (reader.next(&record)) {
      record.offset += piece.records_base;
      take(record);
    }
    return reader.ok() ? Status()
                       : Status(Code::corrupt, printable(piece.entry.name) + ": its list of records is damaged");
  });
}

}  // namespace llmc
