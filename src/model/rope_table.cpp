#include "model/rope_table.h"

#include <cmath>

namespace llmc {

namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr double kTwoPi = 0x1.921fb54442d18p+2;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
// pi/2 in three parts; the first two have 33 bits, so that k * part is exact for k < 2^20.
constexpr double kHalfPi1 = 0x1.921fb544p+0;
constexpr double kHalfPi2 = 0x1.0b4611a6p-34;
constexpr double kHalfPi3 = 0x1.3198a2e037073p-69;

struct SinCos {
  double sin, cos;
};

// For 0 <= x < 2^20.
SinCos stated_sincos(double x) {
  const double k = std::floor(x * kTwoOverPi + 0.5);
  const double r = ((x - k * kHalfPi1) - k * kHalfPi2) - k * kHalfPi3;
  const double z = r * r;
  double s = 1.0, c = 1.0;
  for (int i = 10; i >= 1; --i) {
    s = 1.0 - (z / ((2.0 * i) * (2.0 * i + 1.0))) * s;
    c = 1.0 - (z / ((2.0 * i - 1.0) * (2.0 * i))) * c;
  }
  s = r * s;
  switch (static_cast<int64_t>(k) & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

}  // namespace

double stated_log2(double x) {
  double e = 0.0;
  while (x >= 2.0) {
    x = x * 0.5;
    e = e + 1.0;
  }
  const double t = (x - 1.0) / (x + 1.0);
  const double z = t * t;
  double sum = 0.0;
  for (int j = 20; j >= 0; --j) sum = sum * z + 1.0 / (2.0 * j + 1.0);
  return e + ((2.0 * t) * sum) / kLn2;
}

double stated_exp2(double x) {
  const double n = std::floor(x + 0.5);
  const double y = (x - n) * kLn2;
  double sum = 1.0;
  for (int j = 18; j >= 1; --j) sum = 1.0 + (y / j) * sum;
  for (double i = n; i < 0.0; i = i + 1.0) sum = sum * 0.5;
  return sum;
}

namespace {

// docs/MODEL.md, section 3.
double scaled(const RopeScaling& s, int i, double f) {
  switch (s.kind) {
    case RopeScaling::Kind::none:
      return f;
    case RopeScaling::Kind::linear:
      return f / s.factor;
    case RopeScaling::Kind::divisors:
      return f / s.divisors[i];
    case RopeScaling::Kind::llama3: {
      const double wave = kTwoPi / f;
      if (wave > s.context / s.low) return f / s.factor;
      if (wave < s.context / s.high) return f;
      const double part = (s.context / wave - s.low) / (s.high - s.low);
      return ((1.0 - part) * (f / s.factor)) + (part * f);
    }
  }
  return f;
}

}  // namespace

RopeTable make_rope_table(double theta, int rotary, int positions, const RopeScaling& scaling) {
  const int half = rotary / 2;
  const double log2_theta = stated_log2(theta);
  std::vector<double> frequency(half);
  for (int i = 0; i < half; ++i) {
    frequency[i] = scaled(scaling, i, stated_exp2(-((2.0 * i / rotary) * log2_theta)));
  }

  RopeTable table;
  table.cos.reserve(static_cast<size_t>(positions) * half);
  table.sin.reserve(static_cast<size_t>(positions) * half);
  for (int p = 0; p < positions; ++p) {
    for (int i = 0; i < half; ++i) {
      const SinCos v = stated_sincos(p * frequency[i]);
      table.cos.push_back(static_cast<float>(v.cos));
      table.sin.push_back(static_cast<float>(v.sin));
    }
  }
  return table;
}

float attention_scale(int head_dim) {
  return static_cast<float>(0x1.71547652b82fep+0 / std::sqrt(static_cast<double>(head_dim)));
}

}  // namespace llmc
