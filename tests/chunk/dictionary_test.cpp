// Chunks that begin with a dictionary: round trips, independence of the schedule, damage, hostile sizes.
#include <gtest/gtest.h>

#include <random>

#include "chunk/chunks.h"
#include "chunk/stub_engine.h"

namespace llmc {
namespace {

using namespace test;

// Lines of a log: what they share is in no model.
Bytes log_lines(uint32_t from, uint32_t count) {
  std::string text;
  for (uint32_t i = from; i < from + count; ++i) {
    text += "host" + std::to_string(i * 7919 % 13) + " kernel: [" + std::to_string(i * 31337) + "] eth0: link status " +
            (i * 2654435761u >> 31 ? "up" : "down") + ", queue " + std::to_string(i % 5) + "\n";
  }
  return Bytes(text.begin(), text.end());
}

ChunkCodec stub_codec(const CodecParameters& parameters = {Codec::mix, 0, 16}) {
  return ChunkCodec(std::make_unique<StubEngine>(ByteView(alice()).first(60000), StubOptions{.lacks_bytes = true}), parameters);
}

Bytes dictionary_of(const ChunkCodec& codec, Bytes text, uint32_t chunk_bytes = 1000, std::vector<Bytes> sample = {}) {
  MemoryFeed feed({});
  auto frame = codec.make_dictionary({seed, chunk_bytes, 1000, std::move(text), std::move(sample)}, feed);
  EXPECT_TRUE(frame.ok()) << frame.status().message();
  return frame.ok() ? *frame : Bytes();
}

std::vector<Bytes> texts() {
  std::vector<Bytes> all;
  for (uint32_t i = 0; i < 12; ++i) all.push_back(log_lines(1000 + 20 * i, 15));
  all.push_back(slice(alice(), 70000, 700));
  all.push_back({7, 0xFF, 0xC0, 'a', 7});
  all.push_back({});
  return all;
}

size_t bytes_of(const std::vector<Bytes>& frames) {
  size_t sum = 0;
  for (const Bytes& frame : frames) sum += frame.size();
  return sum;
}

TEST(Dictionary, ChunksComeBackAndShrink) {
  const ChunkCodec codec = stub_codec();
  const auto dictionary = std::make_shared<const Bytes>(dictionary_of(codec, log_lines(0, 40)));
  ASSERT_FALSE(dictionary->empty());
  EXPECT_EQ(static_cast<Codec>((*dictionary)[5]), Codec::dictionary);
  const auto plain = texts();
  const auto cold = frames_of(codec, plain, nullptr), primed = frames_of(codec, plain, dictionary);
  EXPECT_LT(bytes_of(primed) * 10, bytes_of(cold) * 8);
  EXPECT_EQ(static_cast<Codec>(primed[0][5]), Codec::primed);
  // In a codec that has not made it, and with frames of both kinds side by side.
  const ChunkCodec other = stub_codec();
  std::vector<Bytes> both = primed, expected = plain;
  both.insert(both.end(), cold.begin(), cold.end());
  expected.insert(expected.end(), plain.begin(), plain.end());
  for (size_t i = 0; i < cold.size(); ++i) both[cold.size() + i] = cold[i];
  std::vector<ChunkItem> items;
  for (size_t i = 0; i < both.size(); ++i) {
    items.push_back({0, static_cast<uint32_t>(i % plain.size()), seed, static_cast<uint32_t>(expected[i].size()), both[i], 0, dictionary});
  }
  MemoryFeed feed(std::move(items));
  ASSERT_TRUE(other.decode(feed, 5).ok());
  for (size_t i = 0; i < both.size(); ++i) {
    ASSERT_TRUE(feed.outcomes()[i].ok()) << feed.outcomes()[i].status().message();
    EXPECT_TRUE(*feed.outcomes()[i] == expected[i]) << i;
  }
  // A dictionary is decoded like a chunk where it is asked for itself.
  auto text = other.decode_one({0, frame_dictionary, seed, static_cast<uint32_t>(log_lines(0, 40).size()), *dictionary});
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_TRUE(*text == log_lines(0, 40));
}

TEST(Dictionary, TheScheduleDecidesNothing) {
  const ChunkCodec codec = stub_codec();
  const auto dictionary = std::make_shared<const Bytes>(dictionary_of(codec, log_lines(0, 30)));
  const auto plain = texts();
  const auto once = frames_of(codec, plain, dictionary, 1, 1);
  for (const auto& [streams, threads] : {std::pair{16, 1}, {3, 2}, {2, 3}}) {
    const ChunkCodec fresh = stub_codec();
    EXPECT_TRUE(dictionary_of(fresh, log_lines(0, 30)) == *dictionary);
    EXPECT_TRUE(frames_of(fresh, plain, dictionary, streams, threads) == once) << streams << " " << threads;
    const ChunkCodec learner = stub_codec();  // learns it by decoding, many threads at once
    EXPECT_TRUE(frames_of(learner, plain, dictionary, streams, threads) == once) << streams << " " << threads;
    auto back = read_back(stub_codec(), once, plain, dictionary, streams, threads);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(back[i].ok() && *back[i] == plain[i]) << i;
  }
  // Several dictionaries in turn, more than are kept.
  const ChunkCodec many = stub_codec();
  std::vector<std::shared_ptr<const Bytes>> all;
  for (uint32_t d = 0; d < 4; ++d) all.push_back(std::make_shared<const Bytes>(dictionary_of(codec, log_lines(500 * d, 20))));
  for (int round = 0; round < 2; ++round) {
    for (const auto& d : all) EXPECT_TRUE(frames_of(many, {plain[0], plain[1]}, d) == frames_of(stub_codec(), {plain[0], plain[1]}, d));
  }
}

TEST(Dictionary, WithoutItNothingIsDecoded) {
  const ChunkCodec codec = stub_codec();
  const auto dictionary = std::make_shared<const Bytes>(dictionary_of(codec, log_lines(0, 30)));
  const auto another = std::make_shared<const Bytes>(dictionary_of(codec, log_lines(5000, 30)));
  const std::vector<Bytes> plain = {texts()[0]};
  const auto frames = frames_of(codec, plain, dictionary);
  const auto none = read_back(codec, frames, plain, nullptr);
  EXPECT_EQ(none[0].status().code(), Code::corrupt);
  EXPECT_NE(none[0].status().message().find("dictionary"), std::string::npos) << none[0].status().message();
  EXPECT_EQ(read_back(codec, frames, plain, another)[0].status().code(), Code::corrupt);
}

TEST(Dictionary, ADamagedOneIsNamed) {
  const ChunkCodec codec = stub_codec();
  const Bytes good = dictionary_of(codec, log_lines(0, 12));
  const std::vector<Bytes> plain = {texts()[0]};
  const auto frames = frames_of(codec, plain, std::make_shared<const Bytes>(good));
  for (size_t at = 0; at < good.size(); at += 7) {
    Bytes bad = good;
    bad[at] ^= 1 << at % 8;
    const auto outcome = std::move(read_back(codec, frames, plain, std::make_shared<const Bytes>(bad))[0]);
    ASSERT_EQ(outcome.status().code(), Code::corrupt) << at;
    ASSERT_NE(outcome.status().message().find("dictionary of its shard"), std::string::npos) << outcome.status().message();
    // Its checksum made to fit: the text's does not, or the payload is none.
    Frame frame;
    size_t size = 0;
    if (!peek_frame(bad, &frame, &size) || size != bad.size()) continue;
    const auto forged = std::make_shared<const Bytes>(make_frame(frame, seed));
    if (*forged == good) continue;
    const auto result = std::move(read_back(codec, frames, plain, forged)[0]);
    ASSERT_TRUE(!result.ok() || *result == plain[0]) << at;
  }
}

TEST(Dictionary, HostileRooms) {
  const ChunkCodec codec = stub_codec();
  const Bytes good = dictionary_of(codec, log_lines(0, 12));
  const std::vector<Bytes> plain = {texts()[0]};
  const auto frames = frames_of(codec, plain, std::make_shared<const Bytes>(good));
  for (const uint32_t room : {0u, 1u, 1u << 30, 0xFFFFFFFFu}) {
    Frame frame;
    size_t size = 0;
    ASSERT_TRUE(peek_frame(good, &frame, &size));
    Bytes payload(frame.payload.begin(), frame.payload.end());
    for (int i = 0; i < 4; ++i) payload[static_cast<size_t>(i)] = static_cast<uint8_t>(room >> (8 * i));
    frame.payload = payload;
    const auto outcome = std::move(read_back(codec, frames, plain, std::make_shared<const Bytes>(make_frame(frame, seed)))[0]);
    EXPECT_TRUE(outcome.ok() ? *outcome == plain[0] : outcome.status().code() == Code::corrupt) << room;
    EXPECT_TRUE(room >= 2 || !outcome.ok()) << room;
  }
  // As a chunk of its shard, and a chunk as a dictionary.
  EXPECT_FALSE(read_back(codec, {good}, {log_lines(0, 12)}, nullptr)[0].ok());
  EXPECT_FALSE(read_back(codec, frames, plain, std::make_shared<const Bytes>(frames[0]))[0].ok());
  EXPECT_FALSE(read_back(codec, frames, plain, std::make_shared<const Bytes>())[0].ok());
}

TEST(Dictionary, OnlyWhereItIsWorthIt) {
  const ChunkCodec codec = stub_codec();
  std::mt19937_64 random(3);
  Bytes noise(2000);
  for (uint8_t& b : noise) b = static_cast<uint8_t>(random());
  EXPECT_TRUE(dictionary_of(codec, noise).empty());
  EXPECT_TRUE(dictionary_of(codec, {}).empty());
  const std::vector<Bytes> logs = {log_lines(700, 20), log_lines(900, 20)}, prose = {slice(alice(), 80000, 900), slice(alice(), 90000, 900)};
  EXPECT_FALSE(dictionary_of(codec, log_lines(0, 30), 1000, logs).empty());
  EXPECT_TRUE(dictionary_of(codec, log_lines(0, 30), 1000, prose).empty());
  EXPECT_TRUE(dictionary_of(codec, log_lines(0, 30), 1000, prose) == dictionary_of(codec, log_lines(0, 30), 1000, prose));
}

TEST(Dictionary, NoChunkIsLargerThanByTheRangeCodec) {
  const ChunkCodec codec = stub_codec(), range = stub_codec({Codec::range, 0, 16});
  // A dictionary that speaks of other things.
  const auto dictionary = std::make_shared<const Bytes>(dictionary_of(codec, log_lines(0, 60)));
  for (size_t at = 60000; at < 80000; at += 1700) {
    const std::vector<Bytes> plain = {slice(alice(), at, 40 + at % 700)};
    EXPECT_LE(frames_of(codec, plain, dictionary)[0].size(), frames_of(range, plain, nullptr)[0].size()) << at;
  }
}

TEST(Dictionary, Parameters) {
  CodecParameters p{Codec::mix, 1024, 256};
  EXPECT_EQ(p.serialize().size(), 9u);
  p.dictionary = 65536;
  p.only_if_worth = true;
  const Bytes good = p.serialize();
  ASSERT_EQ(good.size(), 14u);
  auto parsed = CodecParameters::parse(good);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->dictionary, 65536u);
  EXPECT_TRUE(parsed->only_if_worth);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_EQ(CodecParameters::parse(ByteView(good).first(n)).ok(), n == 9);
  const auto refused = [](CodecParameters bad) { return CodecParameters::parse(bad.serialize()).status().code() == Code::corrupt; };
  p.codec = Codec::range;
  EXPECT_TRUE(refused(p));
  p.codec = Codec::mix;
  p.dictionary = max_dictionary_bytes + 1;
  EXPECT_TRUE(refused(p));
  Bytes rule = good;
  rule[13] = 2;
  EXPECT_FALSE(CodecParameters::parse(rule).ok());
  Bytes size(good);
  std::fill(size.begin() + 9, size.begin() + 13, uint8_t{0});
  EXPECT_FALSE(CodecParameters::parse(size).ok());
}

}  // namespace
}  // namespace llmc
