// Every fourth part of the sample is held back from the fit; what the file gains is measured on those alone.
#include "commands/adapt.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/signals.h"
#include "chunk/fit_adaptation.h"
#include "chunk/memory_feed.h"
#include "commands/archive_options.h"
#include "commands/compute.h"
#include "commands/output_file.h"
#include "corpus/text_reader.h"
#include "model/native_engine.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

constexpr uint64_t smallest_part = 4u << 10;
constexpr uint64_t even_parts = 16;  // of a small sample
constexpr uint64_t most_parts = 32, most_bytes = 1u << 20;  // of a large one, evenly spread: whichever is more
constexpr size_t held_back_every = 4;

struct AdaptOptions {
  Words inputs;
  std::string model, output;
  int threads = 1;
  uint64_t chunk = 0;  // bytes that the text will be coded in, and the largest part
  bool force = false, json = false;
};

struct SampleText {
  uint64_t bytes = 0;  // of all the text
  size_t unread = 0;   // inputs that could not be read
  uint32_t part_bytes = 0;
  std::vector<Bytes> fitted, held_back;
};

Result<SampleText> read_sample(const AdaptOptions& o) {
  ScanOptions options;
  options.skip = {o.output};  // of a run before, in the folder of the sample
  LLMC_ASSIGN(const ScanOutcome scan, scan_and_tell(o.inputs, options));
  SampleText sample;
  sample.bytes = scan.text_size;
  sample.unread = scan.problems.size();
  if (sample.bytes < smallest_part * held_back_every) {
    return Status(Code::failure, "the sample has " + std::to_string(sample.bytes) + " bytes of text; 16 KiB are the least, some hundred are good");
  }
  const uint64_t part_bytes = std::min(o.chunk, std::max(sample.bytes / even_parts, smallest_part));
  sample.part_bytes = static_cast<uint32_t>(part_bytes);
  const uint64_t there = sample.bytes / part_bytes, taken = std::min(there, std::max(most_parts, most_bytes / part_bytes));
  TextReader reader(scan.entries);
  for (uint64_t i = 0; i < taken; ++i) {
    Bytes part(part_bytes);
    if (stop_requested()) return Status(Code::interrupted, "stopped on request");
    LLMC_TRY(reader.skip_to(there * i / taken * part_bytes));
    LLMC_TRY(reader.read(part));
    (i % held_back_every == held_back_every - 1 ? sample.held_back : sample.fitted).push_back(std::move(part));
  }
  return sample;
}

// For encode_all: gives nothing, and stops with the program.
class StopFeed final : public ChunkFeed {
 public:
  bool next(ChunkItem*, int, bool) override { return false; }
  void finished(uint64_t, Result<Bytes>) override {}
  void progress(uint64_t) override {}
  bool stopped() const override { return stop_requested(); }
};

// Bytes of the frames of these parts.
Result<uint64_t> coded_bytes(const std::shared_ptr<const Model>& model, const CodecParameters& parameters, std::span<const Bytes> parts,
                             int threads) {
  LLMC_ASSIGN(const auto engine, make_native_engine(model));
  const ChunkCodec codec(engine.get(), parameters);
  std::vector<ChunkItem> items;
  for (const Bytes& part : parts) items.push_back({0, 0, 0, static_cast<uint32_t>(part.size()), part});
  StopFeed stop;
  LLMC_ASSIGN(const auto outcomes, encode_all(codec, std::move(items), 4, threads, &stop));
  uint64_t sum = 0;
  for (const Result<Bytes>& outcome : outcomes) {
    LLMC_TRY(outcome.status());
    sum += outcome->size();
  }
  return sum;
}

void show_fit(double part) {
  std::fprintf(stderr, "\r\033[Kfitting: %3.0f %%", part * 100);
}

Status adapt(const AdaptOptions& o) {
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, open_model(o.model));
  LLMC_ASSIGN(const SampleText sample, read_sample(o));
  CodecParameters parameters;
  parameters.window = static_cast<uint32_t>(model->config().context);
  parameters.carry = parameters.window / 4;
  FitOptions fit;
  fit.window = parameters.window;
  fit.carry = parameters.carry;
  fit.threads = o.threads;
  fit.stop = stop_requested;
  if (isatty(STDERR_FILENO)) fit.progress = show_fit;
  const Result<Adaptation> adaptation = fit_adaptation(model, sample.fitted, fit);
  if (fit.progress) std::fputs("\r\033[K", stderr);
  LLMC_TRY(adaptation.status());
  const Bytes bytes = adaptation->serialize();
  LLMC_ASSIGN(const std::shared_ptr<const Model> adapted, adapt_model(model, bytes));

  nlohmann::ordered_json gains;
  std::string lines;
  uint64_t held_back = 0;
  for (const Bytes& part : sample.held_back) held_back += part.size();
  for (const Codec codec : {Codec::range, Codec::mix}) {
    parameters.codec = codec;
    parameters.adaptation = {};
    LLMC_ASSIGN(const uint64_t before, coded_bytes(model, parameters, sample.held_back, o.threads));
    parameters.adaptation = adapted->adaptation();
    LLMC_ASSIGN(const uint64_t after, coded_bytes(adapted, parameters, sample.held_back, o.threads));
    const double change = 100 * (static_cast<double>(after) / static_cast<double>(before) - 1), scale = 8 / static_cast<double>(held_back);
    gains[codec_name(codec)] = {{"bytes_before", before}, {"bytes_after", after}, {"change_percent", change}};
    char line[128];
    std::snprintf(line, sizeof line, "%-14s%.4f -> %.4f bits per byte (%+.2f %%)\n", codec_name(codec), static_cast<double>(before) * scale,
                  static_cast<double>(after) * scale, change);
    lines += line;
  }
  LLMC_TRY(write_file_atomic(o.output, bytes));
  const Status told = sample.unread == 0 ? Status() : Status(Code::partial, std::to_string(sample.unread) +
                                                                                " inputs could not be read; the file is fitted to everything else");
  const auto changed = std::count_if(adaptation->bias.begin(), adaptation->bias.end(), [](int8_t b) { return b != 0; });
  if (o.json) {
    const nlohmann::ordered_json out = {
        {"file", o.output}, {"bytes", bytes.size()}, {"sha256", to_hex(sha256(bytes))}, {"model_sha256", to_hex(model->digest())},
        {"factor", adaptation->factor}, {"summands", changed}, {"sample_bytes", sample.bytes}, {"part_bytes", sample.part_bytes},
        {"parts_fitted", sample.fitted.size()}, {"parts_held_back", sample.held_back.size()}, {"held_back", gains}};
    std::printf("%s\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
    return told;
  }
  std::printf("model         %s (sha256 %s)\nsample        %llu bytes; fitted to %zu parts of %u, measured on %zu others\n", model->name().c_str(),
              to_hex(model->digest()).c_str(), static_cast<unsigned long long>(sample.bytes), sample.fitted.size(), sample.part_bytes,
              sample.held_back.size());
  std::printf("temperature   %.3f; summands for %lld of %d tokens\n%sfile          %s: %zu bytes, which each shard keeps (sha256 %s)\n",
              1 / static_cast<double>(adaptation->factor), static_cast<long long>(changed), model->config().vocab, lines.c_str(),
              o.output.c_str(), bytes.size(), to_hex(sha256(bytes)).c_str());
  return told;
}

}  // namespace

Status run_model_adapt(Context& context, const Words& words) {
  OptionSet set("model adapt", "llmc-batch model adapt SAMPLE... -o FILE [options]",
                "Fits the model to one kind of text: a temperature and a summand for each token, for 'compress --adapt FILE'.\n"
                "SAMPLE is files or folders of that kind, some hundred kilobytes of text. A quarter of it is held back; what is\n"
                "gained there is printed.");
  set.positional("sample", -1);
  set.group("Options").add_options()
      ("output,o", po::value<std::string>()->value_name("FILE"), "the file to write")
      ("model", po::value<std::string>()->value_name("FILE"), "model file; default: the embedded model")
      ("chunk", po::value<ByteSize>()->default_value(ByteSize{64u << 10}, "64K")->value_name("SIZE"),
       "as it will be for 'compress': parts of this size, smaller ones of a small sample, are fitted to and measured")
      ("threads", po::value<int>()->default_value(0)->value_name("N"), "0: as many as there are cores")
      ("json", po::bool_switch(), "the report as JSON")
      ("force,f", po::bool_switch(), "replace FILE");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  AdaptOptions o;
  o.inputs = set.words();
  if (o.inputs.empty()) return {Code::usage, "model adapt: no sample given"};
  if (!set.given("output")) return {Code::usage, "model adapt: -o FILE is missing"};
  o.output = set.get<std::string>("output");
  if (set.given("model")) o.model = set.get<std::string>("model");
  o.chunk = set.get<ByteSize>("chunk").bytes;
  if (o.chunk < 256 || o.chunk > (1u << 20)) return {Code::usage, "--chunk is 256 bytes to 1M"};
  o.threads = set.get<int>("threads");
  if (o.threads < 0 || o.threads > 1024) return {Code::usage, "--threads is 0 to 1024"};
  if (o.threads == 0) o.threads = std::max(context.placement.threads, 1);
  o.json = set.get<bool>("json");
  LLMC_TRY(check_output_file(o.output, set.get<bool>("force")));
  return adapt(o);
}

}  // namespace llmc
