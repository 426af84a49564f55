// Weights, quantised rows, linears, norms and elementwise operations: every table equals scalar.
#include <cmath>
#include <cstring>
#include <limits>

#include "exact/exact_testing.h"
#include "exact/spec.h"

namespace llmc::testing {
namespace {

class ExactKernels : public EveryIsa {};

struct Matrix {
  int n, k;
  std::vector<int8_t> w;
  std::vector<float> sw, bias;
  Matrix(int n_, int k_, uint64_t seed, bool extreme = false) : n(n_), k(k_), w(static_cast<size_t>(n_) * k_), sw(n_), bias(n_) {
    Random random(seed);
    for (int8_t& v : w) v = extreme ? (random.below(2) ? 127 : -127) : random.weight();
    for (float& v : sw) v = 0.001f + 0.001f * random.uniform();
    for (float& v : bias) v = random.uniform();
  }
};

std::vector<float> run_linear(const Kernels& kernels, int bits, int rows, const Matrix& m, const std::vector<float>& x,
                              bool bias, std::vector<uint8_t>* range = nullptr) {
  Aligned packed(kernels.packed_bytes(m.n, m.k));
  kernels.pack(m.n, m.k, m.w.data(), packed.get());
  Aligned q(rows * kernels.quantised_bytes(bits, m.k));
  std::vector<float> s(rows), y(static_cast<size_t>(rows) * m.n, -1.0f);
  std::vector<uint8_t> flags(rows);
  (bits == 8 ? kernels.quantise8 : kernels.quantise16)(rows, m.k, x.data(), m.k, q.get(), s.data(), flags.data());
  (bits == 8 ? kernels.linear8 : kernels.linear16)(rows, m.n, m.k, q.get(), s.data(), packed.get(), m.sw.data(),
                                                   bias ? m.bias.data() : nullptr, y.data(), m.n);
  if (range) *range = flags;
  return y;
}

// The sum by its definition, without any kernel.
TEST(ExactScalar, LinearIsTheIntegerSum) {
  FloatState state;
  const Matrix m(5, 300, 1);
  const std::vector<float> x = floats(300, Mix::normal, 2);
  float a = 0;
  for (float v : x) a = std::max(a, std::fabs(v));
  const std::vector<float> y = run_linear(scalar(), 16, 1, m, x, true);
  for (int n = 0; n < m.n; ++n) {
    int64_t sum = 0;
    for (int k = 0; k < m.k; ++k) sum += static_cast<int64_t>(std::nearbyint(x[k] * (32512.0f / a))) * m.w[n * m.k + k];
    EXPECT_EQ(y[n], static_cast<float>(sum) * ((a / 32512.0f) * m.sw[n]) + m.bias[n]);
  }
}

TEST_P(ExactKernels, QuantiseEqualsScalar) {
  for (int bits : {8, 16}) {
    for (int k : {1, 7, 16, 31, 64, 100, 256, 640, 1000}) {
      for (Mix mix : kMixes) {
        const int rows = 3;
        const std::vector<float> x = floats(rows * k, mix, k);
        std::vector<std::vector<int16_t>> q;
        std::vector<std::vector<float>> s;
        for (const Kernels* one : {&scalar(), &kernels()}) {
          Aligned buffer(rows * one->quantised_bytes(bits, k));
          std::vector<float> scale(rows);
          std::vector<uint8_t> range(rows);
          (bits == 8 ? one->quantise8 : one->quantise16)(rows, k, x.data(), k, buffer.get(), scale.data(), range.data());
          EXPECT_EQ(range, std::vector<uint8_t>(rows, 0));
          q.emplace_back();
          for (int row = 0; row < rows; ++row) {
            std::vector<int16_t> out(k);
            one->read_quantised(bits, k, buffer.as<char>() + row * one->quantised_bytes(bits, k), out.data());
            q.back().insert(q.back().end(), out.begin(), out.end());
          }
          s.push_back(scale);
        }
        EXPECT_EQ(q[0], q[1]) << "bits " << bits << " k " << k << " mix " << static_cast<int>(mix);
        EXPECT_TRUE(same_bits(s[0], s[1]));
      }
    }
  }
}

// Every rounding of the conversion: a row of 1 and of all multiples around each half step.
TEST_P(ExactKernels, QuantiseRoundsEveryStepLikeScalar) {
  for (int bits : {8, 16}) {
    const float limit = bits == 8 ? 127.0f : 32512.0f;
    std::vector<float> x = {limit};
    for (int i = 0; i < static_cast<int>(limit); ++i) {
      const float middle = static_cast<float>(i) + 0.5f;
      for (float v : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, limit)}) {
        x.push_back(i % 2 ? v : -v);
      }
    }
    const int k = static_cast<int>(x.size());
    std::vector<int16_t> expected(k), got(k);
    for (auto [one, out] : {std::pair{&scalar(), &expected}, std::pair{&kernels(), &got}}) {
      Aligned buffer(one->quantised_bytes(bits, k));
      float s;
      uint8_t range = 0;
      (bits == 8 ? one->quantise8 : one->quantise16)(1, k, x.data(), k, buffer.get(), &s, &range);
      one->read_quantised(bits, k, buffer.get(), out->data());
    }
    EXPECT_EQ(expected, got);
    EXPECT_EQ(expected[1], 0);   // 0.5 rounds to even
    EXPECT_EQ(expected[4], 2);   // 1.5 too
  }
}

TEST_P(ExactKernels, LinearEqualsScalar) {
  const int sizes[][2] = {{1, 1}, {1, 64}, {3, 5}, {16, 16}, {17, 33}, {64, 64}, {65, 127}, {100, 256}, {130, 519},
                          {80, 520}, {80, 522}, {48, 1030}, {33, 2500}, {20, 16384}};
  for (const auto& [n, k] : sizes) {
    for (int rows : {1, 2, 5, 6, 7, 13, 65}) {
      if (static_cast<int64_t>(n) * k * rows > 4'000'000) continue;
      const Matrix m(n, k, n * 1000 + k);
      const std::vector<float> x = floats(static_cast<size_t>(rows) * k, rows % 2 ? Mix::normal : Mix::outliers, rows);
      for (int bits : {8, 16}) {
        EXPECT_TRUE(same_bits(run_linear(scalar(), bits, rows, m, x, rows % 2), run_linear(kernels(), bits, rows, m, x, rows % 2)))
            << "n " << n << " k " << k << " rows " << rows << " bits " << bits;
      }
    }
  }
}

// The largest sums that exist: they overflow int32 where limbs are joined too early, saturate
// where a saturating dot product is used, and reach 2^31 in 261 pairs.
TEST_P(ExactKernels, LinearKeepsTheLargestSums) {
  for (int k : {512, 520, 524, 4096, 16384, 65536}) {
    for (int sign : {1, -1, 0}) {
      Matrix m(16, k, k, true);
      if (sign) std::fill(m.w.begin(), m.w.end(), static_cast<int8_t>(127 * sign));
      std::vector<float> x(2 * k, 127.0f);
      if (!sign) x = floats(2 * k, Mix::signs, k);
      for (int bits : {8, 16}) {
        const std::vector<float> expected = run_linear(scalar(), bits, 2, m, x, false);
        EXPECT_TRUE(same_bits(expected, run_linear(kernels(), bits, 2, m, x, false))) << "k " << k << " bits " << bits;
        if (sign) {
          const float a = bits == 8 ? 127.0f : 32512.0f;
          const float sum = static_cast<float>(static_cast<int64_t>(a) * 127 * sign * k);
          EXPECT_EQ(expected[0], sum * ((127.0f / a) * m.sw[0]));
        }
      }
    }
  }
}

TEST_P(ExactKernels, LinearDoesNotDependOnTheBatch) {
  const Matrix m(70, 200, 9);
  const int rows = 65;
  const std::vector<float> x = floats(static_cast<size_t>(rows) * m.k, Mix::outliers, 3);
  for (int bits : {8, 16}) {
    const std::vector<float> all = run_linear(kernels(), bits, rows, m, x, true);
    for (int batch : {1, 3, 17, 64}) {
      std::vector<float> parts;
      for (int row = 0; row < rows; row += batch) {
        const int count = std::min(batch, rows - row);
        const std::vector<float> some(x.begin() + row * m.k, x.begin() + (row + count) * m.k);
        const std::vector<float> y = run_linear(kernels(), bits, count, m, some, true);
        parts.insert(parts.end(), y.begin(), y.end());
      }
      EXPECT_TRUE(same_bits(all, parts)) << "batch " << batch;
    }
  }
}

TEST_P(ExactKernels, LinearLeavesTheRestOfARowAlone) {
  const Matrix m(19, 40, 4);
  const std::vector<float> x = floats(2 * m.k, Mix::normal, 5);
  Aligned packed(kernels().packed_bytes(m.n, m.k)), q(2 * kernels().quantised_bytes(8, m.k));
  kernels().pack(m.n, m.k, m.w.data(), packed.get());
  float s[2];
  uint8_t range[2] = {};
  kernels().quantise8(2, m.k, x.data(), m.k, q.get(), s, range);
  std::vector<float> y(2 * 24, 7.0f);
  kernels().linear8(2, m.n, m.k, q.get(), s, packed.get(), m.sw.data(), nullptr, y.data(), 24);
  for (int row = 0; row < 2; ++row) {
    for (int i = m.n; i < 24; ++i) EXPECT_EQ(y[row * 24 + i], 7.0f);
  }
}

TEST_P(ExactKernels, EmbedReadsThePackedRows) {
  for (const auto& [n, k] : {std::pair{300, 48}, std::pair{65, 50}, std::pair{7, 3}}) {
    const Matrix m(n, k, n);
    Aligned packed(kernels().packed_bytes(n, k));
    kernels().pack(n, k, m.w.data(), packed.get());
    std::vector<int32_t> ids = {0, n - 1, n / 2, 1};
    std::vector<float> x(ids.size() * k);
    kernels().embed(static_cast<int>(ids.size()), n, k, ids.data(), packed.get(), m.sw.data(), x.data(), k);
    for (size_t row = 0; row < ids.size(); ++row) {
      for (int i = 0; i < k; ++i) {
        ASSERT_EQ(x[row * k + i], static_cast<float>(m.w[static_cast<size_t>(ids[row]) * k + i]) * m.sw[ids[row]]);
      }
    }
  }
}

TEST_P(ExactKernels, NormsEqualScalar) {
  for (int n : {1, 2, 8, 15, 16, 33, 64, 256, 1000, 65536}) {
    const std::vector<float> g = floats(n, Mix::normal, 11), b = floats(n, Mix::normal, 12);
    for (Mix mix : kMixes) {
      const int rows = n > 1000 ? 1 : 3;
      const std::vector<float> x = floats(static_cast<size_t>(rows) * n, mix, n);
      std::vector<float> expected(x.size()), got(x.size());
      std::vector<uint8_t> range(rows);
      scalar().rms_norm(rows, 1, n, x.data(), n, g.data(), 1e-5f, expected.data(), n, range.data());
      kernels().rms_norm(rows, 1, n, x.data(), n, g.data(), 1e-5f, got.data(), n, range.data());
      EXPECT_TRUE(same_bits(expected, got)) << "rms n " << n << " mix " << static_cast<int>(mix);
      scalar().layer_norm(rows, n, x.data(), n, g.data(), b.data(), 1e-5f, expected.data(), n, range.data());
      kernels().layer_norm(rows, n, x.data(), n, g.data(), b.data(), 1e-5f, got.data(), n, range.data());
      EXPECT_TRUE(same_bits(expected, got)) << "layer n " << n << " mix " << static_cast<int>(mix);
      EXPECT_EQ(range, std::vector<uint8_t>(rows, 0));
    }
  }
}

TEST_P(ExactKernels, NormsAreNearTheRealOnes) {
  const int n = 256;
  const std::vector<float> x = floats(n, Mix::normal, 1), g(n, 1.0f), b(n, 0.0f);
  double sum = 0, squares = 0;
  for (float v : x) sum += v, squares += static_cast<double>(v) * v;
  const double mean = sum / n;
  std::vector<float> rms(n), layer(n);
  uint8_t range = 0;
  kernels().rms_norm(1, 1, n, x.data(), n, g.data(), 1e-6f, rms.data(), n, &range);
  kernels().layer_norm(1, n, x.data(), n, g.data(), b.data(), 1e-6f, layer.data(), n, &range);
  for (int i = 0; i < n; ++i) {
    EXPECT_NEAR(rms[i], x[i] / std::sqrt(squares / n), 1e-5);
    EXPECT_NEAR(layer[i], (x[i] - mean) / std::sqrt(squares / n - mean * mean), 1e-4);
  }
}

TEST_P(ExactKernels, HeadNormsAreNormsOfEachHead) {
  const int heads = 3, n = 24, rows = 2;
  const std::vector<float> x = floats(rows * heads * n, Mix::normal, 6), g = floats(n, Mix::normal, 7);
  std::vector<float> together(x.size()), apart(x.size());
  std::vector<uint8_t> range(rows * heads);
  kernels().rms_norm(rows, heads, n, x.data(), heads * n, g.data(), 1e-6f, together.data(), heads * n, range.data());
  scalar().rms_norm(rows * heads, 1, n, x.data(), n, g.data(), 1e-6f, apart.data(), n, range.data());
  EXPECT_TRUE(same_bits(together, apart));
  std::vector<float> in_place = x;
  kernels().rms_norm(rows, heads, n, in_place.data(), heads * n, g.data(), 1e-6f, in_place.data(), heads * n, range.data());
  EXPECT_TRUE(same_bits(together, in_place));
}

TEST_P(ExactKernels, ElementwiseEqualsScalar) {
  for (int n : {1, 8, 15, 33, 100}) {
    for (Mix mix : kMixes) {
      const std::vector<float> x = floats(2 * n, mix, n), up = floats(2 * n, Mix::normal, n + 1);
      std::vector<float> expected(2 * n), got(2 * n);
      scalar().silu_mul(2, n, x.data(), n, up.data(), n, expected.data(), n);
      kernels().silu_mul(2, n, x.data(), n, up.data(), n, got.data(), n);
      EXPECT_TRUE(same_bits(expected, got));
      for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
        for (const float* gate : {static_cast<const float*>(nullptr), up.data()}) {
          scalar().gelu(kind, 2, n, x.data(), n, gate, n, expected.data(), n);
          kernels().gelu(kind, 2, n, x.data(), n, gate, n, got.data(), n);
          EXPECT_TRUE(same_bits(expected, got));
        }
      }
      expected = got = x;
      scalar().add(2, n, expected.data(), n, up.data(), n);
      kernels().add(2, n, got.data(), n, up.data(), n);
      EXPECT_TRUE(same_bits(expected, got));
    }
  }
}

TEST_P(ExactKernels, RopeTurnsPairs) {
  const int context = 9;
  for (const auto& [head_dim, rotary] : {std::pair{64, 64}, std::pair{80, 32}, std::pair{24, 10}, std::pair{8, 8}}) {
    std::vector<float> cos(context * rotary / 2), sin(cos.size());
    for (size_t i = 0; i < cos.size(); ++i) cos[i] = std::cos(0.1f * i), sin[i] = std::sin(0.1f * i);
    const int heads = 3, rows = 2;
    const std::vector<int32_t> pos = {context - 1, 4};
    const std::vector<float> x = floats(rows * heads * head_dim, Mix::normal, head_dim);
    for (RopePairs pairs : {RopePairs::halves, RopePairs::neighbours}) {
      std::vector<float> y = x;
      kernels().rope(rows, heads, head_dim, rotary, pairs, pos.data(), cos.data(), sin.data(), y.data(), heads * head_dim);
      for (int row = 0; row < rows; ++row) {
        for (int h = 0; h < heads; ++h) {
          const float* in = &x[(row * heads + h) * head_dim];
          const float* out = &y[(row * heads + h) * head_dim];
          for (int i = 0; i < rotary / 2; ++i) {
            const int a = pairs == RopePairs::halves ? i : 2 * i;
            const int b = pairs == RopePairs::halves ? i + rotary / 2 : 2 * i + 1;
            const float c = cos[pos[row] * (rotary / 2) + i], s = sin[pos[row] * (rotary / 2) + i];
            ASSERT_EQ(out[a], (in[a] * c) - (in[b] * s));
            ASSERT_EQ(out[b], (in[b] * c) + (in[a] * s));
          }
          for (int i = rotary; i < head_dim; ++i) ASSERT_EQ(out[i], in[i]);
        }
      }
    }
  }
}

// ---- range errors

const float kBad[] = {0x1p60f, -0x1p60f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN()};

TEST_P(ExactKernels, OnlyTheRowOutOfRangeIsFlaggedAndZeroed) {
  const int rows = 5, n = 37, bad_row = 2;
  const Matrix m(20, n, 3);
  for (float bad : kBad) {
    for (int where : {0, 15, n - 1}) {
      const std::vector<float> good = floats(rows * n, Mix::normal, 8);
      std::vector<float> x = good;
      x[bad_row * n + where] = bad;
      std::vector<uint8_t> expected(rows);
      expected[bad_row] = 1;
      for (int bits : {8, 16}) {
        std::vector<uint8_t> range;
        const std::vector<float> y = run_linear(kernels(), bits, rows, m, x, false, &range);
        const std::vector<float> clean = run_linear(kernels(), bits, rows, m, good, false);
        EXPECT_EQ(range, expected);
        for (int i = 0; i < rows * m.n; ++i) EXPECT_EQ(y[i], i / m.n == bad_row ? 0.0f : clean[i]);
      }
      std::vector<uint8_t> range(rows);
      std::vector<float> g(n, 1.0f), y(rows * n, 5.0f);
      kernels().rms_norm(rows, 1, n, x.data(), n, g.data(), 1e-5f, y.data(), n, range.data());
      EXPECT_EQ(range, expected);
      EXPECT_EQ(y[bad_row * n], 0.0f);
      range.assign(rows, 0);
      kernels().layer_norm(rows, n, x.data(), n, g.data(), g.data(), 1e-5f, y.data(), n, range.data());
      EXPECT_EQ(range, expected);
      EXPECT_EQ(y[bad_row * n], 0.0f);
    }
  }
}

TEST_P(ExactKernels, TheLargestAllowedMagnitudePasses) {
  const int n = 20;
  std::vector<float> x(n, std::nextafter(0x1p60f, 0.0f)), g(n, 1.0f), y(n);
  uint8_t range = 0;
  kernels().rms_norm(1, 1, n, x.data(), n, g.data(), 1e-5f, y.data(), n, &range);
  EXPECT_EQ(range, 0);
  EXPECT_NEAR(y[3], 1.0f, 1e-5);
}

TEST_P(ExactKernels, GeluIsNearTheRealOne) {
  std::vector<float> x;
  for (float v = -12.0f; v <= 12.0f; v += 0x1p-6f) x.push_back(v);
  const int n = static_cast<int>(x.size());
  std::vector<float> erf(n), tanh(n);
  kernels().gelu(Gelu::erf, 1, n, x.data(), n, nullptr, 0, erf.data(), n);
  kernels().gelu(Gelu::tanh, 1, n, x.data(), n, nullptr, 0, tanh.data(), n);
  for (int i = 0; i < n; ++i) {
    const double v = x[i];
    EXPECT_NEAR(erf[i], v * 0.5 * std::erfc(-v / std::sqrt(2.0)), 2e-7 * std::max(1.0, std::fabs(v))) << v;
    const double w = std::sqrt(2 / std::acos(-1.0)) * (v + 0.044715 * v * v * v);
    EXPECT_NEAR(tanh[i], 0.5 * v * (1 + std::tanh(w)), 3e-7 * std::max(1.0, std::fabs(v))) << v;
  }
}

// What no activation should be still gives an answer that the next check understands.
TEST_P(ExactKernels, GeluOfTheLargestIsItselfOrNothing) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    const float x[] = {0x1p59f, -0x1p59f, 0x1p127f, inf, 0.0f};
    float y[5];
    kernels().gelu(kind, 1, 5, x, 5, nullptr, 0, y, 5);
    EXPECT_EQ(y[0], 0x1p59f);
    EXPECT_EQ(y[1], 0.0f);
    EXPECT_EQ(y[2], 0x1p127f);
    EXPECT_EQ(y[3], inf);
    EXPECT_EQ(y[4], 0.0f);
  }
}

// ---- exp2 and SiLU over sampled floats; LLMC_LONG=1 takes every float there is.

TEST_P(ExactKernels, Exp2AndSiluHaveTheCommittedHash) {
  const bool all = std::getenv("LLMC_LONG") != nullptr;
  const uint32_t stride = all ? 1 : 997;
  const size_t kBatch = 1 << 16;
  std::vector<float> x(kBatch), e(kBatch), one(kBatch, 1.0f), silu(kBatch);
  uint64_t hash_exp2 = 0xcbf29ce484222325u, hash_silu = hash_exp2;
  const auto mix = [](uint64_t h, float v) { return (h ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3u; };
  uint64_t bits = 0;
  while (bits < (uint64_t{1} << 32)) {
    size_t n = 0;
    for (; n < kBatch && bits < (uint64_t{1} << 32); bits += stride) x[n++] = std::bit_cast<float>(static_cast<uint32_t>(bits));
    kernels().exp2(static_cast<int>(n), x.data(), e.data());
    kernels().silu_mul(1, static_cast<int>(n), x.data(), n, one.data(), n, silu.data(), n);
    for (size_t i = 0; i < n; ++i) {
      if (x[i] <= 0.0f) hash_exp2 = mix(hash_exp2, e[i]);
      if (!std::isnan(silu[i])) hash_silu = mix(hash_silu, silu[i]);
    }
  }
  EXPECT_EQ(hash_exp2, all ? 2341527715889630594u : 10339927623386106536u);
  EXPECT_EQ(hash_silu, all ? 2001254207330662866u : 1803741939486620283u);
}

TEST(ExactScalar, Exp2IsAccurateAndNeverAboveOne) {
  FloatState state;
  EXPECT_EQ(spec::exp2(0.0f), 1.0f);
  EXPECT_EQ(spec::exp2(-0.0f), 1.0f);
  EXPECT_EQ(spec::exp2(-125.0f), 0x1p-125f);
  EXPECT_EQ(spec::exp2(std::nextafter(-125.0f, -200.0f)), 0.0f);
  EXPECT_EQ(spec::exp2(-std::numeric_limits<float>::infinity()), 0.0f);
  for (int n = 0; n <= 125; ++n) EXPECT_EQ(spec::exp2(static_cast<float>(-n)), std::ldexp(1.0f, -n));
  for (uint32_t bits = 0x80000000; bits <= 0xC2FA0000; bits += 499) {
    const float x = std::bit_cast<float>(bits);
    const float y = spec::exp2(x);
    const double exact = std::exp2(static_cast<double>(x));
    ASSERT_LE(y, 1.0f);
    ASSERT_LT(std::fabs(y - exact), exact * 0x1p-23) << x;
  }
}

}  // namespace
LLMC_EVERY_ISA(ExactKernels);
}  // namespace llmc::testing
