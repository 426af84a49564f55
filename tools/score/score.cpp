// score: what a model makes of texts, and how fast.
//
//   score [--model FILE] [--engine native|torch] [--isa NAME] [--streams N] [--limit BYTES] [--steps] FILE...
//   score [--model FILE] --ids FILE      prints the file's token ids
//
// Each file is one stream of tokens: windows of the model's context, half of it carried, so that
// the figure is the entropy that a range coder would reach but for its own rounding. By default
// tokens are fed as in compressing (several at once); --steps feeds one per stream and call and
// builds whole tables, as in extracting. --streams cuts the file into that many parts, each with a
// start of its own.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "base/file.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "model/torch_loader.h"

namespace llmc {
namespace {

struct Options {
  std::string model, engine = "native", isa;
  int streams = 1;
  uint64_t limit = UINT64_MAX;
  bool steps = false, ids = false;
  std::vector<std::string> files;
};

struct Score {
  double bits = 0;
  uint64_t tokens = 0, fed = 0;
};

// One part of a text on its way through a slot.
struct Stream {
  std::vector<Symbol> symbols;
  size_t next = 0;   // the next symbol to be predicted
  size_t carry = 0;  // symbols still to be fed again before that
};

Result<Score> score(Session& session, const Model& model, std::vector<Stream>& streams, bool steps) {
  const int context = session.context(), half = context / 2;
  const int per_stream = steps ? 1 : std::max(1, session.max_rows() / static_cast<int>(streams.size()));
  Score score;
  std::vector<Row> rows;
  for (size_t s = 0; s < streams.size(); ++s) session.reset(static_cast<int>(s));
  while (true) {
    rows.clear();
    for (size_t s = 0; s < streams.size(); ++s) {
      Stream& stream = streams[s];
      const int slot = static_cast<int>(s);
      int length = session.length(slot);
      for (int i = 0; i < per_stream && stream.next < stream.symbols.size(); ++i) {
        if (length == context) {
          if (i > 0) break;
          session.reset(slot);
          length = 0;
          stream.carry = half;
        }
        Row row;
        row.stream = slot;
        if (length == 0) {
          row.token = model.config().start;
        } else {
          row.token = stream.symbols[stream.next - std::max<size_t>(stream.carry, 1)];
          if (stream.carry > 0) --stream.carry;
        }
        if (stream.carry == 0) row.want = stream.symbols[stream.next++];
        rows.push_back(row);
        ++length;
      }
    }
    if (rows.empty()) return score;
    LLMC_TRY(session.feed(rows, steps ? Ask::tables : Ask::intervals));
    score.fed += rows.size();
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].want == Row::no_question) continue;
      const int row = static_cast<int>(i);
      if (session.range_error_layer(rows[i].stream) >= 0)
        return Status(Code::range, "the text drives the model out of its range");
      Interval interval;
      if (steps) {
        // The decoder's question: whose is this number?
        const std::span<const uint32_t> w = session.weights(row);
        const int symbol = std::min(rows[i].want, model.config().vocab);
        uint64_t cum = 0;
        for (int v = 0; v < symbol; ++v) cum += w[v];
        if (session.find(row, cum, &interval) != symbol || interval.cum != cum) {
          return Status(Code::failure, "find() and weights() disagree");
        }
        interval.total = session.total(row);
      } else {
        interval = session.interval(row);
      }
      score.bits -= std::log2(static_cast<double>(interval.weight) / static_cast<double>(interval.total));
      ++score.tokens;
    }
  }
}

Status run(const Options& options) {
  LLMC_ASSIGN(std::shared_ptr<const Model> model,
              options.model.empty() ? embedded_model() : Model::load(options.model));
  if (options.ids) {
    std::vector<Symbol> ids;
    for (const std::string& name : options.files) {
      LLMC_ASSIGN(const Bytes text, read_file(name));
      model->tokenizer().encode(text, &ids);
    }
    for (const Symbol id : ids) fmt::print("{}\n", id);
    return {};
  }
  LLMC_ASSIGN(const std::unique_ptr<Engine> engine, options.engine == "torch"
                                                        ? open_torch_engine(model, {options.isa})
                                                        : make_native_engine(model, options.isa));
  LLMC_ASSIGN(const std::unique_ptr<Session> session, engine->make_session(options.streams));
  fmt::print("{} ({}) {}\n", model->name(), model->profile(), engine->name());
  for (const std::string& name : options.files) {
    LLMC_ASSIGN(Bytes text, read_file(name));
    if (text.size() > options.limit) text.resize(options.limit);
    std::vector<Stream> streams(options.streams);
    for (int s = 0; s < options.streams; ++s) {
      const size_t begin = text.size() * s / options.streams, end = text.size() * (s + 1) / options.streams;
      model->tokenizer().encode(ByteView(text).subspan(begin, end - begin), &streams[s].symbols);
    }
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    LLMC_ASSIGN(const Score result, score(*session, *model, streams, options.steps));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    // A shared machine's clock says little: speeds per second of this process's CPU time stand beside.
    const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    fmt::print(
        "{}: {} bytes, {} tokens, {:.5f} bits per byte, {:.0f} tokens/s, {:.1f} KB/s; by CPU time {:.0f} tokens/s, "
        "{:.0f} rows/s\n",
        name, text.size(), result.tokens, result.bits / static_cast<double>(text.size()), result.tokens / seconds,
        text.size() / seconds / 1000, result.tokens / cpu, result.fed / cpu);
  }
  return {};
}

}  // namespace
}  // namespace llmc

int main(int argc, char** argv) {
  llmc::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
    if (a == "--model")
      options.model = value();
    else if (a == "--engine")
      options.engine = value();
    else if (a == "--isa")
      options.isa = value();
    else if (a == "--streams")
      options.streams = std::max(1, std::atoi(value().c_str()));
    else if (a == "--limit")
      options.limit = std::strtoull(value().c_str(), nullptr, 10);
    else if (a == "--steps")
      options.steps = true;
    else if (a == "--ids")
      options.ids = true;
    else
      options.files.push_back(a);
  }
  if (options.files.empty()) {
    fmt::print(stderr,
               "usage: score [--model FILE] [--engine native|torch] [--isa NAME] [--streams N] [--limit BYTES] "
               "[--steps] FILE... | [--model FILE] --ids FILE\n");
    return 2;
  }
  if (const llmc::Status status = run(options); !status.ok()) {
    fmt::print(stderr, "score: {}\n", status.message());
    return llmc::exit_code(status.code());
  }
}
