// Writes an archive: takes frames and digests in any order, keeps them safe in a spool, writes
// each shard once it is complete, commits the set, and goes on after a kill where it stood.
//
// OUT ending in ".h5" is one shard file, with the folder OUT.work/ beside it while it is made;
// any other OUT is a folder with shard-000000.h5, ..., manifest.json and, while it is made,
// .work/. The work folder holds the lock, the plan, the spool and the shard that is being written.
// Order of writes, and what a reader sees after a kill in each moment: docs/FORMAT.md.
//
// With SetOptions::append a finished set gets a part more: the plan's shards as a set of their own would have them, under the
// next numbers. The files of the parts before are never written again; the new manifest commits.
//
// One thread. The bytes of the result do not depend on the order of calls.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "archive/companion.h"
#include "archive/lock.h"
#include "archive/manifest.h"
#include "archive/parity.h"
#include "archive/shard_writer.h"
#include "archive/spool.h"
#include "plan/plan.h"

namespace llmc {

struct SetPaths {
  explicit SetPaths(const std::filesystem::path& output);
  std::filesystem::path shard(uint32_t shard) const;

  bool single;  // one .h5 file
  std::filesystem::path out, work, lock, plan, settings, manifest;
};

enum class SetMode {
  create,   // refuses a finished archive; goes on with an unfinished one of the same plan
  resume,   // as create, but a finished archive of the same plan is success
  replace,  // starts anew, whatever archive stands there; refuses, untouched, a folder that holds anything else
};

// What is appended to: the set as the caller has seen it.
struct AppendTo {
  uint32_t first_shard = 0;  // the number of its shards
  Digest content{};
  bool operator==(const AppendTo&) const = default;
};

struct SetOptions {
  SetMode mode = SetMode::create;
  // Then create goes on with an interrupted append of the same plan, resume takes a finished one as success, and replace
  // gives an interrupted one up. `parity` is the set's.
  std::optional<AppendTo> append;
  bool break_lock = false;
  std::optional<VerifiedSample> verified;  // for the manifest
  double parity = 0;                       // rate of the parity files (parity.h); 0: none
  MakeCompanions companions;               // files beside the shards of a set; null: none
  SpoolOptions spool;
};

// What decides a set beside its plan; kept with the plan while the set is made.
struct SetSettings {
  double verify = 0, parity = 0;  // rates
  std::optional<AppendTo> append;
  bool operator==(const SetSettings&) const = default;
};

// Of what this job has made: with append, of its part.
struct SetSummary {
  uint64_t shards = 0, chunks = 0, tokens = 0;
  uint64_t text_bytes = 0;
  uint64_t coded_bytes = 0;  // frames
  uint64_t file_bytes = 0;   // shard files, manifest (not with append) and parity
  uint64_t parity_bytes = 0;
  uint64_t companion_bytes = 0;  // not in file_bytes
  Digest content{};  // of the set
};

class SetWriter {
 public:
  // Locks the output and finds out what is there. Code::locked: another process works on it.
  // Code::failure: something else stands there, or the plan differs from what was begun (by
  // name); Code::model: so does the model. One .h5 file needs a plan of one shard.
  static Result<std::unique_ptr<SetWriter>> open(const std::filesystem::path& output, Plan plan,
                                                 const SetOptions& options = {});
  // The plan of an unfinished job: Code::missing where there is none.
  static Result<Plan> saved_plan(const std::filesystem::path& output);
  static Result<SetSettings> saved_settings(const std::filesystem::path& output);

  const Plan& plan() const { return *plan_; }
  // A finished archive of this plan was found: nothing is to be done.
  bool finished() const { return finished_; }
  bool resumed() const { return resumed_; }
  bool committed(uint32_t shard) const { return finished_ || committed_[shard]; }
  bool have(uint32_t shard, uint32_t chunk) const { return committed(shard) || spool_->has_frame(shard, chunk); }
  bool have_digest(size_t piece) const;

  // The seed of a shard's frames comes before its first frame. Code::failure where it is not what it
  // was in an earlier run: then the shard's text has changed.
  Status set_seed(uint32_t shard, uint32_t seed);
  std::optional<uint32_t> seed(uint32_t shard) const;
  // Where the coding parameters ask for dictionaries: that of a shard, or no bytes where it has none. It comes after
  // the seed and before the first frame that begins with it; what is here already is left as it is.
  Status set_dictionary(uint32_t shard, ByteView frame);
  bool has_dictionary(uint32_t shard) const { return committed(shard) || spool_->has_dictionary(shard); }  // it was set
  Result<Bytes> dictionary(uint32_t shard) const { return spool_->read_dictionary(shard); }  // of a shard that is not committed
  // A chunk that is here from an earlier run codes a text of this CRC-32C. Code::failure where it does not: then an input
  // has changed since. Nothing is said of chunks of committed shards, or of those that are not here.
  Status check_text(uint32_t shard, uint32_t chunk, uint32_t text_crc) const;
  // What is here already is left as it is. Code::corrupt where the frame is damaged or not the
  // chunk's. Writes and commits the shard when this completes it.
  Status put(uint32_t shard, uint32_t chunk, ByteView frame);
  // SHA-256 of a piece's bytes, by index into plan().pieces(), for each piece that has text.
  // Code::failure where it differs from what was put before.
  Status put_digest(size_t piece, const Digest& digest);

  // The spool on the device: now, or when it is due.
  Status sync() { return finished_ ? Status() : spool_->sync(); }
  Status sync_if_due() { return finished_ ? Status() : spool_->sync_if_due(); }

  // Commits what is complete, then the set, and removes the work folder. Code::partial where chunks
  // or digests are missing: then what is there stays for a later run.
  Result<SetSummary> finish();
  // Somebody else has put finished shards of this plan in their places: takes them as they are.
  Status look_again() { return adopt_shards(); }
  // The process is about to end without unwinding: what is here is made durable and the lock let go, so that
  // another host can go on.
  void abandon() {
    (void)sync();
    lock_.release();
  }
  // Gives up: removes the work folder if nothing of value is in it (no frame, no shard).
  Status discard_if_empty();

  uint64_t spool_bytes() const { return finished_ ? 0 : spool_->bytes_on_disk(); }

 private:
  explicit SetWriter(const std::filesystem::path& output) : paths_(output) {}
  std::filesystem::path shard_path(uint32_t shard) const { return paths_.shard(first_shard_ + shard); }
  Status prepare(const SetOptions& options);
  Status prepare_append(const SetOptions& options);
  Status give_up_append(const Plan& saved);
  Status clear_work();
  Status begin(const SetOptions& options);
  Status prepare_folders(const SetOptions& options);
  Status look_for_finished(const SetOptions& options);
  Status remove_old();
  Status check_no_strangers(bool replacing) const;
  Status adopt_shards();
  bool complete(uint32_t shard) const;
  Status commit(uint32_t shard);
  Status commit_if_complete(uint32_t shard);
  Result<SetSummary> commit_set();
  Result<SetSummary> summarize() const;
  Status check_settings() const;
  Status place_parity(const std::filesystem::path& made, const std::filesystem::path& file, ParityFileFacts* facts);
  Status remove_work();
  void undo_folders();

  SetPaths paths_;
  std::unique_ptr<Plan> plan_;
  Lock lock_;
  std::optional<Spool> spool_;
  std::vector<bool> committed_;
  std::vector<uint32_t> seeds_;         // of committed shards
  std::vector<uint32_t> digests_left_;  // per shard
  std::vector<std::optional<Digest>> file_digests_;  // of shards that this run wrote
  std::vector<std::optional<ParityFileFacts>> parities_;  // the same
  std::optional<VerifiedSample> verified_;
  double parity_ = 0;
  MakeCompanions companions_;
  std::optional<AppendTo> append_;
  std::optional<Manifest> base_;  // of the set that is appended to
  uint32_t first_shard_ = 0;
  bool finished_ = false;
  bool resumed_ = false;
  bool made_out_ = false;
  bool made_work_ = false;
};

}  // namespace llmc
