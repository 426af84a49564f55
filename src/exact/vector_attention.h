// The KV cache and attention for any vector type V: two integer matrix products around a softmax.
//
// Cache block, per kv head: key scales float [P], keys [P / width][D / unit][width][unit] bytes (a
// vector holds one unit of dimensions of `width` positions), values [P / unit][E][unit] bytes (one
// unit of positions of `width` dimensions), value exponents int8 [P]. P is the context rounded up
// to 64, E is D rounded up to whole vectors; bytes are offset by 128 where V::kQuad. What lies
// behind the stored positions is never looked at, or multiplied by a weight of zero. Keys and values of
// 16 bits are two planes of int8, low and high limbs, one after the other: two products, joined in binary64.
//
// Query heads are lanes of a tile: 6 lanes of 16 bits, or 3 of two limbs. Their scores, then their
// softmax weights, lie in the scratch block.
#pragma once

#include "exact/vector_ops.h"

namespace llmc::exact {
namespace {

template <class V>
struct Attention {
  using F = typename V::F;
  using I = typename V::I;
  using D = typename V::D;
  static constexpr int kUnit = V::kQuad ? 4 : 2;
  static constexpr int kLimbs = V::kQuad ? 2 : 1;
  static constexpr int kQueries = V::kQuad ? 3 : 6;  // of one tile
  static constexpr int kOffset = V::kQuad ? 128 : 0;

  struct Cache {
    Cache(const AttentionShape& shape, const void* block, int kv_head) {
      positions = round_up(shape.context, 64);
      width = round_up(shape.head_dim, V::kWidth);
      head_dim = shape.head_dim;
      planes = shape.kv_bits / 8;
      bytes = positions * (sizeof(float) + planes * (head_dim + width) + 1);
      char* at = static_cast<char*>(const_cast<void*>(block)) + kv_head * bytes;
      key_scale = reinterpret_cast<float*>(at);
      key = reinterpret_cast<uint8_t*>(at + positions * sizeof(float));
      value = key + planes * positions * head_dim;
      value_exponent = reinterpret_cast<int8_t*>(value + planes * positions * width);
    }
    uint8_t* keys(size_t pos, int plane = 0) const {
      return key + plane * positions * head_dim + pos / V::kWidth * V::kWidth * head_dim + pos % V::kWidth * kUnit;
    }
    uint8_t* values(size_t pos, int plane = 0) const {
      return value + plane * positions * width + pos / kUnit * kUnit * width + pos % kUnit;
    }

    size_t positions, width, head_dim, planes, bytes;
    float* key_scale;
    uint8_t* key;
    uint8_t* value;
    int8_t* value_exponent;
  };

  static size_t kv_bytes(const AttentionShape& shape) { return Cache(shape, nullptr, 0).bytes * shape.kv_heads; }

  static void kv_store(const AttentionShape& shape, void* block, int first, int rows, const float* k, size_t ldk,
                       const float* v, size_t ldv, uint8_t* range) {
    const int d = shape.head_dim;
    for (int h = 0; h < shape.kv_heads; ++h) {
      const Cache cache(shape, block, h);
      for (int row = 0; row < rows; ++row) {
        store_key(cache, first + row, k + row * ldk + h * d, range + row);
        store_value(cache, first + row, v + row * ldv + h * d, range + row);
      }
    }
  }

  // The integers of x * scale, zeros for a vector that is tiny or out of range.
  static void integers(int n, const float* x, float scale, bool zero, int limit, int32_t* out) {
    for (int i = 0; i < n; i += V::kWidth) {
      I q = V::rint(V::mul(V::load(x + i, n - i), V::set(scale)));
      q = V::imax(V::imin(q, V::iset(limit)), V::iset(-limit));
      V::store(reinterpret_cast<uint32_t*>(out + i), zero ? V::zero() : q, n - i);
    }
  }

  static int low_limb(int q) { return ((q + 128) & 255) - 128; }

  static void store_key(const Cache& cache, int pos, const float* x, uint8_t* flag) {
    const int n = static_cast<int>(cache.head_dim);
    const uint32_t a_bits = absmax_bits<V>(n, x);
    const bool zero = out_of_range(a_bits, flag) || a_bits < spec::kTinyBits;
    const float a = float_of(a_bits);
    int32_t q[kMaxHeadDim];
    const int limit = cache.planes == 1 ? spec::kMax8 : spec::kMax16;
    const float top = static_cast<float>(limit);
    integers(n, x, zero ? 0.0f : top / a, zero, limit, q);
    cache.key_scale[pos] = zero ? 0.0f : a / top;
    const auto place = [](int i) { return i / kUnit * (V::kWidth * kUnit) + i % kUnit; };
    uint8_t* at = cache.keys(pos);
    if (cache.planes == 1) {
      for (int i = 0; i < n; ++i) at[place(i)] = static_cast<uint8_t>(q[i] + kOffset);
      return;
    }
    uint8_t* high = cache.keys(pos, 1);
    for (int i = 0; i < n; ++i) {
      const int low = low_limb(q[i]);
      at[place(i)] = static_cast<uint8_t>(low + kOffset);
      high[place(i)] = static_cast<uint8_t>((q[i] - low) / 256 + kOffset);
    }
  }

  static void store_value(const Cache& cache, int pos, const float* x, uint8_t* flag) {
    const int n = static_cast<int>(cache.head_dim);
    const uint32_t m_bits = absmax_bits<V>(n, x);
    const bool zero = out_of_range(m_bits, flag) || m_bits < spec::kTinyBits;
    const bool eight = cache.planes == 1;
    int e = eight ? spec::kZeroValueExponent : spec::kZeroValueExponent16;
    if (!zero) e = exponent_of(m_bits) - ((m_bits & 0x7FFFFF) <= 0x7E0000 ? 6 : 5) - (eight ? 0 : 8);
    int32_t q[kMaxHeadDim];
    integers(n, x, two_to(-e), zero, eight ? spec::kMax8 : spec::kMax16, q);
    cache.value_exponent[pos] = static_cast<int8_t>(e);
    uint8_t* at = cache.values(pos);
    if (eight) {
      for (int i = 0; i < n; ++i) at[i * kUnit] = static_cast<uint8_t>(q[i] + kOffset);
      return;
    }
    uint8_t* high = cache.values(pos, 1);
    for (int i = 0; i < n; ++i) {
      const int low = low_limb(q[i]);
      at[i * kUnit] = static_cast<uint8_t>(low + kOffset);
      high[i * kUnit] = static_cast<uint8_t>((q[i] - low) / 256 + kOffset);
    }
  }

  // ---- one tile of query heads

  static size_t scratch_bytes(const AttentionShape& shape) {
    return kQueries * round_up(shape.context, 64) * (sizeof(float) + 2) + 64;
  }

  struct Query {
    const float* q;
    float* o;
    uint8_t* flag;
    int begin, pos;  // positions seen
    bool bad;
    float scale;  // of a score, but for the key's
    float max;
    int64_t sum;
    int top;
    int32_t weight_sum[2];
  };

  struct Work {
    Work(const AttentionShape& shape, void* scratch) : positions(round_up(shape.context, 64)) {
      score = static_cast<float*>(scratch);
      weight = reinterpret_cast<char*>(score + kQueries * positions);
    }
    float* scores(int lane) const { return score + lane * positions; }
    // int16 [positions], or the two limbs, int8 [positions] each.
    char* weights(int lane, int limb = 0) const { return weight + (lane * 2 + limb) * positions; }
    size_t positions;
    float* score;
    char* weight;
  };

  static void attention(const AttentionShape& shape, const void* block, int first, int rows, const float* q,
                        size_t ldq, float* o, size_t ldo, uint8_t* range, void* scratch) {
    const int d = shape.head_dim;
    const int group = shape.heads / shape.kv_heads;
    const Work work(shape, scratch);
    for (int h = 0; h < shape.kv_heads; ++h) {
      const Cache cache(shape, block, h);
      for (int lane = 0; lane < rows * group; lane += kQueries) {
        Query queries[kQueries];
        const int count = least(kQueries, rows * group - lane);
        for (int i = 0; i < count; ++i) {
          const int row = (lane + i) / group;
          const int head = h * group + (lane + i) % group;
          Query& one = queries[i];
          one.q = q + row * ldq + head * d;
          one.o = o + row * ldo + head * d;
          one.flag = range + row;
          one.pos = first + row;
          one.begin = shape.window > 0 && one.pos >= shape.window ? one.pos - shape.window + 1 : 0;
        }
        (cache.planes == 1 ? attend_some<1> : attend_some<2>)(count, shape, cache, work, queries);
      }
    }
  }

  template <int P>
  static void attend_some(int count, const AttentionShape& shape, const Cache& cache, const Work& work,
                          Query* queries) {
    if (count == 1) attend<P, 1>(shape, cache, work, queries);
    if (count == 2) attend<P, 2>(shape, cache, work, queries);
    if (count == 3) attend<P, 3>(shape, cache, work, queries);
    if constexpr (kQueries > 3) {
      if (count == 4) attend<P, 4>(shape, cache, work, queries);
      if (count == 5) attend<P, 5>(shape, cache, work, queries);
      if (count == 6) attend<P, 6>(shape, cache, work, queries);
    }
  }

  // P planes of keys and values, T queries.
  template <int P, int T>
  static void attend(const AttentionShape& shape, const Cache& cache, const Work& work, Query* queries) {
    const int d = shape.head_dim;
    alignas(64) char rows[T][2 * kMaxHeadDim + 64];  // quantised queries
    const char* lane[T * kLimbs];
    I base[T * kLimbs];
    int begin = queries[0].begin;
    int end = 0;
    for (int t = 0; t < T; ++t) {
      Query& one = queries[t];
      uint8_t bad = 0;
      one.scale = Rows<V>::quantise_row(16, d, one.q, rows[t], &bad) * shape.scale;
      one.bad = bad != 0;
      for (int l = 0; l < kLimbs; ++l) {
        lane[t * kLimbs + l] = Rows<V>::lane(rows[t], d, l);
        if constexpr (V::kQuad) base[t * kLimbs + l] = V::iset(Rows<V>::sum(rows[t], l) * 128);
      }
      begin = least(begin, one.begin);
      end = one.pos + 1 > end ? one.pos + 1 : end;
    }
    begin = begin / V::kWidth * V::kWidth;
    end = static_cast<int>(round_up(end, V::kWidth));

    F most[T];
    for (int t = 0; t < T; ++t) most[t] = V::set(float_of(0xFF800000));
    int j = begin;
    constexpr int G = V::kPanel;
    for (; j + G * V::kWidth <= end; j += G * V::kWidth) scores<P, T, G>(cache, work, queries, lane, base, j, most);
    for (; j < end; j += V::kWidth) scores<P, T, 1>(cache, work, queries, lane, base, j, most);
    for (int t = 0; t < T; ++t) {
      Query& one = queries[t];
      one.max = V::reduce_max(most[t]);
      if (one.bad || (bits_of(one.max) & 0x7FFFFFFF) >= spec::kRangeBits) {
        one.bad = true;
        *one.flag = 1;
      }
      weigh(cache, work, one, t, begin, end);
    }

    int column = 0;
    for (; column + G * V::kWidth <= static_cast<int>(cache.width); column += G * V::kWidth) {
      gather<P, T, G>(cache, work, queries, begin, end, column);
    }
    for (; column < static_cast<int>(cache.width); column += V::kWidth) {
      gather<P, T, 1>(cache, work, queries, begin, end, column);
    }
  }

  // Scores of G vectors of positions from j on, -infinity where a query does not see.
  // |q . k| <= 32512 * 128 * 256 < 2^31 for one plane, so that int32 holds both limbs of q together.
  template <int P, int T, int G>
  static void scores(const Cache& cache, const Work& work, const Query* queries, const char* const* lane,
                     const I* base, int j, F* most) {
    const size_t step = V::kWidth * kUnit;
    I dots[P][T][G];
    LLMC_UNROLL for (int p = 0; p < P; ++p) {
      I acc[T * kLimbs][G];
      tile<V, T * kLimbs, G>(cache.keys(j, p), V::kWidth * cache.head_dim, step,
                             static_cast<int>(cache.head_dim) / kUnit, lane, acc);
      LLMC_UNROLL for (int t = 0; t < T; ++t) {
        LLMC_UNROLL for (int g = 0; g < G; ++g) {
          I dot = acc[t * kLimbs][g];
          if constexpr (V::kQuad) {
            dot = V::iadd(V::isub(dot, base[2 * t]),
                          V::template shift_left<8>(V::isub(acc[2 * t + 1][g], base[2 * t + 1])));
          }
          dots[p][t][g] = dot;
        }
      }
    }
    LLMC_UNROLL for (int t = 0; t < T; ++t) {
      LLMC_UNROLL for (int g = 0; g < G; ++g) {
        F dot;
        if constexpr (P == 1) {
          dot = V::to_float(dots[0][t][g]);
        } else {
          const I low = dots[0][t][g], high = dots[1][t][g];
          dot = V::round_doubles(Linear<V>::join(V::low_doubles(high), V::low_doubles(low)),
                                 Linear<V>::join(V::high_doubles(high), V::high_doubles(low)));
        }
        const int at = j + g * V::kWidth;
        F score = V::mul(dot, V::mul(V::set(queries[t].scale), V::load(cache.key_scale + at)));
        score = V::where_between(V::iota(at), queries[t].begin, queries[t].pos, score, V::set(float_of(0xFF800000)));
        V::store(work.scores(t) + at, score);
        most[t] = V::max(most[t], score);
      }
    }
  }

  // Scores to softmax weights w, their sum and the exponent that the values are brought to.
  static void weigh(const Cache& cache, const Work& work, Query& one, int t, int begin, int end) {
    float* score = work.scores(t);
    one.weight_sum[0] = one.weight_sum[1] = 0;
    if (one.bad) {
      for (int l = 0; l < 2; ++l) __builtin_memset(work.weights(t, l), 0, work.positions);
      return;
    }
    const F max = V::set(one.max);
    const F steps = V::set(32512.0f);
    I sum = V::zero();  // at most 2^17 / width times 32512
    I top = V::iset(-128);
    for (int j = begin; j < end; j += V::kWidth) {
      const F p = Ops<V>::exp2(V::sub(V::load(score + j), max));
      const I u = V::rint(V::mul(p, steps));
      V::store(score + j, p);
      sum = V::iadd(sum, u);
      top = V::imax(top, V::where_positive(u, V::load_i8(cache.value_exponent + j), top));
    }
    one.sum = 0;
    int32_t sums[V::kWidth];
    V::store(reinterpret_cast<uint32_t*>(sums), sum, V::kWidth);
    for (int i = 0; i < V::kWidth; ++i) one.sum += sums[i];
    one.top = V::reduce_imax(top);

    const I lift = V::iset(one.top);
    I low_sum = V::zero();
    I high_sum = V::zero();
    for (int j = begin; j < end; j += V::kWidth) {
      const F p = V::load(score + j);
      const I shift = V::isub(V::load_i8(cache.value_exponent + j), lift);  // <= 0 wherever it counts
      const F scale = V::floats(V::iadd(V::bits(steps), V::template shift_left<23>(shift)));
      const I u = V::rint(V::mul(p, steps));
      const I w = V::where_positive(u, V::rint(V::mul(p, scale)), V::zero());
      if constexpr (V::kQuad) {
        I low, high;
        Rows<V>::limbs(w, &low, &high);
        V::store_i8(reinterpret_cast<int8_t*>(work.weights(t, 0) + j), low);
        V::store_i8(reinterpret_cast<int8_t*>(work.weights(t, 1) + j), high);
        low_sum = V::iadd(low_sum, low);
        high_sum = V::iadd(high_sum, high);
      } else {
        V::store_i16(reinterpret_cast<int16_t*>(work.weights(t)) + j, w);
      }
    }
    if constexpr (V::kQuad) {
      one.weight_sum[0] = V::reduce_iadd(low_sum);
      one.weight_sum[1] = V::reduce_iadd(high_sum);
    }
  }

  // G vectors of dimensions from `column` on: o = (w . v / L) * 2^top.
  template <int P, int T, int G>
  static void gather(const Cache& cache, const Work& work, const Query* queries, int begin, int end, int column) {
    D low[T][G], high[T][G];
    weighted<T, G>(cache, work, queries, begin, end, column, 0, low, high);
    if constexpr (P == 2) {
      D low1[T][G], high1[T][G];
      weighted<T, G>(cache, work, queries, begin, end, column, 1, low1, high1);
      for (int t = 0; t < T; ++t) {
        for (int g = 0; g < G; ++g) {
          low[t][g] = Linear<V>::join(low1[t][g], low[t][g]);
          high[t][g] = Linear<V>::join(high1[t][g], high[t][g]);
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      const Query& one = queries[t];
      const F sum = V::set(one.bad ? 1.0f : static_cast<float>(one.sum));
      const F lift = V::set(one.bad ? 0.0f : two_to(one.top));
      for (int g = 0; g < G; ++g) {
        const int at = column + g * V::kWidth;
        if (at >= static_cast<int>(cache.head_dim)) break;
        const F value = V::mul(V::div(V::round_doubles(low[t][g], high[t][g]), sum), lift);
        V::store(one.o + at, value, static_cast<int>(cache.head_dim) - at);
      }
    }
  }

  // Sums of w . v of one plane, exact in binary64.
  template <int T, int G>
  static void weighted(const Cache& cache, const Work& work, const Query* queries, int begin, int end, int column,
                       int plane, D (&low)[T][G], D (&high)[T][G]) {
    const size_t step = cache.width * kUnit;
    const size_t apart = V::kWidth * kUnit;
    const uint8_t* w = cache.values(begin, plane) + static_cast<size_t>(column) * kUnit;
    const char* lane[T * kLimbs];
    for (int t = 0; t < T; ++t) {
      for (int l = 0; l < kLimbs; ++l) lane[t * kLimbs + l] = work.weights(t, l) + begin * (V::kQuad ? 1 : 2);
    }
    I acc[T * kLimbs][G];
    const int steps = (end - begin) / kUnit;
    if constexpr (V::kQuad) {
      tile<V, T * kLimbs, G>(w, apart, step, steps, lane, acc);
      LLMC_UNROLL for (int t = 0; t < T; ++t) {
        const I base0 = V::iset(static_cast<int>(static_cast<uint32_t>(queries[t].weight_sum[0]) * 128));
        const I base1 = V::iset(static_cast<int>(static_cast<uint32_t>(queries[t].weight_sum[1]) * 128));
        LLMC_UNROLL for (int g = 0; g < G; ++g) {
          const I l = V::isub(acc[2 * t][g], base0);
          const I h = V::isub(acc[2 * t + 1][g], base1);
          low[t][g] = Linear<V>::join(V::low_doubles(h), V::low_doubles(l));
          high[t][g] = Linear<V>::join(V::high_doubles(h), V::high_doubles(l));
        }
      }
    } else {
      for (int t = 0; t < T; ++t) {
        for (int g = 0; g < G; ++g) low[t][g] = high[t][g] = V::dset(0.0);
      }
      for (int done = 0; done < steps; done += Linear<V>::kSafeSteps) {
        tile<V, T, G>(w + done * step, apart, step, least(Linear<V>::kSafeSteps, steps - done), lane, acc);
        for (int t = 0; t < T; ++t) {
          for (int g = 0; g < G; ++g) {
            low[t][g] = V::dadd(low[t][g], V::low_doubles(acc[t][g]));
            high[t][g] = V::dadd(high[t][g], V::high_doubles(acc[t][g]));
          }
          lane[t] += 4 * Linear<V>::kSafeSteps;
        }
      }
    }
  }
};

// ---- the table

template <class V>
constexpr Kernels table_of(const char* name) {
  return {
      .name = name,
      .packed_bytes = Linear<V>::packed_bytes,
      .pack = Linear<V>::pack,
      .embed = Linear<V>::embed,
      .quantised_bytes = Rows<V>::bytes,
      .quantise8 = Rows<V>::template quantise<8>,
      .quantise16 = Rows<V>::template quantise<16>,
      .read_quantised = Rows<V>::read,
      .linear8 = Linear<V>::template linear<8>,
      .linear16 = Linear<V>::template linear<16>,
      .rms_norm = Ops<V>::rms_norm,
      .layer_norm = Ops<V>::layer_norm,
      .rope = Ops<V>::rope,
      .exp2 = Ops<V>::exp2_array,
      .silu_mul = Ops<V>::silu_mul,
      .gelu = Ops<V>::gelu,
      .add = Ops<V>::add,
      .kv_bytes = Attention<V>::kv_bytes,
      .kv_store = Attention<V>::kv_store,
      .attention_scratch_bytes = Attention<V>::scratch_bytes,
      .attention = Attention<V>::attention,
      .frequencies = Ops<V>::frequencies,
      .interval = interval,
      .find = find,
      .rank = Ops<V>::rank,
      .symbol_of_rank = Ops<V>::symbol_of_rank,
  };
}

}  // namespace
}  // namespace llmc::exact
