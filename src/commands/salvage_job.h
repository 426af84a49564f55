// Frames that were found -> text -> files: what salvage makes of them.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/salvage.h"
#include "corpus/output_tree.h"
#include "dispatch/job.h"

namespace llmc {

// Decodes all frames into one file of text for each shard, below `folder`.
class SalvageJob : public Job {
 public:
  // `salvaged` outlives the job. Frames that need a model are left alone unless `with_model`.
  SalvageJob(const Salvaged& salvaged, const std::filesystem::path& folder, bool with_model);

  Result<std::optional<Task>> next() override;
  Status finished(uint64_t id, Bytes result, int worker) override;
  Status failed(uint64_t id, const Status& why, int worker) override;

  uint64_t tasks() const { return queue_.size(); }
  uint64_t text_bytes() const { return text_bytes_; }  // to be decoded
  // Chunks whose text was won, by shard; the last set is that of the strays, by their place in the list.
  const std::vector<std::set<uint32_t>>& won() const { return won_; }
  const std::vector<std::string>& failures() const { return failures_; }
  std::filesystem::path text_path(size_t shard) const;
  // Where a stray's text stands in the file of the strays.
  uint64_t stray_offset(size_t stray) const { return stray_offsets_[stray]; }

 private:
  struct Wanted {
    size_t shard;
    uint32_t number;  // chunk, or stray
    const FoundFrame* frame;
  };
  uint64_t text_offset(const Wanted& wanted) const;
  Result<Bytes> dictionary_of(size_t shard);

  const Salvaged& salvaged_;
  const std::filesystem::path folder_;
  std::vector<Wanted> queue_;
  size_t next_ = 0;
  uint64_t text_bytes_ = 0;
  std::vector<std::set<uint32_t>> won_;
  std::vector<uint64_t> stray_offsets_;
  std::vector<std::string> failures_;
  std::optional<std::pair<size_t, Bytes>> dictionary_;  // the one read last
};

struct SalvageOutcome {
  uint64_t whole = 0, whole_bytes = 0;       // files given back and held against their SHA-256
  uint64_t stretches = 0, stretch_bytes = 0; // parts of others, and text without a name
  uint64_t versions = 0;                     // entries that stand under NAME.version-*, since another one has the name
  std::vector<std::string> lost;             // one sentence each
};

// Makes of the texts what the indexes say, and of the rest named stretches. Where there are several versions of an entry, the
// newest has its name.
Result<SalvageOutcome> write_salvaged(const Salvaged& salvaged, const SalvageJob& job, OutputTree& tree);

}  // namespace llmc
