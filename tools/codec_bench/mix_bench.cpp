// mix_bench FILE...: what each part of the mix codec is worth.
//
// The language model is asked once for each file; then the codec's predictor runs over its
// answers again and again, each time without one part: an input, or the contexts of a set of
// weights or of a refinement. One line for each part: how much larger the code is without it, as
// the mean over the files and for the files that gain least and most. Sizes are sums of -log2 of the
// chances, frames not counted. Chunks, windows and carry are those of `llmc-batch compress`.
//
// With --dictionary SIZE the parts stay, and each file is taken as a shard: a dictionary of that size is chosen from
// it, coded, and a sample of its chunks is coded from nothing and after the dictionary. --choice compares ways to choose.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <ctime>

#include "base/file.h"
#include "chunk/mix_symbol_coder.h"
#include "chunk/text_rows.h"
#include "model/native_engine.h"
#include "plan/dictionary.h"
#include "program.h"

namespace {

using namespace llmc;
namespace po = boost::program_options;

// What the predictor is told of one chunk: for each token its leaf and the model's chances on the way to it,
// 0 where nothing is coded.
struct Chunk {
  size_t bytes = 0;
  std::vector<uint32_t> leaves, chances;
};

struct Bench {
  const Model* model = nullptr;
  Engine* engine = nullptr;
  const MixTree* tree = nullptr;
  size_t chunk = 65536;
  size_t most = 0;

  Result<Chunk> ask(ByteView text) const {
    Chunk chunk;
    chunk.bytes = text.size();
    std::vector<Symbol> symbols;
    model->tokenizer().encode(text, &symbols);
    LLMC_ASSIGN(const auto session, engine->make_session(1));
    const auto window = static_cast<uint32_t>(session->context());
    LLMC_TRY(session->set_leaves(tree->symbols()));
    LLMC_TRY(score_text(*session, model->config().start, symbols, WindowCursor(window, window / 4), Ask::paths,
                        [&](int row, Symbol want) -> Status {
                          chunk.leaves.push_back(tree->leaf_of(static_cast<uint32_t>(std::min(want, model->tokenizer().vocab()))));
                          const auto path = session->path(row);
                          chunk.chances.insert(chunk.chances.end(), path.begin(), path.end());
                          return {};
                        }));
    return chunk;
  }

  Result<std::vector<Chunk>> ask_file(const std::string& path) const {
    LLMC_ASSIGN(Bytes text, read_file(path, uint64_t{1} << 32));
    if (most != 0 && text.size() > most) text.resize(most);
    std::vector<Chunk> chunks;
    for (size_t at = 0; at < text.size(); at += chunk) {
      LLMC_ASSIGN(Chunk next, ask(ByteView(text).subspan(at, std::min(chunk, text.size() - at))));
      chunks.push_back(std::move(next));
    }
    return chunks;
  }

  // Bytes of code.
  double run(MixModel& model, const Chunk& chunk) const {
    constexpr double one = 2147483648.0;
    double bits = 0;
    const uint32_t* said = chunk.chances.data();
    for (const uint32_t leaf : chunk.leaves) {
      double share = 1;
      model.begin();
      for (int level = tree->depth() - 1; level >= 0; --level, ++said) {
        if (*said == 0) {
          model.go_left();
          continue;
        }
        const bool right = leaf >> level & 1;
        const uint32_t chance = model.chance(*said);
        share *= (right ? chance : one - chance) / one;
        model.update(right);
      }
      model.end(leaf);
      bits -= std::log2(share);
    }
    return bits / 8;
  }
};

Bytes chosen(const Bytes& text, size_t size, const std::string& choice, size_t block_bytes) {
  if (choice == "first") return Bytes(text.begin(), text.begin() + std::min(size, text.size()));
  std::vector<Bytes> blocks;
  for (const uint64_t at : dictionary_candidates(text.size(), block_bytes)) {
    blocks.emplace_back(text.begin() + at, text.begin() + std::min<size_t>(text.size(), at + block_bytes));
  }
  if (choice == "cover") return choose_dictionary(blocks, size);
  Bytes even;
  const size_t count = std::min(blocks.size(), size / block_bytes);
  for (size_t i = 0; i < count; ++i) {
    const Bytes& block = blocks[blocks.size() * (2 * i + 1) / (2 * count)];
    even.insert(even.end(), block.begin(), block.end());
  }
  return even;
}

Status with_dictionary(const Bench& bench, const MixTree& tree, const std::string& path, size_t size, const std::string& choice, size_t block) {
  LLMC_ASSIGN(const Bytes text, read_file(path, uint64_t{1} << 32));
  const size_t chunks = (text.size() + bench.chunk - 1) / bench.chunk;
  const Bytes dictionary = chosen(text, size, choice, block);
  MixModel cold(tree), start(tree), primed(tree);
  LLMC_ASSIGN(const Chunk said, bench.ask(dictionary));
  start.reset(dictionary.size() + bench.chunk);
  const double cost = bench.run(start, said);
  double without = 0, with = 0;
  const size_t sample = std::clamp<size_t>(bench.most / bench.chunk, 1, chunks);
  for (size_t i = 0; i < sample; ++i) {
    const size_t at = chunks * (2 * i + 1) / (2 * sample) * bench.chunk;
    LLMC_ASSIGN(const Chunk chunk, bench.ask(ByteView(text).subspan(at, std::min(bench.chunk, text.size() - at))));
    cold.reset(chunk.bytes);
    without += bench.run(cold, chunk);
    primed.copy(start);
    with += bench.run(primed, chunk);
  }
  const double scale = static_cast<double>(chunks) / static_cast<double>(sample);
  fmt::print("| {} | {} | {} | {:.0f} | {:.0f} | {:.0f} | {:+.1f} % | {:+.1f} % |\n", path.substr(path.rfind('/') + 1), text.size(), choice,
             cost, scale * without, scale * with, 100 * (with / without - 1), 100 * ((with + cost / scale) / without - 1));
  std::fflush(stdout);
  return {};
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

Status run_all(const po::variables_map& options) {
  Bench bench;
  bench.chunk = std::max<size_t>(options["chunk"].as<size_t>(), 1);
  bench.most = options["bytes"].as<size_t>();
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, model_of(options));
  LLMC_ASSIGN(const auto engine, make_native_engine(model, ""));
  const MixMemory memory(model->tokenizer());
  bench.model = model.get();
  bench.engine = engine.get();
  bench.tree = &memory.tree();
  MixModel predictor(memory.tree());

  if (options.count("dictionary")) {
    for (const auto& path : options["file"].as<std::vector<std::string>>()) {
      LLMC_TRY(with_dictionary(bench, memory.tree(), path, options["dictionary"].as<size_t>(), options["choice"].as<std::string>(),
                               options["block"].as<size_t>()));
    }
    return {};
  }
  std::vector<std::pair<std::string, std::vector<Chunk>>> files;
  for (const auto& path : options["file"].as<std::vector<std::string>>()) {
    LLMC_ASSIGN(auto chunks, bench.ask_file(path));
    files.emplace_back(path.substr(path.rfind('/') + 1), std::move(chunks));
  }

  const auto size_of = [&](const std::vector<Chunk>& chunks) {
    double bytes = 0;
    for (const Chunk& chunk : chunks) {
      predictor.reset(chunk.bytes);
      bytes += bench.run(predictor, chunk);
    }
    return bytes;
  };
  std::vector<double> whole;
  size_t tokens = 0;
  const double began = cpu_seconds();
  for (const auto& [name, chunks] : files) {
    whole.push_back(size_of(chunks));
    for (const Chunk& chunk : chunks) tokens += chunk.leaves.size();
  }
  fmt::print("{} files, {} tokens, {:.2f} us of CPU a token\n| without | mean | least | most |\n|---|---:|---:|---:|\n", files.size(), tokens,
             (cpu_seconds() - began) / static_cast<double>(std::max<size_t>(tokens, 1)) * 1e6);
  for (size_t part = 0; part < mix_parts().size(); ++part) {
    predictor.leave_out(static_cast<int>(part));
    double sum = 0, least = 1e9, most = -1e9;
    std::string least_name, most_name;
    for (size_t f = 0; f < files.size(); ++f) {
      const double change = 100 * std::log(size_of(files[f].second) / whole[f]);
      sum += change;
      if (change < least) least = change, least_name = files[f].first;
      if (change > most) most = change, most_name = files[f].first;
    }
    fmt::print("| {} | {:+.2f} % | {:+.2f} % {} | {:+.2f} % {} |\n", mix_parts()[part], sum / static_cast<double>(files.size()), least,
               least_name, most, most_name);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  po::options_description own;
  own.add_options()("chunk", po::value<size_t>()->default_value(65536), "bytes in a chunk")(
      "bytes", po::value<size_t>()->default_value(131072), "of each file at most, 0: all")(
      "dictionary", po::value<size_t>(), "bytes of a dictionary for each file")(
      "choice", po::value<std::string>()->default_value("cover"), "of its text: cover, even or first")(
      "block", po::value<size_t>()->default_value(dictionary_block_bytes), "bytes that are chosen together");
  return run_on_files("mix_bench", own, argc, argv, run_all);
}
