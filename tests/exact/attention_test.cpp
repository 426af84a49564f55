// The KV cache and attention: every table equals scalar, whatever the batch, the split or the shape.
#include <cmath>
#include <cstring>
#include <limits>

#include "exact/exact_testing.h"

namespace llmc::testing {
namespace {

class ExactAttention : public EveryIsa {};

struct Input {
  AttentionShape shape;
  int positions;
  std::vector<float> q, k, v;

  Input(const AttentionShape& s, int n, Mix mix, uint64_t seed)
      : shape(s),
        positions(n),
        q(floats(static_cast<size_t>(n) * s.heads * s.head_dim, mix, seed)),
        k(floats(static_cast<size_t>(n) * s.kv_heads * s.head_dim, mix, seed + 1)),
        v(floats(static_cast<size_t>(n) * s.kv_heads * s.head_dim, mix, seed + 2)) {}
  int q_width() const { return shape.heads * shape.head_dim; }
  int kv_width() const { return shape.kv_heads * shape.head_dim; }
};

AttentionShape shape_of(int heads, int kv_heads, int head_dim, int context, int window = 0, int kv_bits = 8) {
  const float scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim)));
  return {heads, kv_heads, head_dim, context, scale, window, kv_bits};
}

// Stores and attends in steps of `step` positions, as prefill does, or one by one.
std::vector<float> run(const Kernels& kernels, const Input& in, int step, std::vector<uint8_t>* range = nullptr) {
  Aligned cache(kernels.kv_bytes(in.shape)), scratch(kernels.attention_scratch_bytes(in.shape));
  std::vector<float> o(in.q.size(), -1.0f);
  std::vector<uint8_t> flags(in.positions);
  for (int pos = 0; pos < in.positions; pos += step) {
    const int rows = std::min(step, in.positions - pos);
    kernels.kv_store(in.shape, cache.get(), pos, rows, &in.k[pos * in.kv_width()], in.kv_width(),
                     &in.v[pos * in.kv_width()], in.kv_width(), &flags[pos]);
    kernels.attention(in.shape, cache.get(), pos, rows, &in.q[pos * in.q_width()], in.q_width(), &o[pos * in.q_width()],
                      in.q_width(), &flags[pos], scratch.get());
  }
  if (range) *range = flags;
  return o;
}

TEST_P(ExactAttention, EqualsScalar) {
  const AttentionShape shapes[] = {shape_of(4, 4, 64, 70),  shape_of(6, 2, 32, 70),      shape_of(7, 1, 40, 70),
                                   shape_of(2, 1, 8, 70),   shape_of(2, 2, 80, 70),      shape_of(1, 1, 256, 70),
                                   shape_of(3, 1, 24, 130), shape_of(4, 2, 128, 70, 20), shape_of(1, 1, 16, 70, 1)};
  std::vector<AttentionShape> all(std::begin(shapes), std::end(shapes));
  for (AttentionShape shape : shapes) {
    shape.kv_bits = 16;
    all.push_back(shape);
  }
  for (const AttentionShape& shape : all) {
    for (Mix mix : {Mix::normal, Mix::outliers, Mix::zeros, Mix::denormals, Mix::tiny_border, Mix::all_equal, Mix::signs}) {
      const Input in(shape, shape.context - 3, mix, shape.head_dim);
      std::vector<uint8_t> range;
      const std::vector<float> expected = run(scalar(), in, 1, &range);
      EXPECT_EQ(range, std::vector<uint8_t>(in.positions, 0));
      for (int step : {1, 5, 64}) {
        EXPECT_TRUE(same_bits(expected, run(kernels(), in, step)))
            << "kv " << shape.kv_bits << " head_dim " << shape.head_dim << " mix " << static_cast<int>(mix) << " step " << step;
      }
    }
  }
}

TEST_P(ExactAttention, LongContextEqualsScalar) {
  for (const auto& [mix, bits] : {std::pair{Mix::normal, 8}, std::pair{Mix::all_equal, 8},  // all equal: the flattest
                                  std::pair{Mix::normal, 16}, std::pair{Mix::all_equal, 16}}) {  // softmax, the largest sums
    const AttentionShape shape = shape_of(2, 1, 64, 3000, 0, bits);
    const Input in(shape, 3000, mix, 5);
    const int tail = 4;
    std::vector<std::vector<float>> outs;
    for (const Kernels* one : {&scalar(), &kernels()}) {
      Aligned cache(one->kv_bytes(shape)), scratch(one->attention_scratch_bytes(shape));
      std::vector<uint8_t> range(in.positions);
      one->kv_store(shape, cache.get(), 0, in.positions, in.k.data(), in.kv_width(), in.v.data(), in.kv_width(), range.data());
      outs.emplace_back(static_cast<size_t>(tail) * in.q_width());
      one->attention(shape, cache.get(), in.positions - tail, tail, in.q.data(), in.q_width(), outs.back().data(),
                     in.q_width(), range.data(), scratch.get());
    }
    EXPECT_TRUE(same_bits(outs[0], outs[1]));
  }
}

// The longest window with the largest sums: L passes 2^31, w . v reaches 32512 * 127 * 2^17.
TEST_P(ExactAttention, TheLongestContextKeepsTheLargestSums) {
  const AttentionShape shape = shape_of(2, 1, 8, kMaxContext);
  const int n = shape.context;
  Aligned cache(kernels().kv_bytes(shape)), scratch(kernels().attention_scratch_bytes(shape));
  const std::vector<float> k(static_cast<size_t>(n) * 8, 1.0f), v(k.size(), -127.0f);
  std::vector<float> q(16, 1.0f), o(16);
  std::vector<uint8_t> range(n);
  kernels().kv_store(shape, cache.get(), 0, n, k.data(), 8, v.data(), 8, range.data());
  kernels().attention(shape, cache.get(), n - 1, 1, q.data(), 16, o.data(), 16, range.data(), scratch.get());
  EXPECT_TRUE(same_bits(o, std::vector<float>(16, -127.0f)));
}

// The same in 16 bits: the largest value, and one whose low limb is -128.
TEST_P(ExactAttention, TheLongestContextOf16BitsKeepsTheLargestSums) {
  const AttentionShape shape = shape_of(2, 1, 8, kMaxContext / 2, 0, 16);
  const int n = shape.context;
  Aligned cache(kernels().kv_bytes(shape)), scratch(kernels().attention_scratch_bytes(shape));
  for (const float value : {-127.0f, -126.5f, 127.0f}) {
    const std::vector<float> k(static_cast<size_t>(n) * 8, 1.0f), v(k.size(), value);
    std::vector<float> q(16, 1.0f), o(16);
    std::vector<uint8_t> range(n);
    kernels().kv_store(shape, cache.get(), 0, n, k.data(), 8, v.data(), 8, range.data());
    kernels().attention(shape, cache.get(), n - 1, 1, q.data(), 16, o.data(), 16, range.data(), scratch.get());
    EXPECT_TRUE(same_bits(o, std::vector<float>(16, value)));
  }
}

// Values of very different sizes in one context: exponents far apart, small ones vanish.
TEST_P(ExactAttention, MixedValueExponentsEqualScalar) {
  for (const int bits : {8, 16}) {
    const AttentionShape shape = shape_of(3, 1, 32, 64, 0, bits);
    Input in(shape, 64, Mix::normal, 77);
    Random random(3);
    for (int pos = 0; pos < in.positions; ++pos) {
      const float scale = std::ldexp(1.0f, random.below(110) - 60);
      for (int i = 0; i < 32; ++i) in.v[pos * 32 + i] *= scale;
    }
    EXPECT_TRUE(same_bits(run(scalar(), in, 1), run(kernels(), in, 7)));
  }
}

TEST_P(ExactAttention, IsNearTheRealOne) {
  for (const int bits : {8, 16}) {
    const AttentionShape shape = shape_of(2, 1, 64, 40, 0, bits);
    const Input in(shape, 40, Mix::normal, 1);
    const std::vector<float> o = run(kernels(), in, 40);
    double error = 0, power = 0;
    for (int pos = 0; pos < 40; ++pos) {
      for (int h = 0; h < 2; ++h) {
        std::vector<double> p(pos + 1);
        double sum = 0;
        for (int j = 0; j <= pos; ++j) {
          double dot = 0;
          for (int i = 0; i < 64; ++i) dot += static_cast<double>(in.q[(pos * 2 + h) * 64 + i]) * in.k[j * 64 + i];
          sum += p[j] = std::exp(dot / 8);
        }
        for (int i = 0; i < 64; ++i) {
          double real = 0;
          for (int j = 0; j <= pos; ++j) real += p[j] / sum * in.v[j * 64 + i];
          error += std::pow(o[(pos * 2 + h) * 64 + i] - real, 2);
          power += real * real;
        }
      }
    }
    EXPECT_LT(std::sqrt(error / power), bits == 8 ? 0.05 : 0.0002);
  }
}

TEST_P(ExactAttention, OnlyTheRowOutOfRangeIsFlagged) {
  const AttentionShape shape = shape_of(4, 2, 16, 20);
  const Input good(shape, 20, Mix::normal, 9);
  const std::vector<float> clean = run(kernels(), good, 20);
  for (float bad : {0x1p60f, -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Input in = good;
    in.q[7 * in.q_width() + 20] = bad;
    std::vector<uint8_t> range, expected(20);
    expected[7] = 1;
    std::vector<float> o = run(kernels(), in, 20, &range);
    EXPECT_EQ(range, expected);
    for (int pos = 0; pos < 20; ++pos) {
      if (pos == 7) continue;
      for (int i = 0; i < in.q_width(); ++i) EXPECT_EQ(o[pos * in.q_width() + i], clean[pos * in.q_width() + i]);
    }
    for (int i = 16; i < 32; ++i) EXPECT_EQ(o[7 * in.q_width() + i], 0.0f);
    for (std::vector<float> Input::*which : {&Input::k, &Input::v}) {
      in = good;
      (in.*which)[7 * in.kv_width() + 3] = bad;
      run(kernels(), in, 20, &range);
      EXPECT_EQ(range, expected);
    }
  }
}

// Finite inputs whose scores are not: the largest score is checked as well.
TEST_P(ExactAttention, ScoresOutOfRangeAreFlagged) {
  const AttentionShape shape = shape_of(1, 1, 64, 4);
  const Input in(shape, 4, Mix::huge, 2);
  std::vector<uint8_t> range;
  const std::vector<float> o = run(kernels(), in, 4, &range);
  EXPECT_EQ(range, std::vector<uint8_t>(4, 1));
  EXPECT_TRUE(same_bits(o, run(scalar(), in, 1)));
}

TEST_P(ExactAttention, OutputMayReplaceTheQueries) {
  const AttentionShape shape = shape_of(6, 3, 32, 30);
  const Input in(shape, 30, Mix::normal, 4);
  Aligned cache(kernels().kv_bytes(shape)), scratch(kernels().attention_scratch_bytes(shape));
  std::vector<uint8_t> range(30);
  kernels().kv_store(shape, cache.get(), 0, 30, in.k.data(), in.kv_width(), in.v.data(), in.kv_width(), range.data());
  std::vector<float> q = in.q;
  kernels().attention(shape, cache.get(), 0, 30, q.data(), in.q_width(), q.data(), in.q_width(), range.data(), scratch.get());
  EXPECT_TRUE(same_bits(q, run(kernels(), in, 30)));
}

// A cache that held longer text before gives what a fresh one gives: windows restart at 0.
TEST_P(ExactAttention, OldContentsOfTheCacheDoNotMatter) {
  const AttentionShape shape = shape_of(2, 1, 32, 60);
  const Input old(shape, 60, Mix::outliers, 1), in(shape, 23, Mix::normal, 2);
  Aligned cache(kernels().kv_bytes(shape)), scratch(kernels().attention_scratch_bytes(shape));
  std::vector<uint8_t> range(60);
  kernels().kv_store(shape, cache.get(), 0, 60, old.k.data(), 32, old.v.data(), 32, range.data());
  kernels().kv_store(shape, cache.get(), 0, 23, in.k.data(), 32, in.v.data(), 32, range.data());
  std::vector<float> o(in.q.size());
  kernels().attention(shape, cache.get(), 0, 23, in.q.data(), 64, o.data(), 64, range.data(), scratch.get());
  EXPECT_TRUE(same_bits(o, run(kernels(), in, 1)));
}

}  // namespace
LLMC_EVERY_ISA(ExactAttention);
}  // namespace llmc::testing
