// Texts to frames and back, in any company, for the tests that code chunks.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/file.h"
#include "chunk/codec.h"
#include "chunk/memory_feed.h"

namespace llmc::test {

inline constexpr uint32_t seed = 77;  // of all frames

inline const Bytes& alice() {
  static const Bytes text = *read_file(LLMC_SOURCE_DIR "/tests/data/text/alice29.txt");
  return text;
}

inline Bytes slice(const Bytes& text, size_t from, size_t n) { return Bytes(text.begin() + from, text.begin() + from + n); }

using Dictionary = std::shared_ptr<const Bytes>;

// The chunks of a shard: `bytes` are the texts themselves, or their frames.
inline std::vector<ChunkItem> items_of(const std::vector<Bytes>& texts, const std::vector<Bytes>& bytes, const Dictionary& dictionary = nullptr) {
  std::vector<ChunkItem> items;
  for (size_t i = 0; i < texts.size(); ++i) {
    items.push_back({0, static_cast<uint32_t>(i), seed, static_cast<uint32_t>(texts[i].size()), bytes[i], 0, dictionary});
  }
  return items;
}

inline std::vector<ChunkItem> items_of(const std::vector<Bytes>& texts) { return items_of(texts, texts); }

// Every outcome has to be there.
inline std::vector<Bytes> all_of(Result<std::vector<Result<Bytes>>> outcomes) {
  EXPECT_TRUE(outcomes.ok()) << outcomes.status().message();
  std::vector<Bytes> all;
  if (!outcomes.ok()) return all;
  for (auto& outcome : *outcomes) {
    EXPECT_TRUE(outcome.ok()) << outcome.status().message();
    all.push_back(outcome.ok() ? std::move(*outcome) : Bytes());
  }
  return all;
}

inline std::vector<Bytes> frames_of(const ChunkCodec& codec, const std::vector<Bytes>& texts, const Dictionary& dictionary = nullptr, int streams = 4,
                                    int threads = 1) {
  return all_of(encode_all(codec, items_of(texts, texts, dictionary), streams, threads));
}

inline std::vector<Bytes> frames_of(const ChunkCodec& codec, const std::vector<Bytes>& texts, int streams, int threads) {
  return frames_of(codec, texts, nullptr, streams, threads);
}

// What the frames of these texts give: the texts, or why not.
inline std::vector<Result<Bytes>> read_back(const ChunkCodec& codec, const std::vector<Bytes>& frames, const std::vector<Bytes>& texts,
                                            const Dictionary& dictionary = nullptr, int streams = 4, int threads = 1) {
  auto outcomes = decode_all(codec, items_of(texts, frames, dictionary), streams, threads);
  EXPECT_TRUE(outcomes.ok()) << outcomes.status().message();
  if (!outcomes.ok()) return std::vector<Result<Bytes>>(frames.size(), outcomes.status());
  return std::move(*outcomes);
}

inline std::vector<Result<Bytes>> read_back(const ChunkCodec& codec, const std::vector<Bytes>& frames, const std::vector<Bytes>& texts, int streams,
                                            int threads) {
  return read_back(codec, frames, texts, nullptr, streams, threads);
}

inline void expect_back(const ChunkCodec& codec, const std::vector<Bytes>& frames, const std::vector<Bytes>& texts, int streams, int threads) {
  const auto back = read_back(codec, frames, texts, streams, threads);
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_TRUE(back[i].ok()) << i << ": " << back[i].status().message();
    EXPECT_EQ(*back[i], texts[i]) << i;
  }
}

}  // namespace llmc::test
