// verify ARCHIVE: digests and checksums; with --data, every byte decoded and hashed.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "archive/verify.h"
#include "base/signals.h"
#include "commands/archive_job.h"
#include "commands/part_sink.h"
#include "commands/sample.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

namespace {

struct Outcome {
  VerifyReport files;
  bool decoded = false;
  bool stopped = false;              // before all that was to be decoded was
  uint64_t chunks = 0, wanted = 0;   // decoded; of how many in the selection
  std::optional<Sample> sample;
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
    const ordered_json out = {{"archive", archive}, {"sound", findings.empty() && !outcome.files.stopped && !outcome.stopped},
                              {"stopped", outcome.files.stopped || outcome.stopped}, {"chunks_decoded", outcome.chunks},
                              {"chunks_selected", outcome.wanted},
                              {"shards", outcome.files.shards}, {"frames", outcome.files.chunks},
                              {"bytes", outcome.files.bytes}, {"unreadable_bytes", outcome.files.unreadable}, {"decoded", outcome.decoded},
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
  if (outcome.decoded) {
    std::printf("; %llu of %llu chunks decoded", static_cast<unsigned long long>(outcome.chunks),
                static_cast<unsigned long long>(outcome.wanted));
    if (outcome.sample) {
      std::printf(" (--sample %g%% --seed %u)", outcome.sample->rate * 100, outcome.sample->seed);
    } else {
      std::printf(", SHA-256 of %llu files compared", static_cast<unsigned long long>(outcome.digests));
    }
  }
  const size_t found = outcome.files.findings.size() + outcome.damage.size();
  if (outcome.files.parity_files) {
    std::printf("; %llu parity files", static_cast<unsigned long long>(outcome.files.parity_files));
  }
  std::printf("; %s\n", found ? (std::to_string(found) + " findings").c_str() : outcome.files.stopped || outcome.stopped ? "stopped, the rest was not checked" : outcome.sample ? "no damage in what was checked" : "sound");
}

// Counts what has really been decoded, also where the run ends early.
class CountingSink : public TextSink {
 public:
  // `inner` null: the chunks' own checksums are the check.
  CountingSink(TextSink* inner, Outcome* outcome) : inner_(inner), outcome_(outcome) {}
  Status text(uint64_t offset, ByteView text) override {
    ++outcome_->chunks;
    return inner_ ? inner_->text(offset, text) : Status();
  }
  Status lost(uint64_t offset, uint64_t size, const std::string& why) override {
    ++outcome_->chunks;
    if (inner_) return inner_->lost(offset, size, why);
    outcome_->damage.push_back(why);
    return {};
  }

 private:
  TextSink* const inner_;
  Outcome* const outcome_;
};

// The chunks that the sample draws, and one at least.
void draw(const ArchiveReader& archive, const Sample& sample, Selected* selected) {
  Selected drawn;
  std::optional<ChunkRun> fallback;
  uint64_t left = selected->chunk_count ? sample.seed % selected->chunk_count : 0;
  const auto take = [&](uint32_t shard, uint32_t chunk) {
    const auto& info = archive.shards()[shard];
    drawn.chunks.push_back({shard, chunk, chunk});
    drawn.chunk_bytes += std::min<uint64_t>(archive.chunk_bytes(), info.text_bytes - uint64_t{chunk} * archive.chunk_bytes());
    ++drawn.chunk_count;
  };
  for (const ChunkRun& run : selected->chunks) {
    for (uint64_t chunk = run.first; chunk <= run.last; ++chunk) {
      const auto number = static_cast<uint32_t>(chunk);
      if (left-- == 0) fallback = ChunkRun{run.shard, number, number};
      if (sample.picks(archive.shards()[run.shard].number, number)) take(run.shard, number);
    }
  }
  if (drawn.chunks.empty() && fallback) take(fallback->shard, fallback->first);
  selected->chunks = std::move(drawn.chunks);
  selected->chunk_bytes = drawn.chunk_bytes;
  selected->chunk_count = drawn.chunk_count;
}

Status verify(Context& context, const std::string& path, const std::optional<Selection>& data,
              const std::optional<Sample>& sample, bool json, const ComputeOptions& options, bool* started) {
  Outcome outcome;
  LLMC_ASSIGN(outcome.files, verify_archive(path, [] { return stop_requested(); }));
  if (data && !outcome.files.stopped) {
    LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(path));
    LLMC_ASSIGN(const Decoding decoding, prepare_decoding(options, archive));
    LLMC_ASSIGN(Selected all, select(archive, *data));
    outcome.wanted = all.chunk_count;
    outcome.sample = sample;
    if (sample) draw(archive, *sample, &all);
    const auto nowhere = make_null_output();
    PartSink sink(archive, all, *nowhere);
    CountingSink counting(sample ? nullptr : &sink, &outcome);
    const Status ran = run_decoding(context, options, "verify", decoding, archive, all, counting, started);
    outcome.stopped = ran.code() == Code::interrupted || ran.code() == Code::drained;
    if (!outcome.stopped) LLMC_TRY(ran);
    if (!sample && !outcome.stopped) LLMC_TRY(sink.finish());
    outcome.decoded = true;
    outcome.digests = sink.digests_checked();
    outcome.damage.insert(outcome.damage.end(), sink.damage().begin(), sink.damage().end());
    outcome.damage.insert(outcome.damage.end(), all.lost_shards.begin(), all.lost_shards.end());
  }
  print_outcome(path, outcome, json);
  if (outcome.files.stopped || outcome.stopped) {
    return {Code::interrupted, "interrupted: only what is counted above was checked"};
  }
  if (outcome.files.findings.empty() && outcome.damage.empty()) return {};
  std::string advice;
  if (outcome.files.unreadable) {
    advice = ", and " + std::to_string(outcome.files.unreadable) + " bytes cannot be read from the medium: save it first (docs/OPERATIONS.md, Recovery)";
  }
  if (outcome.files.beyond_repair) {
    advice += "; the parity cannot bring back all of it";
  } else if (outcome.files.repairable) {
    advice += "; 'llmc-batch repair' can make it whole";
  }
  return {Code::corrupt, path + ": is damaged" + advice};
}

}  // namespace

Status check_archive(Context& context, const std::string& path, bool data, const ComputeOptions& options, bool* started) {
  return verify(context, path, data ? std::optional<Selection>(Selection{}) : std::nullopt, {}, false, options, started);
}

Status run_verify(Context& context, const Words& words) {
  OptionSet set("verify", "llmc-batch verify ARCHIVE [options]",
                "Checks every digest and checksum; with --data also decodes everything and compares each file's SHA-256.");
  set.positional("archive", 1);
  set.group("Verify").add_options()
      ("data", po::bool_switch(), "decode everything (needs the model)")
      ("shard", po::value<std::string>()->value_name("LIST"),
       "decode only these shards, such as 0,3-5, or 2/16: the second of sixteen equal parts")
      ("sample", po::value<std::string>()->value_name("RATE"), "decode only so many chunks, such as 1%, drawn by --seed")
      ("seed", po::value<uint32_t>()->value_name("N"), "of the sample: the same seed draws the same chunks; default: a new one each time")
      ("json", po::bool_switch(), "findings as JSON");
  add_compute_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "verify: no archive given"};
  LLMC_ASSIGN(const ComputeOptions options, compute_options(set));
  const bool data = set.get<bool>("data") || set.given("sample");
  std::optional<Sample> sample;
  if (set.given("sample")) {
    sample.emplace();
    LLMC_ASSIGN(sample->rate, Sample::parse_rate(set.get<std::string>("sample"), "--sample"));
    sample->seed = set.given("seed") ? set.get<uint32_t>("seed") : std::random_device()();
  } else if (set.given("seed")) {
    return {Code::usage, "verify: --seed goes with --sample"};
  }
  const std::string archive = set.words()[0];
  const auto end = [&](Status outcome) { return conclude(options.status_file, "verify", archive, std::move(outcome)); };
  if (!data) {
    for (const char* name : {"model", "weights-from", "engine", "device", "gpus-per-rank", "threads", "streams", "lease", "report", "shard"}) {
      if (set.given(name)) return {Code::usage, std::string("verify: --") + name + " goes with --data"};
    }
    bool unused = false;
    if (!context.coordinator()) return {};
    return end(verify(context, archive, std::nullopt, {}, set.get<bool>("json"), options, &unused));
  }
  Selection selection;
  if (set.given("shard")) {
    LLMC_ASSIGN(selection.shards, parse_shard_list(set.get<std::string>("shard"), "--shard"));
  }
  if (!context.coordinator()) return run_worker(context, options);
  bool started = false;
  const Status status = verify(context, archive, selection, sample, set.get<bool>("json"), options, &started);
  return end(started ? status : cancel_job(context, status));
}

}  // namespace llmc
