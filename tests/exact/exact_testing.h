// Shared by the tests of this folder: inputs from a fixed generator, aligned buffers, and one
// parameter per instruction set.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "exact/kernels.h"

namespace llmc::testing {

// xorshift64*: the same numbers on every machine and standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }
  int below(int n) { return static_cast<int>((next() >> 33) % n); }
  // Uniform in [-1, 1), 24 bits.
  float uniform() { return (static_cast<float>(next() >> 40) - 0x1p23f) * 0x1p-23f; }
  int8_t weight() { return static_cast<int8_t>(below(255) - 127); }

 private:
  uint64_t state_;
};

// A buffer on a 64-byte line, exactly as long as asked: a sanitizer sees what runs over.
class Aligned {
 public:
  explicit Aligned(size_t bytes) : bytes_(bytes), data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {
    std::memset(data_, 0xEE, bytes);  // stale contents must not matter
  }
  ~Aligned() { std::free(data_); }
  Aligned(const Aligned&) = delete;
  void* get() { return data_; }
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  size_t size() const { return bytes_; }

 private:
  size_t bytes_;
  void* data_;
};

// Floats that tests feed to kernels: what a model makes, and what it never should.
enum class Mix { normal, outliers, zeros, denormals, tiny_border, huge, all_equal, signs };
inline const std::vector<Mix> kMixes = {Mix::normal,      Mix::outliers, Mix::zeros,     Mix::denormals,
                                        Mix::tiny_border, Mix::huge,     Mix::all_equal, Mix::signs};

inline std::vector<float> floats(size_t n, Mix mix, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) {
    v = random.uniform();
    switch (mix) {
      case Mix::normal: v *= 4.0f; break;
      case Mix::outliers: v *= random.below(97) == 0 ? 1000.0f : 0.5f; break;
      case Mix::zeros: v = random.below(2) ? 0.0f : -0.0f; break;
      case Mix::denormals: v = std::bit_cast<float>(static_cast<uint32_t>(random.below(1 << 23)) | (random.below(2) ? 0x80000000u : 0u)); break;
      case Mix::tiny_border: v = std::bit_cast<float>(0x21800000u + random.below(3) - 1 - (random.below(8) ? 1 : 0)); break;
      case Mix::huge: v *= 0x1p60f; break;  // below 2^60: the largest that is allowed
      case Mix::all_equal: v = 3.25f; break;
      case Mix::signs: v = random.below(2) ? 127.0f : -127.0f; break;
    }
  }
  return x;
}

inline const Kernels& scalar() { return **select_kernels("scalar"); }

// Runs once per table; one that this processor lacks is reported as not run.
class EveryIsa : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const std::string& name : available_isas()) {
      if (name == GetParam()) kernels_ = *select_kernels(name);
    }
    if (!kernels_) GTEST_SKIP() << "not run: this processor has no " << GetParam();
  }
  const Kernels& kernels() const { return *kernels_; }

 private:
  FloatState state_;
  const Kernels* kernels_ = nullptr;
};
#define LLMC_EVERY_ISA(suite)                                                                              \
  INSTANTIATE_TEST_SUITE_P(Isa, suite, ::testing::Values("scalar", "avx2", "avx512", "avx512vnni"), \
                           [](const auto& info) { return std::string(info.param); })

inline ::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << std::hex << std::bit_cast<uint32_t>(a[i]) << " (" << a[i] << ") and "
             << std::bit_cast<uint32_t>(b[i]) << " (" << b[i] << ")";
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace llmc::testing
