// What a range-coded frame costs against the entropy of the frequencies that it was coded with.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "chunk/codec.h"
#include "chunk/memory_feed.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

// Adds up, for each interval that is asked for, the bits that a perfect coder would spend.
class CountingSession final : public Session {
 public:
  CountingSession(std::unique_ptr<Session> session, double* bits) : session_(std::move(session)), bits_(bits) {}
  int streams() const override { return session_->streams(); }
  int max_rows() const override { return session_->max_rows(); }
  int context() const override { return session_->context(); }
  void reset(int stream) override { session_->reset(stream); }
  int length(int stream) const override { return session_->length(stream); }
  Status set_leaves(std::span<const uint32_t> symbols) override { return session_->set_leaves(symbols); }
  Status feed(std::span<const Row> rows, Ask ask) override { return session_->feed(rows, ask); }
  int range_error_layer(int stream) const override { return session_->range_error_layer(stream); }
  Interval interval(int row) override {
    const Interval i = session_->interval(row);
    *bits_ += std::log2(static_cast<double>(i.total)) - std::log2(static_cast<double>(i.weight));
    return i;
  }
  uint32_t rank(int row) override { return session_->rank(row); }
  std::span<const uint32_t> path(int row) override { return session_->path(row); }
  LeafWeights leaves(int row) override { return session_->leaves(row); }
  uint64_t total(int row) override { return session_->total(row); }
  Symbol find(int row, uint64_t target, Interval* i) override { return session_->find(row, target, i); }
  Symbol symbol_of_rank(int row, uint32_t rank) override { return session_->symbol_of_rank(row, rank); }
  Symbol found(int row, Interval* i) override { return session_->found(row, i); }
  std::span<const uint32_t> weights(int row) override { return session_->weights(row); }

 private:
  std::unique_ptr<Session> session_;
  double* bits_;
};

class CountingEngine final : public TokenEngine {
 public:
  CountingEngine(Engine* engine, double* bits) : engine_(make_token_engine(engine)), bits_(bits) {}
  const Tokenizer& tokenizer() const override { return engine_->tokenizer(); }
  Symbol start() const override { return engine_->start(); }
  int context() const override { return engine_->context(); }
  Result<std::unique_ptr<Session>> make_session(int streams) const override {
    LLMC_ASSIGN(std::unique_ptr<Session> session, engine_->make_session(streams));
    return std::unique_ptr<Session>(std::make_unique<CountingSession>(std::move(session), bits_));
  }

 private:
  std::unique_ptr<TokenEngine> engine_;
  double* bits_;
};

// The coder adds at most 2 parts in 10,000 and the bytes of its end.
TEST(Entropy, TheRangeCoderReachesTheEntropyOfTheFrequencies) {
  const auto model = embedded_model();
  ASSERT_TRUE(model.ok());
  const auto engine = make_native_engine(*model, "");
  ASSERT_TRUE(engine.ok());
  for (const char* name : {"alice29.txt", "code.txt", "deu.txt"}) {
    const auto file = read_file(std::string(LLMC_SOURCE_DIR "/tests/data/text/") + name);
    ASSERT_TRUE(file.ok()) << name;
    const Bytes text(file->begin(), file->begin() + 30000);
    double bits = 0;
    const ChunkCodec codec(std::make_unique<CountingEngine>(engine->get(), &bits), {Codec::range, 0, 256});
    const auto frame = codec.encode_one({0, 0, 1, static_cast<uint32_t>(text.size()), text});
    ASSERT_TRUE(frame.ok()) << name;
    const auto parsed = parse_frame(*frame, 1);
    ASSERT_TRUE(parsed.ok()) << name;
    ASSERT_EQ(parsed->codec, Codec::range);
    const double coded = 8.0 * static_cast<double>(parsed->payload.size());
    EXPECT_GT(coded, bits - 8) << name;
    EXPECT_LT(coded, bits * 1.0002 + 16) << name;
    RecordProperty(std::string(name) + " coded / entropy - 1", std::to_string(coded / bits - 1));
  }
}

}  // namespace
}  // namespace llmc
