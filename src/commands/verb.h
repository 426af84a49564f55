// What every verb gets, and the table of verbs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "cluster/placement.h"
#include "comm/comm.h"

namespace llmc {

// One process's place in the run. Owned by main().
struct Context {
  std::unique_ptr<Comm> comm;  // null: one process, MPI never started
  Placement placement;
  // All work is done, but a rank is lost: MPI cannot be ended in order, nor used for another job. main() ends it by abort_job().
  bool rank_lost = false;
  int rank() const { return comm ? comm->rank() : 0; }
  int size() const { return comm ? comm->size() : 1; }
  // The rank that reads, plans, writes and speaks to the user.
  bool coordinator() const { return rank() == 0; }
};

using Words = std::vector<std::string>;

// Each verb lives in the file of its name. Called on every rank with the same words; only
// the coordinator's status decides the exit code.
Status run_compress(Context& context, const Words& words);
Status run_extract(Context& context, const Words& words);
Status run_list(Context& context, const Words& words);
Status run_info(Context& context, const Words& words);
Status run_verify(Context& context, const Words& words);
Status run_status(Context& context, const Words& words);
Status run_salvage(Context& context, const Words& words);
Status run_repair(Context& context, const Words& words);
Status run_job_file(Context& context, const Words& words);
Status run_compress_job(Context& context, const Words& words);  // with the defaults of a job file
Status run_plan(Context& context, const Words& words);
Status run_append(Context& context, const Words& words);
Status run_merge(Context& context, const Words& words);
Status run_model(Context& context, const Words& words);
Status run_selftest(Context& context, const Words& words);
Status run_bench(Context& context, const Words& words);
// Hidden: the fault points, one a line, for the crash tests.
Status run_faults(Context& context, const Words& words);

std::string version_text();

}  // namespace llmc
