// A text's answers, asked for at once, are those that its chunk is coded with.
#include "chunk/text_rows.h"

#include "chunk/chunks.h"
#include "chunk/stub_engine.h"
#include "coder/range_coder.h"

namespace llmc {
namespace {

using namespace test;

struct Setting {
  uint32_t window, carry;
  int max_rows;
};

TEST(TextRows, TheAnswersAreThoseOfTheCodec) {
  const Bytes text = slice(alice(), 40000, 900);
  for (const Setting& setting : {Setting{64, 0, 128}, {64, 16, 7}, {50, 49, 1000}, {2, 1, 1}}) {
    const auto stub = [&] { return std::make_unique<StubEngine>(ByteView(alice()).first(60000), StubOptions{.max_rows = setting.max_rows}); };
    const auto frame = frames_of(ChunkCodec(stub(), {Codec::range, setting.window, setting.carry}), {text})[0];
    const auto parsed = parse_frame(frame, seed);
    ASSERT_TRUE(parsed.ok());
    ASSERT_EQ(parsed->codec, Codec::range);

    const auto engine = stub();
    std::vector<Symbol> symbols, wanted;
    engine->tokenizer().encode(text, &symbols);
    const auto session = *engine->make_session(1);
    RangeEncoder out;
    const Status status = score_text(*session, engine->start(), symbols, WindowCursor(setting.window, setting.carry), Ask::intervals,
                                     [&](int row, Symbol want) -> Status {
                                       const Interval interval = session->interval(row);
                                       out.encode(interval.cum, interval.weight, interval.total);
                                       wanted.push_back(want);
                                       return {};
                                     });
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(wanted, symbols);
    EXPECT_EQ(out.finish(), Bytes(parsed->payload.begin(), parsed->payload.end())) << setting.window << " " << setting.carry;
  }
}

TEST(TextRows, ErrorsEndIt) {
  const StubEngine engine(ByteView(alice()).first(60000), {});
  const auto score = [&](std::string_view text, const TakeAnswer& take) {
    std::vector<Symbol> symbols;
    engine.tokenizer().encode(as_bytes(text), &symbols);
    return score_text(**engine.make_session(1), engine.start(), symbols, WindowCursor(64, 0), Ask::intervals, take).code();
  };
  int taken = 0;
  EXPECT_EQ(score("off with her head", [&](int, Symbol) { return Status(++taken < 3 ? Code::ok : Code::interrupted, ""); }), Code::interrupted);
  EXPECT_EQ(taken, 3);
  EXPECT_EQ(score("off ~~ with her head", [](int, Symbol) { return Status(); }), Code::range);
  EXPECT_EQ(score("", [](int, Symbol) { return Status(Code::failure, "there is nothing to take"); }), Code::ok);
}

}  // namespace
}  // namespace llmc
