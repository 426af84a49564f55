// Quantised rows and linear layers for any vector type V (simd512.h, simd256.h plus a dot product).
//
// V::kQuad: four int8 a step (vpdpbusd). Weights are stored as w + 128 because the instruction
// multiplies unsigned by signed; the row's sum of q, times 128, is taken off again. An A16 row
// is two int8 limbs, q = 256 hi + lo, each a lane of its own: two lanes of A8 work.
// Otherwise: two int16 a step (vpmaddwd), weights widened from int8 as they are loaded, A8 rows
// kept as int16 as well.
//
// Packed weights: panels of V::kPanel vectors of columns (the last one narrower), each
// [k / unit][columns][unit] bytes with zeros for columns and k beyond the matrix.
#pragma once

#include "exact/kernels.h"
#include "exact/spec.h"

#if defined(__clang__)
#define LLMC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LLMC_UNROLL _Pragma("GCC unroll 16")
#endif

namespace llmc::exact {
namespace {

constexpr size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }
constexpr int least(int a, int b) { return a < b ? a : b; }

template <class V>
uint32_t absmax_bits(int n, const float* x) {
  typename V::I a = V::zero();
  for (int i = 0; i < n; i += V::kWidth) a = V::imax(a, V::magnitude(V::load(x + i, n - i)));
  return static_cast<uint32_t>(V::reduce_imax(a));
}

inline bool out_of_range(uint32_t a, uint8_t* flag) {
  if (a < spec::kRangeBits) return false;
  *flag = 1;
  return true;
}

inline float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
inline uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float two_to(int e) { return float_of(static_cast<uint32_t>(e + 127) << 23); }
inline int exponent_of(uint32_t a) { return static_cast<int>(a >> 23) - 127; }

// ---- the inner product of R lanes with G vectors of columns

// acc[r][g] = sum over steps of weights(g) . q(r). Vector g of a step lies g * apart bytes after
// the first one, the next step `step` bytes further; each lane moves on by 4 bytes a step.
template <class V, int R, int G>
__attribute__((always_inline)) inline void tile(const uint8_t* w, size_t apart, size_t step, int steps,
                                                const char* const* q, typename V::I (&acc)[R][G]) {
  // A dot product takes several cycles and two start in each, so small tiles take turns.
  constexpr int kTurns = R * G <= 2 ? 4 : (R * G <= 5 ? 2 : 1);
  typename V::I sum[kTurns][R][G];
  LLMC_UNROLL for (int u = 0; u < kTurns; ++u) {
    LLMC_UNROLL for (int r = 0; r < R; ++r) {
      LLMC_UNROLL for (int g = 0; g < G; ++g) sum[u][r][g] = V::zero();
    }
  }
  const char* lane[R];
  LLMC_UNROLL for (int r = 0; r < R; ++r) lane[r] = q[r];
  int i = 0;
  for (; i + kTurns <= steps; i += kTurns) {
    LLMC_UNROLL for (int u = 0; u < kTurns; ++u) {
      typename V::I weights[G];
      LLMC_UNROLL for (int g = 0; g < G; ++g) weights[g] = V::load_weights(w + g * apart);
      LLMC_UNROLL for (int r = 0; r < R; ++r) {
        const typename V::I x = V::broadcast(lane[r] + 4 * (i + u));
        LLMC_UNROLL for (int g = 0; g < G; ++g) sum[u][r][g] = V::dot(sum[u][r][g], weights[g], x);
      }
      w += step;
    }
  }
  for (; i < steps; ++i) {
    LLMC_UNROLL for (int g = 0; g < G; ++g) {
      const typename V::I weights = V::load_weights(w + g * apart);
      LLMC_UNROLL for (int r = 0; r < R; ++r) sum[0][r][g] = V::dot(sum[0][r][g], weights, V::broadcast(lane[r] + 4 * i));
    }
    w += step;
  }
  LLMC_UNROLL for (int r = 0; r < R; ++r) {
    LLMC_UNROLL for (int g = 0; g < G; ++g) {
      acc[r][g] = sum[0][r][g];
      LLMC_UNROLL for (int u = 1; u < kTurns; ++u) acc[r][g] = V::iadd(acc[r][g], sum[u][r][g]);
    }
  }
}

// ---- quantised rows: [64 bytes with the lanes' sums (quad only)][lane 0][lane 1 (quad A16 only)]

template <class V>
struct Rows {
  using F = typename V::F;
  using I = typename V::I;

  static constexpr size_t kHeader = V::kQuad ? 64 : 0;
  static constexpr int lanes(int bits) { return V::kQuad && bits == 16 ? 2 : 1; }
  static size_t lane_bytes(int k) { return round_up(static_cast<size_t>(k) * (V::kQuad ? 1 : 2), 64); }
  static size_t bytes(int bits, int k) { return kHeader + lanes(bits) * lane_bytes(k); }
  static const char* lane(const void* row, int k, int l) {
    return static_cast<const char*>(row) + kHeader + l * lane_bytes(k);
  }
  static int32_t sum(const void* row, int l) { return static_cast<const int32_t*>(row)[l]; }

  // q = hi * 256 + lo, both in int8 while |q| <= 32512.
  static void limbs(I q, I* low, I* high) {
    *low = V::isub(V::band(V::iadd(q, V::iset(128)), V::iset(255)), V::iset(128));
    *high = V::shift_right8(V::isub(q, *low));
  }

  // Writes whole vectors up to the end of the lane, zeros behind k. Out: the scale.
  static float quantise_row(int bits, int k, const float* x, char* row, uint8_t* flag) {
    const uint32_t a_bits = absmax_bits<V>(k, x);
    const int limit = bits == 8 ? spec::kMax8 : spec::kMax16;
    const bool zero = out_of_range(a_bits, flag) || a_bits < spec::kTinyBits;
    const float a = float_of(a_bits);
    char* lane0 = row + kHeader;
    if (zero) {
      __builtin_memset(row, 0, bytes(bits, k));
      return 0.0f;
    }
    const F inv = V::set(static_cast<float>(limit) / a);
    const size_t end = lane_bytes(k) / (V::kQuad ? 1 : 2);
    I sum0 = V::zero();
    I sum1 = V::zero();
    for (size_t i = 0; i < end; i += V::kWidth) {
      const int m = static_cast<int>(k - static_cast<int64_t>(i));
      I q = V::zero();
      if (m > 0) q = V::rint(V::mul(V::load(x + i, m), inv));
      q = V::imax(V::imin(q, V::iset(limit)), V::iset(-limit));
      if constexpr (V::kQuad) {
        if (bits == 8) {
          V::store_i8(reinterpret_cast<int8_t*>(lane0 + i), q);
          sum0 = V::iadd(sum0, q);
        } else {
          I low, high;
          limbs(q, &low, &high);
          V::store_i8(reinterpret_cast<int8_t*>(lane0 + i), low);
          V::store_i8(reinterpret_cast<int8_t*>(lane0 + lane_bytes(k) + i), high);
          sum0 = V::iadd(sum0, low);
          sum1 = V::iadd(sum1, high);
        }
      } else {
        V::store_i16(reinterpret_cast<int16_t*>(lane0) + i, q);
      }
    }
    if constexpr (V::kQuad) {
      reinterpret_cast<int32_t*>(row)[0] = V::reduce_iadd(sum0);
      reinterpret_cast<int32_t*>(row)[1] = V::reduce_iadd(sum1);
    }
    return a / static_cast<float>(limit);
  }

  template <int BITS>
  static void quantise(int rows, int k, const float* x, size_t ldx, void* q, float* s, uint8_t* range) {
    for (int row = 0; row < rows; ++row) {
      s[row] = quantise_row(BITS, k, x + row * ldx, static_cast<char*>(q) + row * bytes(BITS, k), range + row);
    }
  }

  static void read(int bits, int k, const void* row, int16_t* out) {
    for (int i = 0; i < k; ++i) {
      if constexpr (V::kQuad) {
        const int low = reinterpret_cast<const int8_t*>(lane(row, k, 0))[i];
        out[i] = static_cast<int16_t>(bits == 8 ? low
                                                : low + 256 * reinterpret_cast<const int8_t*>(lane(row, k, 1))[i]);
      } else {
        out[i] = reinterpret_cast<const int16_t*>(lane(row, k, 0))[i];
      }
    }
  }
};

// ---- linear

template <class V>
struct Linear {
  using F = typename V::F;
  using I = typename V::I;
  using D = typename V::D;
  static constexpr int kUnit = V::kQuad ? 4 : 2;              // k per step
  static constexpr int kColumns = V::kPanel * V::kWidth;      // of a full panel
  static constexpr int kMaxLanes = 6;
  // Pair products of 16-bit activations reach 2 * 32512 * 127: 256 of them stay below 2^31.
  static constexpr int kSafeSteps = 256;
  // 32512 * 127 * 520 < 2^31: up to here one int32 holds an A16 sum.
  static constexpr int kSafeK16 = 520;

  static size_t padded_k(int k) { return round_up(k, kUnit); }
  static int panel_width(int n, int first) {
    return least(kColumns, static_cast<int>(round_up(n - first, V::kWidth)));
  }
  // Where weight (row, column 0) lies and how far the next `unit` of k is.
  static size_t place(int n, int k, int row, size_t* step) {
    const int first = row / kColumns * kColumns;
    *step = static_cast<size_t>(panel_width(n, first)) * kUnit;
    return first * padded_k(k) + static_cast<size_t>(row - first) * kUnit;
  }

  static size_t packed_bytes(int n, int k) { return round_up(round_up(n, V::kWidth) * padded_k(k), 64); }

  static void pack(int n, int k, const int8_t* w, void* packed) {
    uint8_t* out = static_cast<uint8_t*>(packed);
    __builtin_memset(out, V::kQuad ? 128 : 0, packed_bytes(n, k));
    for (int row = 0; row < n; ++row) {
      size_t step;
      uint8_t* at = out + place(n, k, row, &step);
      const int8_t* from = w + static_cast<size_t>(row) * k;
      for (int i = 0; i < k; ++i) {
        at[i / kUnit * step + i % kUnit] = static_cast<uint8_t>(from[i] + (V::kQuad ? 128 : 0));
      }
    }
  }

  static void embed(int rows, int n, int k, const int32_t* ids, const void* packed, const float* sw, float* x,
                    size_t ldx) {
    for (int row = 0; row < rows; ++row) {
      size_t step;
      const uint8_t* at = static_cast<const uint8_t*>(packed) + place(n, k, ids[row], &step);
      const float scale = sw[ids[row]];
      float* y = x + row * ldx;
      for (int i = 0; i < k; ++i) {
        const uint8_t byte = at[i / kUnit * step + i % kUnit];
        const int w = V::kQuad ? static_cast<int>(byte) - 128 : static_cast<int>(static_cast<int8_t>(byte));
        y[i] = static_cast<float>(w) * scale;
      }
    }
  }

  struct Args {
    int n, k;
    const char* q;
    const float* s;
    const float* sw;
    const float* bias;
    float* y;
    size_t ldy;
  };

  // 256 high + low, exact in double.
  static D join(D high, D low) { return V::dadd(V::dmul(high, V::dset(256.0)), low); }

  // y = f32(sum) * (s * sw) [+ bias] for G vectors of columns of one row.
  template <int G>
  static void finish(const Args& a, int row, int column, const F* value) {
    const F s = V::set(a.s[row]);
    float* y = a.y + row * a.ldy;
    for (int g = 0; g < G; ++g, column += V::kWidth) {
      const int m = a.n - column;
      F v = V::mul(value[g], V::mul(s, V::load(a.sw + column, m)));
      if (a.bias) v = V::add(v, V::load(a.bias + column, m));
      V::store(y + column, v, m);
    }
  }

  // Rows first..first+R-1 against the G vectors of one panel.
  template <int BITS, int R, int G>
  __attribute__((noinline)) static void block(const Args& a, const uint8_t* w, int first, int column) {
    constexpr int kLanes = Rows<V>::lanes(BITS);
    const char* q[R * kLanes];
    for (int r = 0; r < R; ++r) {
      const char* row = a.q + (first + r) * Rows<V>::bytes(BITS, a.k);
      for (int l = 0; l < kLanes; ++l) q[r * kLanes + l] = Rows<V>::lane(row, a.k, l);
    }
    const size_t apart = V::kWidth * kUnit;
    const size_t step = G * apart;
    const int steps = static_cast<int>(padded_k(a.k) / kUnit);
    I acc[R * kLanes][G];
    F value[G];
    if constexpr (V::kQuad) {
      tile<V, R * kLanes, G>(w, apart, step, steps, q, acc);
      for (int r = 0; r < R; ++r) {
        // What the +128 of the weights added.
        const char* row = a.q + (first + r) * Rows<V>::bytes(BITS, a.k);
        const I base = V::iset(Rows<V>::sum(row, 0) * 128);
        const I base_high = V::iset(Rows<V>::sum(row, 1) * 128);
        for (int g = 0; g < G; ++g) {
          const I low = V::isub(acc[r * kLanes][g], base);
          const I high = V::isub(acc[r * kLanes + kLanes - 1][g], base_high);
          if (BITS == 8) {
            value[g] = V::to_float(low);
          } else if (a.k <= kSafeK16) {
            value[g] = V::to_float(V::iadd(V::template shift_left<8>(high), low));
          } else {
            value[g] = V::round_doubles(join(V::low_doubles(high), V::low_doubles(low)),
                                        join(V::high_doubles(high), V::high_doubles(low)));
          }
        }
        finish<G>(a, first + r, column, value);
      }
    } else if (BITS == 8 || steps <= kSafeSteps) {
      tile<V, R, G>(w, apart, step, steps, q, acc);
      for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) value[g] = V::to_float(acc[r][g]);
        finish<G>(a, first + r, column, value);
      }
    } else {
      D low[R][G], high[R][G];
      for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) low[r][g] = high[r][g] = V::dset(0.0);
      }
      for (int done = 0; done < steps; done += kSafeSteps) {
        tile<V, R, G>(w + done * step, apart, step, least(kSafeSteps, steps - done), q, acc);
        for (int r = 0; r < R; ++r) {
          for (int g = 0; g < G; ++g) {
            low[r][g] = V::dadd(low[r][g], V::low_doubles(acc[r][g]));
            high[r][g] = V::dadd(high[r][g], V::high_doubles(acc[r][g]));
          }
          q[r] += 4 * kSafeSteps;
        }
      }
      for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) value[g] = V::round_doubles(low[r][g], high[r][g]);
        finish<G>(a, first + r, column, value);
      }
    }
  }

  template <int BITS, int G>
  static void panel(const Args& a, const uint8_t* w, int rows, int column) {
    constexpr int kMaxRows = kMaxLanes / Rows<V>::lanes(BITS);
    int left = (rows + kMaxRows - 1) / kMaxRows;
    for (int row = 0; row < rows; --left) {
      const int r = (rows - row + left - 1) / left;  // blocks of even size
      if (r == 1) block<BITS, 1, G>(a, w, row, column);
      if (r == 2) block<BITS, 2, G>(a, w, row, column);
      if (r == 3) block<BITS, 3, G>(a, w, row, column);
      if constexpr (kMaxRows > 3) {
        if (r == 4) block<BITS, 4, G>(a, w, row, column);
        if (r == 5) block<BITS, 5, G>(a, w, row, column);
        if (r == 6) block<BITS, 6, G>(a, w, row, column);
      }
      row += r;
    }
  }

  template <int BITS>
  static void linear(int rows, int n, int k, const void* q, const float* s, const void* packed, const float* sw,
                     const float* bias, float* y, size_t ldy) {
    const Args a{n, k, static_cast<const char*>(q), s, sw, bias, y, ldy};
    const uint8_t* w = static_cast<const uint8_t*>(packed);
    for (int column = 0; column < n; column += kColumns) {
      const uint8_t* at = w + column * padded_k(k);
      const int vectors = panel_width(n, column) / V::kWidth;
      if (vectors == 1) panel<BITS, 1>(a, at, rows, column);
      if (vectors == 2) panel<BITS, 2>(a, at, rows, column);
      if constexpr (V::kPanel > 2) {
        if (vectors == 3) panel<BITS, 3>(a, at, rows, column);
        if (vectors == 4) panel<BITS, 4>(a, at, rows, column);
      }
    }
  }
};

}  // namespace
}  // namespace llmc::exact
