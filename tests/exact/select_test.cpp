// Which table is chosen, the floating-point environment, and the start-up checks.
#include <cfenv>
#include <cmath>
#include <cstring>

#include "exact/exact_testing.h"
#include "exact/examples.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace llmc::testing {
namespace {

class ExactSelect : public ::testing::Test {
 protected:
  void SetUp() override { unsetenv("LLMC_ISA"); }
  void TearDown() override { unsetenv("LLMC_ISA"); }
};

TEST_F(ExactSelect, TakesTheBestByDefault) {
  const std::vector<std::string> names = available_isas();
  EXPECT_EQ(names.front(), "scalar");
  EXPECT_EQ((*select_kernels())->name, names.back());
  setenv("LLMC_ISA", "", 1);
  EXPECT_EQ((*select_kernels())->name, names.back());
}

TEST_F(ExactSelect, TheVariableChoosesUnlessAskedFor) {
  setenv("LLMC_ISA", "scalar", 1);
  EXPECT_STREQ((*select_kernels())->name, "scalar");
  for (const std::string& name : available_isas()) EXPECT_EQ((*select_kernels(name))->name, name);
}

TEST_F(ExactSelect, UnknownNamesAreRefusedWithTheChoices) {
  const Result<const Kernels*> direct = select_kernels("sse9");
  ASSERT_FALSE(direct.ok());
  EXPECT_EQ(direct.status().code(), Code::usage);
  EXPECT_NE(direct.status().message().find("sse9 is unknown; choose one of scalar"), std::string::npos);
  setenv("LLMC_ISA", "AVX2", 1);
  const Result<const Kernels*> variable = select_kernels();
  ASSERT_FALSE(variable.ok());
  EXPECT_EQ(variable.status().message().find("LLMC_ISA=AVX2"), 0u);
}

TEST_F(ExactSelect, WhatThisProcessorLacksIsRefused) {
  const std::vector<std::string> names = available_isas();
  if (names.size() == 4) GTEST_SKIP() << "not run: this processor has every instruction set";
  const Result<const Kernels*> result = select_kernels("avx512vnni");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("cannot run on this processor"), std::string::npos);
}

// What the processor does, not what <cfenv> says: on x86-64 fegetround reads the x87 unit.
bool rounds_up() {
  const volatile float one = 1.0f, little = 0x1p-40f;
  return one + little > 1.0f;
}

TEST(ExactFloatState, SetsAndRestores) {
  const int before = std::fegetround();
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  ASSERT_TRUE(rounds_up());
  {
    FloatState state;
    EXPECT_FALSE(rounds_up());
    {
      FloatState inner;
      EXPECT_FALSE(rounds_up());
    }
    EXPECT_FALSE(rounds_up());
  }
  EXPECT_TRUE(rounds_up());
  std::fesetround(before);
}

#if defined(__x86_64__)
TEST(ExactFloatState, UndoesFlushToZero) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1F80 | 0x8040 | 0x4000);  // FTZ, DAZ, round up
  const unsigned foreign = _mm_getcsr();
  {
    FloatState state;
    EXPECT_EQ(_mm_getcsr() & ~0x3Fu, 0x1F80u);
    EXPECT_TRUE(check_arithmetic(scalar()).ok());
  }
  EXPECT_EQ(_mm_getcsr() & ~0x3Fu, foreign & ~0x3Fu);
  _mm_setcsr(before);
}

TEST(ExactCheck, NamesAWrongEnvironment) {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1F80 | 0x8000);
  const Status flushed = check_arithmetic(scalar());
  _mm_setcsr(0x1F80 | 0x4000);
  const Status upward = check_arithmetic(scalar());
  _mm_setcsr(before);
  EXPECT_NE(flushed.message().find("flushes denormal"), std::string::npos);
  EXPECT_NE(upward.message().find("does not round to nearest"), std::string::npos);
}
#endif

class ExactExamples : public EveryIsa {};

TEST_P(ExactExamples, HaveTheCommittedAnswers) {
  const std::vector<exact::Example> got = exact::run_examples(kernels());
  const std::vector<exact::Example>& expected = exact::expected_examples();
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_STREQ(got[i].operation, expected[i].operation);
    EXPECT_EQ(got[i].hash, expected[i].hash) << got[i].operation;
  }
  EXPECT_TRUE(check_arithmetic(kernels()).ok()) << check_arithmetic(kernels()).message();
}
LLMC_EVERY_ISA(ExactExamples);

// The check finds a wrong operation and names it: one broken function per table entry.
const Kernels* good;
TEST(ExactCheck, NamesAWrongOperation) {
  FloatState state;
  good = &scalar();
  Kernels bad = *good;
  bad.linear8 = [](int rows, int n, int k, const void* q, const float* s, const void* packed, const float* sw,
                   const float* bias, float* y, size_t ldy) {
    good->linear8(rows, n, k, q, s, packed, sw, bias, y, ldy);
    y[0] = std::nextafter(y[0], 1e9f);
  };
  EXPECT_NE(check_arithmetic(bad).message().find("wrong linear A8"), std::string::npos);
  bad = *good;
  bad.exp2 = [](int n, const float* x, float* y) {
    for (int i = 0; i < n; ++i) y[i] = std::exp2(x[i]);  // a better exp2 is a wrong one
  };
  EXPECT_NE(check_arithmetic(bad).message().find("wrong exp2"), std::string::npos);
}

}  // namespace
}  // namespace llmc::testing
