// Logits to frequencies, and the questions that coders ask of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "exact/exact_testing.h"

namespace llmc::testing {
namespace {

class ExactFrequencies : public EveryIsa {};

struct Table {
  std::vector<float> t;
  std::vector<uint32_t> w;
  std::vector<uint64_t> block;
  Frequencies f;
  bool ok;
  Table(const Kernels& kernels, const std::vector<float>& y, bool escape)
      : t(y.size()), w(y.size() + escape), block(frequency_blocks(static_cast<int>(w.size()))) {
    f.real = static_cast<int>(y.size());
    f.symbols = static_cast<int>(w.size());
    f.t = t.data();
    f.w = w.data();
    f.block = block.data();
    ok = kernels.frequencies(y.data(), &f);
  }
};

const int kSizes[] = {1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 4095, 4096, 5003};

TEST_P(ExactFrequencies, EqualScalar) {
  for (int n : kSizes) {
    for (Mix mix : kMixes) {
      for (bool escape : {false, true}) {
        const std::vector<float> y = floats(n, mix, n);
        const Table a(scalar(), y, escape), b(kernels(), y, escape);
        ASSERT_TRUE(a.ok && b.ok);
        ASSERT_TRUE(same_bits(a.t, b.t));
        ASSERT_EQ(a.w, b.w);
        ASSERT_EQ(a.block, b.block);
        ASSERT_EQ(a.f.total, b.f.total);
        EXPECT_EQ(b.f.total, std::accumulate(b.w.begin(), b.w.end(), uint64_t{0}));
        EXPECT_GE(*std::min_element(b.w.begin(), b.w.end()), 1u);
        if (mix == Mix::normal) {
          EXPECT_EQ(*std::max_element(b.w.begin(), b.w.end()), (1u << 30) + 1);
        }
        if (escape) {
          EXPECT_EQ(b.w[n], 1u);
        }
      }
    }
  }
}

TEST_P(ExactFrequencies, AreTheSoftmax) {
  const std::vector<float> y = floats(1000, Mix::normal, 3);
  const Table table(kernels(), y, false);
  double sum = 0;
  for (float v : y) sum += std::exp(static_cast<double>(v));
  for (int v = 0; v < 1000; ++v) {
    EXPECT_NEAR(static_cast<double>(table.w[v]) / table.f.total, std::exp(static_cast<double>(y[v])) / sum, 1e-8);
  }
}

TEST_P(ExactFrequencies, TheLargestVocabularyReachesTheLargestTotal) {
  const std::vector<float> y(kMaxVocabulary - 1, 1.5f);
  const Table table(kernels(), y, true);
  EXPECT_EQ(table.f.total, (kMaxVocabulary - 1) * ((uint64_t{1} << 30) + 1) + 1);
  EXPECT_EQ(kernels().find(table.f, table.f.total - 1), kMaxVocabulary - 1);
  EXPECT_EQ(kernels().find(table.f, table.f.total - 2), kMaxVocabulary - 2);
  EXPECT_EQ(kernels().rank(table.f, 300000), 300000);
  EXPECT_EQ(kernels().symbol_of_rank(table.f, 300000), 300000);
}

TEST_P(ExactFrequencies, IntervalsTileTheTotalAndFindInvertsThem) {
  for (int n : kSizes) {
    for (Mix mix : {Mix::normal, Mix::outliers, Mix::all_equal}) {
      for (bool escape : {false, true}) {
        const Table table(kernels(), floats(n, mix, n), escape);
        uint64_t cum = 0;
        for (int v = 0; v < table.f.symbols; ++v) {
          const SymbolInterval one = kernels().interval(table.f, v);
          ASSERT_EQ(one.cum, cum);
          ASSERT_EQ(one.w, table.w[v]);
          ASSERT_EQ(kernels().find(table.f, cum), v);
          ASSERT_EQ(kernels().find(table.f, cum + one.w - 1), v);
          cum += one.w;
        }
        ASSERT_EQ(cum, table.f.total);
      }
    }
  }
}

TEST_P(ExactFrequencies, RanksAreTheStableOrder) {
  for (int n : kSizes) {
    for (Mix mix : kMixes) {
      std::vector<float> y = floats(n, mix, n);
      for (int i = 0; i < n; i += 3) y[i] = y[i / 2];  // ties
      const Table table(kernels(), y, true);
      std::vector<int> order(n);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return table.t[a] > table.t[b]; });
      order.push_back(n);  // the escape symbol
      for (int r = 0; r <= n; r += n > 600 ? 13 : 1) {
        ASSERT_EQ(kernels().symbol_of_rank(table.f, r), order[r]) << "n " << n << " mix " << static_cast<int>(mix);
        ASSERT_EQ(kernels().rank(table.f, order[r]), r);
      }
      ASSERT_EQ(kernels().rank(table.f, n), n);
    }
  }
}

TEST_P(ExactFrequencies, ZerosOfBothSignsTie) {
  const Table table(kernels(), {-0.0f, 0.0f, -1.0f, 0.0f, -0.0f, -0x1p-149f, 0x1p-149f}, false);
  // Times log2(e), the least denormals stay themselves.
  const std::vector<int> expected = {6, 0, 1, 3, 4, 5, 2};
  for (int r = 0; r < 7; ++r) EXPECT_EQ(kernels().symbol_of_rank(table.f, r), expected[r]);
  for (int r = 0; r < 7; ++r) EXPECT_EQ(kernels().rank(table.f, expected[r]), r);
}

TEST_P(ExactFrequencies, LogitsOutOfRangeAreRefused) {
  for (float bad : {0x1p60f, -0x1p60f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (int where : {0, 17, 36}) {
      std::vector<float> y = floats(37, Mix::normal, 1);
      y[where] = bad;
      EXPECT_FALSE(Table(kernels(), y, false).ok);
    }
  }
}

}  // namespace
LLMC_EVERY_ISA(ExactFrequencies);
}  // namespace llmc::testing
