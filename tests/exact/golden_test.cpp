// The worked examples of docs/NUMERICS.md, section 9, with every table.
#include <cstdio>

#include "base/file.h"
#include "exact/exact_testing.h"
#include "exact/spec.h"

namespace llmc::testing {
namespace {

using Words = std::vector<uint32_t>;

Words words(const std::vector<float>& x) {
  Words out;
  for (float v : x) out.push_back(std::bit_cast<uint32_t>(v));
  return out;
}

class ExactGolden : public EveryIsa {
 protected:
  const std::vector<float> x = {1.0f, -2.0f, 0.5f, 3.75f};
  std::vector<float> y = std::vector<float>(4);
  uint8_t range = 0;
};

TEST_P(ExactGolden, Exp2) {
  const std::vector<float> in = {-0.5f, -1.25f, -10.3f, -124.9f, -125.5f};
  std::vector<float> out(5);
  kernels().exp2(5, in.data(), out.data());
  EXPECT_EQ(words(out), (Words{0x3F3504F3, 0x3ED744FD, 0x3A4FEFC4, 0x01092FD6, 0x00000000}));
}

TEST_P(ExactGolden, QuantiseAndLinear) {
  const int8_t w[] = {1, -2, 3, -4, 127, 127, -127, 5};
  const float sw[] = {0.01f, 0.5f}, bias[] = {0.1f, -1.0f};
  Aligned packed(kernels().packed_bytes(2, 4));
  kernels().pack(2, 4, w, packed.get());
  Aligned q(kernels().quantised_bytes(16, 4));
  float s;
  std::vector<int16_t> integers(4);
  y.resize(2);

  kernels().quantise8(1, 4, x.data(), 4, q.get(), &s, &range);
  kernels().read_quantised(8, 4, q.get(), integers.data());
  EXPECT_EQ(integers, (std::vector<int16_t>{34, -68, 17, 127}));
  EXPECT_EQ(words({s}), Words{0x3CF1E3C8});
  kernels().linear8(1, 2, 4, q.get(), &s, packed.get(), sw, bias, y.data(), 2);
  EXPECT_EQ(words(y), (Words{0x3C79F3E8, 0xC2AE8000}));

  kernels().quantise16(1, 4, x.data(), 4, q.get(), &s, &range);
  kernels().read_quantised(16, 4, q.get(), integers.data());
  EXPECT_EQ(integers, (std::vector<int16_t>{8670, -17340, 4335, 32512}));
  EXPECT_EQ(words({s}), Words{0x38F1E3C8});
  kernels().linear16(1, 2, 4, q.get(), &s, packed.get(), sw, bias, y.data(), 2);
  EXPECT_EQ(words(y), (Words{0x3C75C6C0, 0xC2ADC0C0}));
}

TEST_P(ExactGolden, Norms) {
  const std::vector<float> g = {1.0f, 0.5f, 2.0f, 1.5f}, b = {0.25f, 0.0f, -1.0f, 0.1f};
  kernels().rms_norm(1, 1, 4, x.data(), 4, g.data(), 1e-6f, y.data(), 4, &range);
  EXPECT_EQ(words(y), (Words{0x3EE90366, 0xBEE90366, 0x3EE90366, 0x4023D664}));
  kernels().layer_norm(1, 4, x.data(), 4, g.data(), b.data(), 1e-6f, y.data(), 4, &range);
  EXPECT_EQ(words(y), (Words{0x3EAF05DA, 0xBF3055EF, 0xBFA72F8A, 0x40108794}));
}

TEST_P(ExactGolden, Silu) {
  const std::vector<float> up = {1.0f, 1.0f, -2.0f, 0.1f};
  kernels().silu_mul(1, 4, x.data(), 4, up.data(), 4, y.data(), 4);
  EXPECT_EQ(words(y), (Words{0x3F3B26A8, 0xBE7420A9, 0xBF1F597F, 0x3EBB969F}));
}

TEST_P(ExactGolden, Gelu) {
  kernels().gelu(Gelu::erf, 1, 4, x.data(), 4, nullptr, 0, y.data(), 4);
  EXPECT_EQ(words(y), (Words{0x3F57625E, 0xBD3A5E56, 0x3EB103AE, 0x406FFA91}));
  kernels().gelu(Gelu::tanh, 1, 4, x.data(), 4, nullptr, 0, y.data(), 4);
  EXPECT_EQ(words(y), (Words{0x3F57585C, 0xBD39F7C6, 0x3EB1016D, 0x406FFC69}));
}

TEST_P(ExactGolden, Rope) {
  const float cos[] = {0.8f, 0.6f}, sin[] = {0.6f, 0.8f};
  const int32_t pos = 0;
  y = x;
  kernels().rope(1, 1, 4, 4, RopePairs::halves, &pos, cos, sin, y.data(), 4);
  EXPECT_EQ(words(y), (Words{0x3F000000, 0xC0866666, 0x3F800000, 0x3F266666}));
  y = x;
  kernels().rope(1, 1, 4, 4, RopePairs::neighbours, &pos, cos, sin, y.data(), 4);
  EXPECT_EQ(words(y), (Words{0x40000000, 0xBF800000, 0xC02CCCCD, 0x4029999A}));
}

TEST_P(ExactGolden, Attention) {
  for (const int kv_bits : {8, 16}) {
    const AttentionShape shape{1, 1, 8, 3, 0x1.0527dcp-1f, 0, kv_bits};
    std::vector<float> q(24), k(24), v(24), o(24);
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 8; ++i) {
        q[j * 8 + i] = static_cast<float>((2 * i + j) % 5 - 2) * 0.7f;
        k[j * 8 + i] = static_cast<float>((3 * i + 5 * j) % 7 - 3) * 0.5f;
        v[j * 8 + i] = static_cast<float>((i + 2 * j) % 5 - 2) * 0.75f * static_cast<float>(j + 1);
      }
    }
    Aligned cache(kernels().kv_bytes(shape)), scratch(kernels().attention_scratch_bytes(shape));
    uint8_t flags[3] = {};
    kernels().kv_store(shape, cache.get(), 0, 3, k.data(), 8, v.data(), 8, flags);
    kernels().attention(shape, cache.get(), 0, 3, q.data(), 8, o.data(), 8, flags, scratch.get());
    if (kv_bits == 16) {
      EXPECT_EQ(words({o.begin() + 16, o.begin() + 21}), (Words{0x403BC8BB, 0xC0535603, 0xBFB579A6, 0xBD49E2A9, 0x3FEAE34B}));
      continue;
    }
    EXPECT_EQ(words(o), (Words{0xBFC00000, 0xBF400000, 0x00000000, 0x3F400000, 0x3FC00000, 0xBFC00000, 0xBF400000, 0x00000000,
                               0xBFB6A833, 0xBF23F899, 0x3E157CCE, 0x3F114900, 0x3FAD5066, 0xBFB6A833, 0xBF23F899, 0x3E157CCE,
                               0x403C1743, 0xC0538A9A, 0xBFB5BB6C, 0xBD4B7ADA, 0x3FEAFDF1, 0x403C1743, 0xC0538A9A, 0xBFB5BB6C}));
  }
}

TEST_P(ExactGolden, Frequencies) {
  const float y[] = {1.0f, 0.0f, -1.0f, 2.5f, 2.5f};
  std::vector<float> t(5);
  std::vector<uint32_t> w(6);
  uint64_t block;
  Frequencies f{5, 6, t.data(), w.data(), &block, 0};
  ASSERT_TRUE(kernels().frequencies(y, &f));
  EXPECT_EQ(words(t), (Words{0x3FB8AA3B, 0x00000000, 0xBFB8AA3B, 0x4066D4CA, 0x4066D4CA}));
  EXPECT_EQ(w, (Words{239584209, 88138097, 32424193, 1073741825, 1073741825, 1}));
  EXPECT_EQ(f.total, 2507630150u);
  const int ranks[] = {2, 3, 4, 0, 1, 5};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(kernels().rank(f, i), ranks[i]);
}

// The document and the code give the same constants.
TEST(ExactDocument, NamesTheConstants) {
  const Result<Bytes> bytes = read_file(LLMC_SOURCE_DIR "/docs/NUMERICS.md");
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  const std::string text(as_text(*bytes));
  const float constants[] = {spec::kC1, spec::kC2, spec::kC3, spec::kC4, spec::kC5, spec::kC6};
  for (int i = 0; i < 6; ++i) {
    const size_t at = text.find("c" + std::to_string(i + 1) + " = 0x");
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(std::strtof(text.c_str() + at + 5, nullptr), constants[i]);
  }
  char word[16];
  for (uint32_t bits : {spec::kRangeBits, spec::kTinyBits, spec::kTinyNormBits}) {
    std::snprintf(word, sizeof word, "0x%08X", bits);
    EXPECT_NE(text.find(word), std::string::npos) << word;
  }
  EXPECT_NE(text.find("`log2e = 0x1.715476p+0`"), std::string::npos);
  for (const char* result : {"3F3504F3 3ED744FD 3A4FEFC4 01092FD6", "3C79F3E8 C2AE8000", "403C1743 C0538A9A BFB5BB6C BD4B7ADA 3FEAFDF1",
                             "3F3B26A8 BE7420A9 BF1F597F 3EBB969F", "3F57625E BD3A5E56 3EB103AE 406FFA91", "3F57585C BD39F7C6 3EB1016D 406FFC69", "403BC8BB C0535603 BFB579A6 BD49E2A9 3FEAE34B", "Tot = 2507630150"}) {
    EXPECT_NE(text.find(result), std::string::npos) << result;
  }
}

}  // namespace
LLMC_EVERY_ISA(ExactGolden);
}  // namespace llmc::testing
