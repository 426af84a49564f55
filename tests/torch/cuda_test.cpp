// The CUDA back end on a real GPU against the committed frequencies and the native engine: the same bits. What an emulated
// GPU can show of it is in tests/cuda.
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "../model/transcript.h"
#include "cuda/driver.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"
#include "model/torch_loader.h"

namespace llmc {
namespace {

using namespace test;

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_driver().status.ok()) GTEST_SKIP() << "not run: no CUDA device (" << cuda_driver().status.message() << ")";
  }
  static Result<std::unique_ptr<Engine>> open(std::shared_ptr<const Model> model) {
    return open_torch_engine(std::move(model), {"", 0, LLMC_TORCH_CUDA_LIBRARY});
  }
  static std::unique_ptr<Engine> cuda_of(std::shared_ptr<const Model> model) {
    auto engine = open(std::move(model));
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return engine.ok() ? std::move(*engine) : nullptr;
  }
};

TEST_F(Cuda, GivesTheCommittedFrequencies) {
  for (const Golden& golden : kGolden) {
    const auto model = golden_model(golden.activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const auto engine = cuda_of(*model);
    ASSERT_NE(engine, nullptr);
    const std::vector<Symbol> symbols = golden_symbols(**model, golden.symbols);
    for (const int streams : {1, 3, 17, 64, 300}) {
      for (const int rows : {1, 0, 64, 1024}) {
        const Schedule schedule{streams, streams / 2, rows, rows == 1 && streams == 3 ? Ask::tables : Ask::intervals};
        ASSERT_EQ(transcript(*engine, symbols, schedule), golden.digest)
            << "A" << golden.activations << ", " << golden.symbols << " symbols, " << streams << " streams, rows " << rows;
      }
    }
  }
}

// The exchange between the GPUs of a rank, with as many as there are; with one it has nothing to exchange, and is called all the same.
TEST_F(Cuda, SeveralGpusOfARankGiveTheCommittedFrequencies) {
  const int count = static_cast<int>(cuda_driver().devices.size());
  const Golden& golden = kGolden[0];
  const auto model = golden_model(golden.activations);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const int gpus : {1, 2}) {
    if (gpus > count) GTEST_SKIP() << "not run: there is one GPU";
    const auto engine = open_torch_engine(*model, {"", 0, LLMC_TORCH_CUDA_LIBRARY, gpus});
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    EXPECT_EQ(transcript(**engine, golden_symbols(**model, golden.symbols), {17, 8, 64, Ask::intervals}), golden.digest) << gpus;
  }
}

TEST_F(Cuda, EqualsNativeOnOddShapesAndEscapes) {
  for (const int activations : {8, 16}) {
    const auto model = odd_shapes().model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, 60);
    symbols[10] = (*model)->config().vocab + 200;
    const auto native = make_native_engine(*model);
    ASSERT_TRUE(native.ok());
    const auto engine = cuda_of(*model);
    ASSERT_NE(engine, nullptr);
    const std::string expected = transcript(**native, symbols, {});
    EXPECT_EQ(transcript(*engine, symbols, {3, 1, 7, Ask::intervals}), expected);
    EXPECT_EQ(transcript(*engine, symbols, {200, 1, 1, Ask::intervals}), expected);
    EXPECT_EQ(transcript(*engine, symbols, {2, 1, 1, Ask::tables}), expected);
  }
}

TEST_F(Cuda, PathsDownATreeAreThoseOfNativeTables) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const SideBySide both(*model, cuda_of(*model), 2);
  ASSERT_TRUE(both);
  const std::vector<Symbol> symbols = golden_symbols(**model, 200);
  expect_paths(*both.tested, *both.native, **model, symbols, 150);
  expect_paths(*both.tested, *both.native, **model, symbols, 1);
}

// Long enough that most steps are graphs.
TEST_F(Cuda, SearchesAndRanksLikeNative) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const int streams = 33, vocab = (*model)->config().vocab;
  const SideBySide both(*model, cuda_of(*model), streams);
  ASSERT_TRUE(both);
  Session &a = *both.native, &b = *both.tested;
  std::mt19937_64 random(3);
  std::vector<Row> rows(streams);
  for (int s = 0; s < streams; ++s) rows[s] = {s, (*model)->config().start, 0, {}};
  for (int step = 0; step < 60; ++step) {
    const Ask ask = step % 2 ? Ask::ranks : Ask::search;
    for (Row& row : rows) {
      row.want = ask == Ask::search ? 0 : static_cast<Symbol>(random() % vocab);
      row.state.range = random() >> (random() % 8) | uint64_t{1} << 56;
      row.state.code = random() % row.state.range;
    }
    ASSERT_TRUE(a.feed(rows, ask).ok());
    ASSERT_TRUE(b.feed(rows, ask).ok());
    for (int s = 0; s < streams; ++s) {
      if (ask == Ask::ranks) {
        ASSERT_EQ(a.rank(s), b.rank(s)) << step;
        continue;
      }
      Interval x, y;
      rows[s].token = a.found(s, &x);
      ASSERT_EQ(rows[s].token, b.found(s, &y)) << step;
      ASSERT_TRUE(x.cum == y.cum && x.weight == y.weight && x.total == y.total) << step;
    }
  }
}

TEST_F(Cuda, RangeErrorsAreTheStreamsOwn) {
  const auto model = leaving_range().model();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const SideBySide both(*model, cuda_of(*model), 32);
  ASSERT_TRUE(both);
  expect_same_range_errors(both, 4);
}

TEST_F(Cuda, SessionsOnSeveralThreadsDoNotMatter) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = cuda_of(*model);
  ASSERT_NE(engine, nullptr);
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = transcript(*engine, golden_symbols(**model, 150), {2, 1, static_cast<int>(i), Ask::intervals}); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, kGolden[0].digest);
}

TEST_F(Cuda, RefusesADeviceThatComputesWrong) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  ::setenv("LLMC_CORRUPT_DEVICE", "1", 1);
  const auto engine = open(*model);
  ::unsetenv("LLMC_CORRUPT_DEVICE");
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.status().message().find("failed its start-up check and is not used: wrong sums in"), std::string::npos)
      << engine.status().message();
}

TEST_F(Cuda, RefusesMoreStreamsThanFit) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = cuda_of(*model);
  ASSERT_NE(engine, nullptr);
  EXPECT_GT(engine->good_streams(2, 0), 64);
  const auto session = engine->make_session(65536);
  ASSERT_FALSE(session.ok());
  EXPECT_NE(session.status().message().find("would fit"), std::string::npos) << session.status().message();
}

}  // namespace
}  // namespace llmc
