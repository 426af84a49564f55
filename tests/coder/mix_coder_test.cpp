#include "coder/mix_coder.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <string>

#include "base/checksum.h"
#include "coder/mix_kernels.h"

namespace llmc {
namespace {

// Ids 0 .. n - 1: some are empty, some bear the same bytes, the others are short strings.
std::vector<Bytes> words(uint32_t n) {
  std::vector<Bytes> texts;
  for (uint32_t id = 0; id < n; ++id) {
    std::string text;
    if (id % 50 != 7) text = (id % 3 ? " " : "") + std::string(1, char('a' + id * 7 % 26)) + std::to_string(id * 2654435761u % 97);
    if (id % 41 == 3) text = "\n";
    const ByteView view = as_bytes(text);
    texts.emplace_back(view.begin(), view.end());
  }
  return texts;
}

MixTree tree_of(uint32_t ids, bool escape) {
  const auto texts = words(ids);
  return MixTree(std::vector<ByteView>(texts.begin(), texts.end()), escape);
}

using Weights = std::vector<uint32_t>;

// A model that thinks little: flat, or with one favourite, or over the whole range of weights.
Weights weights_of(const MixTree& tree, std::mt19937_64& random) {
  Weights w(tree.leaves(), 1);
  switch (random() % 3) {
    case 0: break;
    case 1: w[random() % w.size()] = 1u << 30; break;
    default:
      for (auto& v : w) v = 1 + static_cast<uint32_t>(random() >> (34 + random() % 30));
  }
  return w;
}

// What Ask::leaves answers.
struct Leaves {
  Leaves(const MixTree& tree, const Weights& by_symbol) : sums(leaf_blocks(tree.leaves())) {
    for (uint32_t leaf = 0; leaf < tree.leaves(); ++leaf) {
      weights.push_back(by_symbol[tree.symbol_of(leaf)]);
      sums[leaf / leaf_block] += weights.back();
    }
  }
  Weights weights;
  std::vector<uint64_t> sums;
};
uint32_t decoded(MixDecoder& decoder, const MixTree& tree, const Weights& weights) {
  const Leaves leaves(tree, weights);
  return decoder.decode(leaves.weights, leaves.sums);
}

// What Ask::paths answers.
std::vector<uint32_t> way_to(const MixTree& tree, const Weights& weights, uint32_t symbol) {
  MixPath path(tree);
  const Leaves leaves(tree, weights);
  path.begin(leaves.weights, leaves.sums);
  std::vector<uint32_t> chances;
  for (int level = tree.depth() - 1; level >= 0; --level) {
    chances.push_back(path.has_right() ? path.right_chance() : 0);
    path.descend(tree.leaf_of(symbol) >> level & 1);
  }
  return chances;
}

Bytes encode_all(const MixTree& tree, const std::vector<Weights>& weights, const std::vector<uint32_t>& symbols,
                 size_t text_bytes = 65536) {
  MixModel model(tree);
  MixEncoder encoder(tree, model, text_bytes);
  for (size_t i = 0; i < symbols.size(); ++i) encoder.encode(way_to(tree, weights[i % weights.size()], symbols[i]), symbols[i]);
  return encoder.finish();
}

TEST(MixTree, LeavesStandInTheOrderOfTheirBytes) {
  const auto texts = words(300);
  const MixTree tree = tree_of(300, true);
  ASSERT_EQ(tree.leaves(), 301u);
  EXPECT_EQ(tree.depth(), 9);
  EXPECT_EQ(tree.symbol_of(300), 300u);
  EXPECT_TRUE(tree.text(300).empty());
  for (uint32_t leaf = 0; leaf < 300; ++leaf) {
    const uint32_t id = tree.symbol_of(leaf);
    EXPECT_EQ(tree.leaf_of(id), leaf);
    EXPECT_EQ(Bytes(tree.text(leaf).begin(), tree.text(leaf).end()), texts[id]);
    if (leaf == 0) continue;
    const uint32_t before = tree.symbol_of(leaf - 1);
    EXPECT_TRUE(texts[before] < texts[id] || (texts[before] == texts[id] && before < id));
  }
}

TEST(MixPath, ChancesAreThoseOfThePrefixSums) {
  std::mt19937_64 random(5);
  for (uint32_t ids : {1u, 2u, 3u, 63u, 64u, 65u, 300u, 4096u, 5000u}) {
    const MixTree tree = tree_of(ids, ids % 2);
    MixPath path(tree);
    for (int trial = 0; trial < 20; ++trial) {
      const Weights w = weights_of(tree, random);
      std::vector<uint64_t> cum(1);
      for (uint32_t leaf = 0; leaf < 1u << tree.depth(); ++leaf) {
        cum.push_back(cum.back() + (leaf < tree.leaves() ? w[tree.symbol_of(leaf)] : 0));
      }
      const uint32_t leaf = static_cast<uint32_t>(random() % tree.leaves());
      const Leaves leaves(tree, w);
      path.begin(leaves.weights, leaves.sums);
      for (int level = tree.depth() - 1; level >= 0; --level) {
        const uint32_t low = leaf >> (level + 1) << (level + 1), middle = low + (1u << level), end = middle + (1u << level);
        ASSERT_EQ(path.has_right(), middle < tree.leaves());
        if (path.has_right()) {
          const uint64_t node = cum[end] - cum[low], right = cum[end] - cum[middle];
          const int shift = std::max(0, static_cast<int>(std::bit_width(node)) - 32);
          const uint64_t expected = std::clamp<uint64_t>(((right >> shift) << 31) / (node >> shift), 1, (1ull << 31) - 1);
          ASSERT_EQ(path.right_chance(), expected);
        }
        path.descend(leaf >> level & 1);
      }
      ASSERT_EQ(path.leaf(), leaf);
    }
  }
}

TEST(MixCoder, RoundTripForAnyVocabulary) {
  std::mt19937_64 random(1);
  for (uint32_t ids : {1u, 2u, 5u, 64u, 257u, 4096u, 20000u}) {
    const bool escape = ids % 2;
    const MixTree tree = tree_of(ids, escape);
    std::vector<Weights> weights;
    std::vector<uint32_t> symbols;
    for (int i = 0; i < 400; ++i) {
      weights.push_back(weights_of(tree, random));
      // Runs, repeats and news.
      const uint64_t kind = random() % 4;
      const auto news = static_cast<uint32_t>(random() % tree.leaves());
      symbols.push_back(kind == 0 && i > 0 ? symbols.back() : kind == 1 && i > 20 ? symbols[i - 17] : news);
    }
    MixModel model(tree);
    MixEncoder encoder(tree, model, 5000);
    for (size_t i = 0; i < symbols.size(); ++i) {
      encoder.encode(way_to(tree, weights[i], symbols[i]), symbols[i]);
      if (symbols[i] == ids) encoder.encode_byte(static_cast<uint8_t>(i));
    }
    const Bytes code = encoder.finish();
    MixDecoder decoder(tree, model, 5000, code);  // the model of the coder, used again
    for (size_t i = 0; i < symbols.size(); ++i) {
      ASSERT_EQ(decoded(decoder, tree, weights[i]), symbols[i]) << ids << " ids, symbol " << i;
      if (symbols[i] == ids) {
        ASSERT_EQ(decoder.decode_byte(), static_cast<uint8_t>(i));
      }
    }
    EXPECT_TRUE(decoder.at_end());
  }
}

TEST(MixCoder, AModelUsedBeforeCodesAsANewOne) {
  const MixTree tree = tree_of(500, false);
  std::mt19937_64 random(8);
  const std::vector<Weights> weights{weights_of(tree, random), weights_of(tree, random), weights_of(tree, random)};
  std::vector<uint32_t> symbols(3000);
  for (auto& s : symbols) s = static_cast<uint32_t>(random() % 20 * (random() % 20));
  const Bytes code = encode_all(tree, weights, symbols);
  MixModel model(tree);
  for (size_t text_bytes : {size_t{100}, size_t{1} << 20, size_t{65536}}) {
    MixEncoder encoder(tree, model, text_bytes);
    for (size_t i = 0; i < symbols.size(); ++i) encoder.encode(way_to(tree, weights[i % 3], symbols[i]), symbols[i]);
    const Bytes again = encoder.finish();
    if (text_bytes == 65536) {
      EXPECT_EQ(again, code);
    }
  }
}

TEST(MixCoder, FirstTokensCostWhatTheModelSays) {
  const MixTree tree = tree_of(4096, false);
  std::mt19937_64 random(2);
  double said = 0;
  size_t paid = 0;
  MixModel model(tree);
  for (int trial = 0; trial < 300; ++trial) {
    Weights w(4096);
    for (auto& v : w) v = 1 + static_cast<uint32_t>(random() >> (34 + random() % 30));
    uint64_t total = 0;
    for (const uint32_t v : w) total += v;
    uint64_t target = random() % total;
    uint32_t symbol = 0;
    while (target >= w[symbol]) target -= w[symbol++];
    MixEncoder encoder(tree, model, 1);
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t coded = i == 0 ? symbol : (symbol * 7 + 11 * i + trial) % 4096;
      encoder.encode(way_to(tree, w, coded), coded);
    }
    paid += encoder.finish().size() * 8;
    for (int i = 0; i < 4; ++i) said -= std::log2(double(w[i == 0 ? symbol : (symbol * 7 + 11 * i + trial) % 4096]) / double(total));
  }
  EXPECT_LT(double(paid), said * 1.01 + 300 * 8);
}

TEST(MixCoder, AgainstAModelThatIsRightItLosesLittle) {
  const MixTree tree = tree_of(4096, false);
  std::mt19937_64 random(12);
  std::vector<Weights> weights;
  std::vector<uint32_t> symbols;
  RangeEncoder range;
  for (int i = 0; i < 4000; ++i) {
    Weights w(4096);
    for (auto& v : w) v = 1 + static_cast<uint32_t>(random() >> (34 + random() % 30));
    uint64_t total = 0;
    for (const uint32_t v : w) total += v;
    uint64_t target = random() % total, cum = 0;
    uint32_t symbol = 0;
    while (target >= cum + w[symbol]) cum += w[symbol++];
    range.encode(cum, w[symbol], total);
    weights.push_back(std::move(w));
    symbols.push_back(symbol);
  }
  // Text that nothing but the model can know: what adaptation costs there.
  EXPECT_LT(encode_all(tree, weights, symbols, 12000).size(), range.finish().size() * 1.004);
}

TEST(MixCoder, ASureTokenCostsNearlyNothing) {
  const MixTree tree = tree_of(4096, false);
  // The model is sure and right ...
  Weights sure(4096, 1);
  sure[1234] = 1u << 30;
  EXPECT_LT(encode_all(tree, {sure}, std::vector<uint32_t>(50000, 1234)).size() * 8, 50000 * 0.005);
  // ... or knows nothing, and the text repeats itself.
  std::vector<uint32_t> symbols;
  std::mt19937_64 random(3);
  for (int i = 0; i < 500; ++i) symbols.push_back(static_cast<uint32_t>(random() % 4096));
  const Weights flat(4096, 1000);
  const size_t once = encode_all(tree, {flat}, symbols).size();
  for (int i = 500; i < 40000; ++i) symbols.push_back(symbols[i - 500]);
  const size_t all = encode_all(tree, {flat}, symbols).size();
  EXPECT_LT((all - once) * 8, 39500 * 0.02);
}

TEST(MixCoder, LearnsAgainstAModelThatIsWrong) {
  const MixTree tree = tree_of(1000, false);
  Weights wrong(1000, 1);
  wrong[5] = 1u << 30;  // never comes
  std::vector<uint32_t> symbols;
  for (uint32_t i = 0; i < 20000; ++i) symbols.push_back(100 + i % 10);
  EXPECT_LT(encode_all(tree, {wrong}, symbols).size(), 600u);
}

TEST(MixCoder, AnyBytesDecodeToSymbolsWithinBounds) {
  std::mt19937_64 random(23);
  for (const uint32_t ids : {3u, 4096u}) {
    const MixTree tree = tree_of(ids, true);
    MixModel model(tree);
    for (int trial = 0; trial < 60; ++trial) {
      Bytes code(random() % 64);
      for (auto& b : code) b = trial % 4 == 0 ? 0xFF : static_cast<uint8_t>(random());
      const Weights w = weights_of(tree, random);
      MixDecoder decoder(tree, model, 100, code);
      for (int i = 0; i < 300; ++i) ASSERT_LE(decoded(decoder, tree, w), ids);
    }
  }
}

TEST(MixModel, MemoryFollowsTheTextAndEnds) {
  const MixTree tree = tree_of(4096, false);
  MixModel model(tree);
  model.reset(1000);
  EXPECT_LT(model.memory(), size_t{3} << 20);
  model.reset(65536);
  EXPECT_LT(model.memory(), size_t{8} << 20);
  model.reset(size_t{1} << 40);
  EXPECT_LT(model.memory(), size_t{300} << 20);
}

TEST(MixKernels, EveryInstructionSetGivesTheSame) {
  std::mt19937_64 random(6);
  constexpr int rows_in_all = 8 * MixModel::sets;
  std::vector<int32_t> weights(rows_in_all * MixModel::inputs), other;
  for (int trial = 0; trial < 2000; ++trial) {
    const int shift = 32 + static_cast<int>(random() % 11);
    for (auto& w : weights) w = std::clamp(static_cast<int32_t>(static_cast<int64_t>(random()) >> shift), -mix_weight_most, mix_weight_most);
    std::array<int32_t, MixModel::inputs> x;
    for (auto& v : x) v = static_cast<int32_t>(random() % 65536) - 32768;
    std::array<uint32_t, MixModel::sets> rows;
    for (int s = 0; s < MixModel::sets; ++s) rows[s] = static_cast<uint32_t>(s * 8 + random() % 8);
    std::array<int32_t, MixModel::sets> a, b, errors;
    for (auto& e : errors) e = static_cast<int32_t>(random() % 65537) - 32768;
    mix_kernels().dots(weights.data(), rows.data(), x.data(), a.data());
    plain_mix_kernels().dots(weights.data(), rows.data(), x.data(), b.data());
    ASSERT_EQ(a, b);
    other = weights;
    mix_kernels().train(weights.data(), rows.data(), x.data(), errors.data());
    plain_mix_kernels().train(other.data(), rows.data(), x.data(), errors.data());
    ASSERT_EQ(weights, other);
  }
}

TEST(MixKernels, EveryInstructionSetCountsTheSame) {
  std::mt19937_64 random(9);
  alignas(64) std::array<uint32_t, 8 * mix_lists> lanes, other;
  for (int trial = 0; trial < 2000; ++trial) {
    const uint32_t leaves = 2 + static_cast<uint32_t>(random() % (trial % 2 ? 20 : 1 << 19));
    for (auto& lane : lanes) lane = random() % 3 ? static_cast<uint32_t>(random() % leaves << 8 | random() % 256) : 0;
    const uint32_t bound = (1 + static_cast<uint32_t>(random() % (leaves - 1))) << 8;
    std::array<uint32_t, mix_lists> a, b;
    mix_kernels().sides(lanes.data(), mix_lists / 4, bound, a.data());
    plain_mix_kernels().sides(lanes.data(), mix_lists / 4, bound, b.data());
    ASSERT_EQ(a, b);
    const bool right = random() & 1;
    other = lanes;
    mix_kernels().descend(lanes.data(), mix_lists / 4, bound, right);
    plain_mix_kernels().descend(other.data(), mix_lists / 4, bound, right);
    ASSERT_EQ(lanes, other);
    plain_mix_kernels().sides(lanes.data(), mix_lists / 4, bound, b.data());
    for (int i = 0; i < mix_lists; ++i) ASSERT_EQ(b[i] & 0xFFFF, right ? a[i] & 0xFFFF : 0u);
  }
}

// The bits of stored archives: a change of the predictor must not pass unseen.
TEST(MixCoder, GoldenBytes) {
  const MixTree tree = tree_of(1000, true);
  std::mt19937_64 random(77);
  std::vector<Weights> weights;
  std::vector<uint32_t> symbols;
  for (uint32_t i = 0; i < 6000; ++i) {
    if (i < 50) weights.push_back(weights_of(tree, random));
    symbols.push_back(i % 7 == 0 ? i * i % 1001 : i % 11 * (i / 600 + 1));
  }
  EXPECT_EQ(to_hex(sha256(encode_all(tree, weights, symbols))).substr(0, 16), "96f965f458f2e9d3");
}

}  // namespace
}  // namespace llmc
