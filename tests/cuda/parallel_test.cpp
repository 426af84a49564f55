// One model over several emulated devices, which exchange maxima and integer sums through threads: every degree gives the
// bits of one device.
#include <gtest/gtest.h>

#include <barrier>

#include "../model/transcript.h"
#include "cuda/parallel_ops.h"
#include "emulator.h"
#include "model/forward_session.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

using namespace test;

// The emulated devices have no queue: what they hold is there when an operation is called.
class Team {
 public:
  explicit Team(int count) : count_(count), at_(count), barrier_(count) {}

  class Member final : public Collective {
   public:
    Member(Team& team, int index) : team_(team), index_(index) {}
    int index() const override { return index_; }
    int count() const override { return team_.count_; }
    void all_max(uint32_t* at, size_t n) override {
      team_.all(index_, at, n, [](uint32_t a, uint32_t b) { return std::max(a, b); });
    }
    void all_sum(uint64_t* at, size_t n) override {
      team_.all(index_, at, n, [](uint64_t a, uint64_t b) { return a + b; });
    }

   private:
    Team& team_;
    const int index_;
  };

 private:
  template <class T, class Join>
  void all(int index, T* at, size_t n, const Join& join) {
    at_[index] = at;
    barrier_.arrive_and_wait();
    std::vector<T> joined(static_cast<const T*>(at_[0]), static_cast<const T*>(at_[0]) + n);
    for (int other = 1; other < count_; ++other) {
      const T* theirs = static_cast<const T*>(at_[other]);
      for (size_t i = 0; i < n; ++i) joined[i] = join(joined[i], theirs[i]);
    }
    barrier_.arrive_and_wait();
    std::copy(joined.begin(), joined.end(), at);
    barrier_.arrive_and_wait();
  }

  const int count_;
  std::vector<const void*> at_;
  std::barrier<> barrier_;
};

struct Parallel {
  Parallel(std::shared_ptr<const Model> model, int count, int streams)
      : team(count), logits(static_cast<size_t>(32) * model->config().vocab) {
    std::vector<std::unique_ptr<DeviceOps>> parts;
    for (int i = 0; i < count; ++i) {
      auto share = DeviceWeights::make(model, make_emulator(), {i, count});
      EXPECT_TRUE(share.ok()) << share.status().message();
      weights.push_back(std::move(*share));
      members.push_back(std::make_unique<Team::Member>(team, i));
      const DeviceLimits limits{streams, model->config().context, 64, 32};
      parts.push_back(std::make_unique<DeviceOps>(*weights.back(), make_emulator(), limits, members.back().get(), logits.data()));
    }
    session = make_forward_session(*model, std::make_unique<ParallelOps>(std::move(parts)), streams, model->config().context);
  }
  Team team;
  std::vector<float> logits;
  std::vector<std::unique_ptr<Team::Member>> members;
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
  const size_t width = checkpoint.get("hidden_size"), ffn = checkpoint.get("intermediate_size");
  checkpoint.extra["model.layers.1.post_attention_layernorm.weight"] = std::vector<float>(width, 1024.0f);
  checkpoint.extra["model.layers.1.mlp.gate_proj.weight"] = std::vector<float>(width * ffn, 0x1p26f);
  checkpoint.extra["model.layers.1.mlp.up_proj.weight"] = std::vector<float>(width * ffn, 0x1p26f);
  const auto model = checkpoint.model();
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

TEST(Parallel, AModelThatCannotBeSplitIsRefused) {
  const auto model = Checkpoint{}.model();
  ASSERT_TRUE(model.ok());
  const auto share = DeviceWeights::make(*model, make_emulator(), {0, 3});
  ASSERT_FALSE(share.ok());
  EXPECT_EQ(share.status().code(), Code::usage);
}

}  // namespace
}  // namespace llmc
