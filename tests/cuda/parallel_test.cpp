// One model over several emulated devices, which exchange maxima and integer sums through threads: every degree gives the
// bits of one device.
#include <gtest/gtest.h>

#include <thread>

#include "../model/transcript.h"
#include "cuda/parallel_engine.h"
#include "cuda/parallel_ops.h"
#include "emulated_team.h"
#include "emulator.h"
#include "model/forward_session.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

using namespace test;

struct Parallel {
  Parallel(std::shared_ptr<const Model> model, int count, int streams)
      : members(make_team(count)), logits(static_cast<size_t>(32) * model->config().vocab) {
    std::vector<std::unique_ptr<DeviceOps>> parts;
    for (int i = 0; i < count; ++i) {
      auto share = DeviceWeights::make(model, make_emulator(), {i, count});
      EXPECT_TRUE(share.ok()) << share.status().message();
      weights.push_back(std::move(*share));
      const DeviceLimits limits{streams, model->config().context, 64, 32};
      parts.push_back(std::make_unique<DeviceOps>(*weights.back(), make_emulator(), limits, members[static_cast<size_t>(i)].get(), logits.data()));
    }
    session = make_forward_session(*model, std::make_unique<ParallelOps>(std::move(parts)), streams, model->config().context);
  }
  std::vector<std::unique_ptr<Collective>> members;
  std::vector<float> logits;
  std::vector<std::unique_ptr<DeviceWeights>> weights;
  std::unique_ptr<Session> session;
};

Checkpoint four_heads() {
  Checkpoint checkpoint;
  checkpoint.config["num_attention_heads"] = 8;
  checkpoint.config["num_key_value_heads"] = 4;
  return checkpoint;
}

TEST(Parallel, TheDegreeDoesNotMatter) {
  for (const int activations : {8, 16}) {
    const auto model = four_heads().model(activations);
    ASSERT_TRUE(model.ok()) << model.status().message();
    const std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 800, 20);
    const auto native = make_native_engine(*model);
    ASSERT_TRUE(native.ok());
    auto one = (*native)->make_session(1);
    ASSERT_TRUE(one.ok());
    const std::string expected = transcript(**one, **model, symbols, {});
    for (const int count : {1, 2, 4}) {
      Parallel parallel(*model, count, 3);
      EXPECT_EQ(transcript(*parallel.session, **model, symbols, {3, 1, 5, Ask::intervals}), expected) << count << " devices";
      EXPECT_EQ(transcript(*parallel.session, **model, symbols, {3, 1, 7, Ask::tables}), expected) << count << " devices";
      auto reference = (*native)->make_session(2);
      ASSERT_TRUE(reference.ok());
      expect_paths(*parallel.session, **reference, **model, symbols, 9);
    }
  }
}

TEST(Parallel, SearchesRanksAndRangeErrorsAreThoseOfOneDevice) {
  Checkpoint checkpoint = four_heads();
  checkpoint.tokenizer = source("tests/data/tokenizers/smollm2.json");
  checkpoint.config["vocab_size"] = 49152;
  const auto model = leaving_range(checkpoint).model();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto native = make_native_engine(*model);
  ASSERT_TRUE(native.ok());
  const int streams = 12;
  auto one = (*native)->make_session(streams);
  ASSERT_TRUE(one.ok());
  Parallel two(*model, 2, streams);
  std::mt19937_64 random(5);
  for (const Ask ask : {Ask::search, Ask::ranks, Ask::intervals}) {
    std::vector<Row> rows;
    int bad = 0;
    for (int s = 0; s < streams; ++s) {
      (*one)->reset(s), two.session->reset(s);
      Row row{s, 100 + s, static_cast<Symbol>(random() % ((*model)->config().vocab + (*model)->escape())), {}};
      row.state.range = random() | uint64_t{1} << 56;
      row.state.code = random() % row.state.range;
      rows.push_back(row);
    }
    ASSERT_TRUE((*one)->feed(rows, ask).ok());
    ASSERT_TRUE(two.session->feed(rows, ask).ok());
    for (int s = 0; s < streams; ++s) {
      EXPECT_EQ((*one)->range_error_layer(s), two.session->range_error_layer(s));
      bad += (*one)->range_error_layer(s) >= 0;
      Interval x, y;
      EXPECT_EQ((*one)->found(s, &x), two.session->found(s, &y));
      if (ask == Ask::intervals) x = (*one)->interval(s), y = two.session->interval(s);
      EXPECT_TRUE(x.cum == y.cum && x.weight == y.weight && x.total == y.total) << s;
      EXPECT_EQ((*one)->rank(s), two.session->rank(s));
    }
    EXPECT_GT(bad, 0);
    EXPECT_LT(bad, streams);
  }
}

// A device that goes wrong at its n-th kernel: an error that wait() tells, or an exception.
class Faulty final : public Device {
 public:
  Faulty(std::unique_ptr<Device> inner, int number, int kernels, bool throws)
      : inner_(std::move(inner)), number_(number), left_(kernels), throws_(throws) {}
  std::string name() const override { return "emulated GPU " + std::to_string(number_); }
  int processors() const override { return inner_->processors(); }
  unsigned most_shared_bytes() const override { return inner_->most_shared_bytes(); }
  uint64_t free_bytes() override { return inner_->free_bytes(); }
  uint8_t* take(size_t bytes) override { return inner_->take(bytes); }
  uint8_t* take_host(size_t bytes) override { return inner_->take_host(bytes); }
  void upload(void* to, const void* from, size_t bytes) override { inner_->upload(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { inner_->download(to, from, bytes); }
  void clear(void* at, size_t bytes) override { inner_->clear(at, bytes); }
  Status wait() override {
    if (left_ <= 0) return {Code::failure, name() + ": fell off the bus"};
    return inner_->wait();
  }
#define LLMC_FAULTY(kernel, Args)                                            \
  void kernel(const cuda::Launch& launch, const cuda::Args& args) override { \
    if (--left_ <= 0) {                                                      \
      if (throws_) throw std::runtime_error("fell off the bus");             \
      return;                                                                \
    }                                                                        \
    inner_->kernel(launch, args);                                            \
  }
  LLMC_CUDA_KERNELS(LLMC_FAULTY)
#undef LLMC_FAULTY
  bool has_graphs() const override { return false; }
  void begin_graph() override {}
  int end_graph() override { return 0; }
  void run(int) override {}

 private:
  const std::unique_ptr<Device> inner_;
  const int number_;
  int left_;
  const bool throws_;
};

DeviceEngineOptions small(bool check) {
  DeviceEngineOptions options;
  options.check = check;
  options.most_rows = 64;
  options.most_head_rows = 32;
  return options;
}

Result<std::unique_ptr<Engine>> engine_of(std::shared_ptr<const Model> model, int count, bool check, int faulty = -1, int kernels = 0,
                                          bool throws = false) {
  std::vector<DeviceOpener> open;
  for (int i = 0; i < count; ++i) {
    open.push_back([=]() -> Result<std::unique_ptr<Device>> {
      const int most = i == faulty ? kernels : std::numeric_limits<int>::max();
      return std::unique_ptr<Device>(std::make_unique<Faulty>(make_emulator(), i, most, throws));
    });
  }
  const auto collectives = [](const std::vector<Device*>& queues) -> Result<std::vector<std::unique_ptr<Collective>>> {
    return make_team(static_cast<int>(queues.size()));
  };
  return make_parallel_engine(std::move(model), std::move(open), collectives, small(check));
}

TEST(Parallel, TheEngineGivesTheBitsOfOneDevice) {
  const auto model = four_heads().model(8);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const std::vector<Symbol> symbols = symbols_of(**model, "tests/data/text/alice29.txt", 400, 20);
  const auto native = make_native_engine(*model);
  auto one = (*native)->make_session(1);
  const std::string expected = transcript(**one, **model, symbols, {});
  for (const int count : {1, 2, 4}) {
    const auto engine = engine_of(*model, count, count == 2);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    EXPECT_GE((*engine)->good_streams(1, 0), 1);
    EXPECT_NE((*engine)->name().find("emulated GPU " + std::to_string(count - 1)), std::string::npos) << (*engine)->name();
    auto session = (*engine)->make_session(3);
    ASSERT_TRUE(session.ok()) << session.status().message();
    EXPECT_EQ(transcript(**session, **model, symbols, {3, 1, 5, Ask::intervals}), expected) << count;
    if (count != 2) continue;
    // Two sessions at once take turns.
    auto other = (*engine)->make_session(3);
    ASSERT_TRUE(other.ok()) << other.status().message();
    std::string second;
    std::thread beside([&] { second = transcript(**other, **model, symbols, {3, 1, 7, Ask::tables}); });
    EXPECT_EQ(transcript(**session, **model, symbols, {3, 1, 3, Ask::intervals}), expected);
    beside.join();
    EXPECT_EQ(second, expected);
  }
  EXPECT_EQ(engine_of(*model, 3, false).status().code(), Code::usage);
}

// Wherever in a pass one of them fails: all end, the session says which it was, and stays failed.
TEST(Parallel, AFailingDeviceEndsAllOfThemByName) {
  const auto model = four_heads().model(8);
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const int count : {1, 2, 4}) {
    for (const bool throws : {false, true}) {
      for (const int kernels : {1, 2, 4, 5, 9, 14, 17}) {
        const int faulty = kernels % count;
        const auto engine = engine_of(*model, count, false, faulty, kernels, throws);
        ASSERT_TRUE(engine.ok()) << engine.status().message();
        auto session = (*engine)->make_session(2);
        ASSERT_TRUE(session.ok()) << session.status().message();
        const std::vector<Row> rows = {{0, 1, 2, {}}, {1, 3, 4, {}}};
        Status status;
        for (int pass = 0; pass < 20 && status.ok(); ++pass) status = (*session)->feed(rows, Ask::intervals);
        ASSERT_EQ(status.code(), Code::failure) << count << " " << kernels;
        EXPECT_NE(status.message().find("emulated GPU " + std::to_string(faulty) + ": fell off the bus"), std::string::npos) << status.message();
        EXPECT_FALSE((*session)->feed(rows, Ask::intervals).ok());
      }
    }
  }
  // At start-up it is refused.
  const auto refused = engine_of(*model, 2, true, 1, 5);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("emulated GPU 1: fell off the bus"), std::string::npos) << refused.status().message();
}

TEST(Parallel, AModelThatCannotBeSplitIsRefused) {
  const auto model = Checkpoint{}.model();
  ASSERT_TRUE(model.ok());
  const auto share = DeviceWeights::make(*model, make_emulator(), {0, 3});
  ASSERT_FALSE(share.ok());
  EXPECT_EQ(share.status().code(), Code::usage);
}

}  // namespace
}  // namespace llmc
