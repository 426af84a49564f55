// info ARCHIVE: what it is, without decoding anything.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "archive/format.h"
#include "archive/reader.h"
#include "chunk/codec.h"
#include "commands/options.h"
#include "commands/verb.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

Status run_info(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("info", "llmc-batch info ARCHIVE [options]", "Sizes, model and coding parameters of an archive.");
  set.positional("archive", 1);
  set.group("Info").add_options()("json", po::bool_switch(), "as JSON");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "info: no archive given"};
  LLMC_ASSIGN(ArchiveReader archive, ArchiveReader::open(set.words()[0]));
  LLMC_ASSIGN(const CodecParameters parameters, CodecParameters::parse(archive.parameters()));
  uint64_t entries = 0, file_bytes = 0, coded = 0, tokens = 0;
  std::map<std::string, uint64_t> codecs;
  for (uint32_t s = 0; s < archive.shards().size(); ++s) {
    LLMC_ASSIGN(const auto file, archive.shard(s));
    file_bytes += archive.shards()[s].file_bytes;
    for (size_t i = 0; i < file->index().entries.size(); ++i) {
      entries += file->index().entries[i].offset == 0 || (s == 0 && i == 0);
    }
    for (const IndexChunk& chunk : file->index().chunks) {
      coded += chunk.frame_size;
      tokens += chunk.tokens;
      ++codecs[codec_name(chunk.codec)];
    }
  }
  if (archive.is_set()) {
    std::error_code error;
    file_bytes += std::filesystem::file_size(archive.path() / manifest_name, error);
  }
  LLMC_ASSIGN(const Digest content, archive.content_digest());
  const bool modelled = archive.model() != Digest{};
  ordered_json out = {{"archive", archive.path().string()}, {"format", archive_version}, {"set", archive.is_set()},
                      {"shards", archive.shards().size()}, {"entries", entries}, {"text_bytes", archive.text_bytes()},
                      {"archive_bytes", file_bytes}, {"frame_bytes", coded}, {"tokens", tokens},
                      {"chunks", archive.chunks()}, {"chunk_bytes", archive.chunk_bytes()}, {"chunks_by_codec", codecs},
                      {"codec", codec_name(parameters.codec)}, {"content_sha256", to_hex(content)}};
  if (archive.text_bytes()) out["bits_per_byte"] = 8.0 * file_bytes / archive.text_bytes();
  if (modelled) {
    out["model"] = archive.model_name();
    out["model_sha256"] = to_hex(archive.model());
    out["window"] = parameters.window;
    out["carry"] = parameters.carry;
  }
  if (set.get<bool>("json")) {
    std::puts(out.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
    return {};
  }
  for (const auto& [key, value] : out.items()) {
    const std::string text = value.is_string() ? printable(value.get<std::string>()) : value.dump();
    std::printf("%-16s %s\n", key.c_str(), text.c_str());
  }
  return {};
}

}  // namespace llmc
