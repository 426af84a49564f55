// Frames of the mix codec between an emulated GPU and the native engine: the same bytes, and each reads the other's.
#include <gtest/gtest.h>

#include <cstdlib>

#include "../model/transcript.h"
#include "chunk/chunks.h"
#include "cuda/device_engine.h"
#include "emulator.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

using namespace test;

// Texts of every kind that a small vocabulary knows, some too short or too strange to shrink.
std::vector<Bytes> texts(size_t bytes) {
  std::vector<Bytes> out;
  for (const char* name : {"alice29.txt", "code.txt", "deu.txt"}) {
    auto text = read_file(source(std::string("tests/data/text/") + name));
    EXPECT_TRUE(text.ok());
    out.emplace_back(text->begin() + 500, text->begin() + 500 + static_cast<ptrdiff_t>(bytes));
  }
  Bytes again;
  while (again.size() < 3 * bytes) again.insert(again.end(), out[1].begin(), out[1].begin() + 20);
  out.push_back(again);
  std::minstd_rand random(5);
  Bytes noise(bytes / 4);
  for (uint8_t& b : noise) b = static_cast<uint8_t>(random() >> 8);
  out.push_back(noise);
  return out;
}

std::vector<Bytes> coded(Engine& engine, Codec codec, const std::vector<Bytes>& plain, int streams) {
  return frames_of(ChunkCodec(&engine, {codec, 0, 16}), plain, streams, 1);
}

std::vector<Result<Bytes>> decoded(Engine& engine, const std::vector<Bytes>& frames, const std::vector<Bytes>& plain, int streams) {
  return read_back(ChunkCodec(&engine, {Codec::mix, 0, 16}), frames, plain, streams, 1);
}

struct Engines {
  explicit Engines(int activations, bool escape = false) {
    Checkpoint checkpoint;
    checkpoint.config["max_position_embeddings"] = 64;
    if (escape) {
      checkpoint.tokenizer = source("tests/data/tokenizers/smollm2.json");
      checkpoint.config["vocab_size"] = 49152;
    }
    const auto model = checkpoint.model(activations);
    EXPECT_TRUE(model.ok()) << model.status().message();
    auto a = make_native_engine(*model);
    auto b = make_device_engine(*model, []() -> Result<std::unique_ptr<Device>> { return make_emulator({ThreadOrder::mixed}); },
                                {false, 64, 16});
    EXPECT_TRUE(a.ok() && b.ok());
    native = std::move(*a);
    gpu = std::move(*b);
  }
  std::unique_ptr<Engine> native, gpu;
};

void expect_same(Engines& engines, const std::vector<Codec>& codecs, const std::vector<Bytes>& plain) {
  for (const Codec codec : codecs) {
    const std::vector<Bytes> frames = coded(*engines.native, codec, plain, 3);
    const auto first = parse_frame(frames[0], seed);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(first->codec, codec);
    EXPECT_EQ(coded(*engines.gpu, codec, plain, 2), frames);
    const auto back = decoded(*engines.gpu, frames, plain, 4);
    for (size_t i = 0; i < plain.size(); ++i) {
      ASSERT_TRUE(back[i].ok()) << back[i].status().message();
      EXPECT_EQ(*back[i], plain[i]) << i;
    }
  }
}

TEST(DeviceCodec, FramesAreThoseOfTheNativeEngineBothWays) {
  Engines engines(8);
  const bool all = std::getenv("LLMC_LONG") != nullptr;  // an emulated GPU takes its time
  expect_same(engines, {Codec::mix, Codec::range, Codec::rank}, texts(all ? 250 : 50));
}

TEST(DeviceCodec, AlsoWithEscapesAndAnOddVocabulary) {
  Engines engines(16, true);
  std::vector<Bytes> plain = texts(48);
  plain.resize(1);
  plain[0].insert(plain[0].end() - 20, {0xFF, 0xC0});
  expect_same(engines, {Codec::mix}, plain);
}

// A pass asks for what serves all of its streams: leaves and searches, or whole tables.
TEST(DeviceCodec, CodecsMayMeetInOneSession) {
  Engines engines(8);
  const std::vector<Bytes> plain = texts(50);
  std::vector<Bytes> frames = coded(*engines.native, Codec::mix, plain, 3);
  for (const Codec other : {Codec::range, Codec::rank}) {
    frames[other == Codec::range ? 1 : 2] = coded(*engines.native, other, plain, 3)[other == Codec::range ? 1 : 2];
    const auto back = decoded(*engines.gpu, frames, plain, 5);
    for (size_t i = 0; i < plain.size(); ++i) {
      ASSERT_TRUE(back[i].ok()) << back[i].status().message();
      EXPECT_EQ(*back[i], plain[i]);
    }
  }
}

TEST(DeviceCodec, DamagedFramesAreRefusedAsByTheNativeEngine) {
  Engines engines(8);
  const std::vector<Bytes> plain(6, texts(60)[1]);
  std::vector<Bytes> frames = coded(*engines.native, Codec::mix, plain, 3);
  std::minstd_rand random(9);
  for (size_t i = 0; i + 1 < frames.size(); ++i) {
    // Bits of the payload, with a header that fits them: what the walk is led by.
    auto parsed = parse_frame(frames[i], seed);
    ASSERT_TRUE(parsed.ok());
    Frame frame = *parsed;
    Bytes payload(frame.payload.begin(), frame.payload.end());
    if (i % 2) payload.resize(payload.size() / 2);
    for (int k = 0; k < 3; ++k) payload[random() % payload.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    frame.payload = payload;
    frames[i] = make_frame(frame, seed);
  }
  const auto a = decoded(*engines.native, frames, plain, 3), b = decoded(*engines.gpu, frames, plain, 6);
  for (size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(a[i].ok(), i + 1 == frames.size());
    EXPECT_EQ(a[i].status().message(), b[i].status().message());
  }
}

}  // namespace
}  // namespace llmc
