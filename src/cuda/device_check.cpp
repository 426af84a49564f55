#include "cuda/device_check.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "model/native_engine.h"

namespace llmc {

namespace {

constexpr int kRows = 80;  // more than one tile of each kernel has
constexpr int kVectors = 2;
constexpr uint64_t kMostWork = 300'000'000;  // weights that are looked at, beyond one layer of each shape
constexpr uint64_t kMostNative = 400'000'000;  // parameters of a model that the CPU computes too

std::vector<int8_t> test_rows(int limbs, int k, std::mt19937& random) {
  std::vector<int8_t> q(static_cast<size_t>(limbs) * kRows * k);
  for (int limb = 0; limb < limbs; ++limb) {
    for (int row = 0; row < kRows; ++row) {
      for (int i = 0; i < k; ++i) {
        const auto drawn = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
        int8_t value = drawn;
        if (row == 0) value = 127;
        if (row == 1) value = limb == 0 ? -127 : -128;
        if (row == 2) value = i % 2 ? 127 : -127;
        if (row == 3) value = 0;
        q[(static_cast<size_t>(limb) * kRows + row) * k + i] = value;
      }
    }
  }
  return q;
}

// Modulo 2^64, which wrong sums do not survive either.
Status check_product(const Linear& linear, int limbs, DeviceOps& ops, std::mt19937& random) {
  const std::vector<int8_t> q = test_rows(limbs, linear.k, random);
  LLMC_ASSIGN(const std::vector<int64_t> sums, ops.products(linear, kRows, q));
  for (int vector = 0; vector < kVectors; ++vector) {
    std::vector<uint64_t> weight(linear.n), column(linear.k);
    for (uint64_t& w : weight) w = random();
    size_t at = 0;
    for (const Matrix& part : linear.parts) {
      for (int n = 0; n < part.n; ++n, ++at) {
        const int8_t* row = part.w + static_cast<size_t>(n) * part.k;
        for (int i = 0; i < linear.k; ++i) column[i] += weight[at] * static_cast<uint64_t>(int64_t{row[i]});
      }
    }
    for (int row = 0; row < kRows; ++row) {
      uint64_t expected = 0, got = 0;
      for (int i = 0; i < linear.k; ++i) {
        int64_t value = q[static_cast<size_t>(row) * linear.k + i];
        if (limbs == 2) value = value * 256 + q[(static_cast<size_t>(kRows) + row) * linear.k + i];
        expected += static_cast<uint64_t>(value) * column[i];
      }
      for (int n = 0; n < linear.n; ++n) got += static_cast<uint64_t>(sums[static_cast<size_t>(row) * linear.n + n]) * weight[n];
      if (expected != got) return {Code::failure, "wrong sums in " + linear.parts[0].name};
    }
  }
  return {};
}

struct Text {
  std::vector<Symbol> symbols;
  Symbol start = 0;
};

// All that the session says about the text's symbols, fed in passes of so many rows beside other streams.
Result<std::vector<uint64_t>> answers(Session& session, const Text& text, int rows_at_once, int stream, Ask ask) {
  std::vector<uint64_t> out;
  for (int s = 0; s < session.streams(); ++s) session.reset(s);
  for (size_t next = 0; next < text.symbols.size();) {
    std::vector<Row> rows;
    std::vector<int> mine;
    for (int s = 0; s < session.streams(); ++s) {
      if (s != stream) {
        if (session.length(s) < session.context()) rows.push_back({s, text.start, text.start});
        continue;
      }
      for (int i = 0; i < rows_at_once && next < text.symbols.size(); ++i, ++next) {
        mine.push_back(static_cast<int>(rows.size()));
        rows.push_back({s, next == 0 ? text.start : text.symbols[next - 1], text.symbols[next]});
      }
    }
    LLMC_TRY(session.feed(rows, ask));
    for (const int row : mine) {
      const Interval interval = session.interval(row);
      out.insert(out.end(), {interval.cum, interval.weight, interval.total});
      for (const uint32_t chance : session.path(row)) out.push_back(chance);
      const LeafWeights leaves = session.leaves(row);
      out.insert(out.end(), leaves.weights.begin(), leaves.weights.end());
      out.insert(out.end(), leaves.sums.begin(), leaves.sums.end());
    }
  }
  return out;
}

}  // namespace

Status check_products(const DeviceWeights& weights, DeviceOps& ops) {
  std::mt19937 random(1);
  std::set<std::tuple<int, int, int>> seen;
  uint64_t work = 0;
  for (const auto& linear : weights.model().linears()) {
    const bool fresh = seen.emplace(linear->n, linear->k, linear->bits).second;
    work += static_cast<uint64_t>(linear->n) * linear->k;
    if (fresh || work <= kMostWork) {
      LLMC_TRY(check_product(*linear, weights.linear(*linear).limbs, ops, random));
    }
  }
  return {};
}

Status check_answers(const DeviceWeights& weights, const std::function<Result<std::unique_ptr<Session>>(int streams)>& open) {
  const Model& model = weights.model();
  std::mt19937 random(2);
  Text text;
  text.start = model.config().start;
  const int tokens = std::min(64, model.config().context);
  for (int i = 0; i < tokens; ++i) text.symbols.push_back(static_cast<Symbol>(random() % model.config().vocab));

  LLMC_ASSIGN(const std::unique_ptr<Session> single, open(1));
  LLMC_ASSIGN(const std::unique_ptr<Session> several, open(5));
  std::unique_ptr<Engine> native;
  std::unique_ptr<Session> host;
  if (model.parameters() <= kMostNative) {
    LLMC_ASSIGN(native, make_native_engine(weights.shared_model()));
    LLMC_ASSIGN(host, native->make_session(1, tokens));
  }
  std::vector<uint32_t> leaves(model.symbols());
  std::iota(leaves.rbegin(), leaves.rend(), 0u);
  for (Session* session : {single.get(), several.get(), host.get()}) {
    if (session) LLMC_TRY(session->set_leaves(leaves));
  }
  for (const Ask ask : {Ask::intervals, Ask::paths, Ask::leaves}) {
    // Steps of one row: at once, as a graph is recorded, from the graph.
    if (ask != Ask::intervals) text.symbols.resize(std::min<size_t>(4, text.symbols.size()));
    LLMC_ASSIGN(const std::vector<uint64_t> whole, answers(*single, text, tokens, 0, ask));
    LLMC_ASSIGN(const std::vector<uint64_t> steps, answers(*several, text, 1, 3, ask));
    if (whole != steps) return {Code::failure, "one pass and single steps give different frequencies"};
    if (!host) continue;
    LLMC_ASSIGN(const std::vector<uint64_t> expected, answers(*host, text, tokens, 0, ask));
    if (expected != whole) return {Code::failure, "the model gives other frequencies than on the CPU"};
  }
  return {};
}

}  // namespace llmc
