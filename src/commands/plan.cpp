// plan INPUT... -o PLAN: what an archive will consist of, saved, for many jobs to work on.
#include <cstdio>
#include <filesystem>

#include "commands/archive_options.h"
#include "commands/compute.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

Status make(const Words& inputs, const std::string& output, const std::string& model, ArchiveOptions& options, bool quiet) {
  LLMC_TRY(complete_plan_options(model, &options).status());
  options.scan.stdin_copy = output + ".stdin";
  options.scan.skip = {output, options.scan.stdin_copy};
  size_t problems = 0;
  LLMC_ASSIGN(const Plan plan, make_plan(inputs, options, &problems));
  LLMC_TRY(plan.save(output));
  if (!quiet) {
    std::printf("%s: %zu entries, %llu bytes in %zu shard%s, %llu chunks; plan %s\n", output.c_str(), plan.entries().size(),
                static_cast<unsigned long long>(plan.text_size()), plan.shards().size(), plan.shards().size() == 1 ? "" : "s",
                static_cast<unsigned long long>(plan.chunks()), to_hex(plan.digest()).c_str());
  }
  if (problems == 0) return {};
  return {Code::partial, std::to_string(problems) + " inputs could not be read; everything else is in the plan"};
}

}  // namespace

Status run_plan(Context& context, const Words& words) {
  OptionSet set("plan", "llmc-batch plan INPUT... -o PLAN [options]",
                "Saves what an archive of these inputs will consist of, for 'compress --plan PLAN', also by many jobs at once.");
  set.positional("input", -1);
  auto& archive = set.group("Archive");
  archive.add_options()("output,o", po::value<std::string>()->value_name("PLAN"), "file to write");
  add_archive_options(archive);
  archive.add_options()
      ("model", po::value<std::string>()->value_name("FILE"), "model file; default: the embedded model")
      ("quiet,q", po::bool_switch(), "no summary");
  add_input_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done || !context.coordinator()) return {};
  if (set.words().empty()) return {Code::usage, "plan: no input given"};
  if (!set.given("output")) return {Code::usage, "plan: -o PLAN is missing"};
  // Which shards one .h5 file would need is not known here: --shard says it.
  LLMC_ASSIGN(ArchiveOptions options, read_archive_options(set, ""));
  return make(set.words(), set.get<std::string>("output"), set.given("model") ? set.get<std::string>("model") : "", options,
              set.get<bool>("quiet"));
}

}  // namespace llmc
