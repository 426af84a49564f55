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
  ComputeOptions compute;
  bool to_stdout() const { return output == "-"; }
};

void add_options(OptionSet& set) {
  set.positional("archive", 1);
  set.group("Extract").add_options()
      ("output,o", po::value<std::string>()->value_name("DIR"), "folder to write below; - writes the bytes to standard output")
      ("shard", po::value<std::string>()->value_name("LIST"), "only these shards, such as 0,3-5")
      ("document", po::value<Words>()->composing()->value_name("NAME"),
       "only these: names as 'list --documents' shows them, folders, or globs; may be repeated")
      ("range", po::value<std::string>()->value_name("A:B"), "only bytes A to B (exclusive) of the text, or of the one document; needs -o -")
      ("force,f", po::bool_switch(), "replace files that are there")
      ("no-metadata", po::bool_switch(), "leave modes and times as they come");
  add_compute_options(set);
}

Result<ExtractOptions> read_options(const OptionSet& set) {
  ExtractOptions o;
  LLMC_ASSIGN(o.compute, compute_options(set));
  if (set.words().empty()) return Status(Code::usage, "extract: no archive given");
  o.archive = set.words()[0];
  if (!set.given("output")) return Status(Code::usage, "extract: -o DIR is missing (-o - writes to standard output)");
  o.output = set.get<std::string>("output");
  if (set.given("shard")) {
    LLMC_ASSIGN(o.selection.shards, parse_shard_list(set.get<std::string>("shard")));
  }
  if (set.given("document")) o.selection.documents = set.get<Words>("document");
  if (set.given("range")) {
    LLMC_ASSIGN(o.selection.range, parse_range(set.get<std::string>("range")));
    if (!o.to_stdout()) return Status(Code::usage, "--range needs -o -: a part of a text is no file");
    if (!o.selection.shards.empty()) return Status(Code::usage, "--range and --shard exclude each other");
  }
  o.tree.force = set.get<bool>("force");
  o.tree.metadata = !set.get<bool>("no-metadata");
  if (o.to_stdout() && (o.tree.force || !o.tree.metadata)) {
    return Status(Code::usage, "--force and --no-metadata do not go with -o -");
  }
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

Status report_damage(const PartSink& sink) {
  if (sink.damage().empty()) return {};
  for (const std::string& line : sink.damage()) log::error("{}", line);
  return {Code::partial, std::to_string(sink.targets_lost()) + " documents could not be given back whole; the rest was"};
}

Status extract(Context& context, ExtractOptions& o, bool* started) {
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(o.archive));
  LLMC_ASSIGN(const Decoding decoding, prepare_decoding(o.compute, archive));
  LLMC_ASSIGN(const Selected selected, select(archive, o.selection));
  if (o.to_stdout()) {
    const auto output = make_stream_output(STDOUT_FILENO, "standard output");
    PartSink sink(archive, selected, *output);
    LLMC_TRY(run_decoding(context, o.compute, "extract", decoding, archive, selected, sink, started));
    LLMC_TRY(sink.finish());
    return report_damage(sink);
  }
  Result<OutputTree> opened = OutputTree::open(o.output, o.tree);
  // Missing is the archive's exit code, not the output's.
  if (!opened.ok()) return {Code::failure, opened.status().message()};
  OutputTree& tree = *opened;
  LLMC_TRY(add_without_text(archive, selected, tree, true));
  const auto output = make_tree_output(archive, tree);
  PartSink sink(archive, selected, *output);
  LLMC_TRY(run_decoding(context, o.compute, "extract", decoding, archive, selected, sink, started));
  LLMC_TRY(sink.finish());
  LLMC_TRY(add_without_text(archive, selected, tree, false));
  LLMC_TRY(tree.close());
  for (const std::string& warning : tree.warnings()) log::warn("{}", warning);
  return report_damage(sink);
}

}  // namespace

Status run_extract(Context& context, const Words& words) {
  OptionSet set("extract", "llmc-batch extract ARCHIVE -o DIR [options]",
                "Gives back all of an archive or what is selected; reads and decodes no more chunks than that takes.");
  add_options(set);
  bool done = false;
  LLMC_TRY(set.parse(words, context.coordinator(), &done));
  if (done) return {};
  LLMC_ASSIGN(ExtractOptions options, read_options(set));
  if (!context.coordinator()) return run_worker(context, options.compute);
  bool started = false;
  const Status status = extract(context, options, &started);
  return started ? status : cancel_job(context, status);
}

}  // namespace llmc
