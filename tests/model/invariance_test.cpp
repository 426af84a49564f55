// The promise of the whole design: what a stream yields depends on its own tokens alone.
#include <gtest/gtest.h>

#include <thread>

#include "base/checksum.h"
#include "model/embedded_model.h"
#include "model/host_ops.h"
#include "model/native_engine.h"
#include "transcript.h"

namespace llmc {
namespace {

using namespace test;

std::unique_ptr<Engine> engine_of(std::shared_ptr<const Model> model, const std::string& isa = "") {
  auto engine = make_native_engine(std::move(model), isa);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? std::move(*engine) : nullptr;
}

TEST(Invariance, EveryInstructionSetGivesTheCommittedFrequencies) {
  for (const Golden& golden : kGolden) {
    const auto model = golden_model(golden.activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const std::string& isa : available_isas()) {
      if (isa == "scalar" && golden.symbols > 150) continue;  // a second's worth of patience
      const auto engine = engine_of(*model, isa);
      EXPECT_EQ(transcript(*engine, golden_symbols(**model, golden.symbols), {}), golden.digest)
          << "A" << golden.activations << ", " << golden.symbols << " symbols, " << isa;
    }
  }
}

TEST(Invariance, BatchSplitAndStepsDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const std::vector<Symbol> symbols = golden_symbols(**model, 150);
  const std::vector<std::string> isas = available_isas();
  for (const std::string& isa : isas) {
    if (isa == "scalar") continue;
    const auto engine = engine_of(*model, isa);
    for (const int streams : isa == isas.back() ? std::vector{1, 3, 17, 64} : std::vector{3, 17}) {
      for (const int slot : {0, streams - 1}) {
        for (const int rows : {1, 0, 64}) {
          const Schedule schedule{streams, slot, rows, rows == 1 ? Ask::tables : Ask::intervals};
          EXPECT_EQ(transcript(*engine, symbols, schedule), kGolden[0].digest)
              << isa << ", " << streams << " streams, slot " << slot << ", rows " << rows;
        }
      }
    }
  }
}

TEST(Invariance, StepsToTheEndOfTheContextDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = engine_of(*model);
  const std::vector<Symbol> symbols = golden_symbols(**model, 1024);
  ASSERT_EQ(symbols.size(), 1024u);
  EXPECT_EQ(transcript(*engine, symbols, {3, 1, 1, Ask::tables}), kGolden[1].digest);
  EXPECT_EQ(transcript(*engine, symbols, {2, 1, 0, Ask::intervals}), kGolden[1].digest);
}

TEST(Invariance, ASmallerContextDoesNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = engine_of(*model);
  for (const int context : {150, 151, 200}) {
    auto session = engine->make_session(1, context);
    ASSERT_TRUE(session.ok());
    EXPECT_EQ((*session)->context(), context);
    EXPECT_EQ(transcript(**session, **model, golden_symbols(**model, 150), {}), kGolden[0].digest);
  }
}

TEST(Invariance, ThreadsDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = engine_of(*model);
  std::vector<std::string> results(7);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      results[i] =
          transcript(*engine, golden_symbols(**model, 150), {static_cast<int>(i) + 1, static_cast<int>(i), 0, Ask::intervals});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, kGolden[0].digest);
}

TEST(Invariance, OtherShapesAgreeOnEveryInstructionSet) {
  const Checkpoint checkpoint = odd_shapes();
  for (const int activations : {8, 16}) {
    const auto model = checkpoint.model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    ASSERT_TRUE((*model)->escape());
    std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, 60);
    symbols[10] = (*model)->config().vocab + 200;  // an escape
    std::string scalar;
    for (const std::string& isa : available_isas()) {
      const auto engine = engine_of(*model, isa);
      const std::string result = transcript(*engine, symbols, {3, 1, 7, Ask::intervals});
      if (isa == "scalar") scalar = result;
      EXPECT_EQ(result, scalar) << isa;
      EXPECT_EQ(transcript(*engine, symbols, {1, 0, 1, Ask::tables}), scalar) << isa;
    }
  }
}

// Digests of what each operation leaves, in order: the first that differs is the culprit.
std::vector<std::pair<std::string, std::string>> operations(std::shared_ptr<const Model> model, const std::string& isa,
                                                            const std::vector<Symbol>& symbols) {
  const auto kernels = select_kernels(isa);
  EXPECT_TRUE(kernels.ok());
  const HostWeights weights(model, **kernels, std::make_unique<PlainMemory>());
  auto ops = std::make_unique<HostOps>(weights, 1, model->config().context, std::make_unique<PlainMemory>());
  HostOps* const reader = ops.get();
  std::vector<std::pair<std::string, std::string>> out;
  const auto session = make_forward_session(
      *model, std::move(ops), 1, model->config().context, [&](const char* op, int layer, Place place, int rows) {
        const std::vector<float> v = reader->read(place, rows);
        const ByteView bytes(reinterpret_cast<const uint8_t*>(v.data()), v.size() * 4);
        out.emplace_back(std::string(op) + " " + std::to_string(layer), to_hex(sha256(bytes)));
      });
  std::vector<Row> rows;
  for (size_t i = 0; i < symbols.size(); ++i)
    rows.push_back({0, i ? symbols[i - 1] : model->config().start, symbols[i]});
  EXPECT_TRUE(session->feed(rows, Ask::intervals).ok());
  return out;
}

TEST(Invariance, EachOperationAgreesOnEveryInstructionSet) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const std::vector<Symbol> symbols = golden_symbols(**model, 24);
  const auto scalar = operations(*model, "scalar", symbols);
  EXPECT_EQ(scalar.size(), 1 + 5 * 7 + 2u);
  for (const std::string& isa : available_isas()) {
    const auto other = operations(*model, isa, symbols);
    ASSERT_EQ(other.size(), scalar.size());
    for (size_t i = 0; i < scalar.size(); ++i) {
      ASSERT_EQ(other[i].second, scalar[i].second) << isa << ": first differs after \"" << scalar[i].first << "\"";
    }
  }
}

}  // namespace
}  // namespace llmc
