// The libtorch back end against the committed digests of the native one: the same bits.
#include <gtest/gtest.h>

#include <thread>

#include "../model/transcript.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "model/torch_loader.h"

namespace llmc {
namespace {

using namespace test;

std::unique_ptr<Engine> torch_of(std::shared_ptr<const Model> model, const std::string& isa = "") {
  auto engine = open_torch_engine(std::move(model), {isa, -1, LLMC_TORCH_LIBRARY});
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? std::move(*engine) : nullptr;
}

TEST(Torch, GivesTheCommittedFrequencies) {
  for (const Golden& golden : kGolden) {
    const auto model = golden_model(golden.activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    for (const std::string& isa : available_isas()) {
      if (isa == "scalar" && golden.symbols > 150) continue;
      const auto engine = torch_of(*model, isa);
      ASSERT_NE(engine, nullptr);
      EXPECT_EQ(engine->name(), "torch cpu " + isa);
      EXPECT_EQ(transcript(*engine, golden_symbols(**model, golden.symbols), {}), golden.digest)
          << "A" << golden.activations << ", " << golden.symbols << " symbols, " << isa;
    }
  }
}

TEST(Torch, BatchSplitAndStepsDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = torch_of(*model);
  ASSERT_NE(engine, nullptr);
  const std::vector<Symbol> symbols = golden_symbols(**model, 150);
  for (const int streams : {1, 3, 17}) {
    for (const int rows : {1, 0, 64}) {
      const Schedule schedule{streams, streams / 2, rows, rows == 1 ? Ask::tables : Ask::intervals};
      EXPECT_EQ(transcript(*engine, symbols, schedule), kGolden[0].digest) << streams << " streams, rows " << rows;
    }
  }
}

TEST(Torch, PathsDownATreeAreThoseOfNativeTables) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const SideBySide both(*model, torch_of(*model), 2);
  ASSERT_TRUE(both);
  expect_paths(*both.tested, *both.native, **model, golden_symbols(**model, 60), 25);
}

TEST(Torch, EqualsNativeOnOddShapesAndEscapes) {
  const auto model = odd_shapes().model(16);
  ASSERT_TRUE(model.ok()) << model.status().message();
  std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, 60);
  symbols[10] = (*model)->config().vocab + 200;
  const auto native = make_native_engine(*model);
  ASSERT_TRUE(native.ok());
  const auto torch = torch_of(*model);
  ASSERT_NE(torch, nullptr);
  EXPECT_EQ(transcript(*torch, symbols, {3, 1, 7, Ask::intervals}), transcript(**native, symbols, {1, 0, 64, Ask::intervals}));
  EXPECT_EQ(transcript(*torch, symbols, {2, 1, 1, Ask::tables}), transcript(**native, symbols, {1, 0, 64, Ask::intervals}));
}

TEST(Torch, RangeErrorsAreTheStreamsOwn) {
  const auto model = leaving_range().model();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const SideBySide both(*model, torch_of(*model), 32);
  ASSERT_TRUE(both);
  expect_same_range_errors(both, 1);
}

TEST(Torch, SessionsOnSeveralThreadsDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = torch_of(*model);
  ASSERT_NE(engine, nullptr);
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      results[i] = transcript(*engine, golden_symbols(**model, 150), {2, 1, 0, Ask::intervals});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, kGolden[0].digest);
}

TEST(Torch, ComplainsInTheWordsOfTheInterface) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto wrong = open_torch_engine(*model, {"mmx", -1, LLMC_TORCH_LIBRARY});
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.status().message().find("mmx"), std::string::npos);
  const auto engine = torch_of(*model);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->make_session(0).status().code(), Code::usage);
  auto session = engine->make_session(1);
  ASSERT_TRUE(session.ok());
  EXPECT_EQ((*session)->feed(std::vector<Row>{{5, 0, 0}}, Ask::intervals).code(), Code::failure);
}

}  // namespace
}  // namespace llmc
