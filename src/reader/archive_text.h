// The text and the documents of one archive, decoded where it is asked for: what libllmc.so is made of.
//
// Only the chunks that hold wanted bytes are read and decoded, by up to `threads` threads that end with the call;
// decoded chunks are kept, the latest used ones up to a number of bytes. The native engine, no torch; no libhdf5
// (archive/reader.h).
//
// Any thread may call any function. An index that a call needs is read under a lock; decoding happens outside of it.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "archive/reader.h"
#include "chunk/codec.h"
#include "model/session.h"

namespace llmc {

struct ArchiveTextOptions {
  std::string model;     // path; empty: see find_model() in model_choice.h
  unsigned threads = 0;  // 0: the cores of this process
  uint64_t cache_bytes = 0;
};

// A document as it stands in this archive: for one that is cut over shards, all of its pieces together.
struct ArchiveDocument {
  uint64_t number = 0;
  uint64_t begin = 0, size = 0;  // in the archive's text
  uint64_t offset = 0;           // of these bytes in the document: not 0 in one shard of a set alone
  uint64_t records = 0;
  uint32_t shard = 0;                     // of the first piece
  size_t entry = 0;                       // in that shard's index
  std::shared_ptr<const ShardFile> file;  // that shard
  const IndexEntry& first() const { return file->index().entries[entry]; }
};

class ArchiveText {
 public:
  struct Counters {
    std::atomic<uint64_t> bytes_read{0}, chunks_decoded{0}, tokens_decoded{0}, cache_hits{0};
  };
  // Asked now and then on the calling thread; false ends the call with Code::interrupted. May be empty.
  using GoOn = std::function<bool()>;

  static Result<std::unique_ptr<ArchiveText>> open(const std::filesystem::path& path,
                                                   const ArchiveTextOptions& options);

  const ArchiveReader& reader() const { return reader_; }
  const CodecParameters& parameters() const { return parameters_; }
  const Counters& counters() const { return counters_; }
  uint64_t documents() const { return documents_; }

  // Bytes [begin, end) of the text. Code::usage beyond its end, Code::corrupt for damage, Code::model.
  Status read(uint64_t begin, uint64_t end, uint8_t* out, const GoOn& go_on);
  // Where a chunk's text begins and ends; chunks are counted over all shards. Code::usage as below.
  Result<std::pair<uint64_t, uint64_t>> chunk(uint64_t number) const;
  // Code::usage for a number that is not there.
  Result<ArchiveDocument> document(uint64_t number);
  Result<std::optional<ArchiveDocument>> find(std::string_view name);
  // document.size bytes, held against the SHA-256 of each piece.
  Status read_document(const ArchiveDocument& document, uint8_t* out, const GoOn& go_on);
  // Records in order, with offsets in the document.
  Status records(const ArchiveDocument& document, const std::function<void(const Record&)>& take);

 private:
  class Feed;
  using Key = uint64_t;  // shard << 32 | chunk
  using Text = std::shared_ptr<const Bytes>;

  ArchiveText(ArchiveReader reader, ArchiveTextOptions options)
      : reader_(std::move(reader)), options_(std::move(options)) {}
  Result<std::shared_ptr<const ShardFile>> shard(uint32_t number);
  Result<ArchiveDocument> describe(uint32_t shard, size_t entry);
  // Each piece of a document in turn.
  Status pieces(const ArchiveDocument& document, const std::function<Status(const IndexEntry&)>& take);
  Status read_span(const ArchiveReader::Span& span, uint8_t* out, const GoOn& go_on);
  // Null where no chunk of [first, last] needs a model.
  Result<const ChunkCodec*> codec(const ShardFile& file, uint32_t first, uint32_t last);
  Text cached(Key key);
  void keep(Key key, Text text);

  std::mutex archive_mutex_;  // of reader_ and shards_
  ArchiveReader reader_;
  std::list<std::pair<uint32_t, std::shared_ptr<const ShardFile>>> shards_;  // the latest used first
  const ArchiveTextOptions options_;
  CodecParameters parameters_;
  std::vector<uint64_t> chunks_before_;  // each shard
  uint64_t documents_ = 0;
  std::vector<uint64_t> documents_before_;  // by part of the set
  uint64_t first_document_ = 0;  // number, in its set, of the first one here

  std::mutex engine_mutex_;  // of the making of these two
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ChunkCodec> codec_;
  ChunkCodec plain_codec_{static_cast<Engine*>(nullptr), CodecParameters{}};

  std::mutex cache_mutex_;
  std::list<std::pair<Key, Text>> cache_;  // the latest used first
  std::unordered_map<Key, std::list<std::pair<Key, Text>>::iterator> cache_places_;
  uint64_t cache_bytes_ = 0;
  Counters counters_;
};

}  // namespace llmc
