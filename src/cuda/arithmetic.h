// The elementwise arithmetic of LLMC-X1 (docs/NUMERICS.md) for kernels: exact/spec.h in the words of cuda/lane.h.
#pragma once

#include "cuda/lane.h"
#include "exact/spec.h"

namespace llmc::lane {

LLMC_LANE uint32_t magnitude(float x) { return bits_of(x) & 0x7FFFFFFFu; }
LLMC_LANE bool out_of_range(uint32_t a) { return a >= spec::kRangeBits; }
LLMC_LANE float power_of_two(int e) { return float_of(static_cast<uint32_t>(e + 127) << 23); }
LLMC_LANE int exponent(uint32_t a) { return static_cast<int>(a >> 23) - 127; }

// To the nearest integer, ties to even, |x| < 2^22.
LLMC_LANE float rint(float x) { return sub(add(x, 0x1.8p23f), 0x1.8p23f); }

LLMC_LANE int rint_clamped(float x, int limit) {
  const float y = rint(x < -0x1p21f ? -0x1p21f : (x < 0x1p21f ? x : 0x1p21f));
  const int i = static_cast<int>(y);
  return i < -limit ? -limit : (i > limit ? limit : i);
}

LLMC_LANE float exp2(float x) {
  const float y = x > -126.0f ? x : -126.0f;
  const float n = rint(y);
  const float f = sub(y, n);
  float p = spec::kC6;
  p = add(mul(p, f), spec::kC5);
  p = add(mul(p, f), spec::kC4);
  p = add(mul(p, f), spec::kC3);
  p = add(mul(p, f), spec::kC2);
  p = add(mul(p, f), spec::kC1);
  p = add(mul(p, f), 1.0f);
  const uint32_t b = bits_of(p) + (static_cast<uint32_t>(static_cast<int>(n)) << 23);
  return x < -125.0f ? 0.0f : float_of(b);
}

LLMC_LANE float silu(float g) {
  const float e = exp2(-mul(float_of(magnitude(g)), spec::kLog2e));
  const float sigmoid = div(g >= 0.0f ? 1.0f : e, add(1.0f, e));
  return mul(g, sigmoid);
}

LLMC_LANE float gelu_erf(float x) {
  const float t = div(1.0f, add(1.0f, mul(spec::kGeluP, float_of(magnitude(x)))));
  float p = spec::kGelu5;
  p = add(mul(p, t), spec::kGelu4);
  p = add(mul(p, t), spec::kGelu3);
  p = add(mul(p, t), spec::kGelu2);
  p = add(mul(p, t), spec::kGelu1);
  const float tail = mul(mul(p, t), exp2(mul(mul(x, x), spec::kGeluSquare)));
  return mul(x, x >= 0.0f ? sub(1.0f, tail) : tail);
}

LLMC_LANE float gelu_tanh(float x) {
  const float w = mul(mul(x, spec::kGeluTanh), add(1.0f, mul(mul(x, x), spec::kGeluCube)));
  const float e = exp2(-mul(float_of(magnitude(w)), spec::kLog2e));
  const float sigmoid = div(w >= 0.0f ? 1.0f : e, add(1.0f, e));
  return mul(x, sigmoid);
}

LLMC_LANE int value_exponent(uint32_t m, int bits) {
  const int e = exponent(m) - (bits - 8);
  return (m & 0x7FFFFFu) <= 0x7E0000u ? e - 6 : e - 5;
}

// Floats in the order of unsigned integers; with `joined`, -0 and +0 are one place.
LLMC_LANE uint32_t order_of(float x) {
  const uint32_t b = bits_of(x);
  return b & 0x80000000u ? ~b : b | 0x80000000u;
}
LLMC_LANE uint32_t joined_order_of(float x) { return x == 0.0f ? 0x80000000u : order_of(x); }
LLMC_LANE float float_at(uint32_t order) { return float_of(order & 0x80000000u ? order & 0x7FFFFFFFu : ~order); }

// W of a logit in the frequencies whose largest t is `max` (docs/NUMERICS.md 3.13).
LLMC_LANE uint32_t weight_of(float logit, float max) {
  return 1u + static_cast<uint32_t>(mul(exp2(sub(mul(logit, spec::kLog2e), max)), 0x1p30f));
}

// How a row becomes integers: A8 or A16 (3.3). zero: the row is tiny or out of range.
struct Quantiser {
  float scale = 0.0f, inverse = 0.0f;
  int limit = 0;
  bool zero = true;
};
LLMC_LANE Quantiser quantiser(uint32_t a, int limbs) {
  Quantiser q;
  q.limit = limbs == 1 ? spec::kMax8 : spec::kMax16;
  q.zero = out_of_range(a) || a < spec::kTinyBits;
  if (!q.zero) {
    const float largest = float_of(a), steps = f32(q.limit);
    q.scale = div(largest, steps);
    q.inverse = div(steps, largest);
  }
  return q;
}
LLMC_LANE int quantised(const Quantiser& q, float x) { return q.zero ? 0 : rint_clamped(mul(x, q.inverse), q.limit); }

// q = 256 high + low, both int8.
LLMC_LANE int low_limb(int q) { return ((q + 128) & 255) - 128; }
LLMC_LANE int high_limb(int q) { return (q - low_limb(q)) >> 8; }

// An element as both norms sum it: an integer of at most 19 bits at the scale of the largest magnitude.
LLMC_LANE int64_t norm_integer(uint32_t a, float x) {
  return a < spec::kTinyNormBits ? 0 : static_cast<int64_t>(rint(mul(x, power_of_two(17 - exponent(a)))));
}

// The factor of an RMS norm from the exponent of its largest magnitude and the sum of squares (3.5).
LLMC_LANE float norm_factor(uint32_t a, int64_t squares, int n, float eps) {
  float mean = 0.0f;
  if (a >= spec::kTinyNormBits) mean = mul(div(f32(squares), f32(n)), power_of_two(2 * (exponent(a) - 17)));
  return div(1.0f, root(add(mean, eps)));
}
LLMC_LANE int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// ---- within a warp and a block

LLMC_LANE uint64_t shuffle64(uint64_t v, unsigned from) {
  const uint32_t low = shuffle(static_cast<uint32_t>(v), from);
  const uint32_t high = shuffle(static_cast<uint32_t>(v >> 32), from);
  return static_cast<uint64_t>(high) << 32 | low;
}
LLMC_LANE uint64_t warp_add64(uint64_t v) {
  for (unsigned step = 16; step > 0; step /= 2) v += shuffle64(v, lane() ^ step);
  return v;
}
// Of the lanes up to and with this one.
LLMC_LANE uint64_t warp_prefix64(uint64_t v) {
  for (unsigned step = 1; step < 32; step *= 2) {
    const uint64_t other = shuffle64(v, lane() >= step ? lane() - step : lane());
    if (lane() >= step) v += other;
  }
  return v;
}

// The first cuda::kReductionBytes of shared memory belong to these two.
LLMC_LANE uint32_t block_max(uint32_t v) {
  auto* part = reinterpret_cast<uint32_t*>(shared());
  v = warp_max(v);
  sync();  // the reduction before may still be read
  if (lane() == 0) part[warp()] = v;
  sync();
  for (unsigned w = 0; w < warps(); ++w) v = part[w] > v ? part[w] : v;
  return v;
}
LLMC_LANE uint64_t block_add64(uint64_t v) {
  auto* part = reinterpret_cast<uint64_t*>(shared());
  v = warp_add64(v);
  sync();
  if (lane() == 0) part[warp()] = v;
  sync();
  uint64_t sum = 0;
  for (unsigned w = 0; w < warps(); ++w) sum += part[w];
  return sum;
}

}  // namespace llmc::lane
