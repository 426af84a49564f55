// The coordinator's side of extract and verify --data: frames -> tasks -> text, in order.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "archive/reader.h"
#include "commands/selection.h"
#include "dispatch/job.h"

namespace llmc {

// Takes the text of the wanted chunks in rising order. Main thread.
class TextSink {
 public:
  virtual ~TextSink() = default;
  // `text` stands at `offset` of the archive's text. A failure ends the job.
  virtual Status text(uint64_t offset, ByteView text) = 0;
  // These bytes cannot be had. OK: go on with the rest.
  virtual Status lost(uint64_t offset, uint64_t size, const std::string& why) = 0;
};

class DecodeJob : public Job {
 public:
  // Both outlive the job.
  DecodeJob(ArchiveReader& archive, std::vector<ChunkRun> chunks, TextSink& sink);

  Result<std::optional<Task>> next() override;
  bool ended() const override { return run_ == chunks_.size(); }
  Status finished(uint64_t id, Bytes result, int worker) override;
  Status failed(uint64_t id, const Status& why, int worker) override;

 private:
  struct Arrived {
    bool done = false;
    uint64_t offset = 0;
    uint32_t size = 0;
    Bytes text;
    std::string why;  // not empty: lost
  };
  Status deliver();
  Result<Bytes> dictionary_of(const ShardFile& file, uint32_t shard);

  // Text that waits for a chunk before it; beyond this no more frames are given out.
  static constexpr uint64_t max_waiting_bytes = uint64_t{512} << 20;

  ArchiveReader& archive_;
  std::vector<ChunkRun> chunks_;
  TextSink& sink_;
  size_t run_ = 0;       // of the next task
  uint32_t chunk_ = 0;
  uint64_t next_id_ = 0;
  uint64_t first_ = 0;   // the oldest id that has not been delivered
  uint64_t waiting_bytes_ = 0;  // plain bytes of all in arrived_
  std::optional<std::pair<uint32_t, Bytes>> dictionary_;  // of the shard that needed one last
  std::map<uint64_t, Arrived> arrived_;  // by id: all that were given out and not delivered
};

}  // namespace llmc
