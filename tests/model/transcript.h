// What a session answers about a text, as one digest: SHA-256 over (cum, W, Tot) of each of its
// symbols as little-endian u64. Shared by the tests of the back ends.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/chance.h"
#include "checkpoint.h"
#include "model/native_engine.h"
#include "model/session.h"

namespace llmc::test {

inline std::vector<Symbol> symbols_of(const Model& model, const std::string& file, size_t bytes,
                                      size_t count = SIZE_MAX) {
  auto text = read_file(source(file));
  EXPECT_TRUE(text.ok());
  text->resize(std::min(bytes, text->size()));
  std::vector<Symbol> symbols;
  model.tokenizer().encode(*text, &symbols);
  symbols.resize(std::min(count, symbols.size()));
  return symbols;
}

struct Schedule {
  int streams = 1;  // of the session; the others hold other tokens at other positions
  int slot = 0;
  int rows = 64;  // of the stream per call; 0: one to nine, at random
  Ask ask = Ask::intervals;
};

// All symbols in one window: at most session.context() of them.
inline std::string transcript(Session& session, const Model& model, const std::vector<Symbol>& symbols,
                              const Schedule& schedule) {
  std::minstd_rand random(7);
  Sha256 hash;
  std::vector<Row> rows;
  for (int s = 0; s < schedule.streams; ++s) session.reset(s);
  size_t next = 0;
  while (next < symbols.size()) {
    rows.clear();
    const size_t wanted = schedule.rows > 0 ? schedule.rows : 1 + random() / 64 % 9;
    std::vector<int> answers;
    for (int s = 0; s < schedule.streams; ++s) {
      if (s == schedule.slot) {
        for (size_t i = 0; i < wanted && next < symbols.size(); ++i, ++next) {
          if (static_cast<int>(rows.size()) + schedule.streams - s > session.max_rows()) break;
          answers.push_back(static_cast<int>(rows.size()));
          rows.push_back({s, next == 0 ? model.config().start : symbols[next - 1], symbols[next]});
        }
        continue;
      }
      if (session.length(s) + 3 > session.context()) session.reset(s);
      const int others = static_cast<int>(random() / 64 % 4);
      for (int i = 0; i < others && static_cast<int>(rows.size()) + schedule.streams - s < session.max_rows() - 8;
           ++i) {
        Row row{s, static_cast<Symbol>(random() / 64 % model.config().vocab), Row::no_question};
        if (random() / 64 % 2) row.want = row.token;
        rows.push_back(row);
      }
    }
    const Status status = session.feed(rows, schedule.ask);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok()) return "";
    for (const int i : answers) {
      const Symbol want = std::min(rows[i].want, model.config().vocab);
      Interval answer = session.interval(i);
      if (schedule.ask == Ask::tables) {
        const auto w = session.weights(i);
        answer.cum = std::accumulate(w.begin(), w.begin() + want, uint64_t{0});
        answer.weight = w[want];
        answer.total = session.total(i);
        EXPECT_EQ(std::accumulate(w.begin(), w.end(), uint64_t{0}), answer.total);
        Interval found;
        EXPECT_EQ(session.find(i, answer.cum, &found), want);
        EXPECT_EQ(session.find(i, answer.cum + answer.weight - 1, &found), want);
        EXPECT_EQ(found.cum, answer.cum);
        EXPECT_EQ(found.weight, answer.weight);
        EXPECT_EQ(found.total, answer.total);
      }
      ByteWriter out;
      out.u64(answer.cum);
      out.u64(answer.weight);
      out.u64(answer.total);
      hash.update(out.view());
    }
  }
  return to_hex(hash.finish());
}

// In a session of its own. context: as make_session takes it.
inline std::string transcript(Engine& engine, const std::vector<Symbol>& symbols, const Schedule& schedule, int context = 0) {
  auto session = engine.make_session(schedule.streams, context);
  EXPECT_TRUE(session.ok()) << session.status().message();
  return session.ok() ? transcript(**session, engine.model(), symbols, schedule) : "";
}

// A session of the native engine and one of another, over one model: what a test asks both. False where there are none.
struct SideBySide {
  SideBySide(const std::shared_ptr<const Model>& model, std::unique_ptr<Engine> other, int streams) : other_engine(std::move(other)) {
    auto made = make_native_engine(model);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (!made.ok() || !other_engine) return;
    native_engine = std::move(*made);
    auto a = native_engine->make_session(streams), b = other_engine->make_session(streams);
    EXPECT_TRUE(a.ok() && b.ok());
    if (!a.ok() || !b.ok()) return;
    native = std::move(*a);
    tested = std::move(*b);
  }
  explicit operator bool() const { return native && tested; }

  std::unique_ptr<Engine> native_engine, other_engine;  // outlive the sessions
  std::unique_ptr<Session> native, tested;
};

// Of a model leaving_range(): both sessions find it in the same streams of a pass, in the same layer, and answer for the others alike.
inline void expect_same_range_errors(const SideBySide& both, int passes) {
  const int streams = both.native->streams();
  std::vector<Row> rows;
  for (int s = 0; s < streams; ++s) rows.push_back({s, 100 + s, 7});
  int bad = 0;
  for (int pass = 0; pass < passes; ++pass) {
    for (int s = 0; s < streams; ++s) both.native->reset(s), both.tested->reset(s);
    ASSERT_TRUE(both.native->feed(rows, Ask::intervals).ok());
    ASSERT_TRUE(both.tested->feed(rows, Ask::intervals).ok());
    for (int s = 0; s < streams; ++s) {
      EXPECT_EQ(both.native->range_error_layer(s), both.tested->range_error_layer(s));
      EXPECT_EQ(both.native->interval(s).cum, both.tested->interval(s).cum);
      bad += both.native->range_error_layer(s) >= 0;
    }
  }
  EXPECT_GT(bad, 0);
  EXPECT_LT(bad, passes * streams);
}

// Ask::paths and Ask::leaves of `session` against the whole tables of `reference`, for a text in slot 1 of two and a tree in any order of
// its leaves. rows: of the stream per call.
inline void expect_paths(Session& session, Session& reference, const Model& model, const std::vector<Symbol>& symbols,
                         size_t rows_per_call) {
  std::vector<uint32_t> leaves(model.symbols());
  std::iota(leaves.begin(), leaves.end(), 0u);
  std::shuffle(leaves.begin(), leaves.end(), std::minstd_rand(rows_per_call));
  ASSERT_TRUE(session.set_leaves(leaves).ok());
  session.reset(1);
  reference.reset(1);
  size_t depth = 0;
  while (size_t{1} << depth < leaves.size()) ++depth;
  std::vector<uint64_t> below(leaves.size() + 1);
  std::vector<Row> rows;
  for (size_t next = 0; next < symbols.size();) {
    rows.clear();
    for (size_t i = 0; i < rows_per_call && next < symbols.size(); ++i, ++next) {
      rows.push_back({1, next == 0 ? model.config().start : symbols[next - 1], symbols[next]});
    }
    ASSERT_TRUE(session.feed(rows, Ask::paths).ok());
    ASSERT_TRUE(reference.feed(rows, Ask::tables).ok());
    for (int r = 0; r < static_cast<int>(rows.size()); ++r) {
      const auto w = reference.weights(r);
      const auto want = static_cast<uint32_t>(std::min(rows[r].want, model.config().vocab));
      const Interval interval = session.interval(r);
      EXPECT_EQ(interval.cum, std::accumulate(w.begin(), w.begin() + want, uint64_t{0}));
      EXPECT_EQ(interval.weight, w[want]);
      EXPECT_EQ(interval.total, reference.total(r));
      for (size_t leaf = 0; leaf < leaves.size(); ++leaf) below[leaf + 1] = below[leaf] + w[leaves[leaf]];
      const auto sum = [&](size_t from, size_t to) { return below[std::min(to, leaves.size())] - below[std::min(from, leaves.size())]; };
      const size_t leaf = std::find(leaves.begin(), leaves.end(), want) - leaves.begin();
      const auto path = session.path(r);
      ASSERT_EQ(path.size(), depth);
      for (size_t d = 0; d < depth; ++d) {
        const size_t low = leaf >> (depth - d) << (depth - d), mid = low + (size_t{1} << (depth - d - 1)), end = 2 * mid - low;
        ASSERT_EQ(path[d], mid < leaves.size() ? chance_of(sum(mid, end), sum(low, end)) : 0) << "row " << r << ", depth " << d;
      }
    }
  }
  session.reset(1);
  reference.reset(1);
  for (size_t next = 0; next < symbols.size();) {
    rows.clear();
    for (size_t i = 0; i < rows_per_call && next < symbols.size(); ++i, ++next) {
      rows.push_back({1, next == 0 ? model.config().start : symbols[next - 1], next % 5 == 3 ? Row::no_question : 0});
    }
    ASSERT_TRUE(session.feed(rows, Ask::leaves).ok());
    ASSERT_TRUE(reference.feed(rows, Ask::tables).ok());
    for (int r = 0; r < static_cast<int>(rows.size()); ++r) {
      const auto w = reference.weights(r);
      const LeafWeights got = session.leaves(r);
      ASSERT_EQ(got.weights.size(), w.size());
      ASSERT_EQ(got.sums.size(), (w.size() + 63) / 64);
      for (size_t leaf = 0; leaf < w.size(); ++leaf) ASSERT_EQ(got.weights[leaf], w[leaves[leaf]]) << "row " << r << ", leaf " << leaf;
      for (size_t block = 0; block < got.sums.size(); ++block) {
        const auto part = got.weights.subspan(block * 64, std::min<size_t>(64, w.size() - block * 64));
        ASSERT_EQ(got.sums[block], std::accumulate(part.begin(), part.end(), uint64_t{0}));
      }
    }
  }
  // From whole tables, for calls that ask several questions.
  ASSERT_TRUE(session.feed(std::vector<Row>{{0, model.config().start, 0}}, Ask::tables).ok());
  const LeafWeights got = session.leaves(0);
  ASSERT_EQ(got.weights.size(), leaves.size());
  for (size_t leaf = 0; leaf < leaves.size(); ++leaf) ASSERT_EQ(got.weights[leaf], session.weights(0)[leaves[leaf]]);
  session.reset(0);
}

// Committed: LLMC-X1 on the first symbols of tests/data/text/alice29.txt with models/e0-hf.
struct Golden {
  int activations;
  int symbols;
  const char* digest;
};
inline constexpr Golden kGolden[] = {
    {8, 150, "046ceb871e1f4772d8e76c07d31162d8e8a16bfee28004e9dd94d2536d4fec0e"},
    {8, 1024, "fe939d0ecd34b7c46eb54ccbe29673b540f2acdb3d4fa75a1fef008eede026dc"},
    {16, 150, "3be26c5e061dfaf0a84ebbd7eb8fc9c3edf026a30896a85e70f0bdb1826ea946"},
    {16, 1024, "adb531bac3cc44b5c883f0242dedf63b448c49dbbd1d36b6a273dcec6fb3cefc"},
};

inline Result<std::shared_ptr<const Model>> golden_model(int activations) {
  ImportOptions options;
  options.activations = activations;
  LLMC_ASSIGN(Bytes file, import_bytes(source("models/e0-hf"), options));
  auto owner = std::make_shared<const Bytes>(std::move(file));
  return Model::from_bytes(ByteView(*owner), owner);
}

inline std::vector<Symbol> golden_symbols(const Model& model, int count) {
  return symbols_of(model, "tests/data/text/alice29.txt", 8000, count);
}

}  // namespace llmc::test
