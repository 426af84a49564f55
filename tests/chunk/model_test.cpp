// The same promises with the embedded model and the native engine.
#include <gtest/gtest.h>

#include <random>

#include "chunk/chunks.h"
#include "exact/kernels.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

using namespace test;

std::shared_ptr<const Model> model() {
  static const auto loaded = embedded_model();
  return loaded.ok() ? *loaded : nullptr;
}

std::unique_ptr<Engine> engine(std::string_view isa = "") {
  auto made = make_native_engine(model(), isa);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(*made) : nullptr;
}

Bytes text_of(const char* name, size_t from, size_t n) {
  const auto file = read_file(std::string(LLMC_SOURCE_DIR "/tests/data/text/") + name);
  EXPECT_TRUE(file.ok());
  if (!file.ok()) return {};
  return Bytes(file->begin() + from, file->begin() + from + n);
}

std::vector<Bytes> texts() {
  std::vector<Bytes> texts{text_of("alice29.txt", 3000, 2500), text_of("code.txt", 0, 1200), {}, {0xC3}};
  texts.push_back(text_of("fra.txt", 2000, 701));
  texts.push_back(text_of("irc.txt", 100, 40));
  std::mt19937 random(5);
  Bytes noise(300);
  for (auto& b : noise) b = static_cast<uint8_t>(random());
  texts.push_back(noise);
  for (size_t i = 0; i < noise.size(); i += 2) noise[i] = 'e';
  texts.push_back(noise);
  const ByteView special = as_bytes("<|endoftext|>\r\n\x00\xFF<|endoftext|> plain words after that, and some more of them.");
  texts.emplace_back(special.begin(), special.end());
  return texts;
}

TEST(ModelCodec, TheSameFramesInAnyCompanyAndBack) {
  const auto native = engine();
  ASSERT_TRUE(native);
  const auto all = texts();
  for (const CodecParameters& parameters : {CodecParameters{Codec::range, 128, 32}, CodecParameters{Codec::rank, 100, 0},
                                            CodecParameters{Codec::range, 0, 256}, CodecParameters{Codec::mix, 128, 32}}) {
    const ChunkCodec codec(native.get(), parameters);
    const auto frames = frames_of(codec, all, 1, 1);
    EXPECT_EQ(static_cast<Codec>(frames[0][5]), parameters.codec);
    EXPECT_LT(frames[0].size(), all[0].size() * 3 / 8);
    EXPECT_EQ(frames_of(codec, all, 4, 1), frames);
    EXPECT_EQ(frames_of(codec, all, 2, 3), frames);
    expect_back(codec, frames, all, 1, 1);
    expect_back(codec, frames, all, 16, 1);
    expect_back(codec, frames, all, 3, 2);
  }
}

TEST(ModelCodec, EveryInstructionSetReadsTheFramesOfTheOthers) {
  const std::vector<Bytes> one{text_of("wiki.txt", 500, 400)};
  const auto fastest = engine();
  ASSERT_TRUE(fastest);
  for (const CodecParameters& parameters : {CodecParameters{Codec::range, 64, 16}, CodecParameters{Codec::mix, 64, 16}}) {
    const auto frames = frames_of(ChunkCodec(fastest.get(), parameters), one, 1, 1);
    for (const auto& isa : available_isas()) {
      const auto other = engine(isa);
      ASSERT_TRUE(other) << isa;
      const ChunkCodec codec(other.get(), parameters);
      EXPECT_EQ(frames_of(codec, one, 1, 1), frames) << isa;
      expect_back(codec, frames, one, 1, 1);
    }
  }
}

// The bits of stored archives. These change with the embedded model, and with nothing else.
TEST(ModelCodec, GoldenFrames) {
  const auto native = engine();
  ASSERT_TRUE(native);
  const std::string digest = to_hex(model()->digest()).substr(0, 16);
  const std::vector<Bytes> one{text_of("alice29.txt", 3000, 1500)};
  const auto frame_digest = [&](const CodecParameters& parameters) {
    return to_hex(sha256(frames_of(ChunkCodec(native.get(), parameters), one, 1, 1)[0])).substr(0, 16);
  };
  EXPECT_EQ(frame_digest({Codec::range, 256, 64}), "f98ca3012b9f51e6") << "model " << digest;
  EXPECT_EQ(frame_digest({Codec::rank, 256, 64}), "fbef6345cc7ed5d6") << "model " << digest;
  EXPECT_EQ(frame_digest({Codec::mix, 256, 64}), "e6e8e8c32e649f26") << "model " << digest;
}

TEST(ModelCodec, MixingGainsWhereTextRepeatsAndLosesNowhere) {
  const auto native = engine();
  ASSERT_TRUE(native);
  std::vector<Bytes> texts{text_of("alice29.txt", 3000, 6000), text_of("code.txt", 0, 6000), text_of("fra.txt", 2000, 1000)};
  Bytes log;
  std::mt19937 random(9);
  for (int i = 0; i < 150; ++i) {
    const std::string line = "2031-04-05T06:" + std::to_string(10 + i / 7) + ":" + std::to_string(10 + random() % 50) +
                             " [INFO] http.server: GET /items/" + std::to_string(random() % 1000) + " 200\n";
    log.insert(log.end(), line.begin(), line.end());
  }
  texts.push_back(log);
  const auto mix = frames_of(ChunkCodec(native.get(), {Codec::mix, 0, 256}), texts, 2, 1);
  const auto range = frames_of(ChunkCodec(native.get(), {Codec::range, 0, 256}), texts, 2, 1);
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_LE(mix[i].size(), range[i].size() + range[i].size() / 1000 + 1) << i;
  EXPECT_LT(mix[3].size(), range[3].size() * 5 / 6);
}

TEST(ModelCodec, ADamagedFrameIsFoundOut) {
  const auto native = engine();
  ASSERT_TRUE(native);
  for (const CodecParameters& parameters : {CodecParameters{Codec::range, 64, 16}, CodecParameters{Codec::mix, 64, 16}}) {
    const Bytes text = text_of("alice29.txt", 9000, 200);
    const auto whole = encode_chunk(native.get(), parameters, 0, seed, text);
    ASSERT_TRUE(whole.ok());
    const auto parsed = parse_frame(*whole, seed);
    ASSERT_TRUE(parsed.ok());
    for (size_t i = 0; i < parsed->payload.size(); i += 5) {
      Bytes payload(parsed->payload.begin(), parsed->payload.end());
      payload[i] ^= 0x10;
      Frame frame = *parsed;
      frame.payload = payload;
      const auto outcome = decode_frame(native.get(), parameters, 0, seed, make_frame(frame, seed), 200);
      ASSERT_FALSE(outcome.ok());
      EXPECT_EQ(outcome.status().code(), Code::corrupt);
    }
  }
}

}  // namespace
}  // namespace llmc
