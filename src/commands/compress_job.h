// The coordinator's side of compress: text in plan order -> tasks -> frames -> the set.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <unordered_map>

#include "archive/set.h"
#include "chunk/codec.h"
#include "corpus/text_reader.h"
#include "dispatch/job.h"
#include "plan/plan.h"

namespace llmc {

// Which finished frames are decoded once more, by whichever worker is free, before they are kept.
struct VerifyRate {
  double rate = 0.01;
  static Result<VerifyRate> parse(const std::string& text);  // "1%", "all", "none"
  // The same chunks for the same plan, on every machine.
  bool picks(const Digest& plan, uint32_t shard, uint32_t chunk) const;
};

class CompressJob : public Job {
 public:
  struct Totals {
    uint64_t chunks = 0, text_bytes = 0;   // coded in this run
    uint64_t kept_chunks = 0;              // found in the spool of an earlier run
    uint64_t checked_chunks = 0;           // decoded again
    std::map<Codec, uint64_t> codecs;      // chunks by codec
    std::vector<std::string> failures;     // one sentence each
  };

  // All three outlive the job.
  CompressJob(const Plan& plan, const CodecParameters& parameters, VerifyRate verify, SetWriter& set);

  Result<std::optional<Task>> next() override;
  bool ended() const override { return text_ended_ && checks_.empty() && out_.empty(); }
  Status finished(uint64_t id, Bytes result, int worker) override;
  Status failed(uint64_t id, const Status& why, int worker) override;
  void tick() override { sync_ = set_.sync_if_due(); }

  const Totals& totals() const { return totals_; }

 private:
  struct Out {  // a task that a worker has
    uint32_t shard = 0, chunk = 0;
    Bytes frame;        // of a check
    bool check = false;
    uint32_t size = 0;
  };
  struct Check {
    uint32_t shard = 0, chunk = 0, seed = 0, size = 0;
    Bytes frame;
  };

  std::optional<Task> next_check();
  Status read_chunk(Bytes* text);
  Status keep(uint32_t shard, uint32_t chunk, Bytes frame);

  const Plan& plan_;
  const CodecParameters& parameters_;
  VerifyRate verify_;
  SetWriter& set_;
  TextReader reader_;

  // Where the reader stands.
  uint32_t shard_ = 0, chunk_ = 0;
  uint64_t piece_ = 0;  // index into plan.pieces(): the first whose end has not been read
  Sha256 piece_hash_;
  std::map<uint32_t, uint32_t> seeds_;  // of shards with chunks out
  bool text_ended_ = false;

  std::unordered_map<uint64_t, Out> out_;
  std::deque<Check> checks_;
  uint64_t next_id_ = 0;
  Totals totals_;
  Status sync_;  // of the last tick
};

}  // namespace llmc
