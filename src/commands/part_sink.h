// Text -> the targets of a selection: files below a folder, a stream, or nothing but checks.
#pragma once

#include <memory>
#include <set>

#include "archive/reader.h"
#include "commands/decode_job.h"
#include "commands/selection.h"
#include "corpus/output_tree.h"

namespace llmc {

// Where the bytes of one target go; begin and end frame each target that has text.
class TargetOutput {
 public:
  virtual ~TargetOutput() = default;
  virtual Status begin(const Target& target) = 0;
  virtual Status write(ByteView bytes) = 0;
  virtual Status end() = 0;
  // Its bytes cannot be had in full; what was written of it is to vanish where it can.
  virtual Status give_up() = 0;
};

// Files below a folder, as they were: names, modes, times.
std::unique_ptr<TargetOutput> make_tree_output(ArchiveReader& archive, OutputTree& tree);
// One after the other to a descriptor. Damage ends it: a gap would go unseen.
std::unique_ptr<TargetOutput> make_stream_output(int descriptor, const std::string& name);
// Nowhere: only the checks of PartSink.
std::unique_ptr<TargetOutput> make_null_output();

class PartSink : public TextSink {
 public:
  // All outlive the sink.
  PartSink(ArchiveReader& archive, const Selected& selected, TargetOutput& output);
  Status text(uint64_t offset, ByteView text) override;
  Status lost(uint64_t offset, uint64_t size, const std::string& why) override;
  // Closes the last target.
  Status finish();

  // One sentence for each chunk or file that could not be given back.
  const std::vector<std::string>& damage() const { return damage_; }
  uint64_t targets_lost() const { return lost_.size(); }
  uint64_t digests_checked() const { return digests_checked_; }

 private:
  Status enter(const Part& part);
  Status leave(const Part& part);
  Status close_target();
  Status lose(uint32_t target, const std::string& why);
  Result<std::string> target_name(const Target& target);

  ArchiveReader& archive_;
  const Selected& selected_;
  TargetOutput& output_;
  size_t part_ = 0;
  bool inside_ = false;         // of parts[part_]
  int64_t open_ = -1;           // target that output_ is in
  uint64_t done_ = 0;           // bytes of the open target
  Bytes deflated_;              // of an open zip member
  Sha256 piece_hash_;
  bool piece_sound_ = true;
  std::set<uint32_t> lost_;
  std::vector<std::string> damage_;
  uint64_t digests_checked_ = 0;
};

}  // namespace llmc
