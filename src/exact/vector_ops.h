// Norms, elementwise operations and frequencies for any vector type V.
#pragma once

#include "exact/tables.h"
#include "exact/vector_linear.h"

namespace llmc::exact {
namespace {

template <class V>
struct Ops {
  using F = typename V::F;
  using I = typename V::I;

  static float square_root(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

  static F exp2(F x) {
    const F y = V::max(x, V::set(-126.0f));
    const I n = V::rint(y);
    const F f = V::sub(y, V::to_float(n));
    F p = V::set(spec::kC6);
    p = V::add(V::mul(p, f), V::set(spec::kC5));
    p = V::add(V::mul(p, f), V::set(spec::kC4));
    p = V::add(V::mul(p, f), V::set(spec::kC3));
    p = V::add(V::mul(p, f), V::set(spec::kC2));
    p = V::add(V::mul(p, f), V::set(spec::kC1));
    p = V::add(V::mul(p, f), V::set(1.0f));
    p = V::floats(V::iadd(V::bits(p), V::template shift_left<23>(n)));
    return V::where_less(x, V::set(-125.0f), V::set(0.0f), p);
  }

  static void exp2_array(int n, const float* x, float* y) {
    for (int i = 0; i < n; i += V::kWidth) V::store(y + i, exp2(V::load(x + i, n - i)), n - i);
  }

  static void zero(int n, float* y) { __builtin_memset(y, 0, n * sizeof *y); }

  static void rms_norm(int rows, int heads, int n, const float* x0, size_t ldx, const float* g, float eps, float* y0,
                       size_t ldy, uint8_t* range) {
    for (int row = 0; row < rows; ++row) {
      for (int h = 0; h < heads; ++h) {
        const float* x = x0 + row * ldx + h * n;
        float* y = y0 + row * ldy + h * n;
        const uint32_t a = absmax_bits<V>(n, x);
        if (out_of_range(a, range + row)) {
          zero(n, y);
          continue;
        }
        float mean_square = 0.0f;
        if (a >= spec::kTinyNormBits) {
          const int e = exponent_of(a);
          const F scale = V::set(two_to(17 - e));
          I sum = V::zero();
          for (int i = 0; i < n; i += V::kWidth) {
            sum = V::add_squares(sum, V::rint(V::mul(V::load(x + i, n - i), scale)));
          }
          mean_square = (static_cast<float>(V::reduce64(sum)) / static_cast<float>(n)) * two_to(2 * (e - 17));
        }
        const F r = V::set(1.0f / square_root(mean_square + eps));
        for (int i = 0; i < n; i += V::kWidth) {
          V::store(y + i, V::mul(V::mul(V::load(x + i, n - i), r), V::load(g + i, n - i)), n - i);
        }
      }
    }
  }

  static void layer_norm(int rows, int n, const float* x0, size_t ldx, const float* g, const float* b, float eps,
                         float* y0, size_t ldy, uint8_t* range) {
    for (int row = 0; row < rows; ++row) {
      const float* x = x0 + row * ldx;
      float* y = y0 + row * ldy;
      const uint32_t a = absmax_bits<V>(n, x);
      if (out_of_range(a, range + row)) {
        zero(n, y);
        continue;
      }
      float mean = 0.0f;
      float variance = 0.0f;
      if (a >= spec::kTinyNormBits) {
        const int e = exponent_of(a);
        const F scale = V::set(two_to(17 - e));
        I sums = V::zero();
        for (int i = 0; i < n; i += V::kWidth) {
          sums = V::add_signed64(sums, V::rint(V::mul(V::load(x + i, n - i), scale)));
        }
        const int64_t sum = V::reduce64(sums);
        const int64_t top = 2 * sum + n;
        const int64_t middle = top >= 0 ? top / (2 * n) : -((-top + 2 * n - 1) / (2 * n));
        I squares = V::zero();
        const int whole = n / V::kWidth * V::kWidth;
        const I m = V::iset(static_cast<int>(middle));
        for (int i = 0; i < whole; i += V::kWidth) {
          squares = V::add_squares(squares, V::isub(V::rint(V::mul(V::load(x + i), scale)), m));
        }
        if (whole < n) {  // lanes behind the end must give t - m = 0
          const I t = V::rint(V::mul(V::load(x + whole, n - whole), scale));
          squares = V::add_squares(squares, V::where_positive(V::isub(V::iset(n), V::iota(whole)), V::isub(t, m), V::zero()));
        }
        mean = (static_cast<float>(sum) / static_cast<float>(n)) * two_to(e - 17);
        variance = (static_cast<float>(V::reduce64(squares)) / static_cast<float>(n)) * two_to(2 * (e - 17));
      }
      const F r = V::set(1.0f / square_root(variance + eps));
      for (int i = 0; i < n; i += V::kWidth) {
        const F centred = V::mul(V::sub(V::load(x + i, n - i), V::set(mean)), r);
        V::store(y + i, V::add(V::mul(centred, V::load(g + i, n - i)), V::load(b + i, n - i)), n - i);
      }
    }
  }

  static void rope(int rows, int heads, int head_dim, int rotary, RopePairs pairs, const int32_t* pos,
                   const float* cos, const float* sin, float* x, size_t ldx) {
    const int half = rotary / 2;
    for (int row = 0; row < rows; ++row) {
      const float* c = cos + static_cast<size_t>(pos[row]) * half;
      const float* s = sin + static_cast<size_t>(pos[row]) * half;
      for (int h = 0; h < heads; ++h) {
        float* v = x + row * ldx + h * head_dim;
        if (pairs == RopePairs::halves) {
          for (int i = 0; i < half; i += V::kWidth) {
            const int m = half - i;
            const F x0 = V::load(v + i, m), x1 = V::load(v + half + i, m);
            const F ci = V::load(c + i, m), si = V::load(s + i, m);
            V::store(v + i, V::sub(V::mul(x0, ci), V::mul(x1, si)), m);
            V::store(v + half + i, V::add(V::mul(x1, ci), V::mul(x0, si)), m);
          }
        } else {
          for (int i = 0; i < half; ++i) {
            const float x0 = v[2 * i], x1 = v[2 * i + 1];
            v[2 * i] = (x0 * c[i]) - (x1 * s[i]);
            v[2 * i + 1] = (x1 * c[i]) + (x0 * s[i]);
          }
        }
      }
    }
  }

  static void silu_mul(int rows, int n, const float* g0, size_t ldg, const float* up, size_t ldu, float* y,
                       size_t ldy) {
    const F one = V::set(1.0f);
    const F minus_log2e = V::set(-spec::kLog2e);
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < n; i += V::kWidth) {
        const int m = n - i;
        const F g = V::load(g0 + row * ldg + i, m);
        const F e = exp2(V::mul(V::floats(V::magnitude(g)), minus_log2e));
        const F sigmoid = V::div(V::where_not_negative(g, one, e), V::add(one, e));
        V::store(y + row * ldy + i, V::mul(V::mul(g, sigmoid), V::load(up + row * ldu + i, m)), m);
      }
    }
  }

  static F gelu_erf(F x) {
    const F one = V::set(1.0f);
    const F t = V::div(one, V::add(one, V::mul(V::set(spec::kGeluP), V::floats(V::magnitude(x)))));
    F p = V::set(spec::kGelu5);
    p = V::add(V::mul(p, t), V::set(spec::kGelu4));
    p = V::add(V::mul(p, t), V::set(spec::kGelu3));
    p = V::add(V::mul(p, t), V::set(spec::kGelu2));
    p = V::add(V::mul(p, t), V::set(spec::kGelu1));
    const F tail = V::mul(V::mul(p, t), exp2(V::mul(V::mul(x, x), V::set(spec::kGeluSquare))));
    return V::mul(x, V::where_not_negative(x, V::sub(one, tail), tail));
  }

  static F gelu_tanh(F x) {
    const F one = V::set(1.0f);
    const F w = V::mul(V::mul(x, V::set(spec::kGeluTanh)),
                       V::add(one, V::mul(V::mul(x, x), V::set(spec::kGeluCube))));
    const F e = exp2(V::mul(V::floats(V::magnitude(w)), V::set(-spec::kLog2e)));
    return V::mul(x, V::div(V::where_not_negative(w, one, e), V::add(one, e)));
  }

  static void gelu(Gelu kind, int rows, int n, const float* g, size_t ldg, const float* up, size_t ldu, float* y,
                   size_t ldy) {
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < n; i += V::kWidth) {
        const int m = n - i;
        const F x = V::load(g + row * ldg + i, m);
        F v = kind == Gelu::erf ? gelu_erf(x) : gelu_tanh(x);
        if (up) v = V::mul(v, V::load(up + row * ldu + i, m));
        V::store(y + row * ldy + i, v, m);
      }
    }
  }

  static void add(int rows, int n, float* x, size_t ldx, const float* d, size_t ldd) {
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < n; i += V::kWidth) {
        float* at = x + row * ldx + i;
        V::store(at, V::add(V::load(at, n - i), V::load(d + row * ldd + i, n - i)), n - i);
      }
    }
  }

  // ---- frequencies

  static bool frequencies(const float* y, Frequencies* f) {
    const int n = f->real;
    if (absmax_bits<V>(n, y) >= spec::kRangeBits) return false;
    const F log2e = V::set(spec::kLog2e);
    const F lowest = V::set(float_of(0xFF800000));
    F most = lowest;
    for (int i = 0; i < n; i += V::kWidth) {
      const F t = V::mul(V::load(y + i, n - i, lowest), log2e);
      V::store(f->t + i, t, n - i);
      most = V::max(most, t);
    }
    const F max = V::set(V::reduce_max(most));
    uint64_t total = 0;
    for (int b = 0; b < n; b += kFrequencyBlock) {
      f->block[b / kFrequencyBlock] = total;
      const int end = least(b + kFrequencyBlock, n);
      I sum = V::zero();  // 64-bit lanes
      for (int i = b; i < end; i += V::kWidth) {
        const F e = exp2(V::sub(V::load(f->t + i, end - i, lowest), max));  // 0 behind the end
        const I w = V::trunc(V::mul(e, V::set(0x1p30f)));
        V::store(f->w + i, V::iadd(w, V::iset(1)), end - i);
        sum = V::add_unsigned64(sum, w);
      }
      total += static_cast<uint64_t>(V::reduce64(sum)) + static_cast<uint64_t>(end - b);
    }
    if (f->symbols > n) {
      f->w[n] = 1;
      if (n % kFrequencyBlock == 0) f->block[n / kFrequencyBlock] = total;
      ++total;
    }
    f->total = total;
    return true;
  }

  static int count_greater(const float* t, int n, float bound) {
    const F b = V::set(bound);
    int count = 0;
    for (int i = 0; i < n; i += V::kWidth) count += V::count_greater(V::load(t + i, n - i, b), b);
    return count;
  }

  static int rank(const Frequencies& f, int symbol) {
    if (symbol >= f.real) return f.real;
    const float mine = f.t[symbol];
    const F b = V::set(mine);
    int count = count_greater(f.t + symbol, f.real - symbol, mine);
    int i = 0;
    for (; i + V::kWidth <= symbol; i += V::kWidth) count += V::count_not_less(V::load(f.t + i), b);
    for (; i < symbol; ++i) count += f.t[i] >= mine;
    return count;
  }

  static float max_less(const float* t, int n, float bound) {
    const F lowest = V::set(float_of(0xFF800000));
    const F b = V::set(bound);
    F max = lowest;
    for (int i = 0; i < n; i += V::kWidth) {
      const F x = V::load(t + i, n - i, lowest);
      max = V::max(max, V::where_less(x, b, x, lowest));
    }
    return V::reduce_max(max);
  }

  static int symbol_of_rank(const Frequencies& f, int rank) {
    return exact::symbol_of_rank(f, rank, count_greater, max_less);
  }
};

}  // namespace
}  // namespace llmc::exact
