// compress INPUT... -o OUT: scan -> plan -> code on all ranks -> set. With --plan: from a saved plan, all of it or a part.
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "commands/archive_job.h"
#include "commands/archive_options.h"
#include "commands/coding.h"
#include "commands/companions.h"
#include "commands/compress_job.h"
#include "commands/compute.h"
#include "commands/dry_run.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

struct CompressOptions {
  Words inputs;
  std::string plan;  // path of a saved one, instead of inputs
  ShardList shards;  // of the plan
  std::string output;
  ArchiveOptions archive;
  Sample verify;
  double parity = 0;
  std::string check;  // none, files or data: of the finished archive
  bool dry_run = false;
  bool force = false, resume = false, break_lock = false, bare = false, with_model = false;
  ComputeOptions compute;
};

// `job`: by a job file, which checks what it has made and goes on where it was interrupted.
void add_options(OptionSet& set, bool job) {
  set.positional("input", -1);
  auto& archive = set.group("Archive");
  archive.add_options()
      ("output,o", po::value<std::string>()->value_name("OUT"), "OUT.h5: one shard file; any other name: a folder with a set of shards")
      ("plan", po::value<std::string>()->value_name("PLAN"), "instead of inputs: what 'llmc-batch plan' saved, with all that decides the archive")
      ("shards", po::value<std::string>()->value_name("A-B"),
       "only these shards of the plan (or 2/16: the second of sixteen equal parts) for 'llmc-batch merge'");
  add_archive_options(archive);
  archive.add_options()
      ("verify", po::value<std::string>()->default_value("1%")->value_name("RATE"), "chunks that another worker (alone: another engine) decodes before they are kept: a percentage, all or none")
      ("check", po::value<std::string>()->default_value(job ? "files" : "none")->value_name("WHAT"),
       "of the finished archive: files (every digest), data (decode all of it as well) or none")
      ("parity", po::value<std::string>()->value_name("RATE"), "also write parity files, such as 2%, with which 'repair' brings back damaged bytes")
      ("bare", po::bool_switch(), "a set without README, documents, decoder and copy of the model")
      ("with-model", po::bool_switch(), "copy the model into the set whatever its size and licence")
      ("resume", po::bool_switch(), "go on with an interrupted run; a finished archive of the same plan is success")
      ("dry-run", po::bool_switch(), "write nothing; print files, bytes and shards, and size and time as a sample has them")
      ("break-lock", po::bool_switch(), "take the output over from a process on another host that no longer runs")
      ("force,f", po::bool_switch(), "replace OUT, and give up an interrupted run that stands in the way");
  add_input_options(set);
  add_compute_options(set);
}

// With a saved plan, all that decides the archive stands in it.
Status read_plan_options(const OptionSet& set, CompressOptions* o) {
  if (set.given("shards")) {
    if (o->plan.empty()) return {Code::usage, "--shards goes with --plan: 'llmc-batch plan' saves one"};
    if (o->output.ends_with(".h5")) return {Code::usage, "--shards makes a folder, not one .h5 file"};
    LLMC_ASSIGN(o->shards, parse_shard_list(set.get<std::string>("shards"), "--shards"));
    if (o->shards.numbers.size() > 1) return {Code::usage, "--shards is one range such as 3-5, or a part such as 2/16"};
  }
  if (o->plan.empty()) return {};
  if (!o->inputs.empty()) return {Code::usage, "compress: inputs and --plan exclude each other"};
  for (const char* name : {"codec", "chunk", "dictionary", "adapt", "shard", "window", "carry", "documents", "unpack", "include", "exclude"}) {
    if (set.given(name)) return {Code::usage, std::string("--") + name + " does not go with --plan: it stands in the plan"};
  }
  return {};
}

Result<CompressOptions> read_options(const OptionSet& set, bool job) {
  CompressOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  o.inputs = set.words();
  if (set.given("plan")) o.plan = set.get<std::string>("plan");
  if (o.inputs.empty() && o.plan.empty()) {
    return Status(Code::usage, job ? "run: the job file names no input" : "compress: no input given");
  }
  if (!set.given("output")) return Status(Code::usage, job ? "run: the job file names no output" : "compress: -o OUT is missing");
  o.output = set.get<std::string>("output");
  while (o.output.size() > 1 && o.output.back() == '/') o.output.pop_back();
  LLMC_ASSIGN(o.archive, read_archive_options(set, o.output));
  LLMC_TRY(read_plan_options(set, &o));
  LLMC_ASSIGN(o.verify.rate, Sample::parse_rate(set.get<std::string>("verify"), "--verify"));
  if (set.given("parity")) {
    LLMC_ASSIGN(o.parity, Sample::parse_rate(set.get<std::string>("parity"), "--parity"));
    if (set.get<std::string>("parity") == "all") return Status(Code::usage, "--parity is a percentage such as 2%");
  }
  o.dry_run = set.get<bool>("dry-run");
  o.check = set.get<std::string>("check");
  if (o.check != "none" && o.check != "files" && o.check != "data") {
    return Status(Code::usage, "--check is files, data or none, not '" + o.check + "'");
  }
  if (!o.shards.all() && o.check != "none") return Status(Code::usage, "--check goes with a whole archive, not with --shards");
  o.force = set.get<bool>("force");
  o.resume = set.get<bool>("resume") || (job && !o.force);
  o.break_lock = set.get<bool>("break-lock");
  o.bare = set.get<bool>("bare");
  o.with_model = set.get<bool>("with-model");
  if (o.bare && o.with_model) return Status(Code::usage, "--bare and --with-model exclude each other");
  if (o.with_model && o.output.ends_with(".h5")) {
    return Status(Code::usage, "--with-model needs a set: one .h5 file has no room for a copy of the model");
  }
  if (o.resume && o.force) return Status(Code::usage, "--resume and --force exclude each other");
  return o;
}

// The plan, made or loaded, and what coding by it takes.
Result<Plan> prepare(CompressOptions& o, std::shared_ptr<const Model>* model, JobSetup* setup, size_t* problems) {
  std::optional<Plan> plan;
  if (o.plan.empty()) {
    LLMC_ASSIGN(*model, complete_plan_options(o.compute.model, &o.archive));
    o.archive.scan.stdin_copy = o.output + ".stdin";
    o.archive.scan.reuse_stdin_copy = o.resume;
    o.archive.scan.skip = {o.output, o.output + ".work", o.archive.scan.stdin_copy};
    LLMC_ASSIGN(plan, make_plan(o.inputs, o.archive, problems));
  } else {
    Result<Plan> loaded = Plan::load(o.plan);
    if (loaded.status().code() == Code::missing) return Status(Code::failure, loaded.status().message());
    LLMC_TRY(loaded.status());
    plan = *std::move(loaded);
    LLMC_ASSIGN(o.archive.parameters, CodecParameters::parse(plan->options().parameters));
    if (plan->options().model != Digest{}) {
      LLMC_ASSIGN(*model, open_model_for(o.compute.model, plan->options().model, plan->options().model_name));
    }
  }
  setup->model = plan->options().model;
  setup->model_name = plan->options().model_name;
  setup->parameters = o.archive.parameters;
  setup->adaptation = plan->options().adaptation;
  return *std::move(plan);
}

Result<ShardRange> wanted_shards(const ShardList& list, const Plan& plan) {
  const auto count = static_cast<uint32_t>(plan.shards().size());
  if (list.all()) return ShardRange{0, count};
  if (list.parts) return list.part_of(count);
  const auto [first, last] = list.numbers.front();
  if (last >= count) {
    return Status(Code::usage, "the plan has shards 0 to " + std::to_string(count - 1) + ", not " + std::to_string(last));
  }
  return ShardRange{first, last + 1};
}

// A part stays an unfinished set; its work folder is what merge reads the plan from.
Status finish_part(const CompressOptions& o, ShardRange shards, const SetWriter& writer) {
  for (uint32_t s = shards.first; s < shards.end; ++s) {
    if (!writer.committed(s)) return {Code::failure, o.output + ": shard " + std::to_string(s) + " is not there after all"};
  }
  if (o.compute.quiet) return {};
  const size_t count = writer.plan().shards().size();
  if (shards.empty()) {
    std::printf("%s: this part has no shards: the plan has %zu\n", o.output.c_str(), count);
  } else {
    std::printf("%s: shards %u to %u of 0 to %zu are complete; 'llmc-batch merge' makes a set of all parts\n",
                o.output.c_str(), shards.first, shards.end - 1, count - 1);
  }
  return {};
}

// The coordinator's whole course. *started: run_job has been reached, the workers know.
Status compress(Context& context, CompressOptions& o, bool* started) {
  std::shared_ptr<const Model> model;
  JobSetup setup;
  size_t problems = 0;
  LLMC_ASSIGN(Plan made, prepare(o, &model, &setup, &problems));
  LLMC_ASSIGN(const ShardRange shards, wanted_shards(o.shards, made));
  if (o.dry_run) return dry_run(made, o.compute, setup, std::move(model));
  SetOptions how;
  how.mode = o.force ? SetMode::replace : o.resume ? SetMode::resume : SetMode::create;
  how.break_lock = o.break_lock;
  // The sample follows from the plan, so that every run draws the same.
  o.verify.seed = ByteReader(made.digest()).u32();
  how.verified = {o.verify.rate, o.verify.seed};
  if (!o.bare) how.companions = make_companions(model, o.with_model ? ModelCopy::always : ModelCopy::when_small);
  how.parity = o.parity;
  LLMC_ASSIGN(const std::unique_ptr<SetWriter> writer, SetWriter::open(o.output, std::move(made), how));
  const Plan& plan = writer->plan();

  std::vector<std::string> names;
  CompressJob job(plan, shards, o.archive.parameters, o.verify, *writer, names);
  const Status status = code_text(context, "compress", o.compute, o.output, setup, model, job, shards, *writer, &names, started);
  if (!status.ok()) {
    const Status kept = writer->discard_if_empty();
    if (!kept.ok()) log::warn("{}", kept.message());
    return status;
  }
  if (!o.shards.all() && !writer->finished()) return finish_part(o, shards, *writer);
  LLMC_ASSIGN(const SetSummary summary, writer->finish());
  std::error_code ignored;
  if (o.plan.empty()) fs::remove(o.archive.scan.stdin_copy, ignored);
  if (!o.compute.quiet) print_summary(plan, job.totals(), summary, o.output, false);
  if (problems > 0) {
    return {Code::partial, std::to_string(problems) + " inputs could not be read; everything else is archived"};
  }
  return {};
}

}  // namespace

namespace {

Status run(Context& context, const Words& words, bool job) {
  OptionSet set(job ? "run" : "compress", "llmc-batch compress INPUT... -o OUT [options]",
                "Codes files, folders or standard input (-) into an archive that gives back the same bytes.");
  add_options(set, job);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  LLMC_ASSIGN(CompressOptions options, read_options(set, job));
  const bool check = options.check != "none" && !options.dry_run;
  const bool decodes = check && options.check == "data";  // on all ranks
  if (!context.coordinator()) {
    LLMC_TRY(run_worker(context, options.compute));
    return decodes ? run_worker(context, options.compute) : Status();
  }
  if (options.dry_run) {  // its sample is no run
    options.compute.status_file.clear();
    options.compute.report.clear();
  }
  const auto end = [&](Status outcome) { return conclude(options.compute.status_file, "compress", options.output, std::move(outcome)); };
  bool started = false;
  Status status = compress(context, options, &started);
  if (!started) status = cancel_job(context, std::move(status));
  const bool made = status.ok() || status.code() == Code::partial;
  if (!check || !made) return end(decodes ? cancel_job(context, status) : status);
  started = false;
  ComputeOptions checking = options.compute;  // the status file and the report stay those of the compression
  checking.status_file.clear();
  checking.report.clear();
  Status checked = check_archive(context, options.output, decodes, checking, &started);
  if (decodes && !started) checked = cancel_job(context, std::move(checked));
  return end(checked.ok() ? status : checked);
}

}  // namespace

Status run_compress(Context& context, const Words& words) { return run(context, words, false); }
Status run_compress_job(Context& context, const Words& words) { return run(context, words, true); }

}  // namespace llmc
