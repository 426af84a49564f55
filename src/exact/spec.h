// The constants and the smallest operations of LLMC-X1 (docs/NUMERICS.md), as the scalar kernels
// use them. Vector kernels take the constants and nothing else from here: an inline function
// compiled with AVX flags could be the copy that the linker keeps for everybody.
#pragma once

#include <bit>
#include <cfloat>
#include <cstdint>

#ifdef __FAST_MATH__
#error "LLMC-X1 needs IEEE arithmetic: build without -ffast-math"
#endif
static_assert(FLT_EVAL_METHOD == 0, "LLMC-X1 needs float expressions evaluated as binary32");

namespace llmc::spec {

inline constexpr float kLog2e = 0x1.715476p+0f;

// 2^f on [-1/2, 1/2] = 1 + c1 f + ... + c6 f^6, largest relative error 0.0502 * 2^-24 before rounding.
// Minimax fit of p(f) / 2^f - 1 with c0 = 1, then c1 to c6 rounded to binary32 one after the other,
// the rest fitted anew after each.
inline constexpr float kC1 = 0x1.62e430p-1f;
inline constexpr float kC2 = 0x1.ebfbdcp-3f;
inline constexpr float kC3 = 0x1.c6af7cp-5f;
inline constexpr float kC4 = 0x1.3b2de0p-7f;
inline constexpr float kC5 = 0x1.5f082ep-10f;
inline constexpr float kC6 = 0x1.416b5ep-13f;

// Bounds on the bits of |x|, where maxima are taken.
inline constexpr uint32_t kRangeBits = 0x5D800000;     // 2^60: this and above is a range error
inline constexpr uint32_t kTinyBits = 0x21800000;      // 2^-60: quantised to zero below
inline constexpr uint32_t kTinyNormBits = 0x2B800000;  // 2^-40: mean square taken as zero below

inline constexpr int kMax8 = 127;
inline constexpr int kMax16 = 32512;  // 127 * 256, so that q = 256 hi + lo with both limbs in int8
inline constexpr int kZeroValueExponent = -66;    // of a zero value in 8 bits
inline constexpr int kZeroValueExponent16 = -74;  // and in 16

// GELU: the upper tail of the normal distribution is exp(-x^2/2) times a polynomial in 1 / (1 + p |x|)
// (Abramowitz and Stegun, 7.1.26, halved; off by 7.5e-8 at most).
inline constexpr float kGeluP = 0x1.da6710p-3f;
inline constexpr float kGelu1 = 0x1.04f20cp-3f;
inline constexpr float kGelu2 = -0x1.23531cp-3f;
inline constexpr float kGelu3 = 0x1.6be1c6p-1f;
inline constexpr float kGelu4 = -0x1.7401c6p-1f;
inline constexpr float kGelu5 = 0x1.0fb844p-1f;
inline constexpr float kGeluSquare = -0x1.715476p-1f;  // -log2(e) / 2
// Its approximation by tanh: 2 sqrt(2 / pi) and the weight of the cube.
inline constexpr float kGeluTanh = 0x1.988454p+0f;
inline constexpr float kGeluCube = 0x1.6e4e26p-5f;

inline uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7FFFFFFF; }

// 2^e, -126 <= e <= 127.
inline float power_of_two(int e) { return std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23); }

// The exponent E of a normal a: 2^E <= a < 2^(E+1).
inline int exponent(uint32_t a_bits) { return static_cast<int>(a_bits >> 23) - 127; }

// To the nearest integer, ties to even, for |x| < 2^22: at 2^23 * 1.5 a float has no fraction.
inline float rint(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

inline int rint_clamped(float x, int limit) {
  const float r = rint(x < -0x1p21f ? -0x1p21f : (x < 0x1p21f ? x : 0x1p21f));
  const int i = static_cast<int>(r);
  return i < -limit ? -limit : (i > limit ? limit : i);
}

inline float exp2(float x) {
  const float y = x > -126.0f ? x : -126.0f;
  const float n = rint(y);
  const float f = y - n;
  float p = kC6;
  p = p * f + kC5;
  p = p * f + kC4;
  p = p * f + kC3;
  p = p * f + kC2;
  p = p * f + kC1;
  p = p * f + 1.0f;
  const uint32_t bits = std::bit_cast<uint32_t>(p) + (static_cast<uint32_t>(static_cast<int>(n)) << 23);
  return x < -125.0f ? 0.0f : std::bit_cast<float>(bits);
}

inline float silu(float g) {
  const float e = exp2(-(std::bit_cast<float>(magnitude_bits(g)) * kLog2e));
  const float sigmoid = (g >= 0.0f ? 1.0f : e) / (1.0f + e);
  return g * sigmoid;
}

inline float gelu_erf(float x) {
  const float t = 1.0f / (1.0f + kGeluP * std::bit_cast<float>(magnitude_bits(x)));
  float p = kGelu5;
  p = p * t + kGelu4;
  p = p * t + kGelu3;
  p = p * t + kGelu2;
  p = p * t + kGelu1;
  const float tail = (p * t) * exp2((x * x) * kGeluSquare);
  return x * (x >= 0.0f ? 1.0f - tail : tail);
}

inline float gelu_tanh(float x) {
  const float w = (x * kGeluTanh) * (1.0f + (x * x) * kGeluCube);
  const float e = exp2(-(std::bit_cast<float>(magnitude_bits(w)) * kLog2e));
  const float sigmoid = (w >= 0.0f ? 1.0f : e) / (1.0f + e);
  return x * sigmoid;
}

// The stored form of a value vector: v = v_int * 2^e with |v_int| <= 127, or 32512 where 16 bits are kept.
inline int value_exponent(uint32_t m_bits, int bits) {
  const int e = exponent(m_bits) - (bits - 8);
  return (m_bits & 0x7FFFFF) <= 0x7E0000 ? e - 6 : e - 5;
}

}  // namespace llmc::spec
