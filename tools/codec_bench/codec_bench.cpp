// codec_bench FILE...: codes each file in memory and back, and says what came of it.
//
// One line per file: bytes of all frames, bits per byte, how many chunks each codec took,
// KB/s of plain text each way (wall clock, and per second of CPU time in brackets, which a busy
// machine disturbs less; session set-up included, model loading not). The text that comes back is compared. With
// --ranks-out the ranks behind the rank codec are written as LEB128 numbers and also coded with
// brotli -11 and deflate -9, as LLMc (ranks) and AlphaZip (brotli, deflate over ranks) do.
#include <fmt/format.h>
#include <zlib.h>
#ifdef LLMC_BROTLI
#include <brotli/encode.h>
#endif

#include <boost/program_options.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "base/file.h"
#include "chunk/codec.h"
#include "chunk/memory_feed.h"
#include "coder/rank_coder.h"
#include "model/native_engine.h"
#include "program.h"

namespace {

using namespace llmc;
namespace po = boost::program_options;

struct Settings {
  CodecParameters parameters;
  size_t chunk = 65536;
  int streams = 16;
  int threads = 1;
  bool decode = true;
  std::string ranks_out;
};

struct Pass {
  std::vector<Result<Bytes>> outcomes;
  double seconds = 0;
  double cpu_seconds = 0;
};

Result<Pass> run(const ChunkCodec& codec, bool encode, std::vector<ChunkItem> items, const Settings& settings) {
  const auto began = std::chrono::steady_clock::now();
  const std::clock_t cpu_began = std::clock();
  auto outcomes = encode ? encode_all(codec, std::move(items), settings.streams, settings.threads)
                         : decode_all(codec, std::move(items), settings.streams, settings.threads);
  Pass pass;
  pass.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  pass.cpu_seconds = static_cast<double>(std::clock() - cpu_began) / CLOCKS_PER_SEC;
  LLMC_ASSIGN(pass.outcomes, std::move(outcomes));
  for (const auto& outcome : pass.outcomes) LLMC_TRY(outcome.status());
  return pass;
}

size_t deflate_size(const Bytes& bytes) {
  uLongf n = compressBound(bytes.size());
  Bytes out(n);
  compress2(out.data(), &n, bytes.data(), bytes.size(), 9);
  return n;
}

std::string brotli_size(const Bytes& bytes) {
#ifdef LLMC_BROTLI
  size_t n = BrotliEncoderMaxCompressedSize(bytes.size());
  Bytes out(n);
  BrotliEncoderCompress(11, BROTLI_MAX_WINDOW_BITS, BROTLI_MODE_GENERIC, bytes.size(), bytes.data(), &n, out.data());
  return std::to_string(n);
#else
  return "(not in this build)";
#endif
}

// Ranks need no model to be read back: they are what a rank payload holds.
Status ranks(const std::vector<Result<Bytes>>& frames, uint32_t vocab, const std::string& path) {
  ByteWriter all;
  size_t own = 0, count = 0, zeros = 0, other = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    LLMC_ASSIGN(const Frame frame, parse_frame(*frames[i], 0));
    if (frame.codec != Codec::rank) {
      ++other;
      continue;
    }
    RankDecoder decoder(frame.payload);
    own += frame.payload.size();
    for (uint32_t token = 0; token < frame.tokens; ++token) {
      const uint32_t rank = decoder.decode();
      if (rank >= vocab) decoder.decode_byte();
      all.varint(rank);
      ++count;
      zeros += rank == 0;
    }
  }
  LLMC_TRY(write_file_atomic(path, all.view()));
  fmt::print("ranks: {} in {} ({} chunks not coded by ranks), {:.1f} % are 0\n"
             "  rank codec {} bytes, {:.3f} bits per rank\n  brotli -11 {}, deflate -9 {} bytes over LEB128 of all\n",
             count, path, other, count ? 100.0 * zeros / count : 0, own, count ? own * 8.0 / count : 0,
             brotli_size(all.view()), deflate_size(all.view()));
  return {};
}

Status bench(Engine* engine, const std::string& path, const Settings& settings) {
  LLMC_ASSIGN(const Bytes text, read_file(path, uint64_t{1} << 32));
  const ChunkCodec codec(engine, settings.parameters);
  std::vector<ChunkItem> items;
  for (size_t at = 0; at < text.size(); at += settings.chunk) {
    const size_t n = std::min(settings.chunk, text.size() - at);
    items.push_back({0, static_cast<uint32_t>(items.size()), 0, static_cast<uint32_t>(n),
                     Bytes(text.begin() + at, text.begin() + at + n)});
  }
  std::vector<ChunkItem> frames = items;
  LLMC_ASSIGN(Pass encoded, run(codec, true, items, settings));
  size_t bytes = 0;
  std::string took;
  size_t by_codec[5] = {};
  for (size_t i = 0; i < frames.size(); ++i) {
    frames[i].bytes = *encoded.outcomes[i];
    bytes += frames[i].bytes.size();
    ++by_codec[frames[i].bytes[5]];
  }
  for (int c = 0; c < 5; ++c) {
    if (by_codec[c]) took += fmt::format(" {}:{}", codec_name(static_cast<Codec>(c)), by_codec[c]);
  }
  const double kb = text.size() / 1000.0;
  fmt::print("{}: {} -> {} bytes, {:.4f} bpb, encode {:.1f} ({:.1f}) KB/s,", path, text.size(), bytes,
             bytes * 8.0 / std::max<size_t>(text.size(), 1), kb / encoded.seconds, kb / encoded.cpu_seconds);
  if (settings.decode) {
    LLMC_ASSIGN(const Pass decoded, run(codec, false, std::move(frames), settings));
    for (size_t i = 0; i < items.size(); ++i) {
      if (*decoded.outcomes[i] != items[i].bytes) return {Code::failure, path + ": the text did not come back"};
    }
    fmt::print(" decode {:.1f} ({:.1f}) KB/s,", kb / decoded.seconds, kb / decoded.cpu_seconds);
  }
  fmt::print("{}\n", took);
  if (!settings.ranks_out.empty()) {
    Settings by_rank = settings;
    by_rank.parameters.codec = Codec::rank;
    if (settings.parameters.codec != Codec::rank) {
      LLMC_ASSIGN(encoded, run(ChunkCodec(engine, by_rank.parameters), true, std::move(items), by_rank));
    }
    LLMC_TRY(ranks(encoded.outcomes, static_cast<uint32_t>(engine->model().tokenizer().vocab()), settings.ranks_out));
  }
  return {};
}

Status run_all(const po::variables_map& options) {
  Settings settings;
  LLMC_ASSIGN(settings.parameters.codec, codec_from_name(options["codec"].as<std::string>()));
  settings.parameters.window = options["window"].as<uint32_t>();
  settings.parameters.carry = options["carry"].as<uint32_t>();
  settings.chunk = std::max<size_t>(options["chunk"].as<size_t>(), 1);
  settings.streams = options["streams"].as<int>();
  settings.decode = !options.count("no-decode");
  settings.threads = std::max(options["threads"].as<int>(), 1);
  if (options.count("ranks-out")) settings.ranks_out = options["ranks-out"].as<std::string>();
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, model_of(options));
  LLMC_ASSIGN(const auto engine, make_native_engine(model, options["isa"].as<std::string>()));
  fmt::print("model {} {}, {}, codec {}, window {}, carry {}, chunk {}, {} streams, {} threads\n", model->name(),
             to_hex(model->digest()).substr(0, 12), engine->name(), codec_name(settings.parameters.codec),
             settings.parameters.window, settings.parameters.carry, settings.chunk, settings.streams, settings.threads);
  for (const auto& path : options["file"].as<std::vector<std::string>>()) LLMC_TRY(bench(engine.get(), path, settings));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  po::options_description own;
  own.add_options()("isa", po::value<std::string>()->default_value(""), "kernels (default: the fastest here)")(
      "codec", po::value<std::string>()->default_value("range"), "range, mix, rank, zstd or stored")(
      "chunk", po::value<size_t>()->default_value(65536), "bytes in a chunk")(
      "window", po::value<uint32_t>()->default_value(0), "tokens in a window, 0: the model's context")(
      "carry", po::value<uint32_t>()->default_value(0), "tokens carried into the next window")(
      "streams", po::value<int>()->default_value(16), "chunks in lock-step per thread")(
      "threads", po::value<int>()->default_value(1), "threads")("no-decode", "only encode: nothing is checked")(
      "ranks-out", po::value<std::string>(), "write the ranks here and compare coders for them");
  return run_on_files("codec_bench", own, argc, argv, run_all);
}
