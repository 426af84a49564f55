// salvage ARCHIVE -o DIR: what can still be had of an archive that cannot be opened.
#include <cstdio>

#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "commands/compute.h"
#include "commands/salvage_job.h"
#include "model/adaptation.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

struct SalvageOptions {
  std::string archive, output;
  std::string adapt;  // path; empty: as found
  int window = 0, carry = -1;
  OutputOptions tree;
  ComputeOptions compute;
};

// What the archive says of its coding, else what the options say, else the model's defaults.
Status prepare(const SalvageOptions& o, const Salvaged& found, JobSetup* setup, std::shared_ptr<const Model>* model) {
  bool needed = false;
  for (const FoundShard& s : found.shards) {
    for (const auto& [chunk, f] : s.frames) needed |= f.codec != Codec::stored && f.codec != Codec::zstd;
  }
  for (const FoundFrame& f : found.strays) needed |= f.codec != Codec::stored && f.codec != Codec::zstd;
  if (!found.parameters.empty()) {
    LLMC_ASSIGN(setup->parameters, CodecParameters::parse(found.parameters));
  }
  if (!needed) {
    setup->parameters = {};
    setup->parameters.codec = Codec::zstd;
    return {};
  }
  if (found.model != Digest{}) {
    LLMC_ASSIGN(*model, open_model_for(o.compute.model, found.model, found.model_name));
  } else {
    LLMC_ASSIGN(*model, open_model(o.compute.model));
    log::warn("which model the archive was made with is lost: trying {}", (*model)->name());
  }
  setup->adaptation = found.adaptation;
  if (!o.adapt.empty()) {
    LLMC_ASSIGN(setup->adaptation, read_file(o.adapt, max_adaptation_bytes));
  }
  const Digest digest = setup->adaptation.empty() ? Digest{} : sha256(setup->adaptation);
  if (found.parameters.empty()) setup->parameters.adaptation = digest;
  if (setup->parameters.adaptation != digest) {
    return {Code::model, "the text was coded with the adaptation of sha256 " + to_hex(setup->parameters.adaptation) +
                             ", which is not among what was found; give its file with --adapt"};
  }
  setup->model = (*model)->digest();
  setup->model_name = (*model)->name();
  if (o.window) setup->parameters.window = static_cast<uint32_t>(o.window);
  if (setup->parameters.window == 0) setup->parameters.window = static_cast<uint32_t>((*model)->config().context);
  if (o.carry >= 0) setup->parameters.carry = static_cast<uint32_t>(o.carry);
  else if (found.parameters.empty()) setup->parameters.carry = setup->parameters.window / 4;
  if (setup->parameters.carry >= setup->parameters.window) return {Code::usage, "--carry must be smaller than the window"};
  return {};
}

Status salvage(Context& context, const SalvageOptions& o, bool* started) {
  LLMC_ASSIGN(const Salvaged found, search_frames(o.archive, [] { return stop_requested(); }));
  uint64_t frames = 0;
  for (const FoundShard& s : found.shards) frames += s.frames.size();
  std::printf("%s: %zu files, %llu bytes searched; %llu frames of %zu shards, %zu strays\n", o.archive.c_str(), found.files.size(),
              static_cast<unsigned long long>(found.bytes), static_cast<unsigned long long>(frames), found.shards.size(),
              found.strays.size());
  if (found.unreadable) log::error("{}: {} bytes could not be read from the medium", o.archive, found.unreadable);
  if (found.gave_up) log::error("{}: looks like more indexes than any archive has; some of it was not looked at, and names may be lost", o.archive);
  if (found.shards.empty() && found.strays.empty()) return {Code::corrupt, o.archive + ": holds no frame of an archive"};
  JobSetup setup;
  std::shared_ptr<const Model> model;
  LLMC_TRY(prepare(o, found, &setup, &model));
  Result<OutputTree> tree = OutputTree::open(o.output, o.tree);
  if (!tree.ok()) return {Code::failure, tree.status().message()};
  SalvageJob job(found, o.output, model != nullptr);
  struct Tidy {  // the texts on their way
    const SalvageJob& job;
    size_t count;
    ~Tidy() {
      std::error_code ignored;
      for (size_t s = 0; s < count; ++s) fs::remove(job.text_path(s), ignored);
    }
  } const tidy{job, found.shards.size() + 1};
  if (job.tasks() > 0) {
    *started = true;
    JobSize size;
    size.verb = "salvage";
    size.tasks = job.tasks();
    size.bytes = job.text_bytes();
    size.decoding = true;
    LLMC_TRY(run_job(context, o.compute, setup, model, size, job));
  }
  LLMC_ASSIGN(const SalvageOutcome outcome, write_salvaged(found, job, *tree));
  uint64_t missing = 0;
  for (size_t s = 0; s < found.shards.size(); ++s) missing += found.shards[s].chunks - job.won()[s].size();
  for (const std::string& line : job.failures()) log::error("{}", line);
  for (const std::string& line : outcome.lost) log::error("{}", line);
  for (const std::string& line : tree->warnings()) log::warn("{}", line);
  std::printf("%llu entries whole (%llu bytes), %llu stretches of others (%llu bytes)",
              static_cast<unsigned long long>(outcome.whole), static_cast<unsigned long long>(outcome.whole_bytes),
              static_cast<unsigned long long>(outcome.stretches), static_cast<unsigned long long>(outcome.stretch_bytes));
  if (outcome.versions > 0) {
    std::printf(", %llu of them in another version than the newest, as NAME.version-*", static_cast<unsigned long long>(outcome.versions));
  }
  std::printf("; %llu chunks are missing\n", static_cast<unsigned long long>(missing));
  if (outcome.lost.empty() && job.failures().empty() && missing == 0) return {};
  return {Code::partial, o.output + ": not all could be won back"};
}

}  // namespace

Status run_salvage(Context& context, const Words& words) {
  OptionSet set("salvage", "llmc-batch salvage ARCHIVE -o DIR [options]",
                "Searches a file, or all files of a folder, for frames and gives back what they hold; nothing else of the\n"
                "archive needs to be left. Whole files are held against their SHA-256, other text becomes NAME.bytes-A-B. Of several versions of a file\n"
                "the newest has its name, the others become NAME.version-*.");
  set.positional("archive", 1);
  set.group("Salvage").add_options()
      ("output,o", po::value<std::string>()->value_name("DIR"), "folder to write below")
      ("window", po::value<int>()->default_value(0)->value_name("TOKENS"), "as at compressing, where the archive no longer says; 0: the model's")
      ("carry", po::value<int>()->default_value(-1)->value_name("TOKENS"), "the same; -1: a quarter of the window")
      ("adapt", po::value<std::string>()->value_name("FILE"), "what the model was adapted with, where no copy of it is found")
      ("force,f", po::bool_switch(), "replace files that are there");
  add_compute_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  SalvageOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  if (set.words().empty()) return {Code::usage, "salvage: no archive given"};
  if (!set.given("output")) return {Code::usage, "salvage: -o DIR is missing"};
  o.archive = set.words()[0];
  o.output = set.get<std::string>("output");
  if (set.given("adapt")) o.adapt = set.get<std::string>("adapt");
  o.window = set.get<int>("window");
  o.carry = set.get<int>("carry");
  o.tree.force = set.get<bool>("force");
  if (o.window < 0) return {Code::usage, "--window is a number of tokens"};
  if (!context.coordinator()) return run_worker(context, o.compute);
  bool started = false;
  const Status status = salvage(context, o, &started);
  return conclude(o.compute.status_file, "salvage", o.archive, started ? status : cancel_job(context, status));
}

}  // namespace llmc
