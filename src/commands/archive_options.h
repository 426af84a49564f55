// What decides an archive's bytes: the options that compress, plan and job files share.
#pragma once

#include <memory>
#include <string>

#include "chunk/codec.h"
#include "commands/options.h"
#include "commands/verb.h"
#include "corpus/scan.h"
#include "model/model.h"
#include "plan/plan.h"

namespace llmc {

struct ArchiveOptions {
  CodecParameters parameters;  // window and carry are fixed by complete_plan_options()
  PlanOptions plan;
  bool auto_shard = false;     // plan.shard_bytes follows from the size of the text
  int window = 0, carry = -1;  // as given
  ScanOptions scan;
};

void add_archive_options(boost::program_options::options_description& group);
void add_input_options(OptionSet& set);
// The options of both; `output`: a name in .h5 makes one shard. Code::usage.
Result<ArchiveOptions> read_archive_options(const OptionSet& set, const std::string& output);

// Those of add_input_options alone.
Result<ScanOptions> read_input_options(const OptionSet& set);

// Opens the model where the codec needs one (null otherwise) and writes into options->plan what it decides:
// nothing is left to a default of a later version.
Result<std::shared_ptr<const Model>> complete_plan_options(const std::string& model_path, ArchiveOptions* options);

// The shard size that `--shard auto` takes: 256 MiB, doubled up to 4 GiB while that makes more than a thousand shards.
uint64_t auto_shard_bytes(uint64_t text_bytes);

// What is there; the user has been told the warnings and which inputs could not be read.
Result<ScanOutcome> scan_and_tell(const Words& inputs, const ScanOptions& options);
// Scan and plan. *problems: inputs that could not be read; they and the warnings have been told the user.
Result<Plan> make_plan(const Words& inputs, ArchiveOptions& options, size_t* problems);

}  // namespace llmc
