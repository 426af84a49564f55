#include "chunk/codec.h"

#include <gtest/gtest.h>

#include <random>

#include "chunk/chunks.h"
#include "chunk/stub_engine.h"
#include "support/limited.h"

namespace llmc {
namespace {

using namespace test;

Bytes bytes_of(std::string_view text) {
  const ByteView view = as_bytes(text);
  return Bytes(view.begin(), view.end());
}

Bytes random_bytes(size_t n, uint64_t s) {
  std::mt19937_64 random(s);
  Bytes bytes(n);
  for (auto& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

// What a codec has to survive, in chunks.
std::vector<Bytes> corpus() {
  std::vector<Bytes> texts;
  texts.push_back({});
  for (int b : {0, 7, 97, 0x80, 0xFF}) texts.push_back({static_cast<uint8_t>(b)});
  texts.push_back(bytes_of("the"));
  for (size_t n : {2, 63, 64, 65, 127, 128, 129, 600, 3000}) texts.push_back(slice(alice(), 1000 + n, n));
  texts.push_back(random_bytes(777, 1));
  texts.push_back(Bytes(5000, ' '));
  texts.push_back(Bytes(5000, 0xFF));  // all escapes
  Bytes e_acute;
  for (int i = 0; i < 200; ++i) {
    e_acute.push_back(0xC3);
    e_acute.push_back(0xA9);
  }
  texts.push_back(slice(e_acute, 1, 301));  // borders inside characters
  Bytes dirty = slice(alice(), 0, 1500);
  for (size_t i = 100; i < dirty.size(); i += 97) dirty[i] = static_cast<uint8_t>(0xF5 + i % 11);
  texts.push_back(dirty);
  texts.push_back(bytes_of("<|endoftext|>\r\n\r\n\0 mixed <s></s>"));
  return texts;
}

ChunkCodec stub_codec(const CodecParameters& parameters, const StubOptions& options = {}) {
  return ChunkCodec(std::make_unique<StubEngine>(ByteView(alice()).first(60000), options), parameters);
}

Codec codec_of(const Bytes& frame) { return static_cast<Codec>(frame[5]); }

struct Setting {
  CodecParameters parameters;
  StubOptions options;
};
void PrintTo(const Setting& s, std::ostream* out) {
  *out << "codec " << static_cast<int>(s.parameters.codec) << ", window " << s.parameters.window << ", carry "
       << s.parameters.carry << ", context " << s.options.context << ", rows " << s.options.max_rows;
}

class RoundTrip : public testing::TestWithParam<Setting> {};

TEST_P(RoundTrip, AnyTextInAnyCompany) {
  ASSERT_FALSE(alice().empty());
  const auto& [parameters, options] = GetParam();
  const ChunkCodec codec = stub_codec(parameters, options);
  const std::vector<Bytes> texts = corpus();
  const std::vector<Bytes> frames = frames_of(codec, texts, 1, 1);
  size_t by_model = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LE(frames[i].size(), texts[i].size() + frame_header_bytes);
    by_model += codec_of(frames[i]) == parameters.codec;
  }
  EXPECT_GT(by_model, 4u) << codec_name(parameters.codec);
  for (const auto& [streams, threads] : {std::pair{1, 1}, {3, 1}, {40, 1}, {2, 3}, {5, 8}}) {
    EXPECT_EQ(frames_of(codec, texts, streams, threads), frames) << streams << " streams, " << threads << " threads";
    expect_back(codec, frames, texts, streams, threads);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, RoundTrip,
    testing::Values(Setting{{Codec::range, 0, 0}, {}},                          //
                    Setting{{Codec::range, 0, 32}, {}},                         //
                    Setting{{Codec::range, 0, 63}, {}},                         // a later window codes one token
                    Setting{{Codec::range, 1, 0}, {}},                          // a window of the start token alone
                    Setting{{Codec::range, 2, 1}, {.context = 5, .max_rows = 1}},
                    Setting{{Codec::range, 50, 13}, {.max_rows = 7}},
                    Setting{{Codec::range, 0, 32}, {.max_rows = 1000, .lacks_bytes = false}},
                    Setting{{Codec::rank, 0, 16}, {}},                          //
                    Setting{{Codec::rank, 0, 0}, {.max_rows = 3, .lacks_bytes = false}},
                    Setting{{Codec::mix, 0, 32}, {}},                           //
                    Setting{{Codec::mix, 50, 13}, {.max_rows = 7}},
                    Setting{{Codec::mix, 2, 1}, {.context = 5, .max_rows = 1, .lacks_bytes = false}},
                    Setting{{Codec::zstd, 0, 0}, {}}));

TEST(ChunkCodec, ManyTinyChunksRefillTheStreams) {
  std::mt19937_64 random(4);
  std::vector<Bytes> texts;
  for (int i = 0; i < 700; ++i) texts.push_back(slice(alice(), random() % 100000, random() % 90));
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  const auto frames = frames_of(codec, texts, 16, 1);
  EXPECT_EQ(frames_of(codec, texts, 3, 4), frames);
  expect_back(codec, frames, texts, 7, 8);
}

// A session of an idle thread, or a stream without a chunk, would cost a cache for nothing.
TEST(ChunkCodec, NoMoreStreamsThanChunks) {
  std::atomic<int> made{0};
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32}, {.streams_made = &made});
  const std::vector<Bytes> texts = {slice(alice(), 0, 300), slice(alice(), 300, 200), slice(alice(), 500, 400)};
  const auto frames = frames_of(codec, texts, 1, 1);
  EXPECT_EQ(made.exchange(0), 1);
  for (const auto& [streams, threads] : {std::pair{4, 50}, {50, 1}, {9, 2}}) {
    EXPECT_EQ(frames_of(codec, texts, streams, threads), frames);
    EXPECT_LE(made.exchange(0), 4) << streams << " streams, " << threads << " threads";
    expect_back(codec, frames, texts, streams, threads);
    EXPECT_LE(made.exchange(0), 4) << streams << " streams, " << threads << " threads";
  }
}

TEST(ChunkCodec, TokensAreReportedOnce) {
  const Bytes text = slice(alice(), 5000, 2000);
  const StubTokenizer tokenizer(true);
  std::vector<Symbol> symbols;
  tokenizer.encode(text, &symbols);
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  MemoryFeed in(items_of({text}));
  ASSERT_TRUE(codec.encode(in, 2).ok());
  EXPECT_EQ(in.tokens(), symbols.size());
  MemoryFeed out(items_of({text}, {*in.outcomes()[0]}));
  ASSERT_TRUE(codec.decode(out, 2).ok());
  EXPECT_EQ(out.tokens(), symbols.size());
}

TEST(ChunkCodec, RandomBytesAreStored) {
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  const Bytes noise = random_bytes(20000, 3);
  const auto frames = frames_of(codec, {noise}, 1, 1);
  EXPECT_EQ(codec_of(frames[0]), Codec::stored);
  EXPECT_EQ(frames[0].size(), noise.size() + frame_header_bytes);
}

TEST(ChunkCodec, RepetitionGoesToZstd) {
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  Bytes text;
  for (int i = 0; i < 50; ++i) {
    const Bytes part = slice(alice(), 3000, 1000);
    text.insert(text.end(), part.begin(), part.end());
  }
  const auto frames = frames_of(codec, {text}, 1, 1);
  EXPECT_EQ(codec_of(frames[0]), Codec::zstd);
  EXPECT_LT(frames[0].size(), 1000u);
}

TEST(ChunkCodec, OutOfRangeActivationsFallBackInAnyCompany) {
  Bytes bad = slice(alice(), 2000, 1500);
  bad[700] = bad[701] = '~';
  const std::vector<Bytes> texts{slice(alice(), 100, 900), bad, slice(alice(), 9000, 1100)};
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  const auto frames = frames_of(codec, texts, 1, 1);
  EXPECT_EQ(codec_of(frames[0]), Codec::range);
  EXPECT_EQ(codec_of(frames[1]), Codec::zstd);
  EXPECT_EQ(codec_of(frames[2]), Codec::range);
  EXPECT_EQ(frames_of(codec, texts, 3, 1), frames);
  EXPECT_EQ(frames_of(codec, texts, 2, 2), frames);
  expect_back(codec, frames, texts, 3, 1);
}

TEST(ChunkCodec, WithoutAModel) {
  const std::vector<Bytes> texts{{}, slice(alice(), 0, 30000), random_bytes(1000, 5), Bytes(100000, 'x')};
  const ChunkCodec zstd(static_cast<Engine*>(nullptr), {Codec::zstd, 0, 0});
  const auto frames = frames_of(zstd, texts, 1, 2);
  EXPECT_EQ(codec_of(frames[0]), Codec::stored);
  EXPECT_EQ(codec_of(frames[1]), Codec::zstd);
  EXPECT_EQ(codec_of(frames[2]), Codec::stored);
  EXPECT_LT(frames[1].size(), 13000u);
  expect_back(zstd, frames, texts, 1, 2);

  const ChunkCodec stored(static_cast<Engine*>(nullptr), {Codec::stored, 0, 0});
  for (const Bytes& frame : frames_of(stored, texts, 1, 1)) EXPECT_EQ(codec_of(frame), Codec::stored);

  const ChunkCodec range(static_cast<Engine*>(nullptr), {Codec::range, 0, 0});
  MemoryFeed feed(items_of(texts));
  EXPECT_EQ(range.encode(feed, 1).code(), Code::model);
  const auto modelled = frames_of(stub_codec({Codec::range, 0, 0}), {slice(alice(), 0, 3000)}, 1, 1);
  ASSERT_EQ(codec_of(modelled[0]), Codec::range);
  const auto refused = read_back(zstd, modelled, {slice(alice(), 0, 3000)}, 1, 1);
  EXPECT_EQ(refused[0].status().code(), Code::model);
}

TEST(ChunkCodec, OneAlone) {
  const ChunkCodec codec = stub_codec({Codec::rank, 0, 8});
  const Bytes text = slice(alice(), 50, 999);
  auto frame = codec.encode_one({0, frame_any_chunk, 0, 0, text});
  ASSERT_TRUE(frame.ok());
  auto back = codec.decode_one({0, frame_any_chunk, 0, 999, *frame});
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, text);
  const CodecParameters zstd{Codec::zstd, 0, 0};
  frame = encode_chunk(nullptr, zstd, 3, seed, text);
  ASSERT_TRUE(frame.ok());
  back = decode_frame(nullptr, zstd, 3, seed, *frame, 999);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, text);
}

TEST(ChunkCodec, MisplacedFramesAreNamed) {
  const ChunkCodec codec = stub_codec({Codec::range, 0, 8});
  const Bytes text = slice(alice(), 50, 999);
  const auto frame = codec.encode_one({0, 5, seed, 0, text});
  ASSERT_TRUE(frame.ok());
  for (const ChunkItem& wrong : {ChunkItem{0, 6, seed, 999, *frame}, ChunkItem{0, 5, seed + 1, 999, *frame},
                                 ChunkItem{0, 5, seed, 998, *frame}, ChunkItem{0, 5, seed, 0xFFFFFFFF, *frame}}) {
    const auto outcome = codec.decode_one(wrong);
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.status().code(), Code::corrupt);
    EXPECT_EQ(outcome.status().message().find("chunk " + std::to_string(wrong.chunk) + ":"), 0u);
  }
}

TEST(ChunkCodec, EveryFlippedByteGivesAStatus) {
  for (Codec kind : {Codec::range, Codec::rank, Codec::zstd}) {
    const ChunkCodec codec = stub_codec({kind, 0, 32});
    const Bytes text = slice(alice(), 20000, 400);
    const auto frame = codec.encode_one({0, 1, seed, 0, text});
    ASSERT_TRUE(frame.ok());
    ASSERT_EQ(codec_of(*frame), kind);
    for (size_t i = 0; i < frame->size(); ++i) {
      for (int flip : {1, 0x80, 0xFF}) {
        Bytes damaged = *frame;
        damaged[i] ^= static_cast<uint8_t>(flip);
        const auto outcome = codec.decode_one({0, 1, seed, 400, damaged});
        ASSERT_FALSE(outcome.ok()) << i;
        EXPECT_EQ(outcome.status().code(), Code::corrupt);
      }
    }
  }
}

// Damage that the frame's own checksum does not show: what a hostile hand makes.
TEST(ChunkCodec, HostilePayloadsGiveAStatusOrTheRightBytes) {
  std::mt19937_64 random(8);
  for (Codec kind : {Codec::range, Codec::rank, Codec::zstd, Codec::stored}) {
    const ChunkCodec codec = stub_codec({kind, 0, 32});
    const Bytes text = slice(alice(), 20000, 300);
    const auto whole = codec.encode_one({0, 1, seed, 0, text});
    ASSERT_TRUE(whole.ok());
    const auto parsed = parse_frame(*whole, seed);
    ASSERT_TRUE(parsed.ok());
    const Bytes payload(parsed->payload.begin(), parsed->payload.end());
    for (int trial = 0; trial < 400; ++trial) {
      Frame frame = *parsed;
      Bytes damaged = payload;
      switch (trial % 5) {
        case 0: damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 + random() % 255); break;
        case 1: damaged.resize(random() % damaged.size()); break;
        case 2: damaged = random_bytes(random() % 290, trial); break;
        case 3: frame.tokens = 1 + random() % 300; break;
        case 4: frame.text_crc ^= 1u << random() % 32; break;
      }
      if (kind == Codec::stored) damaged.resize(300);
      if (kind == Codec::stored || kind == Codec::zstd) frame.tokens = 0;
      frame.payload = damaged;
      const auto outcome = codec.decode_one({0, 1, seed, 300, make_frame(frame, seed)});
      if (outcome.ok()) {
        EXPECT_EQ(*outcome, text);
      } else {
        EXPECT_EQ(outcome.status().code(), Code::corrupt);
      }
    }
  }
}

TEST(ChunkCodec, HostileSizesCostNoMemoryAndNoTime) {
  ASSERT_TRUE(test::a_gibibyte_is_too_much());
  // mix has tables of up to 4 Mi places, whatever is claimed.
  const auto refused = [](Codec by, uint32_t tokens, const Bytes& payload, const char* what) {
    EXPECT_EQ(test::within(by == Codec::mix ? 384 : 48, [&] {
      Frame frame;
      frame.chunk = 1;
      frame.text_size = max_chunk_bytes;
      frame.codec = by;
      frame.tokens = tokens;
      frame.payload = payload;
      return stub_codec({Codec::range, 0, 32}).decode_one({0, 1, seed, max_chunk_bytes, make_frame(frame, seed)}).status().code() == Code::corrupt;
    }), "") << codec_name(by) << " " << what;
  };
  for (const size_t size : {50u, 100'000u}) {
    const Bytes payload = random_bytes(size, 6);
    refused(Codec::zstd, 0, payload, "of random bytes");
    // As many tokens as bytes: refused at the first token of two bytes.
    for (const Codec by : {Codec::range, Codec::mix, Codec::rank}) refused(by, max_chunk_bytes, payload, "of random bytes");
  }
  // What begins well: a zstd frame of a megabyte that claims to be a gibibyte's, and one that was cut off.
  Bytes text(1 << 20, 'x');
  for (size_t i = 0; i < text.size(); i += 11) text[i] = static_cast<uint8_t>(i * i * i >> 7);
  const auto whole = stub_codec({Codec::zstd, 0, 32}).encode_one({0, 1, seed, 0, text});
  ASSERT_TRUE(whole.ok());
  Bytes payload(whole->begin() + frame_header_bytes, whole->end());
  ASSERT_GT(payload.size(), 40'000u) << "enough that a gibibyte could come of it";
  refused(Codec::zstd, 0, payload, "of a shorter text");
  payload.resize(payload.size() - 9);
  refused(Codec::zstd, 0, payload, "cut off");
}

TEST(ChunkCodec, WindowsThatDoNotFitAreRefused) {
  MemoryFeed feed(items_of({bytes_of("x")}));
  EXPECT_EQ(stub_codec({Codec::range, 65, 0}).encode(feed, 1).code(), Code::model);
  EXPECT_EQ(stub_codec({Codec::range, 65, 0}).decode(feed, 1).code(), Code::model);
  EXPECT_EQ(stub_codec({Codec::range, 0, 64}).encode(feed, 1).code(), Code::usage);
  EXPECT_EQ(stub_codec({Codec::range, 10, 10}).encode(feed, 1).code(), Code::usage);
}

TEST(ChunkCodec, AFailingSessionEndsTheWorkAndNamesTheChunks) {
  const std::vector<Bytes> texts{slice(alice(), 0, 500), slice(alice(), 500, 500)};
  const auto frames = frames_of(stub_codec({Codec::range, 0, 32}), texts, 1, 1);
  for (bool encode : {true, false}) {
    const ChunkCodec codec = stub_codec({Codec::range, 0, 32}, {.fail_feed = 3});
    MemoryFeed feed(items_of(texts, encode ? texts : frames));
    const Status status = encode ? codec.encode(feed, 2) : codec.decode(feed, 2);
    EXPECT_EQ(status.code(), Code::failure);
    EXPECT_EQ(feed.outcomes()[0].status().message(), "chunk 0: the stub was told to fail");
  }
}

class StopAfter final : public ChunkFeed {
 public:
  StopAfter(MemoryFeed& feed, uint64_t tokens) : feed_(feed), tokens_(tokens) {}
  bool next(ChunkItem* item, int held, bool wait) override { return feed_.next(item, held, wait); }
  void finished(uint64_t ticket, Result<Bytes> outcome) override { feed_.finished(ticket, std::move(outcome)); }
  void progress(uint64_t tokens) override { feed_.progress(tokens); }
  bool stopped() const override { return feed_.tokens() >= tokens_; }

 private:
  MemoryFeed& feed_;
  uint64_t tokens_;
};

TEST(ChunkCodec, StopsInTheMiddle) {
  const std::vector<Bytes> texts(20, slice(alice(), 0, 500));
  const ChunkCodec codec = stub_codec({Codec::range, 0, 32});
  const auto frames = frames_of(codec, texts, 1, 1);
  for (bool encode : {true, false}) {
    MemoryFeed memory(items_of(texts, encode ? texts : frames));
    StopAfter feed(memory, 1200);
    const Status status = encode ? codec.encode(feed, 2) : codec.decode(feed, 2);
    EXPECT_EQ(status.code(), Code::interrupted);
    EXPECT_LT(memory.tokens(), 1200u + 50);
    EXPECT_FALSE(memory.outcomes().back().ok());
  }
  MemoryFeed memory(items_of(texts));
  memory.stop();
  EXPECT_EQ(codec.encode(memory, 2).code(), Code::interrupted);
  EXPECT_EQ(codec.decode(memory, 2).code(), Code::interrupted);
  EXPECT_EQ(memory.tokens(), 0u);
}

TEST(CodecParameters, ComeBack) {
  const CodecParameters parameters{Codec::rank, 1024, 512};
  EXPECT_EQ(to_hex(parameters.serialize()), "04" "00040000" "00020000");
  const auto parsed = CodecParameters::parse(parameters.serialize());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->codec, Codec::rank);
  EXPECT_EQ(parsed->window, 1024u);
  EXPECT_EQ(parsed->carry, 512u);
}

TEST(CodecParameters, HostileBytes) {
  const Bytes good = CodecParameters{Codec::range, 8, 7}.serialize();
  for (size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(CodecParameters::parse(ByteView(good).first(n)).ok());
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_EQ(CodecParameters::parse(longer).status().code(), Code::corrupt);
  for (int codec = 0; codec < 256; ++codec) {
    Bytes other = good;
    other[0] = static_cast<uint8_t>(codec);
    EXPECT_EQ(CodecParameters::parse(other).ok(), codec <= 4) << codec;
  }
  EXPECT_EQ(CodecParameters::parse(CodecParameters{Codec::range, 8, 8}.serialize()).status().code(), Code::corrupt);
}

TEST(FrameSeed, DependsOnAllThatItNames) {
  Digest model{};
  const CodecParameters parameters{Codec::range, 0, 512};
  const Bytes text = bytes_of("first chunk");
  const uint32_t base = frame_seed(model, parameters, 0, text);
  EXPECT_EQ(base, frame_seed(model, parameters, 0, text));
  EXPECT_NE(base, frame_seed(model, parameters, 1, text));
  EXPECT_NE(base, frame_seed(model, {Codec::range, 0, 511}, 0, text));
  EXPECT_NE(base, frame_seed(model, parameters, 0, bytes_of("other chunk")));
  model[31] = 1;
  EXPECT_NE(base, frame_seed(model, parameters, 0, text));
}

}  // namespace
}  // namespace llmc
