// extract ARCHIVE -o DIR|-: archive -> frames -> all ranks -> text -> files, a stream.
#include <unistd.h>

#include <cstdio>

#include "base/log.h"
#include "commands/archive_job.h"
#include "commands/part_sink.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

struct ExtractOptions {
  std::string archive, output;
  Selection selection;
  OutputOptions tree;
  bool resume = false;
  ComputeOptions compute;
  bool to_stdout() const { return output == "-"; }
};

void add_extract_options(OptionSet& set) {
  set.positional("archive", 1);
  set.group("Extract").add_options()
      ("output,o", po::value<std::string>()->value_name("DIR"), "folder to write below; - writes the bytes to standard output")
      ("shard", po::value<std::string>()->value_name("LIST"), "only these shards, such as 0,3-5, or 2/16: the second of sixteen equal parts")
      ("document", po::value<Words>()->composing()->value_name("NAME"),
       "only these: names as 'list --documents' shows them, folders, or globs; may be repeated")
      ("range", po::value<std::string>()->value_name("A:B"), "only bytes A to B (exclusive) of the text, or of the one document; needs -o -")
      ("resume", po::bool_switch(), "go on with an interrupted run: files that are there and whole (SHA-256) are kept")
      ("force,f", po::bool_switch(), "replace files that are there")
      ("no-metadata", po::bool_switch(), "leave modes and times as they come");
  add_compute_options(set);
}

Result<ExtractOptions> read_extract_options(const OptionSet& set) {
  ExtractOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  if (set.words().empty()) return Status(Code::usage, "extract: no archive given");
  o.archive = set.words()[0];
  if (!set.given("output")) return Status(Code::usage, "extract: -o DIR is missing (-o - writes to standard output)");
  o.output = set.get<std::string>("output");
  if (set.given("shard")) {
    LLMC_ASSIGN(o.selection.shards, parse_shard_list(set.get<std::string>("shard"), "--shard"));
  }
  if (set.given("document")) o.selection.documents = set.get<Words>("document");
  if (set.given("range")) {
    LLMC_ASSIGN(o.selection.range, parse_range(set.get<std::string>("range")));
    if (!o.to_stdout()) return Status(Code::usage, "--range needs -o -: a part of a text is no file");
    if (!o.selection.shards.all()) return Status(Code::usage, "--range and --shard exclude each other");
  }
  o.tree.force = set.get<bool>("force");
  o.tree.metadata = !set.get<bool>("no-metadata");
  o.resume = set.get<bool>("resume");
  if (o.to_stdout() && (o.tree.force || !o.tree.metadata || o.resume)) {
    return Status(Code::usage, "--force, --resume and --no-metadata do not go with -o -");
  }
  if (o.resume && o.tree.force) return Status(Code::usage, "--resume and --force exclude each other");
  // The same command is the same run, on whatever host it starts again.
  std::string run = o.archive + '\0' + (set.given("shard") ? set.get<std::string>("shard") : "");
  for (const std::string& name : o.selection.documents) run += '\0' + name;
  if (o.resume) o.tree.run = to_hex(sha256(as_bytes(run))).substr(0, 12);
  return o;
}

// Folders, links and empty files: what no chunk brings. `folders` first, so that all else finds them.
Status add_without_text(ArchiveReader& archive, const Selected& selected, OutputTree& tree, bool folders) {
  for (const Target& target : selected.targets) {
    if (target.size > 0 || target.record >= 0) continue;
    LLMC_ASSIGN(const auto file, archive.shard(target.shard));
    const Entry& entry = file->index().entries[target.entry].entry;
    if ((entry.kind == Entry::Kind::directory) == folders) LLMC_TRY(tree.add(entry));
  }
  return {};
}

// Whole files that an earlier run has written are taken out of the selection. Returns how many.
Result<uint64_t> leave_out_finished(ArchiveReader& archive, const OutputTree& tree, Selected* selected) {
  std::vector<std::vector<OutputTree::Stretch>> stretches(selected->targets.size());
  for (const Part& part : selected->parts) {
    if (!part.piece) continue;
    LLMC_ASSIGN(const auto file, archive.shard(part.shard));
    const IndexEntry& entry = file->index().entries[part.entry];
    stretches[part.target].push_back({entry.size, entry.sha256});
  }
  std::vector<bool> there(selected->targets.size());
  uint64_t count = 0;
  for (size_t t = 0; t < there.size(); ++t) {
    if (stretches[t].empty()) continue;
    LLMC_ASSIGN(const auto file, archive.shard(selected->targets[t].shard));
    LLMC_ASSIGN(there[t], tree.holds(file->index().entries[selected->targets[t].entry].entry.name, stretches[t]));
    count += there[t];
  }
  if (count == 0) return count;
  std::erase_if(selected->parts, [&](const Part& part) { return there[part.target]; });
  LLMC_TRY(collect_chunks(archive, selected));
  return count;
}

Status report_damage(const PartSink& sink, const Selected& selected) {
  if (sink.damage().empty() && selected.lost_shards.empty()) return {};
  for (const std::string& line : selected.lost_shards) log::error("{}", line);
  for (const std::string& line : sink.damage()) log::error("{}", line);
  std::string what = std::to_string(sink.targets_lost()) + " documents";
  if (!selected.lost_shards.empty()) what += " and " + std::to_string(selected.lost_shards.size()) + " shards";
  return {Code::partial, what + " could not be given back whole; the rest was"};
}

Status extract(Context& context, ExtractOptions& o, bool* started) {
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(o.archive));
  LLMC_ASSIGN(const Decoding decoding, prepare_decoding(o.compute, archive));
  LLMC_ASSIGN(Selected selected, select(archive, o.selection));
  if (o.to_stdout()) {
    const auto output = make_stream_output(STDOUT_FILENO, "standard output");
    PartSink sink(archive, selected, *output);
    LLMC_TRY(run_decoding(context, o.compute, "extract", decoding, archive, selected, sink, started));
    LLMC_TRY(sink.finish());
    return report_damage(sink, selected);
  }
  Result<OutputTree> opened = OutputTree::open(o.output, o.tree);
  // Missing is the archive's exit code, not the output's.
  if (!opened.ok()) return {Code::failure, opened.status().message()};
  OutputTree& tree = *opened;
  LLMC_TRY(add_without_text(archive, selected, tree, true));
  if (o.resume) {
    LLMC_ASSIGN(const uint64_t kept, leave_out_finished(archive, tree, &selected));
    if (kept > 0) log::info("{} files of an earlier run are whole and stay", kept);
  }
  const auto output = make_tree_output(archive, tree);
  PartSink sink(archive, selected, *output);
  LLMC_TRY(run_decoding(context, o.compute, "extract", decoding, archive, selected, sink, started));
  LLMC_TRY(sink.finish());
  LLMC_TRY(add_without_text(archive, selected, tree, false));
  LLMC_TRY(tree.close());
  for (const std::string& warning : tree.warnings()) log::warn("{}", warning);
  return report_damage(sink, selected);
}

}  // namespace

Status run_extract(Context& context, const Words& words) {
  OptionSet set("extract", "llmc-batch extract ARCHIVE -o DIR [options]",
                "Gives back all of an archive or what is selected; reads and decodes no more chunks than that takes.");
  add_extract_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  LLMC_ASSIGN(ExtractOptions options, read_extract_options(set));
  if (!context.coordinator()) return run_worker(context, options.compute);
  bool started = false;
  const Status status = extract(context, options, &started);
  return conclude(options.compute.status_file, "extract", options.archive, started ? status : cancel_job(context, status));
}

}  // namespace llmc
