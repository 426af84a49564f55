// The part that all computing verbs share: options, the model, the engine, and the agreement
// of all ranks on what is to be done before the first chunk moves.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "chunk/codec.h"
#include "commands/device.h"
#include "commands/options.h"
#include "commands/run_record.h"
#include "commands/verb.h"
#include "dispatch/job.h"
#include "model/model.h"

namespace llmc {

struct ComputeOptions {
  std::string model;   // path; empty: the embedded model
  std::string engine;  // auto, torch or native
  std::string device = "auto";  // as for choose_device
  int gpus = 1;        // of a rank
  bool send_weights = false;  // rank 0 sends its model file to the others, which need none
  int threads = 0;     // compute threads of a rank; 0: its share of the cores
  int streams = 0;     // chunks in lock-step on a thread; 0: the default
  int progress_seconds = 60;
  bool progress_json = false;
  bool quiet = false;
  double lease_seconds = 120;
  std::string status_file, report;  // paths; empty: none
  std::function<void()> before_abort;  // called where a lost rank makes the program end without unwinding; may be empty
};

void add_compute_options(OptionSet& set);
Result<ComputeOptions> compute_options(const OptionSet& set);

// The model file at `path`, or the embedded model where path is empty.
Result<std::shared_ptr<const Model>> open_model(const std::string& path);
// The same for reading an archive: it must have this digest. The embedded model is taken where
// it fits and no path is given. Code::model names both digests.
Result<std::shared_ptr<const Model>> open_model_for(const std::string& path, const Digest& digest,
                                                    const std::string& name);
// engine: auto (torch where libllmc_torch.so is there), torch, native. device: as for choose_device, which `placement`
// is for; gpus of them share the model.
Result<std::unique_ptr<Engine>> open_engine(const std::string& engine, std::shared_ptr<const Model> model,
                                            const std::string& device = "auto", const Placement& placement = {},
                                            int gpus = 1);

// What the coordinator tells the workers before the work begins.
struct JobSetup {
  CodecParameters parameters;
  Digest model{};  // zeros: no model is needed
  std::string model_name;
  Bytes adaptation;      // what the model is adapted with, as parameters.adaptation says; empty: nothing
  uint64_t weights = 0;  // bytes of the model file that rank 0 sends next; 0: each rank opens its own
  bool measure = false;  // workers measure their speed before they begin
  bool needs_model() const { return model != Digest{}; }
};

// What progress shows besides the counts.
struct JobSize {
  std::string verb;
  uint64_t tasks = 0, bytes = 0;                // in all
  uint64_t tasks_before = 0, bytes_before = 0;  // done by an earlier run
  bool decoding = false;
  std::string output;  // or what is decoded; for the status file and the report
};

// Runs the job on all ranks. `model` may be null: the setup then needs none. On one process the
// worker is a thread of it. `names`: filled, before the first result, with what each rank is
// ("rank 3 (node7, native avx2)"). `tables`: fills them for the report, once the job is over.
Status run_job(Context& context, const ComputeOptions& options, const JobSetup& setup,
               std::shared_ptr<const Model> model, const JobSize& size, Job& job, std::vector<std::string>* names = nullptr,
               const std::function<void(RunTables*)>& tables = {});
// In place of run_job where there is nothing to do, or an earlier run has done it: the status file says so, and the report where
// there is none yet; that of the run which did the work stays.
void note_finished(const ComputeOptions& options, const JobSetup& setup, const JobSize& size);
// The coordinator gave up before run_job: lets the workers go. Returns `why`.
Status cancel_job(Context& context, Status why);
// The other ranks' side of both.
Status run_worker(Context& context, const ComputeOptions& options);

}  // namespace llmc
