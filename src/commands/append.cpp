// append INPUT... -o SET: new documents become new shards of a finished set.
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "commands/append_names.h"
#include "commands/archive_options.h"
#include "commands/coding.h"
#include "commands/companions.h"
#include "commands/dry_run.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

struct AppendOptions {
  Words inputs;
  std::string output;
  ScanOptions scan;
  Existing existing = Existing::refuse;
  Sample verify;
  bool dry_run = false, resume = false, force = false, break_lock = false;
  ComputeOptions compute;
};

void add_append_options(OptionSet& set) {
  set.positional("input", -1);
  set.group("Append").add_options()
      ("output,o", po::value<std::string>()->value_name("SET"), "the set: a folder with a manifest; model, codec, sizes and parity are as it has them")
      ("existing", po::value<std::string>()->default_value("refuse")->value_name("WHAT"),
       "where the set has a name already: refuse, naming the first; or skip, which leaves that input out")
      ("verify", po::value<std::string>()->default_value("1%")->value_name("RATE"),
       "chunks that another worker (alone: another engine) decodes before they are kept: a percentage, all or none")
      ("resume", po::bool_switch(), "go on with an interrupted append; a finished one of the same inputs is success")
      ("dry-run", po::bool_switch(), "write nothing; print files, bytes and shards, and size and time as a sample has them")
      ("break-lock", po::bool_switch(), "take the set over from a process on another host that no longer runs")
      ("force,f", po::bool_switch(), "give up another append that was interrupted; what the set holds stays as it is");
  add_input_options(set);
  add_compute_options(set);
}

Result<AppendOptions> read_append_options(const OptionSet& set) {
  AppendOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  o.inputs = set.words();
  if (o.inputs.empty()) return Status(Code::usage, "append: no input given");
  if (!set.given("output")) return Status(Code::usage, "append: -o SET is missing");
  o.output = set.get<std::string>("output");
  while (o.output.size() > 1 && o.output.back() == '/') o.output.pop_back();
  std::error_code error;
  if (o.output.ends_with(".h5") || fs::is_regular_file(o.output, error)) {
    return Status(Code::usage, o.output + ": one .h5 file is one shard and is never written again; append goes to a set (a folder): make one "
                                          "with 'compress ... -o FOLDER', or give the new documents an archive of their own");
  }
  LLMC_ASSIGN(o.scan, read_input_options(set));
  const std::string existing = set.get<std::string>("existing");
  if (existing != "refuse" && existing != "skip") return Status(Code::usage, "--existing is refuse or skip, not '" + existing + "'");
  o.existing = existing == "skip" ? Existing::skip : Existing::refuse;
  LLMC_ASSIGN(o.verify.rate, Sample::parse_rate(set.get<std::string>("verify"), "--verify"));
  o.dry_run = set.get<bool>("dry-run");
  o.resume = set.get<bool>("resume");
  o.force = set.get<bool>("force");
  o.break_lock = set.get<bool>("break-lock");
  if (o.resume && o.force) return Status(Code::usage, "--resume and --force exclude each other");
  return o;
}

struct Appended {
  std::optional<Plan> plan;  // nothing: there is nothing to append
  AppendTo to;
  uint64_t skipped = 0;
};

// What is new against the shards before `first`.
Result<Appended> plan_from(ArchiveReader& archive, uint32_t first, const std::vector<Entry>& entries, Existing existing) {
  const Manifest& manifest = *archive.manifest();
  LLMC_ASSIGN(NewEntries fresh, without_existing(archive, first, entries, existing));
  Appended out;
  out.skipped = fresh.skipped;
  out.to.first_shard = first;
  if (first == manifest.shards.size()) out.to.content = manifest.content;
  if (fresh.entries.empty()) return out;
  PlanOptions options;
  options.shard_bytes = manifest.shard_bytes;
  options.chunk_bytes = manifest.chunk_bytes;
  options.parameters = manifest.parameters;
  options.model = manifest.model;
  options.model_name = manifest.model_name;
  LLMC_ASSIGN(options.adaptation, archive.adaptation());
  LLMC_ASSIGN(out.plan, Plan::make(std::move(fresh.entries), options));
  if (first == manifest.shards.size() && fresh.changed > 0) {
    log::warn("{} of the {} inputs that the set has already differ from it in size or time; they are not brought up to date",
              fresh.changed, fresh.skipped);
  }
  return out;
}

// Where an earlier run of this command has committed already, its plan is found again from what the set was before.
Result<Appended> make_append_plan(ArchiveReader& archive, const AppendOptions& o, const std::vector<Entry>& entries) {
  const Manifest& manifest = *archive.manifest();
  const auto count = static_cast<uint32_t>(manifest.shards.size());
  const ManifestPart& last = manifest.parts.back();
  const auto saved = SetWriter::saved_settings(o.output);
  const bool left = saved.ok() && saved->append && saved->append->first_shard == last.first_shard;
  if (manifest.parts.size() > 1 && !o.force && (left || o.resume)) {
    Result<Appended> before = plan_from(archive, last.first_shard, entries, o.existing);
    if (before.ok() && before->plan && before->plan->digest() == last.plan) return before;
  }
  return plan_from(archive, count, entries, o.existing);
}

Status append(Context& context, AppendOptions& o, bool* started) {
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(o.output));
  JobSetup setup;
  LLMC_ASSIGN(setup.parameters, CodecParameters::parse(archive.parameters()));
  setup.model = archive.model();
  setup.model_name = archive.model_name();
  std::shared_ptr<const Model> model;
  if (setup.needs_model()) {
    LLMC_ASSIGN(model, open_model_for(o.compute.model, setup.model, setup.model_name));
    LLMC_ASSIGN(setup.adaptation, archive.adaptation());
  }
  o.scan.stdin_copy = o.output + ".stdin";
  o.scan.reuse_stdin_copy = o.resume;
  o.scan.skip = {o.output, o.scan.stdin_copy};
  LLMC_ASSIGN(const ScanOutcome scan, scan_and_tell(o.inputs, o.scan));
  LLMC_ASSIGN(Appended appended, make_append_plan(archive, o, scan.entries));
  std::error_code ignored;
  const Status unread = scan.problems.empty() ? Status()
                                              : Status(Code::partial, std::to_string(scan.problems.size()) +
                                                                          " inputs could not be read; everything else is archived");
  if (!appended.plan) {
    fs::remove(o.scan.stdin_copy, ignored);
    if (!o.compute.quiet) {
      std::printf("%s: nothing is new; %llu names are there already\n", o.output.c_str(), static_cast<unsigned long long>(appended.skipped));
    }
    return unread;
  }
  if (o.dry_run) return dry_run(*appended.plan, o.compute, setup, std::move(model));

  const Manifest& manifest = *archive.manifest();
  SetOptions how;
  how.mode = o.force ? SetMode::replace : o.resume ? SetMode::resume : SetMode::create;
  how.append = appended.to;
  how.break_lock = o.break_lock;
  o.verify.seed = ByteReader(appended.plan->digest()).u32();
  how.verified = {o.verify.rate, o.verify.seed};
  how.parity = manifest.parity;
  if (!manifest.companions.empty()) how.companions = make_companions(model, ModelCopy::when_small);
  LLMC_ASSIGN(const std::unique_ptr<SetWriter> writer, SetWriter::open(o.output, *std::move(appended.plan), how));
  const Plan& plan = writer->plan();
  std::vector<std::string> names;
  const ShardRange shards{0, static_cast<uint32_t>(plan.shards().size())};
  CompressJob job(plan, shards, setup.parameters, o.verify, *writer, names);
  const bool finished = writer->finished();
  const Status status = code_text(context, "append", o.compute, o.output, setup, model, job, shards, *writer, &names, started);
  if (!status.ok()) {
    const Status kept = writer->discard_if_empty();
    if (!kept.ok()) log::warn("{}", kept.message());
    return status;
  }
  LLMC_ASSIGN(const SetSummary summary, writer->finish());
  fs::remove(o.scan.stdin_copy, ignored);
  if (!o.compute.quiet) {
    if (finished) {
      std::printf("%s: these %zu entries were appended before\n", o.output.c_str(), plan.entries().size());
    } else {
      print_summary(plan, job.totals(), summary, o.output, true);
    }
    if (appended.skipped) std::printf("%llu names are in the set already and were skipped\n", static_cast<unsigned long long>(appended.skipped));
  }
  return unread;
}

}  // namespace

Status run_append(Context& context, const Words& words) {
  OptionSet set("append", "llmc-batch append INPUT... -o SET [options]",
                "Adds new files, folders or standard input (-) to a finished set. What is in it is never written again.");
  add_append_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  LLMC_ASSIGN(AppendOptions options, read_append_options(set));
  if (!context.coordinator()) return run_worker(context, options.compute);
  if (options.dry_run) {  // its sample is no run
    options.compute.status_file.clear();
    options.compute.report.clear();
  }
  bool started = false;
  const Status status = append(context, options, &started);
  return conclude(options.compute.status_file, "append", options.output, started ? status : cancel_job(context, status));
}

}  // namespace llmc
