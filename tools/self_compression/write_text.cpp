// write_text --out DIR: a model writes text by itself, one file for each prompt and temperature, all in lock-step.
//
// The weights are those that the coder uses, so the text is a function of model, prompt, temperature and seed on every
// machine. At temperature T a token of weight W is drawn with a chance proportional to W^(1/T); below 1, tokens
// whose share would be less than 2^-24 of the likeliest one's are left out. Ids without bytes (end of text) are never drawn.
// Windows follow docs/NUMERICS.md 5 with a quarter carried, as an archive's do. The prompt is the text's beginning.
#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cmath>
#include <random>
#include <sstream>

#include "base/file.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "model/rope_table.h"

namespace {

using namespace llmc;
namespace po = boost::program_options;

struct Stream {
  std::string name;
  double temperature = 1;
  std::mt19937_64 random;
  std::vector<Symbol> symbols;
  size_t next = 0;   // the next symbol to be fed or drawn
  size_t carry = 0;  // symbols still to be fed again before that
  size_t bytes = 0;
};

// A number in [0, total), the same for the same draws on every machine.
uint64_t below(std::mt19937_64* random, uint64_t total) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % total;
  uint64_t x = (*random)();
  while (x >= limit) x = (*random)();
  return x % total;
}

// W^(1/T) over the likeliest one's, in units of 2^-24; only ids that are text.
Symbol draw(Stream* stream, std::span<const uint32_t> weights, const std::vector<bool>& text,
            std::vector<std::pair<Symbol, uint64_t>>* some) {
  uint32_t most = 0;
  for (size_t v = 0; v < text.size(); ++v) {
    if (text[v]) most = std::max(most, weights[v]);
  }
  const double t = stream->temperature;
  const double least = t < 1 ? most * stated_exp2(-24 * t) : 0;
  some->clear();
  uint64_t total = 0;
  for (size_t v = 0; v < text.size(); ++v) {
    if (!text[v] || weights[v] < least || weights[v] == 0) continue;
    uint64_t share = weights[v];
    if (t != 1) {
      const double fewer = stated_log2(static_cast<double>(most) / weights[v]) / t;
      share = fewer >= 40 ? 0 : static_cast<uint64_t>(std::floor(stated_exp2(-fewer) * 0x1p24 + 0.5));
    }
    total += share;
    some->emplace_back(static_cast<Symbol>(v), share);
  }
  uint64_t at = below(&stream->random, total);
  for (const auto& [symbol, share] : *some) {
    if (at < share) return symbol;
    at -= share;
  }
  return some->back().first;
}

Status write_all(Engine* engine, std::vector<Stream>* streams, size_t bytes) {
  const Model& model = engine->model();
  const Tokenizer& tokenizer = model.tokenizer();
  std::vector<bool> text(model.config().vocab);
  for (int v = 0; v < model.config().vocab; ++v) text[v] = tokenizer.is_text(v) && !tokenizer.bytes_of(v).empty();
  LLMC_ASSIGN(const auto session, engine->make_session(static_cast<int>(streams->size())));
  const int context = session->context();
  std::vector<std::pair<Symbol, uint64_t>> some;
  std::vector<Row> rows;
  std::vector<Stream*> asked;
  for (size_t s = 0; s < streams->size(); ++s) session->reset(static_cast<int>(s));
  while (true) {
    rows.clear();
    asked.clear();
    for (size_t s = 0; s < streams->size(); ++s) {
      Stream& stream = (*streams)[s];
      if (stream.bytes >= bytes && stream.next == stream.symbols.size()) continue;
      const int slot = static_cast<int>(s);
      int length = session->length(slot);
      if (length == context) {
        session->reset(slot);
        length = 0;
        stream.carry = static_cast<size_t>(context / 4);
      }
      Row row;
      row.stream = slot;
      row.token = length == 0 ? model.config().start : stream.symbols[stream.next - std::max<size_t>(stream.carry, 1)];
      if (length > 0 && stream.carry > 0) --stream.carry;
      if (stream.carry == 0) {
        if (stream.next == stream.symbols.size()) {
          row.want = 0;
          stream.symbols.push_back(-1);
        }
        ++stream.next;
      }
      rows.push_back(row);
      asked.push_back(&stream);
    }
    if (rows.empty()) return {};
    LLMC_TRY(session->feed(rows, Ask::tables));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (session->range_error_layer(rows[i].stream) >= 0) return {Code::range, "the text drives the model out of its range"};
      if (rows[i].want == Row::no_question) continue;
      Symbol& drawn = asked[i]->symbols.back();
      drawn = draw(asked[i], session->weights(static_cast<int>(i)), text, &some);
      asked[i]->bytes += tokenizer.bytes_of(drawn).size();
    }
  }
}

Status run(const po::variables_map& options) {
  std::shared_ptr<const Model> model;
  if (options.count("model")) {
    LLMC_ASSIGN(model, Model::load(options["model"].as<std::string>()));
  } else {
    LLMC_ASSIGN(model, embedded_model());
  }
  LLMC_ASSIGN(const auto engine, make_native_engine(model, ""));
  const auto seed = options["seed"].as<uint64_t>();
  std::vector<Stream> streams;
  const auto prompts = options["prompt"].as<std::vector<std::string>>();
  for (const double t : options["temperature"].as<std::vector<double>>()) {
    if (!(t >= 0.05 && t <= 4)) return {Code::usage, "--temperature is 0.05 to 4"};
    for (size_t p = 0; p < prompts.size(); ++p) {
      Stream stream;
      stream.name = fmt::format("t{}-{}.txt", t, p + 1);
      stream.temperature = t;
      stream.random.seed(seed * 1000003 + streams.size());
      model->tokenizer().encode(as_bytes(prompts[p]), &stream.symbols);
      stream.bytes = prompts[p].size();
      streams.push_back(std::move(stream));
    }
  }
  LLMC_TRY(write_all(engine.get(), &streams, options["bytes"].as<size_t>()));
  const std::filesystem::path out = options["out"].as<std::string>();
  std::error_code error;
  std::filesystem::create_directories(out, error);
  for (const Stream& stream : streams) {
    Bytes text;
    if (!model->tokenizer().decode(stream.symbols, &text)) return {Code::failure, stream.name + ": symbols that are not text"};
    LLMC_TRY(write_file_atomic(out / stream.name, text));
    fmt::print("{}: {} bytes, {} tokens\n", (out / stream.name).string(), text.size(), stream.symbols.size());
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  po::options_description known("write_text --out DIR --prompt TEXT...");
  known.add_options()("help", "this text")("model", po::value<std::string>(), "model file (default: the embedded one)")(
      "out", po::value<std::string>(), "folder for the texts")("prompt", po::value<std::vector<std::string>>(),
                                                               "how a text begins; may be repeated")(
      "temperature", po::value<std::vector<double>>()->default_value({1.0}, "1"), "may be repeated")(
      "bytes", po::value<size_t>()->default_value(8192), "length of each text")(
      "seed", po::value<uint64_t>()->default_value(1), "of what is drawn");
  po::variables_map options;
  try {
    po::store(po::parse_command_line(argc, argv, known), options);
  } catch (const po::error& error) {
    fmt::print(stderr, "write_text: {}\n", error.what());
    return 2;
  }
  if (options.count("help") || !options.count("out") || !options.count("prompt")) {
    std::ostringstream text;
    text << known;
    fmt::print("{}", text.str());
    return options.count("help") ? 0 : 2;
  }
  if (const Status status = run(options); !status.ok()) {
    fmt::print(stderr, "write_text: {}\n", status.message());
    return exit_code(status.code());
  }
  return 0;
}
