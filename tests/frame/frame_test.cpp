#include "frame/frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/checksum.h"

namespace llmc {
namespace {

constexpr uint32_t seed = 0x12345678;

Frame example(const Bytes& payload) {
  Frame frame;
  frame.codec = Codec::range;
  frame.chunk = 7;
  frame.text_size = 1000;
  frame.tokens = 300;
  frame.text_crc = 0xABCDEF01;
  frame.payload = payload;
  return frame;
}

void expect_equal(const Frame& a, const Frame& b) {
  EXPECT_EQ(a.codec, b.codec);
  EXPECT_EQ(a.chunk, b.chunk);
  EXPECT_EQ(a.text_size, b.text_size);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.text_crc, b.text_crc);
  EXPECT_TRUE(std::equal(a.payload.begin(), a.payload.end(), b.payload.begin(), b.payload.end()));
}

// A frame with any fields and a right checksum: what only a hostile hand makes.
Bytes forge(uint8_t version, uint8_t codec, uint16_t zero, uint32_t text_size, uint32_t tokens, uint32_t payload_size,
            const Bytes& payload) {
  ByteWriter out;
  out.bytes(Bytes{0x8C, 'L', 'C', 'F'});
  out.u8(version);
  out.u8(codec);
  out.u16(zero);
  out.u32(7);
  out.u32(text_size);
  out.u32(tokens);
  out.u32(payload_size);
  out.u32(0);
  out.u32(crc32c(payload, crc32c(out.view(), seed)));
  out.bytes(payload);
  return out.take();
}

TEST(Frame, ComesBack) {
  const Bytes payload{1, 2, 3, 0, 255};
  const Bytes bytes = make_frame(example(payload), seed);
  EXPECT_EQ(bytes.size(), frame_header_bytes + payload.size());
  const auto parsed = parse_frame(bytes, seed);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  expect_equal(*parsed, example(payload));

  const Frame empty;  // no text at all is stored
  const auto parsed_empty = parse_frame(make_frame(empty, 0), 0);
  ASSERT_TRUE(parsed_empty.ok());
  expect_equal(*parsed_empty, empty);
}

// The layout of stored archives.
TEST(Frame, GoldenBytes) {
  EXPECT_EQ(to_hex(make_frame(example({0xAA, 0xBB}), seed)).substr(0, 56),
            "8c4c434601020000" "07000000" "e8030000" "2c010000" "02000000" "01efcdab");
}

TEST(Frame, EveryFlippedBitIsFound) {
  const Bytes whole = make_frame(example({9, 8, 7, 6, 5, 4, 3}), seed);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes damaged = whole;
      damaged[i] ^= static_cast<uint8_t>(1 << bit);
      const auto parsed = parse_frame(damaged, seed);
      ASSERT_FALSE(parsed.ok()) << i << " bit " << bit;
      EXPECT_EQ(parsed.status().code(), Code::corrupt);
      EXPECT_FALSE(parsed.status().message().empty());
    }
  }
}

// What the frame's CRC answers to one more wrong bit; bit 0 is the lowest of byte 0, as the CRC counts.
uint32_t syndrome(const Bytes& whole, size_t bit) {
  Bytes damaged = whole;
  damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  Bytes covered(damaged.begin(), damaged.begin() + 28);
  covered.insert(covered.end(), damaged.begin() + 32, damaged.end());
  ByteReader stored(ByteView(damaged).subspan(28));
  return crc32c(covered, seed) ^ stored.u32();
}

// Damage to the 32 bits from bit `from` on (fewer, up to `end`) that leaves the CRC as it should be; 0: there is none. The CRC is
// linear: none escapes where the answers to each of the bits are independent.
uint32_t escape_at(const Bytes& whole, size_t from, size_t end) {
  struct {
    uint32_t answer = 0, bits = 0;
  } basis[32];
  for (size_t k = 0; k < std::min<size_t>(32, end - from); ++k) {
    uint32_t answer = syndrome(whole, from + k), bits = 1u << k;
    for (int top = 31; top >= 0 && answer; --top) {
      if (!(answer >> top & 1)) continue;
      if (!basis[top].answer) {
        basis[top] = {answer, bits};
        break;
      }
      answer ^= basis[top].answer;
      bits ^= basis[top].bits;
    }
    if (!answer) return bits;
  }
  return 0;
}

// All bursts of up to 32 bits (docs/FORMAT.md, section 9), not tried out but shown, in each place.
TEST(Frame, NoBurstEscapes) {
  size_t escapes = 0;
  for (const size_t size : {1u, 3u, 40u, 999u}) {
    std::mt19937_64 random(size);
    Bytes payload(size);
    for (auto& b : payload) b = static_cast<uint8_t>(random());
    const Bytes whole = make_frame(example(payload), seed);
    const size_t check = 28 * 8, text = 32 * 8, bits = whole.size() * 8;
    for (const auto& [begin, end] : {std::pair(size_t{0}, check), std::pair(check, text), std::pair(text, bits)}) {
      size_t from = begin;
      do {
        EXPECT_EQ(escape_at(whole, from, end), 0u) << "payload of " << size << " bytes, bit " << from;
      } while (++from + 32 <= end);
    }
    // Over a border of the CRC field its bits and those beside it are no burst in the CRC's own order: some escape it. Those change
    // the text's CRC, which the index has too, or the payload, of which there is that CRC.
    for (size_t from = check - 31; from < text && from + 32 <= bits; ++from) {
      const uint32_t pattern = escape_at(whole, from, bits);
      if (!pattern) continue;
      Bytes damaged = whole;
      for (size_t k = 0; k < 32; ++k) damaged[(from + k) / 8] ^= static_cast<uint8_t>((pattern >> k & 1) << (from + k) % 8);
      const auto parsed = parse_frame(damaged, seed);
      ASSERT_TRUE(parsed.ok()) << "the calculation is wrong: the CRC does find it";
      ++escapes;
      EXPECT_TRUE(parsed->text_crc != example({}).text_crc || crc32c(parsed->payload) != crc32c(payload)) << from;
    }
  }
  EXPECT_GT(escapes, 0u) << "docs/FORMAT.md speaks of them";
}

// Bursts as disks and lines make them, over the whole frame and over the borders of its fields.
TEST(Frame, RandomBurstsAreFound) {
  std::mt19937_64 random(21);
  Bytes payload(300);
  for (auto& b : payload) b = static_cast<uint8_t>(random());
  const Bytes whole = make_frame(example(payload), seed);
  const int rounds = std::getenv("LLMC_LONG") ? 5'000'000 : 200'000;
  for (int i = 0; i < rounds; ++i) {
    const size_t length = 1 + random() % 32;
    // Half of them near the CRC field.
    const size_t room = i % 2 ? 40 * 8 : whole.size() * 8;
    const size_t from = random() % (room - length + 1);
    const auto pattern = static_cast<uint32_t>(random()) | 1u | 1u << (length - 1);  // begins and ends with a wrong bit
    Bytes damaged = whole;
    for (size_t k = 0; k < length; ++k) {
      damaged[(from + k) / 8] ^= static_cast<uint8_t>((pattern >> k & 1) << (from + k) % 8);
    }
    const auto parsed = parse_frame(damaged, seed);
    ASSERT_FALSE(parsed.ok()) << from << " " << length << " " << pattern;
    ASSERT_EQ(parsed.status().code(), Code::corrupt);
  }
  std::printf("tally: %d random bursts of up to 32 bits, all found\n", rounds);
}

TEST(Frame, EveryCutAndEveryExtraByteIsFound) {
  const Bytes whole = make_frame(example({9, 8, 7, 6, 5, 4, 3}), seed);
  for (size_t n = 0; n < whole.size(); ++n) {
    const auto parsed = parse_frame(ByteView(whole).first(n), seed);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.status().code(), Code::corrupt);
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_FALSE(parse_frame(longer, seed).ok());
}

TEST(Frame, AnotherSeedIsAnotherArchive) {
  const Bytes whole = make_frame(example({1}), seed);
  EXPECT_TRUE(parse_frame(whole, seed).ok());
  for (int bit = 0; bit < 32; ++bit) EXPECT_FALSE(parse_frame(whole, seed ^ (1u << bit)).ok());
  EXPECT_FALSE(parse_frame(whole, 0).ok());
}

TEST(Frame, HostileFieldsWithARightChecksum) {
  const Bytes two{1, 2};
  const auto code = [&](uint8_t version, uint8_t codec, uint16_t zero, uint32_t text, uint32_t tokens, uint32_t payload) {
    return parse_frame(forge(version, codec, zero, text, tokens, payload, two), seed).status().code();
  };
  EXPECT_EQ(code(1, 2, 0, 1000, 300, 2), Code::ok);
  EXPECT_EQ(code(0, 2, 0, 1000, 300, 2), Code::corrupt);
  EXPECT_EQ(code(2, 2, 0, 1000, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 5, 0, 1000, 300, 2), Code::ok);
  for (int codec = 6; codec < 256; ++codec) EXPECT_EQ(code(1, codec, 0, 1000, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 1, 1000, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0x8000, 1000, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0, max_chunk_bytes, 300, 2), Code::ok);
  EXPECT_EQ(code(1, 2, 0, max_chunk_bytes + 1, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0, 0xFFFFFFFF, 300, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0, 1000, 0, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0, 1000, 1000, 2), Code::ok);
  EXPECT_EQ(code(1, 2, 0, 1000, 1001, 2), Code::corrupt);
  EXPECT_EQ(code(1, 2, 0, 1000, 0xFFFFFFFF, 2), Code::corrupt);
  EXPECT_EQ(code(1, 1, 0, 1000, 1, 2), Code::corrupt);   // zstd has no tokens
  EXPECT_EQ(code(1, 1, 0, 1000, 0, 2), Code::ok);
  EXPECT_EQ(code(1, 0, 0, 2, 0, 2), Code::ok);
  EXPECT_EQ(code(1, 0, 0, 3, 0, 2), Code::corrupt);      // stored: payload is the text
  EXPECT_EQ(code(1, 2, 0, 2, 1, 2), Code::corrupt);      // gains nothing
  for (uint32_t payload : {0u, 1u, 3u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    EXPECT_EQ(code(1, 2, 0, max_chunk_bytes, 300, payload), Code::corrupt) << payload;
  }
}

TEST(Frame, AnyBytesGiveAStatus) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 100000; ++trial) {
    Bytes bytes(random() % 80);
    for (auto& b : bytes) b = static_cast<uint8_t>(random());
    if (bytes.size() > 6 && trial % 4) {
      const Bytes head{0x8C, 'L', 'C', 'F', 1, static_cast<uint8_t>(random() % 5)};
      std::copy(head.begin(), head.end(), bytes.begin());
    }
    EXPECT_FALSE(parse_frame(bytes, seed).ok());
    Frame frame;
    size_t size = 0;
    if (peek_frame(bytes, &frame, &size)) {
      EXPECT_LE(size, bytes.size());
    }
    const size_t at = find_frame(bytes, 0);
    EXPECT_TRUE(at == std::string::npos || at + frame_header_bytes <= bytes.size());
  }
}

TEST(Frame, SalvageFindsFramesInRubble) {
  const Bytes first = make_frame(example({1, 2, 3}), seed);
  const Bytes four_five{4, 5};
  Frame other = example(four_five);
  other.chunk = 8;
  const Bytes second = make_frame(other, seed);
  Bytes rubble{0, 0x8C, 'L', 'C', 'F', 0x8C, 0x8C, 'L', 'C'};  // half magics
  const size_t at_first = rubble.size();
  rubble.insert(rubble.end(), first.begin(), first.end());
  rubble.insert(rubble.end(), 100, 0x8C);
  const size_t at_second = rubble.size();
  rubble.insert(rubble.end(), second.begin(), second.end());
  const size_t end = rubble.size();
  rubble.insert(rubble.end(), first.begin(), first.end() - 1);  // a cut one

  size_t at = find_frame(rubble, 0);
  ASSERT_EQ(at, at_first);
  Frame frame;
  size_t size = 0;
  ASSERT_TRUE(peek_frame(ByteView(rubble).subspan(at), &frame, &size));
  EXPECT_EQ(size, first.size());
  EXPECT_TRUE(parse_frame(ByteView(rubble).subspan(at, size), seed).ok());
  at = find_frame(rubble, at + size);
  ASSERT_EQ(at, at_second);
  ASSERT_TRUE(peek_frame(ByteView(rubble).subspan(at), &frame, &size));
  EXPECT_EQ(frame.chunk, 8u);
  EXPECT_EQ(at + size, end);
  EXPECT_EQ(find_frame(rubble, end), std::string::npos);
  EXPECT_EQ(find_frame(rubble, rubble.size()), std::string::npos);
  EXPECT_EQ(find_frame(rubble, rubble.size() + 10), std::string::npos);
}

// A dictionary has its own number, no chunk has that, and no dictionary is large.
TEST(Frame, Dictionaries) {
  const Bytes payload{1, 2, 3, 4, 5};
  const auto code = [&](Codec codec, uint32_t chunk, uint32_t text) {
    return parse_frame(make_frame({codec, chunk, text, 3, 0, payload}, seed), seed).status().code();
  };
  EXPECT_EQ(code(Codec::dictionary, frame_dictionary, 1000), Code::ok);
  EXPECT_EQ(code(Codec::dictionary, frame_dictionary, max_dictionary_bytes), Code::ok);
  EXPECT_EQ(code(Codec::dictionary, frame_dictionary, max_dictionary_bytes + 1), Code::corrupt);
  for (const uint32_t chunk : {0u, 1u, frame_dictionary - 1, frame_any_chunk}) {
    EXPECT_EQ(code(Codec::dictionary, chunk, 1000), Code::corrupt) << chunk;
    EXPECT_EQ(code(Codec::primed, chunk, 1000), Code::ok) << chunk;
  }
  EXPECT_EQ(code(Codec::primed, frame_dictionary, 1000), Code::corrupt);
  EXPECT_FALSE(codec_from_name("primed").ok());
  EXPECT_FALSE(codec_from_name("dictionary").ok());
}

TEST(Frame, CodecNames) {
  for (Codec codec : {Codec::stored, Codec::zstd, Codec::range, Codec::mix, Codec::rank}) {
    const auto back = codec_from_name(codec_name(codec));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, codec);
  }
  const auto wrong = codec_from_name("rnage");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.status().code(), Code::usage);
  EXPECT_NE(wrong.status().message().find("rnage"), std::string::npos);
}

}  // namespace
}  // namespace llmc
