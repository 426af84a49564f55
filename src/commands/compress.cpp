// compress INPUT... -o OUT: scan -> plan -> code on all ranks -> set.
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "commands/compress_job.h"
#include "commands/compute.h"
#include "corpus/scan.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

struct CompressOptions {
  Words inputs;
  std::string output;
  CodecParameters parameters;
  Sample verify;
  PlanOptions plan;
  ScanOptions scan;
  bool force = false, resume = false;
  ComputeOptions compute;
};

void add_options(OptionSet& set) {
  set.positional("input", -1);
  set.group("Archive").add_options()
      ("output,o", po::value<std::string>()->value_name("OUT"), "OUT.h5: one shard file; any other name: a folder with a set of shards")
      ("codec", po::value<std::string>()->default_value("range")->value_name("NAME"), "range, mix, rank, zstd or stored")
      ("chunk", po::value<ByteSize>()->default_value(ByteSize{64u << 10}, "64K")->value_name("SIZE"),
       "plain bytes that are coded alone: smaller gives finer access, larger fewer bytes")
      ("shard", po::value<ByteSize>()->default_value(ByteSize{256u << 20}, "256M")->value_name("SIZE"), "plain bytes of a shard file")
      ("window", po::value<int>()->default_value(0)->value_name("TOKENS"), "tokens that the model sees at once; 0: all it can")
      ("carry", po::value<int>()->default_value(-1)->value_name("TOKENS"), "tokens that the next window starts with; -1: the default of a quarter")
      ("verify", po::value<std::string>()->default_value("1%")->value_name("RATE"), "chunks that another worker (alone: another engine) decodes before they are kept: a percentage, all or none")
      ("resume", po::bool_switch(), "go on with an interrupted run; a finished archive of the same plan is success")
      ("force,f", po::bool_switch(), "replace OUT, and give up an interrupted run that stands in the way");
  set.group("Inputs").add_options()
      ("documents", po::value<std::string>()->default_value("files")->value_name("RULE"),
       "files (members of tar and zip, records of WARC), lines, or records (also lines of *.jsonl)")
      ("unpack", po::bool_switch(), "archive the plain bytes of .gz and .zst inputs")
      ("include", po::value<Words>()->composing()->value_name("GLOB"), "only names that match, or lie in a folder that matches")
      ("exclude", po::value<Words>()->composing()->value_name("GLOB"), "leave out names that match, and all below them");
  add_compute_options(set);
}

Result<CompressOptions> read_options(const OptionSet& set) {
  CompressOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  o.inputs = set.words();
  if (o.inputs.empty()) return Status(Code::usage, "compress: no input given");
  if (!set.given("output")) return Status(Code::usage, "compress: -o OUT is missing");
  o.output = set.get<std::string>("output");
  while (o.output.size() > 1 && o.output.back() == '/') o.output.pop_back();
  LLMC_ASSIGN(o.parameters.codec, codec_from_name(set.get<std::string>("codec")));
  LLMC_ASSIGN(o.verify.rate, Sample::parse_rate(set.get<std::string>("verify"), "--verify"));
  const uint64_t chunk = set.get<ByteSize>("chunk").bytes;
  if (chunk == 0 || chunk > max_plan_chunk_bytes) return Status(Code::usage, "--chunk is 1 byte to 1G");
  o.plan.chunk_bytes = static_cast<uint32_t>(chunk);
  o.plan.shard_bytes = set.get<ByteSize>("shard").bytes;
  if (o.plan.shard_bytes < chunk) return Status(Code::usage, "--shard must not be smaller than --chunk");
  if (o.output.ends_with(".h5")) {
    if (set.given("shard")) return Status(Code::usage, "--shard and an output ending in .h5 exclude each other: that is one shard");
    o.plan.shard_bytes = 0;
  }
  const std::string rule = set.get<std::string>("documents");
  if (rule == "files") o.scan.rule = DocumentRule::files;
  else if (rule == "lines") o.scan.rule = DocumentRule::lines;
  else if (rule == "records") o.scan.rule = DocumentRule::records;
  else return Status(Code::usage, "--documents is files, lines or records, not '" + rule + "'");
  o.scan.unpack = set.get<bool>("unpack");
  if (set.given("include")) o.scan.include = set.get<Words>("include");
  if (set.given("exclude")) o.scan.exclude = set.get<Words>("exclude");
  o.resume = set.get<bool>("resume");
  o.force = set.get<bool>("force");
  if (o.resume && o.force) return Status(Code::usage, "--resume and --force exclude each other");
  const bool modelled = o.parameters.codec != Codec::zstd && o.parameters.codec != Codec::stored;
  for (const char* name : {"model", "engine", "window", "carry"}) {
    if (!modelled && set.given(name)) {
      return Status(Code::usage, std::string("--codec ") + codec_name(o.parameters.codec) + " uses no model: --" + name + " does not go with it");
    }
  }
  return o;
}

// Measured (docs/RESULTS.md): a quarter of the window is the best trade of bytes for time.
int default_carry(int window) { return window / 4; }

// Window and carry as they will stand in the archive: nothing is left to a default of a later version.
Status fix_windows(const OptionSet& set, const Model& model, CodecParameters* parameters) {
  const int context = model.config().context;
  const int window = set.get<int>("window") ? set.get<int>("window") : context;
  if (window < 2 || window > context) {
    return {Code::usage, "--window is 2 to " + std::to_string(context) + " tokens for model " + model.name()};
  }
  const int carry = set.get<int>("carry") < 0 ? default_carry(window) : set.get<int>("carry");
  if (carry + 1 > window) return {Code::usage, "--carry must be smaller than the window"};
  parameters->window = static_cast<uint32_t>(window);
  parameters->carry = static_cast<uint32_t>(carry);
  return {};
}

void print_summary(const Plan& plan, const CompressJob::Totals& totals, const SetSummary& summary, const std::string& output) {
  const double archive = static_cast<double>(summary.file_bytes);
  const double plain = static_cast<double>(plan.text_size());
  std::string codecs;
  for (const auto& [codec, count] : totals.codecs) {
    codecs += (codecs.empty() ? "" : ", ") + std::to_string(count) + " " + codec_name(codec);
  }
  std::printf("%s: %zu entries, %llu bytes -> %llu bytes", output.c_str(), plan.entries().size(),
              static_cast<unsigned long long>(plan.text_size()), static_cast<unsigned long long>(summary.file_bytes));
  if (plain > 0) std::printf(" (%.3f bits per byte, %.2f times smaller)", 8 * archive / plain, plain / archive);
  std::printf("\n%zu shard%s; chunks: %s; %llu decoded again", plan.shards().size(), plan.shards().size() == 1 ? "" : "s",
              codecs.empty() ? "none" : codecs.c_str(), static_cast<unsigned long long>(totals.checked_chunks));
  if (totals.kept_chunks) std::printf("; %llu from an earlier run", static_cast<unsigned long long>(totals.kept_chunks));
  std::printf("\n");
  for (const auto& [who, count] : totals.checked_by) {
    std::printf("  %llu by %s\n", static_cast<unsigned long long>(count), who.c_str());
  }
  for (const std::string& line : totals.mismatches) std::printf("  %s\n", line.c_str());
}

// All that is not in the spool yet, on all ranks.
Status code_text(Context& context, const CompressOptions& o, const JobSetup& setup, std::shared_ptr<const Model> model,
                 CompressJob& job, SetWriter& writer, std::vector<std::string>* names, bool* started) {
  const Plan& plan = writer.plan();
  JobSize size{"compress", plan.chunks(), plan.text_size(), 0, 0, false};
  for (uint32_t shard = 0; shard < plan.shards().size(); ++shard) {
    for (uint32_t chunk = 0; chunk < plan.shard_chunks(shard); ++chunk) {
      if (writer.have(shard, chunk)) {
        ++size.tasks_before;
        size.bytes_before += plan.chunk_size(shard, chunk);
      }
    }
  }
  *started = true;
  if (context.size() <= 2) job.set_alone();
  const Status status = run_job(context, o.compute, setup, std::move(model), size, job, names);
  LLMC_TRY(writer.sync());
  LLMC_TRY(status);
  for (const std::string& failure : job.totals().failures) log::error("{}", failure);
  if (job.totals().failures.empty()) return {};
  return {Code::partial, std::to_string(job.totals().failures.size()) + " of " + std::to_string(plan.chunks()) +
                             " chunks failed; the rest is kept, run the same command again"};
}

// The coordinator's whole course. *started: run_job has been reached, the workers know.
Status compress(Context& context, const OptionSet& set, CompressOptions& o, bool* started) {
  std::shared_ptr<const Model> model;
  JobSetup setup;
  if (o.parameters.codec != Codec::zstd && o.parameters.codec != Codec::stored) {
    LLMC_ASSIGN(model, open_model(o.compute.model));
    LLMC_TRY(fix_windows(set, *model, &o.parameters));
    setup.model = model->digest();
    setup.model_name = model->name();
  }
  setup.parameters = o.parameters;
  o.plan.parameters = o.parameters.serialize();
  o.plan.model = setup.model;
  o.plan.model_name = setup.model_name;

  o.scan.stdin_copy = o.output + ".stdin";
  o.scan.reuse_stdin_copy = o.resume;
  o.scan.skip = {o.output, o.output + ".work", o.scan.stdin_copy};
  Result<ScanOutcome> scan = scan_inputs(o.inputs, o.scan);
  if (!scan.ok() && scan.status().code() == Code::missing) return {Code::failure, scan.status().message()};
  LLMC_TRY(scan.status());
  for (const std::string& warning : scan->warnings) log::warn("{}", warning);
  for (const std::string& problem : scan->problems) log::error("{}", problem);
  LLMC_ASSIGN(Plan made, Plan::make(std::move(scan->entries), o.plan));
  SetOptions how;
  how.mode = o.force ? SetMode::replace : o.resume ? SetMode::resume : SetMode::create;
  LLMC_ASSIGN(const std::unique_ptr<SetWriter> writer, SetWriter::open(o.output, std::move(made), how));
  const Plan& plan = writer->plan();

  // The sample follows from the plan, so that every run draws the same.
  o.verify.seed = ByteReader(plan.digest()).u32();
  std::vector<std::string> names;
  CompressJob job(plan, o.parameters, o.verify, *writer, names);
  if (!writer->finished()) {
    const Status status = code_text(context, o, setup, model, job, *writer, &names, started);
    if (!status.ok()) {
      const Status kept = writer->discard_if_empty();
      if (!kept.ok()) log::warn("{}", kept.message());
      return status;
    }
  }
  LLMC_ASSIGN(const SetSummary summary, writer->finish());
  std::error_code ignored;
  fs::remove(o.scan.stdin_copy, ignored);
  if (!o.compute.quiet) print_summary(plan, job.totals(), summary, o.output);
  if (!scan->problems.empty()) {
    return {Code::partial, std::to_string(scan->problems.size()) + " inputs could not be read; everything else is archived"};
  }
  return {};
}

}  // namespace

Status run_compress(Context& context, const Words& words) {
  OptionSet set("compress", "llmc-batch compress INPUT... -o OUT [options]",
                "Codes files, folders or standard input (-) into an archive that gives back the same bytes.");
  add_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  LLMC_ASSIGN(CompressOptions options, read_options(set));
  if (!context.coordinator()) return run_worker(context, options.compute);
  bool started = false;
  const Status status = compress(context, set, options, &started);
  return started ? status : cancel_job(context, status);
}

}  // namespace llmc
