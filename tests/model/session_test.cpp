#include "model/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "transcript.h"

namespace llmc {
namespace {

using namespace test;

struct Loaded {
  std::shared_ptr<const Model> model;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Session> session;
};

Loaded load(Result<std::shared_ptr<const Model>> model, int streams, int context = 0) {
  Loaded out;
  EXPECT_TRUE(model.ok()) << model.status().message();
  out.model = *model;
  auto engine = make_native_engine(*model);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  out.engine = std::move(*engine);
  auto session = out.engine->make_session(streams, context);
  EXPECT_TRUE(session.ok()) << session.status().message();
  out.session = std::move(*session);
  return out;
}

// Bits of the engine's own frequencies, in windows that carry half of their tokens.
double bits_of(Session& session, const Model& model, const std::vector<Symbol>& symbols) {
  const size_t window = session.context(), half = window / 2;
  double bits = 0;
  for (size_t done = 0; done < symbols.size();) {
    const size_t carry = done == 0 ? 0 : half, end = std::min(symbols.size(), done + window - carry);
    session.reset(0);
    std::vector<Row> rows;
    for (size_t at = done - carry; at < end; ++at) {
      const bool first = at == done - carry;
      rows.push_back({0, first ? model.config().start : symbols[at - 1], at >= done ? symbols[at] : Row::no_question});
      if (static_cast<int>(rows.size()) < session.max_rows() && at + 1 < end) continue;
      EXPECT_TRUE(session.feed(rows, Ask::intervals).ok());
      for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].want == Row::no_question) continue;
        const Interval answer = session.interval(static_cast<int>(i));
        bits -= std::log2(static_cast<double>(answer.weight) / static_cast<double>(answer.total));
      }
      rows.clear();
    }
    done = end;
  }
  return bits;
}

// tools/score/reference.py models/e0-hf FILE --limit 20000 --window 256: plain binary32.
TEST(Session, LosesAlmostNothingAgainstBinary32) {
  const struct {
    const char* file;
    double bits;
  } cases[] = {{"tests/data/text/alice29.txt", 35171.127}, {"tests/data/text/code.txt", 25130.014}};
  Loaded e0 = load(embedded_model(), 1, 256);
  for (const auto& c : cases) {
    const std::vector<Symbol> symbols = symbols_of(*e0.model, c.file, 20000);
    const double bits = bits_of(*e0.session, *e0.model, symbols);
    EXPECT_LT(bits, c.bits * 1.003) << c.file;
    EXPECT_GT(bits, c.bits * 0.997) << c.file;
  }
}

TEST(Session, CountsAndResets) {
  Loaded e0 = load(embedded_model(), 2);
  Session& s = *e0.session;
  EXPECT_EQ(s.streams(), 2);
  EXPECT_GE(s.max_rows(), 64);
  EXPECT_EQ(s.context(), 1024);
  ASSERT_TRUE(s.feed(std::vector<Row>{{1, 0, 5}, {1, 5, 6}}, Ask::intervals).ok());
  EXPECT_EQ(s.length(0), 0);
  EXPECT_EQ(s.length(1), 2);
  const Interval before = s.interval(1);
  s.reset(1);
  EXPECT_EQ(s.length(1), 0);
  ASSERT_TRUE(s.feed(std::vector<Row>{{1, 0, 5}, {1, 5, 6}}, Ask::intervals).ok());
  EXPECT_EQ(s.interval(1).cum, before.cum);
  EXPECT_EQ(s.interval(1).weight, before.weight);
  EXPECT_TRUE(s.feed({}, Ask::intervals).ok());
  EXPECT_EQ(s.interval(0).weight, 0u);
}

TEST(Session, RefusesWrongArgumentsAndChangesNothing) {
  Loaded e0 = load(embedded_model(), 2, 10);
  Session& s = *e0.session;
  ASSERT_TRUE(s.feed(std::vector<Row>{{0, 0, 1}}, Ask::intervals).ok());
  const std::vector<std::vector<Row>> wrong{
      {{0, 1, 1}, {2, 0, 0}},   // slot
      {{0, 1, 1}, {-1, 0, 0}},  // slot
      {{0, 1, 1}, {1, -1, 0}},  // token
      {{0, 1, 1}, {1, 4096, 0}},
      {{0, 1, 1}, {1, 0, 4096}},  // question: this model has no escape
      {{0, 1, 1}, {1, 0, -2}},
      std::vector<Row>(s.max_rows() + 1, Row{1, 0, 0}),
      std::vector<Row>(10, Row{0, 0, 0}),  // one too many for the context
  };
  for (const auto& rows : wrong) {
    const Status status = s.feed(rows, Ask::intervals);
    EXPECT_EQ(status.code(), Code::failure);
    EXPECT_FALSE(status.message().empty());
    EXPECT_EQ(s.length(0), 1);
    EXPECT_EQ(s.length(1), 0);
  }
  EXPECT_TRUE(s.feed(std::vector<Row>(9, Row{0, 0, 0}), Ask::intervals).ok());
  EXPECT_EQ(s.length(0), 10);
  for (const int row : {-1, 9, 100}) EXPECT_EQ(s.interval(row).weight, 0u);
  s.reset(7);
  EXPECT_EQ(s.length(-3), 0);
  EXPECT_FALSE(e0.engine->make_session(0).ok());
  EXPECT_FALSE(e0.engine->make_session(1, 1025).ok());
  EXPECT_FALSE(e0.engine->make_session(1, -1).ok());
  EXPECT_FALSE(make_native_engine(e0.model, "mmx").ok());
}

TEST(Session, RowsOfAStreamMayBeScattered) {
  Loaded e0 = load(embedded_model(), 3);
  Session& s = *e0.session;
  ASSERT_TRUE(s.feed(std::vector<Row>{{2, 0, 9}, {0, 0, 9}, {2, 9, 8}, {0, 7, 6}, {2, 8, 7}}, Ask::intervals).ok());
  const Interval scattered[] = {s.interval(0), s.interval(2), s.interval(4)};
  s.reset(1);
  ASSERT_TRUE(s.feed(std::vector<Row>{{1, 0, 9}, {1, 9, 8}, {1, 8, 7}}, Ask::intervals).ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(s.interval(i).cum, scattered[i].cum);
    EXPECT_EQ(s.interval(i).weight, scattered[i].weight);
    EXPECT_EQ(s.interval(i).total, scattered[i].total);
  }
}

TEST(Session, RanksAreAnOrderOfAllSymbols) {
  Loaded e0 = load(embedded_model(), 1);
  Session& s = *e0.session;
  ASSERT_TRUE(s.feed(std::vector<Row>{{0, 0, 50}}, Ask::tables).ok());
  const std::vector<uint32_t> w(s.weights(0).begin(), s.weights(0).end());
  ASSERT_EQ(w.size(), 4096u);
  std::vector<Symbol> order;
  for (uint32_t r = 0; r < 4096; ++r) order.push_back(s.symbol_of_rank(0, r));
  EXPECT_EQ(std::set<Symbol>(order.begin(), order.end()).size(), 4096u);
  for (size_t r = 1; r < order.size(); ++r) EXPECT_GE(w[order[r - 1]], w[order[r]]);
  EXPECT_EQ(s.symbol_of_rank(0, 4096), Row::no_question);
  Interval interval;
  EXPECT_EQ(s.find(0, s.total(0), &interval), Row::no_question);
  for (const uint32_t r : {0u, 1u, 17u, 4095u}) {
    s.reset(0);
    ASSERT_TRUE(s.feed(std::vector<Row>{{0, 0, order[r]}}, Ask::ranks).ok());
    EXPECT_EQ(s.rank(0), r);
  }
}

TEST(Session, EscapesAreOneLastSymbol) {
  Checkpoint checkpoint;
  checkpoint.config["vocab_size"] = 49152;
  checkpoint.tokenizer = source("tests/data/tokenizers/smollm2.json");
  Loaded tiny = load(checkpoint.model(), 2);
  const int vocab = tiny.model->config().vocab;
  ASSERT_TRUE(tiny.model->escape());
  EXPECT_EQ(tiny.model->symbols(), vocab + 1);
  Session& s = *tiny.session;
  // Any escape asks for the same symbol, and is fed as the start id.
  ASSERT_TRUE(s.feed(
                   std::vector<Row>{
                       {0, 5, vocab + 200}, {0, vocab + 200, 7}, {1, 5, vocab + 3}, {1, tiny.model->config().start, 7}},
                   Ask::intervals)
                  .ok());
  EXPECT_EQ(s.interval(0).weight, 1u);
  EXPECT_EQ(s.interval(0).cum + 1, s.interval(0).total);
  EXPECT_EQ(s.interval(2).cum, s.interval(0).cum);
  EXPECT_EQ(s.interval(1).cum, s.interval(3).cum);
  EXPECT_FALSE(s.feed(std::vector<Row>{{0, vocab + 256, 0}}, Ask::intervals).ok());
  ASSERT_TRUE(s.feed(std::vector<Row>{{0, 1, 0}}, Ask::tables).ok());
  ASSERT_EQ(s.weights(0).size(), static_cast<size_t>(vocab) + 1);
  EXPECT_EQ(s.weights(0).back(), 1u);
  Interval interval;
  EXPECT_EQ(s.find(0, s.total(0) - 1, &interval), vocab);
  EXPECT_EQ(interval.weight, 1u);
  EXPECT_EQ(s.symbol_of_rank(0, vocab), vocab);
  ASSERT_TRUE(s.feed(std::vector<Row>{{0, 1, vocab + 9}}, Ask::ranks).ok());
  EXPECT_EQ(s.rank(0), static_cast<uint32_t>(vocab));
}

TEST(Session, PathsAreThoseOfTheTables) {
  for (const bool escape : {false, true}) {
    Checkpoint checkpoint;
    if (escape) {
      checkpoint.config["vocab_size"] = 49160;
      checkpoint.tokenizer = source("tests/data/tokenizers/smollm2.json");
    }
    Loaded tiny = load(checkpoint.model(), 2), other = load(checkpoint.model(), 2);
    ASSERT_EQ(tiny.model->escape(), escape);
    Session& s = *tiny.session;
    const auto symbols = static_cast<uint32_t>(tiny.model->symbols());
    EXPECT_FALSE(s.feed(std::vector<Row>{{0, 1, 1}}, Ask::paths).ok());  // no tree yet
    std::vector<uint32_t> leaves(symbols, 0);
    EXPECT_FALSE(s.set_leaves(leaves).ok());
    EXPECT_FALSE(s.feed(std::vector<Row>{{0, 1, 1}}, Ask::paths).ok());
    leaves.push_back(1);
    EXPECT_FALSE(s.set_leaves(leaves).ok());
    std::vector<Symbol> text = symbols_of(*tiny.model, "tests/data/text/alice29.txt", 800, 30);
    if (escape) text[3] = tiny.model->config().vocab + 7;
    text[4] = 0;
    text.back() = tiny.model->config().vocab - 1;
    expect_paths(s, *other.session, *tiny.model, text, 7);
    expect_paths(s, *other.session, *tiny.model, text, 30);
    s.reset(0);
    ASSERT_TRUE(s.feed(std::vector<Row>{{0, 1, 1}}, Ask::paths).ok());
    EXPECT_EQ(s.rank(0), 0u);
    EXPECT_EQ(s.total(0), 0u);
    EXPECT_TRUE(s.leaves(0).weights.empty());
    ASSERT_TRUE(s.feed(std::vector<Row>{{0, 1, 1}}, Ask::leaves).ok());
    EXPECT_TRUE(s.path(0).empty());
    EXPECT_EQ(s.found(0, nullptr), Row::no_question);  // nothing was to be searched for
  }
}

// Token 10 drives layer 1 of this model out of range, token 20 does not: their embeddings point
// opposite ways, and a gate that is far below zero closes.
TEST(Session, RangeErrorsAreTheStreamsOwn) {
  Checkpoint checkpoint;
  const int width = checkpoint.get("hidden_size"), ffn = checkpoint.get("intermediate_size");
  std::vector<float> embedding = Checkpoint::values(static_cast<size_t>(4096) * width, 0.5f, 3);
  for (int i = 0; i < width; ++i) {
    embedding[10 * width + i] = 1.0f;
    embedding[20 * width + i] = -1.0f;
  }
  checkpoint.extra["model.embed_tokens.weight"] = embedding;
  for (const char* layer : {"0", "1"}) {
    const std::string p = std::string("model.layers.") + layer;
    checkpoint.extra[p + ".self_attn.o_proj.weight"] = std::vector<float>(static_cast<size_t>(width) * 64, 0.0f);
    checkpoint.extra[p + ".mlp.down_proj.weight"] = std::vector<float>(static_cast<size_t>(width) * ffn, 0.0f);
  }
  checkpoint.extra["model.layers.1.mlp.gate_proj.weight"] =
      std::vector<float>(static_cast<size_t>(width) * ffn, 0x1p26f);
  checkpoint.extra["model.layers.1.mlp.up_proj.weight"] = std::vector<float>(static_cast<size_t>(width) * ffn, 0x1p26f);
  for (const int activations : {8, 16}) {
    Loaded tiny = load(checkpoint.model(activations), 3);
    Session& s = *tiny.session;
    ASSERT_TRUE(s.feed(std::vector<Row>{{1, 20, 20}, {1, 20, 20}}, Ask::intervals).ok());
    const Interval alone[] = {s.interval(0), s.interval(1)};
    EXPECT_GT(alone[0].weight, 0u);
    s.reset(1);

    ASSERT_TRUE(
        s.feed(std::vector<Row>{{0, 20, 20}, {1, 20, 20}, {0, 10, 20}, {1, 20, 20}, {0, 20, 20}}, Ask::intervals).ok());
    EXPECT_EQ(s.range_error_layer(0), 1);
    EXPECT_EQ(s.range_error_layer(1), -1);
    EXPECT_EQ(s.interval(0).weight, 0u);
    EXPECT_EQ(s.interval(1).cum, alone[0].cum);
    EXPECT_EQ(s.interval(3).cum, alone[1].cum);
    EXPECT_EQ(s.interval(3).total, alone[1].total);
    // Given up until reset; others go on.
    ASSERT_TRUE(s.feed(std::vector<Row>{{0, 20, 20}, {2, 20, 20}}, Ask::tables).ok());
    EXPECT_EQ(s.total(0), 0u);
    EXPECT_EQ(s.total(1), alone[0].total);
    s.reset(0);
    EXPECT_EQ(s.range_error_layer(0), -1);
    ASSERT_TRUE(s.feed(std::vector<Row>{{0, 20, 20}}, Ask::intervals).ok());
    EXPECT_EQ(s.interval(0).cum, alone[0].cum);
  }
}

}  // namespace
}  // namespace llmc
