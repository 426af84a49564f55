// Coding what a plan lists into a set: what compress and append share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "archive/set.h"
#include "commands/compress_job.h"
#include "commands/compute.h"
#include "commands/verb.h"

namespace llmc {

// All of these shards that is not in the spool yet, on all ranks. *started: the workers have been told of the job. Of a
// set that is finished only the status file and the report are written.
Status code_text(Context& context, const std::string& verb, const ComputeOptions& options, const std::string& output, const JobSetup& setup,
                 std::shared_ptr<const Model> model, CompressJob& job, ShardRange shards, SetWriter& writer,
                 std::vector<std::string>* names, bool* started);

void print_summary(const Plan& plan, const CompressJob::Totals& totals, const SetSummary& summary, const std::string& output,
                   bool appended);

}  // namespace llmc
