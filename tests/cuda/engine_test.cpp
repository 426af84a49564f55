// The GPU engine on an emulated GPU: its kernels, its batches, its graphs, against the committed frequencies and the
// native engine, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>

#include "../model/transcript.h"
#include "cuda/device_engine.h"
#include "cuda/device_ops.h"
#include "emulator.h"
#include "model/adaptation.h"
#include "model/embedded_model.h"
#include "model/host_ops.h"
#include "model/forward_session.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

using namespace test;

DeviceOpener emulated(const EmulatorOptions& options = {}) {
  return [options]() -> Result<std::unique_ptr<Device>> { return make_emulator(options); };
}

std::unique_ptr<Engine> engine_of(std::shared_ptr<const Model> model, const EmulatorOptions& emulator = {},
                                  const DeviceEngineOptions& options = {false, 128, 32}) {
  auto engine = make_device_engine(std::move(model), emulated(emulator), options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? std::move(*engine) : nullptr;
}

std::string run(Engine& engine, const std::vector<Symbol>& symbols, const Schedule& schedule) {
  return transcript(engine, symbols, schedule, std::min(256, engine.model().config().context));
}

TEST(DeviceEngine, GivesTheCommittedFrequencies) {
  for (const Golden& golden : kGolden) {
    const bool all = std::getenv("LLMC_LONG") != nullptr;
    if (golden.symbols > 150 || (golden.activations == 16 && !all)) continue;  // an emulated GPU takes its time
    const auto model = golden_model(golden.activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const auto engine = engine_of(*model);
    ASSERT_NE(engine, nullptr);
    EXPECT_EQ(engine->name(), "cuda, GPU 0 (emulated)");
    EXPECT_EQ(run(*engine, golden_symbols(**model, golden.symbols), {}), golden.digest) << "A" << golden.activations;
  }
}

// The head of an adapted model has scales of its own, although it is tied.
TEST(DeviceEngine, AdaptedModels) {
  const auto base = *embedded_model();
  Adaptation adaptation;
  adaptation.model = base->digest();
  adaptation.factor = 1.125f;
  for (int id = 0; id < base->config().vocab; ++id) adaptation.bias.push_back(static_cast<int8_t>(id % 31 - 15));
  const auto model = *adapt_model(base, adaptation.serialize());
  const auto symbols = golden_symbols(*model, 40);
  const auto device = engine_of(model), native = *make_native_engine(model);
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(run(*device, symbols, {}), run(*native, symbols, {}));
}

// What each operation leaves, on the CPU and on the device: the first that differs is named.
template <class MakeOps>
std::vector<std::pair<std::string, std::vector<float>>> operations(const Model& model, const std::vector<Symbol>& symbols,
                                                                   const MakeOps& make_ops) {
  std::vector<std::pair<std::string, std::vector<float>>> out;
  std::unique_ptr<Ops> ops = make_ops();
  Ops* const reader = ops.get();
  const auto session = make_forward_session(
      model, std::move(ops), 1, model.config().context, [&](const char* op, int layer, Place place, int rows) {
        out.emplace_back(std::string(op) + " " + std::to_string(layer), reader->read(place, rows));
      });
  std::vector<Row> rows;
  for (size_t i = 0; i < symbols.size(); ++i) rows.push_back({0, i ? symbols[i - 1] : model.config().start, symbols[i]});
  EXPECT_TRUE(session->feed(rows, Ask::intervals).ok());
  return out;
}

void expect_same_operations(std::shared_ptr<const Model> model, const std::vector<Symbol>& symbols) {
  const Kernels& kernels = **select_kernels();
  const HostWeights host(model, kernels, std::make_unique<PlainMemory>());
  const int context = model->config().context;
  int head_rows = 0;
  const auto expected = operations(*model, symbols, [&] {
    auto ops = std::make_unique<HostOps>(host, 1, context, std::make_unique<PlainMemory>());
    head_rows = ops->head_rows();
    return ops;
  });
  const auto weights = DeviceWeights::make(model, make_emulator());
  ASSERT_TRUE(weights.ok());
  const auto got = operations(*model, symbols, [&] {
    return std::make_unique<DeviceOps>(**weights, make_emulator(), DeviceLimits{1, context, 64, head_rows});
  });
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].second.size(), expected[i].second.size());
    for (size_t e = 0; e < got[i].second.size(); ++e) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i].second[e]), std::bit_cast<uint32_t>(expected[i].second[e]))
          << "first differs after \"" << got[i].first << "\", element " << e << ": " << got[i].second[e] << " and "
          << expected[i].second[e];
    }
  }
}

TEST(DeviceEngine, EachOperationLeavesTheSameBits) {
  for (const int activations : {8, 16}) {
    const auto model = Checkpoint{}.model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    expect_same_operations(*model, symbols_of(**model, "tests/data/text/alice29.txt", 200, 30));
  }
}

// Batch, split, graphs and the order of the threads. All combinations in the long tier.
TEST(DeviceEngine, BatchSplitGraphsAndThreadOrderDoNotMatter) {
  const bool all = std::getenv("LLMC_LONG") != nullptr;
  for (const int activations : {8, 16}) {
    const auto model = Checkpoint{}.model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, all ? 90 : 20);
    const auto native = make_native_engine(*model);
    ASSERT_TRUE(native.ok());
    const std::string expected = run(**native, symbols, {});
    for (const ThreadOrder order : {ThreadOrder::up, ThreadOrder::down, ThreadOrder::mixed}) {
      if (!all && (activations == 16) != (order == ThreadOrder::mixed)) continue;
      EmulatorOptions emulator;
      emulator.order = order;
      emulator.graphs = order != ThreadOrder::down;
      emulator.processors = order == ThreadOrder::mixed ? 1 : 132;  // large tiles or small ones
      const auto engine = engine_of(*model, emulator);
      ASSERT_NE(engine, nullptr);
      EXPECT_EQ(run(*engine, symbols, {1, 0, 64, Ask::intervals}), expected);
      EXPECT_EQ(run(*engine, symbols, {5, 3, 0, Ask::intervals}), expected);
      EXPECT_EQ(run(*engine, symbols, {1, 0, 1, Ask::intervals}), expected);
      EXPECT_EQ(run(*engine, symbols, {3, 1, 1, Ask::tables}), expected);
    }
  }
}

TEST(DeviceEngine, EqualsNativeOnOddShapesAndEscapes) {
  for (const int activations : {8, 16}) {
    const auto model = odd_shapes().model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, 16);
    symbols[10] = (*model)->config().vocab + 200;
    const auto native = make_native_engine(*model);
    ASSERT_TRUE(native.ok());
    const auto engine = engine_of(*model);
    ASSERT_NE(engine, nullptr);
    const std::string expected = run(**native, symbols, {});
    EXPECT_EQ(run(*engine, symbols, {3, 1, 7, Ask::intervals}), expected);
    EXPECT_EQ(run(*engine, symbols, {2, 1, 3, Ask::tables}), expected);
  }
}

// At once, in steps (the third is a graph's first replay), in blocks of the head's rows.
TEST(DeviceEngine, PathsDownATreeAreThoseOfNativeTables) {
  for (const bool odd : {false, true}) {
    const auto model = odd ? odd_shapes().model(8) : Checkpoint{}.model(8);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const bool escape = (*model)->escape();
    std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, odd ? 8 : 24);
    if (escape) symbols[3] = (*model)->config().vocab + 200;
    symbols.back() = (*model)->config().vocab - 1;
    const SideBySide both(*model, engine_of(*model, {}, {false, 128, 5}), 2);
    ASSERT_TRUE(both);
    Session &a = *both.native, &b = *both.tested;
    EXPECT_FALSE(b.feed(std::vector<Row>{{0, 1, 1}}, Ask::paths).ok());  // no tree yet
    expect_paths(b, a, **model, symbols, 12);
    expect_paths(b, a, **model, symbols, 1);
    // Another question in between, and the tree is still there.
    ASSERT_TRUE(b.feed(std::vector<Row>{{0, 1, 1}}, Ask::tables).ok());
    EXPECT_TRUE(b.path(0).empty());
    ASSERT_TRUE(b.feed(std::vector<Row>{{0, 1, 1}}, Ask::paths).ok());
    EXPECT_FALSE(b.path(0).empty());
  }
}

// What a range decoder reads and where each symbol ranks, step by step: the third step is a graph's first replay.
TEST(DeviceEngine, SearchesAndRanksLikeNative) {
  for (const bool odd : {false, true}) {
    const auto model = odd ? odd_shapes().model(8) : Checkpoint{}.model(8);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const int streams = 5, vocab = (*model)->config().vocab;
    const SideBySide both(*model, engine_of(*model), streams);
    ASSERT_TRUE(both);
    Session &a = *both.native, &b = *both.tested;
    std::mt19937_64 random(3);
    std::vector<Row> rows(streams);
    for (int s = 0; s < streams; ++s) rows[s] = {s, (*model)->config().start, 0, {}};
    std::vector<uint32_t> leaves((*model)->symbols());
    std::iota(leaves.begin(), leaves.end(), 0u);
    ASSERT_TRUE(a.set_leaves(leaves).ok() && b.set_leaves(leaves).ok());
    for (int step = 0; step < 14; ++step) {
      const Ask ask = step % 2 ? Ask::ranks : step < 8 ? Ask::search : Ask::leaves;
      for (Row& row : rows) {
        row.want = ask != Ask::ranks ? 0 : static_cast<Symbol>(random() % (vocab + (*model)->escape()));
        row.state.range = random() >> (random() % 8) | uint64_t{1} << 56;
        if (ask == Ask::leaves && row.stream == step % 5) {  // walks down the tree instead
          row.state = {};
          continue;
        }
        row.state.code = step == 6 ? row.state.range - 1 : (step == 4 ? 0 : random() % row.state.range);
      }
      ASSERT_TRUE(a.feed(rows, ask).ok());
      ASSERT_TRUE(b.feed(rows, ask).ok());
      for (int s = 0; s < streams; ++s) {
        if (ask == Ask::ranks) {
          EXPECT_EQ(a.rank(s), b.rank(s)) << step;
          continue;
        }
        if (ask == Ask::leaves) {
          const LeafWeights u = a.leaves(s), v = b.leaves(s);
          ASSERT_TRUE(std::equal(u.weights.begin(), u.weights.end(), v.weights.begin(), v.weights.end())) << step;
          ASSERT_TRUE(std::equal(u.sums.begin(), u.sums.end(), v.sums.begin(), v.sums.end())) << step;
          if (rows[s].state.range == 0) continue;
        }
        Interval x, y;
        const Symbol symbol = a.found(s, &x);
        EXPECT_EQ(symbol, b.found(s, &y)) << step;
        EXPECT_EQ(x.cum, y.cum);
        EXPECT_EQ(x.weight, y.weight);
        EXPECT_EQ(x.total, y.total);
        rows[s].token = symbol;
      }
    }
  }
}

TEST(DeviceEngine, RangeErrorsAreTheStreamsOwn) {
  const auto model = leaving_range().model();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto native = make_native_engine(*model);
  ASSERT_TRUE(native.ok());
  const auto engine = engine_of(*model);
  ASSERT_NE(engine, nullptr);
  const int streams = 32;
  for (const Ask ask : {Ask::intervals, Ask::ranks, Ask::search, Ask::paths, Ask::leaves, Ask::tables}) {
    auto a = (*native)->make_session(streams), b = engine->make_session(streams);
    ASSERT_TRUE(a.ok() && b.ok());
    std::vector<uint32_t> leaves((*model)->symbols());
    std::iota(leaves.begin(), leaves.end(), 0u);
    ASSERT_TRUE((*a)->set_leaves(leaves).ok() && (*b)->set_leaves(leaves).ok());
    std::vector<Row> rows;
    for (int s = 0; s < streams; ++s) rows.push_back({s, 100 + s, 7, {uint64_t{1} << 60, uint64_t{1} << 61}});
    int bad = 0;
    for (int step = 0; step < 3; ++step) {  // at once, recorded, replayed
      for (int s = 0; s < streams; ++s) (*a)->reset(s), (*b)->reset(s);
      ASSERT_TRUE((*a)->feed(rows, ask).ok());
      ASSERT_TRUE((*b)->feed(rows, ask).ok());
      for (int s = 0; s < streams; ++s) {
        EXPECT_EQ((*a)->range_error_layer(s), (*b)->range_error_layer(s));
        EXPECT_EQ((*a)->interval(s).cum, (*b)->interval(s).cum);
        EXPECT_EQ((*a)->rank(s), (*b)->rank(s));
        const auto x = (*a)->path(s), y = (*b)->path(s);
        EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
        const auto u = (*a)->leaves(s).weights, v = (*b)->leaves(s).weights;
        EXPECT_TRUE(std::equal(u.begin(), u.end(), v.begin(), v.end()));
        EXPECT_EQ((*a)->total(s), (*b)->total(s));
        bad += (*a)->range_error_layer(s) >= 0;
      }
    }
    EXPECT_GT(bad, 0);
    EXPECT_LT(bad, 3 * streams);
  }
}

TEST(DeviceEngine, RefusesADeviceThatComputesWrong) {
  const auto model = Checkpoint{}.model(16);
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE(make_device_engine(*model, emulated(), {true, 128, 32}).ok());
  ::setenv("LLMC_CORRUPT_DEVICE", "1", 1);
  const auto engine = make_device_engine(*model, emulated(), {true, 128, 32});
  ::unsetenv("LLMC_CORRUPT_DEVICE");
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.status().message(),
            "GPU 0 (emulated) failed its start-up check and is not used: wrong sums in model.layers.0.mlp.down_proj.weight");
}

TEST(DeviceEngine, SaysHowManyStreamsFit) {
  const auto model = Checkpoint{}.model();
  ASSERT_TRUE(model.ok());
  EmulatorOptions small;
  small.memory = uint64_t{768} << 20;
  const auto engine = engine_of(*model, small);
  ASSERT_NE(engine, nullptr);
  const int fit = engine->good_streams(2, 0);
  EXPECT_GT(fit, 1);
  EXPECT_GE(engine->good_streams(1, 0), fit);
  const auto session = engine->make_session(65536);
  ASSERT_FALSE(session.ok());
  EXPECT_NE(session.status().message().find("GPU 0 (emulated) has "), std::string::npos) << session.status().message();
  EXPECT_NE(session.status().message().find("would fit"), std::string::npos);
  EmulatorOptions none;
  none.memory = 1000;
  EXPECT_FALSE(make_device_engine(*model, emulated(none), {false, 128, 32}).ok());
}

}  // namespace
}  // namespace llmc
