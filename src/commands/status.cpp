// status OUT: how far an archive is, and who works on it. Reads only.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "archive/set.h"
#include "archive/shard_file.h"
#include "commands/options.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;
namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

struct MissingRun {
  uint32_t shard = 0, first = 0, last = 0;  // chunks, inclusive
};

struct Committed {
  uint64_t shards = 0, committed = 0;     // shards
  uint64_t chunks = 0, spooled = 0, left = 0;  // chunks: of the plan, in the spool, not yet coded
  uint64_t text_bytes = 0;
  std::vector<MissingRun> missing;
};

// What the plan wants, less what stands in shards and spool.
Result<Committed> look(const SetPaths& paths, const Plan& plan, uint32_t first_shard) {
  Committed p;
  p.shards = plan.shards().size();
  p.chunks = plan.chunks();
  p.text_bytes = plan.text_size();
  SpoolOptions options;
  options.read_only = true;
  LLMC_ASSIGN(const Spool spool, Spool::open(paths.work, plan, options));
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    const auto block = paths.single ? Result<UserBlock>(Status(Code::missing, "")) : ShardFile::read_block(paths.shard(first_shard + s));
    if (block.ok() && block->plan == plan.digest() && block->shard == s) {
      ++p.committed;
      continue;
    }
    for (uint32_t c = 0; c < plan.shard_chunks(s); ++c) {
      if (spool.has_frame(s, c)) {
        ++p.spooled;
        continue;
      }
      ++p.left;
      if (!p.missing.empty() && p.missing.back().shard == s && p.missing.back().last + 1 == c) {
        p.missing.back().last = c;
      } else {
        p.missing.push_back({s, c, c});
      }
    }
  }
  return p;
}

}  // namespace

Status run_status(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("status", "llmc-batch status OUT [options]",
                "What of an archive is committed, what is missing, and who works on it. Changes nothing.");
  set.positional("output", 1);
  set.group("Status").add_options()("json", po::bool_switch(), "as JSON, with all missing chunks");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "status: no archive given"};
  const std::string name = set.words()[0];
  const SetPaths paths(name);
  std::error_code error;
  const bool begun = fs::exists(paths.work, error);
  const bool finished = fs::exists(paths.single ? paths.out : paths.manifest, error);
  if (!begun && !finished) return {Code::missing, name + ": there is no archive, and none was begun"};

  ordered_json out = {{"archive", name}};
  std::string holder_text = "nobody";
  bool held = false;
  if (const auto holder = Lock::read(paths.lock); holder.ok()) {
    const bool gone = Lock::is_stale(*holder);
    held = !gone;
    holder_text = holder->describe() + (gone ? ", which no longer runs" : "");
    out["lock"] = {{"host", holder->host}, {"pid", holder->pid}, {"slurm_job", holder->slurm_job},
                   {"since", holder->since}, {"runs", !gone}};
  } else if (holder.status().code() != Code::missing) {
    holder_text = "somebody who has not said who";
  }
  // A finished archive may be in the way of one that is to replace it.
  const auto settings = SetWriter::saved_settings(name);
  const bool append = finished && settings.ok() && settings->append.has_value();
  const uint32_t first_shard = append ? settings->append->first_shard : 0;
  const std::string state = append ? (held ? "finished; an append is in work" : "finished; an append was interrupted") : held ? "in work" : begun && fs::exists(paths.plan, error) ? "interrupted" : finished ? "finished" : "begun";
  out["state"] = state;
  std::printf("%s", set.get<bool>("json") ? "" : (name + ": " + state + "\n").c_str());
  Committed p;
  const auto plan = Plan::load(paths.plan);
  if (plan.ok()) {
    LLMC_ASSIGN(p, look(paths, *plan, first_shard));
    if (append) out["append_from_shard"] = first_shard;
    ordered_json missing = ordered_json::array();
    for (const MissingRun& run : p.missing) missing.push_back({{"shard", run.shard}, {"first", run.first}, {"last", run.last}});
    out["shards"] = p.shards;
    out["shards_committed"] = p.committed;
    out["chunks"] = p.chunks;
    out["chunks_in_spool"] = p.spooled;
    out["chunks_missing"] = p.left;
    out["missing"] = std::move(missing);
  } else if (plan.status().code() != Code::missing) {
    return plan.status();
  }
  if (set.get<bool>("json")) {
    std::puts(out.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    return {};
  }
  if (plan.ok()) {
    std::printf("committed: %llu of %llu shards\n", static_cast<unsigned long long>(p.committed), static_cast<unsigned long long>(p.shards));
    std::printf("coded and safe: %llu chunks more\n", static_cast<unsigned long long>(p.spooled));
    std::printf("missing: %llu of %llu chunks", static_cast<unsigned long long>(p.left), static_cast<unsigned long long>(p.chunks));
    constexpr size_t shown = 10;
    for (size_t i = 0; i < std::min(shown, p.missing.size()); ++i) {
      const MissingRun& run = p.missing[i];
      std::printf("%sshard %u chunk%s %u%s", i ? ", " : ": ", run.shard, run.first == run.last ? "" : "s", run.first,
                  run.first == run.last ? "" : ("-" + std::to_string(run.last)).c_str());
    }
    std::printf("%s\n", p.missing.size() > shown ? ", ... (--json lists all)" : "");
  }
  std::printf("lock: %s\n", holder_text.c_str());
  return {};
}

}  // namespace llmc
