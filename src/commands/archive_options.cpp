#include "commands/archive_options.h"

#include "base/file.h"
#include "base/log.h"
#include "commands/compute.h"
#include "model/adaptation.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

bool needs_model(Codec codec) { return codec != Codec::zstd && codec != Codec::stored; }

// Measured (docs/RESULTS.md): a quarter of the window is the best trade of bytes for time.
int default_carry(int window) { return window / 4; }

Status fix_windows(const Model& model, ArchiveOptions* o) {
  const int context = model.config().context;
  const int window = o->window ? o->window : context;
  if (window < 2 || window > context) {
    return {Code::usage, "--window is 2 to " + std::to_string(context) + " tokens for model " + model.name()};
  }
  const int carry = o->carry < 0 ? default_carry(window) : o->carry;
  if (carry + 1 > window) return {Code::usage, "--carry must be smaller than the window"};
  o->parameters.window = static_cast<uint32_t>(window);
  o->parameters.carry = static_cast<uint32_t>(carry);
  return {};
}

constexpr uint32_t auto_dictionary_bytes = 64u << 10;

Status read_dictionary(const OptionSet& set, ArchiveOptions* o) {
  const std::string size = set.get<std::string>("dictionary");
  if (size == "off") return {};
  if (o->parameters.codec != Codec::mix) return {Code::usage, "--dictionary goes with --codec mix"};
  if (o->plan.chunk_bytes > max_primed_chunk_bytes) return {Code::usage, "--dictionary goes with chunks of at most 1M"};
  o->parameters.only_if_worth = size == "auto";
  o->parameters.dictionary = auto_dictionary_bytes;
  if (size == "auto") return {};
  Result<uint64_t> bytes = parse_byte_size(size);
  if (!bytes.ok()) return bytes.status().with("--dictionary");
  if (*bytes < 1024 || *bytes > max_dictionary_bytes) return {Code::usage, "--dictionary is 1K to 256K, auto or off"};
  o->parameters.dictionary = static_cast<uint32_t>(*bytes);
  return {};
}

// Read once; from here on the bytes travel, not the path.
Status read_adaptation(const std::string& path, ArchiveOptions* o) {
  Result<Bytes> bytes = read_file(path, max_adaptation_bytes);
  if (!bytes.ok()) return {Code::failure, "--adapt: " + bytes.status().message()};
  const auto parsed = Adaptation::parse(*bytes);
  if (!parsed.ok()) return parsed.status().with("--adapt " + path);
  o->parameters.adaptation = sha256(*bytes);
  o->plan.adaptation = std::move(*bytes);
  return {};
}

}  // namespace

void add_archive_options(po::options_description& group) {
  group.add_options()
      ("codec", po::value<std::string>()->default_value("mix")->value_name("NAME"), "mix, range, rank, zstd or stored")
      ("chunk", po::value<ByteSize>()->default_value(ByteSize{64u << 10}, "64K")->value_name("SIZE"),
       "plain bytes that are coded alone: smaller gives finer access, larger fewer bytes")
      ("dictionary", po::value<std::string>()->default_value("off")->value_name("SIZE"),
       "text that every chunk of a shard begins with, stored once in it: for many small chunks of one kind, such as logs;\n"
       "a size up to 256K; auto: up to 64K where it gains 3 % on a sample; off")
      ("adapt", po::value<std::string>()->value_name("FILE"),
       "what 'llmc-batch model adapt' has fitted the model to such text with; stored in each shard")
      ("shard", po::value<std::string>()->default_value("256M")->value_name("SIZE"),
       "plain bytes of a shard file; auto: 256M, more for texts above 250 GiB, up to 4G")
      ("window", po::value<int>()->default_value(0)->value_name("TOKENS"), "tokens that the model sees at once; 0: all it can")
      ("carry", po::value<int>()->default_value(-1)->value_name("TOKENS"),
       "tokens that the next window starts with; -1: the default of a quarter");
}

void add_input_options(OptionSet& set) {
  set.group("Inputs").add_options()
      ("documents", po::value<std::string>()->default_value("files")->value_name("RULE"),
       "files (members of tar and zip, records of WARC), lines, or records (also lines of *.jsonl)")
      ("unpack", po::bool_switch(), "archive the plain bytes of .gz and .zst inputs")
      ("include", po::value<Words>()->composing()->value_name("GLOB"), "only names that match, or lie in a folder that matches")
      ("exclude", po::value<Words>()->composing()->value_name("GLOB"), "leave out names that match, and all below them");
}

Result<ScanOptions> read_input_options(const OptionSet& set) {
  ScanOptions scan;
  const std::string rule = set.get<std::string>("documents");
  if (rule == "files") scan.rule = DocumentRule::files;
  else if (rule == "lines") scan.rule = DocumentRule::lines;
  else if (rule == "records") scan.rule = DocumentRule::records;
  else return Status(Code::usage, "--documents is files, lines or records, not '" + rule + "'");
  scan.unpack = set.get<bool>("unpack");
  if (set.given("include")) scan.include = set.get<Words>("include");
  if (set.given("exclude")) scan.exclude = set.get<Words>("exclude");
  return scan;
}

Result<ArchiveOptions> read_archive_options(const OptionSet& set, const std::string& output) {
  ArchiveOptions o;
  LLMC_ASSIGN(o.parameters.codec, codec_from_name(set.get<std::string>("codec")));
  const uint64_t chunk = set.get<ByteSize>("chunk").bytes;
  if (chunk == 0 || chunk > max_plan_chunk_bytes) return Status(Code::usage, "--chunk is 1 byte to 1G");
  o.plan.chunk_bytes = static_cast<uint32_t>(chunk);
  LLMC_TRY(read_dictionary(set, &o));
  if (set.get<std::string>("shard") == "auto") {
    o.auto_shard = true;
  } else {
    Result<uint64_t> shard = parse_byte_size(set.get<std::string>("shard"));
    if (!shard.ok()) return shard.status().with("--shard");
    o.plan.shard_bytes = *shard;
    if (o.plan.shard_bytes < chunk) return Status(Code::usage, "--shard must not be smaller than --chunk");
  }
  if (output.ends_with(".h5")) {
    if (set.given("shard")) return Status(Code::usage, "--shard and an output ending in .h5 exclude each other: that is one shard");
    o.plan.shard_bytes = 0;
  }
  o.window = set.get<int>("window");
  o.carry = set.get<int>("carry");
  LLMC_ASSIGN(o.scan, read_input_options(set));
  for (const char* name : {"model", "engine", "window", "carry", "adapt"}) {
    if (!needs_model(o.parameters.codec) && set.given(name)) {
      return Status(Code::usage, std::string("--codec ") + codec_name(o.parameters.codec) + " uses no model: --" + name +
                                     " does not go with it");
    }
  }
  if (set.given("adapt")) LLMC_TRY(read_adaptation(set.get<std::string>("adapt"), &o));
  return o;
}

Result<std::shared_ptr<const Model>> complete_plan_options(const std::string& model_path, ArchiveOptions* o) {
  std::shared_ptr<const Model> model;
  if (needs_model(o->parameters.codec)) {
    LLMC_ASSIGN(model, open_model(model_path));
    LLMC_TRY(fix_windows(*model, o));
    // Refused before anything is scanned: an adaptation of another model.
    if (!o->plan.adaptation.empty()) LLMC_TRY(adapt_model(model, o->plan.adaptation).status());
    o->plan.model = model->digest();
    o->plan.model_name = model->name();
  }
  o->plan.parameters = o->parameters.serialize();
  return model;
}

uint64_t auto_shard_bytes(uint64_t text_bytes) {
  uint64_t bytes = uint64_t{256} << 20;
  while (bytes < uint64_t{4} << 30 && text_bytes / bytes >= 1000) bytes *= 2;
  return bytes;
}

Result<ScanOutcome> scan_and_tell(const Words& inputs, const ScanOptions& options) {
  Result<ScanOutcome> scan = scan_inputs(inputs, options);
  // Missing is the archive's exit code, not an input's.
  if (!scan.ok() && scan.status().code() == Code::missing) return Status(Code::failure, scan.status().message());
  LLMC_TRY(scan.status());
  for (const std::string& warning : scan->warnings) log::warn("{}", warning);
  for (const std::string& problem : scan->problems) log::error("{}", problem);
  return scan;
}

Result<Plan> make_plan(const Words& inputs, ArchiveOptions& o, size_t* problems) {
  Result<ScanOutcome> scan = scan_and_tell(inputs, o.scan);
  LLMC_TRY(scan.status());
  *problems = scan->problems.size();
  if (o.auto_shard) o.plan.shard_bytes = std::max<uint64_t>(auto_shard_bytes(scan->text_size), o.plan.chunk_bytes);
  return Plan::make(std::move(scan->entries), o.plan);
}

}  // namespace llmc
