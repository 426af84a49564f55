// verify ARCHIVE: digests and checksums; with --data, every byte decoded and hashed.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "archive/verify.h"
#include "base/signals.h"
#include "commands/archive_job.h"
#include "commands/part_sink.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

namespace {

struct Outcome {
  VerifyReport files;
  bool decoded = false;
  uint64_t digests = 0;
  std::vector<std::string> damage;
};

void print_outcome(const std::string& archive, const Outcome& outcome, bool json) {
  if (json) {
    ordered_json findings = ordered_json::array();
    for (const Finding& f : outcome.files.findings) {
      ordered_json row = {{"file", f.file.string()}, {"message", f.message}};
      if (f.shard) row["shard"] = *f.shard;
      if (f.chunk) row["chunk"] = *f.chunk;
      if (!f.entries.empty()) row["entries"] = f.entries;
      if (f.more_entries) row["more_entries"] = f.more_entries;
      findings.push_back(std::move(row));
    }
    for (const std::string& line : outcome.damage) findings.push_back({{"message", line}});
    const ordered_json out = {{"archive", archive}, {"sound", findings.empty() && !outcome.files.stopped},
                              {"shards", outcome.files.shards}, {"frames", outcome.files.chunks},
                              {"bytes", outcome.files.bytes}, {"decoded", outcome.decoded},
                              {"files_hashed", outcome.digests}, {"parity_files", outcome.files.parity_files},
                              {"repairable", outcome.files.repairable}, {"beyond_repair", outcome.files.beyond_repair},
                              {"findings", findings}};
    std::puts(out.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    return;
  }
  for (const Finding& f : outcome.files.findings) std::printf("%s\n", f.describe().c_str());
  for (const std::string& line : outcome.damage) std::printf("%s\n", printable(line).c_str());
  std::printf("%s: %llu shards, %llu frames, %llu bytes checked", archive.c_str(),
              static_cast<unsigned long long>(outcome.files.shards), static_cast<unsigned long long>(outcome.files.chunks),
              static_cast<unsigned long long>(outcome.files.bytes));
  if (outcome.decoded) std::printf("; decoded, SHA-256 of %llu files compared", static_cast<unsigned long long>(outcome.digests));
  const size_t found = outcome.files.findings.size() + outcome.damage.size();
  if (outcome.files.parity_files) {
    std::printf("; %llu parity files", static_cast<unsigned long long>(outcome.files.parity_files));
  }
  std::printf("; %s\n", found ? (std::to_string(found) + " findings").c_str() : outcome.files.stopped ? "stopped" : "sound");
}

Status verify(Context& context, const std::string& path, const std::optional<Selection>& data, bool json,
              const ComputeOptions& options, bool* started) {
  Outcome outcome;
  LLMC_ASSIGN(outcome.files, verify_archive(path, [] { return stop_requested(); }));
  if (data && !outcome.files.stopped) {
    LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(path));
    LLMC_ASSIGN(const Decoding decoding, prepare_decoding(options, archive));
    LLMC_ASSIGN(const Selected all, select(archive, *data));
    const auto nowhere = make_null_output();
    PartSink sink(archive, all, *nowhere);
    LLMC_TRY(run_decoding(context, options, "verify", decoding, archive, all, sink, started));
    LLMC_TRY(sink.finish());
    outcome.decoded = true;
    outcome.digests = sink.digests_checked();
    outcome.damage = sink.damage();
  }
  print_outcome(path, outcome, json);
  if (outcome.files.stopped) return {Code::interrupted, "interrupted: only what is counted above was checked"};
  if (outcome.files.findings.empty() && outcome.damage.empty()) return {};
  std::string advice;
  if (outcome.files.beyond_repair) {
    advice = "; the parity cannot bring back all of it";
  } else if (outcome.files.repairable) {
    advice = "; 'llmc-batch repair' can make it whole";
  }
  return {Code::corrupt, path + ": is damaged" + advice};
}

}  // namespace

Status run_verify(Context& context, const Words& words) {
  OptionSet set("verify", "llmc-batch verify ARCHIVE [options]",
                "Checks every digest and checksum; with --data also decodes everything and compares each file's SHA-256.");
  set.positional("archive", 1);
  set.group("Verify").add_options()
      ("data", po::bool_switch(), "decode everything (needs the model)")
      ("shard", po::value<std::string>()->value_name("LIST"),
       "decode only these shards, such as 0,3-5, or 2/16: the second of sixteen equal parts")
      ("json", po::bool_switch(), "findings as JSON");
  add_compute_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "verify: no archive given"};
  LLMC_ASSIGN(const ComputeOptions options, compute_options(set));
  const bool data = set.get<bool>("data");
  if (!data) {
    for (const char* name : {"model", "engine", "threads", "streams", "shard"}) {
      if (set.given(name)) return {Code::usage, std::string("verify: --") + name + " goes with --data"};
    }
    bool unused = false;
    return context.coordinator() ? verify(context, set.words()[0], std::nullopt, set.get<bool>("json"), options, &unused) : Status();
  }
  Selection selection;
  if (set.given("shard")) {
    LLMC_ASSIGN(selection.shards, parse_shard_list(set.get<std::string>("shard"), "--shard"));
  }
  if (!context.coordinator()) return run_worker(context, options);
  bool started = false;
  const Status status = verify(context, set.words()[0], selection, set.get<bool>("json"), options, &started);
  return started ? status : cancel_job(context, status);
}

}  // namespace llmc
