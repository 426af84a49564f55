// info ARCHIVE: what it is, and how long a chunk of it takes to decode here.
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "archive/format.h"
#include "archive/reader.h"
#include "chunk/codec.h"
#include "commands/compute.h"
#include "commands/options.h"
#include "commands/verb.h"
#include "model/adaptation.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

namespace {

// One chunk, decoded until it is done or half a second is over: with a large model it would take minutes.
class TimedFeed : public ChunkFeed {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr double enough = 0.5;  // seconds

  explicit TimedFeed(ChunkItem item) : item_(std::move(item)) {}
  bool next(ChunkItem* item, int, bool) override {
    if (given_) return false;
    given_ = true;
    begun_ = Clock::now();
    *item = std::move(item_);
    return true;
  }
  void finished(uint64_t, Result<Bytes> outcome) override {
    took_ = seconds();
    outcome_ = outcome.status();
  }
  void progress(uint64_t tokens) override { tokens_ += tokens; }
  bool stopped() const override { return given_ && tokens_ > 0 && seconds() >= enough; }

  Status outcome() const { return outcome_; }
  bool whole() const { return took_ >= 0; }
  // Of a chunk of so many tokens, from those that were decoded.
  double estimate(double tokens) const { return whole() ? took_ : seconds() * tokens / static_cast<double>(tokens_); }

 private:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begun_).count(); }
  ChunkItem item_;
  bool given_ = false;
  Clock::time_point begun_;
  double took_ = -1;
  uint64_t tokens_ = 0;
  Status outcome_;
};

struct ChunkTime {
  double seconds = 0;
  bool whole = false;  // not estimated from a part
  std::string engine;
};

// Of a set of more shards, what stands in the manifest is told: to open thousands of indexes takes minutes.
constexpr size_t looked_into = 64;

// Of the first chunk that the model coded, or of the first one; alone, on one core: what any byte of it costs.
Result<ChunkTime> time_of_a_chunk(ArchiveReader& archive, const CodecParameters& parameters,
                                  const std::string& model_path) {
  std::optional<std::pair<uint32_t, uint32_t>> place;
  bool modelled = false;
  for (uint32_t s = 0; s < std::min(archive.shards().size(), looked_into) && !modelled; ++s) {
    LLMC_ASSIGN(const auto file, archive.shard(s));
    for (uint32_t c = 0; c < file->index().chunks.size() && !modelled; ++c) {
      modelled = file->index().chunks[c].tokens > 0;
      if (!place || modelled) place = {s, c};
    }
  }
  if (!place) return Status(Code::failure, "there is no chunk");
  const auto [shard, chunk] = *place;
  LLMC_ASSIGN(const auto file, archive.shard(shard));
  ChunkTime time;
  std::unique_ptr<Engine> engine;
  if (modelled) {
    LLMC_ASSIGN(auto model, open_model_for(model_path, archive.model(), archive.model_name()));
    LLMC_ASSIGN(const Bytes adaptation, archive.adaptation());
    if (!adaptation.empty()) {
      LLMC_ASSIGN(model, adapt_model(std::move(model), adaptation));
    }
    LLMC_ASSIGN(engine, open_engine("native", std::move(model)));
    time.engine = engine->name();
  }
  LLMC_ASSIGN(Bytes frame, archive.read_frame(shard, chunk));
  const ChunkCodec codec(engine.get(), parameters);
  ChunkItem item{0, chunk, file->block().seed, file->block().chunk_size(chunk), std::move(frame)};
  if (file->index().chunks[chunk].codec == Codec::primed) {
    LLMC_ASSIGN(Bytes dictionary, file->read_dictionary());
    item.dictionary = std::make_shared<const Bytes>(std::move(dictionary));
  }
  TimedFeed feed(std::move(item));
  const Status status = codec.decode(feed, 1);
  if (!status.ok() && status.code() != Code::interrupted) return status;
  LLMC_TRY(feed.outcome());
  time.seconds = feed.estimate(file->index().chunks[chunk].tokens);
  time.whole = feed.whole();
  return time;
}

std::string describe(const Result<ChunkTime>& time) {
  if (!time.ok()) return "not known here: " + time.status().message();
  char text[64];
  std::snprintf(text, sizeof text, time->seconds < 0.1 ? "%.4f" : time->seconds < 10 ? "%.2f" : "%.0f", time->seconds);
  return std::string(text) + " (one alone, on one core" + (time->engine.empty() ? "" : ", " + time->engine) +
         (time->whole ? "" : "; estimated from half a second of decoding") + ")";
}

}  // namespace

Status run_info(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("info", "llmc-batch info ARCHIVE [options]",
                "Sizes, model and coding parameters of an archive, and how long a chunk takes to decode on this machine.");
  set.positional("archive", 1);
  set.group("Info").add_options()("json", po::bool_switch(), "as JSON")
      ("measure", po::bool_switch(), "with --json: the seconds of a chunk too, which takes half a second")
      ("model", po::value<std::string>()->value_name("FILE"),
       "model file, for the seconds of a chunk; default: the embedded model");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "info: no archive given"};
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(set.words()[0]));
  LLMC_ASSIGN(const CodecParameters parameters, CodecParameters::parse(archive.parameters()));
  const Manifest* const manifest = archive.manifest();
  const bool look = archive.shards().size() <= looked_into;
  uint64_t entries = 0, file_bytes = 0, coded = 0, tokens = 0;
  uint64_t dictionaries = 0, dictionary_bytes = 0;
  std::map<std::string, uint64_t> codecs;
  for (uint32_t s = 0; s < archive.shards().size(); ++s) {
    file_bytes += archive.shards()[s].file_bytes;
    if (!look) continue;
    LLMC_ASSIGN(const auto file, archive.shard(s));
    dictionaries += file->has_dictionary();
    dictionary_bytes += file->block().dictionary_bytes;
    for (size_t i = 0; i < file->index().entries.size(); ++i) {
      entries += file->index().entries[i].offset == 0 || (s == 0 && i == 0);
    }
    for (const IndexChunk& chunk : file->index().chunks) {
      coded += chunk.frame_size;
      tokens += chunk.tokens;
      ++codecs[codec_name(chunk.codec)];
    }
  }
  Digest content{};
  if (manifest) {
    std::error_code error;
    file_bytes += std::filesystem::file_size(archive.path() / manifest_name, error);
    entries = manifest->entries;
    coded = manifest->coded_bytes;
    tokens = manifest->tokens;
    for (const ManifestNames& names : manifest->names) file_bytes += names.bytes;
    content = manifest->content;
  } else {
    LLMC_ASSIGN(content, archive.content_digest());
  }
  const bool modelled = archive.model() != Digest{};
  ordered_json out = {{"archive", archive.path().string()}, {"format", archive_version}, {"set", archive.is_set()},
                      {"shards", archive.shards().size()}, {"entries", entries}, {"text_bytes", archive.text_bytes()},
                      {"archive_bytes", file_bytes}, {"frame_bytes", coded}, {"tokens", tokens},
                      {"chunks", archive.chunks()}, {"chunk_bytes", archive.chunk_bytes()},
                      {"codec", codec_name(parameters.codec)}, {"content_sha256", to_hex(content)}};
  if (archive.parts() > 1) out["parts"] = archive.parts();
  if (look) out["chunks_by_codec"] = codecs;
  if (archive.text_bytes()) out["bits_per_byte"] = 8.0 * file_bytes / archive.text_bytes();
  if (modelled) {
    out["model"] = archive.model_name();
    out["model_sha256"] = to_hex(archive.model());
    out["window"] = parameters.window;
    out["carry"] = parameters.carry;
  }
  if (parameters.adaptation != Digest{}) out["adaptation_sha256"] = to_hex(parameters.adaptation);
  if (look && parameters.dictionary > 0) {
    out["dictionaries"] = dictionaries;
    out["dictionary_frame_bytes"] = dictionary_bytes;
  }
  const bool json = set.get<bool>("json");
  if (archive.chunks() > 0 && (!json || set.get<bool>("measure"))) {
    const std::string model = set.given("model") ? set.get<std::string>("model") : "";
    const Result<ChunkTime> time = time_of_a_chunk(archive, parameters, model);
    if (!json) {
      out["seconds_per_chunk"] = describe(time);
    } else if (time.ok()) {
      out["seconds_per_chunk"] = time->seconds;
      out["seconds_estimated"] = !time->whole;
    } else {
      out["seconds_unknown"] = time.status().message();
    }
  }
  if (json) {
    std::puts(out.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    return {};
  }
  for (const auto& [key, value] : out.items()) {
    const std::string text = value.is_string() ? printable(value.get<std::string>()) : value.dump();
    std::printf("%-17s %s\n", key.c_str(), text.c_str());
  }
  return {};
}

}  // namespace llmc
