// repair ARCHIVE: brings damaged files back with their parity.
#include <cstdio>

#include "archive/repair_archive.h"
#include "base/signals.h"
#include "commands/options.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;

Status run_repair(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("repair", "llmc-batch repair ARCHIVE [options]",
                "Makes damaged files of an archive whole again, byte for byte: with its parity (--parity); indexes of names from the shards.");
  set.positional("archive", 1);
  set.group("Repair").add_options()("dry-run,n", po::bool_switch(), "say what would be done, and change nothing");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "repair: no archive given"};
  const std::string path = set.words()[0];
  const bool dry_run = set.get<bool>("dry-run");
  LLMC_ASSIGN(const ArchiveRepair result, repair_archive(path, dry_run, [] { return stop_requested(); }));
  for (const std::string& line : result.repaired) std::printf("%s: %s\n", dry_run ? "can be repaired" : "repaired", line.c_str());
  for (const std::string& line : result.lost) std::printf("lost: %s\n", line.c_str());
  std::printf("%s: %llu files sound, %zu %s, %zu beyond repair\n", path.c_str(), static_cast<unsigned long long>(result.sound),
              result.repaired.size(), dry_run ? "to be repaired" : "repaired", result.lost.size());
  if (result.stopped) return {Code::interrupted, "interrupted: only what is counted above was done; run it again for the rest"};
  if (result.lost.empty()) return {};
  return {Code::corrupt, path + ": not all of it can be repaired; extract gives what is whole, salvage what is left"};
}

}  // namespace llmc
