// merge PART... -o OUT: what the elements of an array have made becomes the set that one run would have made.
#include <cstdio>
#include <filesystem>
#include <optional>

#include "archive/format.h"
#include "archive/set.h"
#include "archive/shard_file.h"
#include "archive/verify.h"
#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "commands/companions.h"
#include "commands/compute.h"
#include "commands/options.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

struct MergeOptions {
  Words parts;
  std::string output, model;
  bool resume = false, force = false, bare = false, with_model = false, quiet = false;
};

// Takes a file over under its new name: a hard link where the file system has them, else a durable copy.
Status take_file(const fs::path& from, const fs::path& temporary, const fs::path& to) {
  std::error_code error;
  fs::remove(temporary, error);
  fs::create_hard_link(from, temporary, error);
  if (error) {
    LLMC_ASSIGN(File in, File::open_read(from));
    LLMC_ASSIGN(File out, File::create(temporary));
    Bytes buffer(1u << 20);
    for (;;) {
      LLMC_ASSIGN(const size_t got, in.read(buffer));
      if (got == 0) break;
      LLMC_TRY(out.write(ByteView(buffer).first(got)));
    }
    LLMC_TRY(out.sync());
    LLMC_TRY(out.close());
  }
  return rename_durable(temporary, to);
}

// Nothing but a sound shard of this plan gets in.
Status check_shard(const fs::path& path, const Plan& plan, uint32_t number) {
  LLMC_ASSIGN(const UserBlock block, ShardFile::read_block(path));
  if (block.plan != plan.digest() || block.shard != number) {
    return {Code::failure, printable(path.native()) + ": belongs to another plan than the first part"};
  }
  VerifyReport report;
  LLMC_TRY(verify_shard(path, nullptr, nullptr, number, [] { return stop_requested(); }, &report));
  if (report.stopped) return {Code::interrupted, "interrupted; merge can be repeated"};
  if (report.findings.empty()) return {};
  return {Code::corrupt, report.findings.front().describe()};
}

std::string list_of(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(numbers[i]);
    if (end - i > 1) text += "-" + std::to_string(numbers[end - 1]);
    i = end;
  }
  return text;
}

Status take_shards(const MergeOptions& o, SetWriter& writer) {
  const Plan& plan = writer.plan();
  const SetPaths to(o.output);
  std::vector<uint32_t> missing;
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    if (writer.committed(s)) continue;
    fs::path found;
    for (const std::string& part : o.parts) {
      const fs::path path = SetPaths(part).shard(s);
      std::error_code error;
      if (fs::exists(path, error)) found = path;
    }
    if (found.empty()) {
      missing.push_back(s);
      continue;
    }
    LLMC_TRY(check_shard(found, plan, s));
    LLMC_TRY(take_file(found, to.work / "merge.tmp", to.shard(s)));
  }
  if (missing.empty()) return writer.look_again();
  return {Code::partial, o.output + ": shards " + list_of(missing) + " of 0-" + std::to_string(plan.shards().size() - 1) +
                             " are in none of the parts; finish these and repeat the merge with --resume"};
}

Status merge(const MergeOptions& o) {
  std::optional<SetSettings> settings;
  for (const std::string& part : o.parts) {
    Result<SetSettings> its = SetWriter::saved_settings(part);
    if (its.status().code() == Code::missing) {
      return {Code::failure, part + ": is no part: no 'compress --plan --shards' has made it"};
    }
    LLMC_TRY(its.status());
    if (its->append) return {Code::failure, part + ": is a set with an interrupted append; repeat that append instead"};
    if (!settings) settings = *its;
    if (*its == *settings) continue;
    return {Code::failure, part + ": was made with another --verify or --parity than " + o.parts.front()};
  }
  LLMC_ASSIGN(Plan plan, SetWriter::saved_plan(o.parts.front()));
  SetOptions how;
  how.mode = o.force ? SetMode::replace : o.resume ? SetMode::resume : SetMode::create;
  how.verified = {settings->verify, ByteReader(plan.digest()).u32()};
  how.parity = settings->parity;
  if (!o.bare) {
    std::shared_ptr<const Model> model;
    if (plan.options().model != Digest{}) {
      LLMC_ASSIGN(model, open_model_for(o.model, plan.options().model, plan.options().model_name));
    }
    how.companions = make_companions(model, o.with_model ? ModelCopy::always : ModelCopy::when_small);
  }
  LLMC_ASSIGN(const std::unique_ptr<SetWriter> writer, SetWriter::open(o.output, std::move(plan), how));
  if (!writer->finished()) LLMC_TRY(take_shards(o, *writer));
  LLMC_ASSIGN(const SetSummary summary, writer->finish());
  if (!o.quiet) {
    std::printf("%s: %llu shards of %zu parts, %llu bytes -> %llu bytes\n", o.output.c_str(),
                static_cast<unsigned long long>(summary.shards), o.parts.size(),
                static_cast<unsigned long long>(summary.text_bytes), static_cast<unsigned long long>(summary.file_bytes));
  }
  return {};
}

}  // namespace

Status run_merge(Context& context, const Words& words) {
  OptionSet set("merge", "llmc-batch merge PART... -o OUT [options]",
                "Puts together what 'compress --plan PLAN --shards A-B -o PART' has made: the same set as that of one run.");
  set.positional("part", -1);
  set.group("Merge").add_options()
      ("output,o", po::value<std::string>()->value_name("OUT"), "folder of the set; on the parts' file system nothing is copied")
      ("model", po::value<std::string>()->value_name("FILE"), "model file, for the copy in the set; default: the embedded model")
      ("bare", po::bool_switch(), "a set without README, documents, decoder and copy of the model")
      ("with-model", po::bool_switch(), "copy the model into the set whatever its size and licence")
      ("resume", po::bool_switch(), "go on with an interrupted merge; a finished set of the same plan is success")
      ("force,f", po::bool_switch(), "replace OUT")
      ("quiet,q", po::bool_switch(), "no summary");
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done || !context.coordinator()) return {};
  MergeOptions o;
  o.parts = set.words();
  if (o.parts.empty()) return {Code::usage, "merge: no part given"};
  if (!set.given("output")) return {Code::usage, "merge: -o OUT is missing"};
  o.output = set.get<std::string>("output");
  while (o.output.size() > 1 && o.output.back() == '/') o.output.pop_back();
  if (o.output.ends_with(".h5")) return {Code::usage, "merge makes a folder, not one .h5 file"};
  if (set.given("model")) o.model = set.get<std::string>("model");
  o.bare = set.get<bool>("bare");
  o.with_model = set.get<bool>("with-model");
  o.resume = set.get<bool>("resume");
  o.force = set.get<bool>("force");
  o.quiet = set.get<bool>("quiet");
  if (o.bare && o.with_model) return {Code::usage, "--bare and --with-model exclude each other"};
  if (o.resume && o.force) return {Code::usage, "--resume and --force exclude each other"};
  return merge(o);
}

}  // namespace llmc
