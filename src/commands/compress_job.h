// The coordinator's side of compress: text in plan order -> tasks -> frames -> the set.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "archive/set.h"
#include "chunk/codec.h"
#include "commands/run_record.h"
#include "commands/sample.h"
#include "commands/selection.h"
#include "corpus/text_reader.h"
#include "dispatch/job.h"
#include "plan/plan.h"

namespace llmc {

// Where the parameters ask for dictionaries, a worker makes each shard's before its first chunk is given out, the next
// shard's while this one is coded; from then on it travels with every chunk. Unless nothing is verified at
// all, another worker decodes it.
//
// Chunks that the sample draws are decoded once more before they are kept: by another worker than the
// one that coded them, or, where there is one worker alone, by another engine of it. A chunk that does
// not come out as it went in is coded again elsewhere, and both workers are named.
class CompressJob : public Job {
 public:
  struct Totals {
    uint64_t chunks = 0, text_bytes = 0;   // coded in this run
    uint64_t kept_chunks = 0;              // found in the spool of an earlier run
    uint64_t checked_chunks = 0;           // decoded again
    std::map<std::string, uint64_t> checked_by;  // the same, by who did it
    std::map<Codec, uint64_t> codecs;      // chunks by codec
    std::vector<std::string> mismatches;   // one sentence each: chunks that had to be coded again
    std::vector<std::string> failures;     // one sentence each
    RunTables tables;                      // of the chunks coded in this run
  };

  // All outlive the job. `shards`: those of the plan to work on. `workers`: how each rank is called, by rank; those
  // not named are "rank N".
  CompressJob(const Plan& plan, ShardRange shards, const CodecParameters& parameters, const Sample& verify, SetWriter& set,
              const std::vector<std::string>& workers);
  // There is one worker alone: other engines check.
  void set_alone() { alone_ = true; }

  Result<std::optional<Task>> next() override;
  bool ended() const override { return text_ended_ && checks_.empty() && again_.empty() && out_.empty(); }
  Status finished(uint64_t id, Bytes result, int worker) override;
  Status failed(uint64_t id, const Status& why, int worker) override;
  void tick() override { sync_ = set_.sync_if_due(); }
  std::string describe(uint64_t id) const override;

  const Totals& totals() const { return totals_; }

 private:
  // A chunk on its way: coded, perhaps checked, perhaps coded again.
  struct Work {
    uint32_t shard = 0, chunk = 0, size = 0;
    uint32_t text_crc = 0;  // of what was read, to hold the workers against
    bool check = false;     // what a worker does now
    bool other = false;     // with its second engine
    int codings = 0;        // so far
    int coder = 0;          // worker that coded it last
    bool coded_other = false;
    int checker = 0;        // worker that found it wrong
    std::optional<uint32_t> old_frame_crc;  // of the frame that was found wrong
    Bytes frame;            // the last one; the text while it is coded
    Bytes dictionary_work;  // chunk is frame_dictionary: what the dictionary is made of
    bool dictionary() const { return chunk == frame_dictionary; }
    std::string where() const {
      return dictionary() ? "the dictionary of shard " + std::to_string(shard)
                          : "shard " + std::to_string(shard) + " chunk " + std::to_string(chunk);
    }
  };

  static constexpr int max_codings = 3;

  Result<Task> give(Work work);
  Result<Bytes> dictionary_of(uint32_t shard);
  Result<std::optional<Task>> dictionary_task(uint32_t shard);
  Result<std::optional<Task>> next_dictionary();
  Result<std::optional<Task>> next_again();
  Status read_chunk(Bytes* text);
  Status skip_committed();
  Status coded(Work work, Bytes frame, int worker);
  Status checked(Work work, Bytes result, int worker);
  Status mismatch(Work work, int worker, const std::string& why);
  Status keep(uint32_t shard, uint32_t chunk, Bytes frame);
  std::string kind_of(uint32_t shard, uint32_t chunk) const;
  std::string name_of(int worker) const;

  const Plan& plan_;
  const ShardRange shards_;
  const CodecParameters& parameters_;
  const Sample verify_;
  SetWriter& set_;
  const std::vector<std::string>& workers_;
  bool alone_ = false;
  TextReader reader_;

  // Where the reader stands.
  uint32_t shard_ = 0, chunk_ = 0;
  uint64_t piece_ = 0;  // index into plan.pieces(): the first whose end has not been read
  Sha256 piece_hash_;
  std::map<uint32_t, uint32_t> seeds_;  // of shards with chunks out
  bool text_ended_ = false;
  std::set<uint32_t> dictionaries_out_;  // shards whose dictionary is being made
  std::optional<std::pair<uint32_t, Bytes>> dictionary_;  // of the shard that needed one last

  std::unordered_map<uint64_t, Work> out_;  // tasks that a worker has
  std::deque<Work> checks_;
  std::deque<Work> again_;  // to be coded again
  uint64_t next_id_ = 0;
  Totals totals_;
  Status sync_;  // of the last tick
};

}  // namespace llmc
