// From q, k, v to the mixed values: norms of heads, RoPE, the caches (docs/NUMERICS.md 3.5, 3.9, 3.10) and exact
// attention over them (3.11).
#pragma once

#include "cuda/arithmetic.h"
#include "cuda/kernels.h"
#include "cuda/row_kernels.h"
#include "cuda/shapes.h"

namespace llmc::cuda {

using namespace lane;

// One (slot, kv head) of a layer's cache.
struct HeadCache {
  LLMC_LANE HeadCache(const uint8_t* cache, const CacheShape& shape, int slot, int head) {
    const size_t vectors = static_cast<size_t>(shape.context) * shape.head_dim * shape.limbs;  // bytes
    auto* at = const_cast<uint8_t*>(cache) + slot * shape.slot_bytes + head * shape.head_bytes;
    key = reinterpret_cast<int8_t*>(at);
    value = key + vectors;
    key_scale = reinterpret_cast<float*>(at + 2 * vectors);
    value_exponent = reinterpret_cast<int8_t*>(key_scale + shape.context);
  }
  int8_t* key;
  int8_t* value;
  float* key_scale;
  int8_t* value_exponent;
};

LLMC_LANE uint32_t warp_largest(const float* x, int n) {
  uint32_t a = 0;
  for (int i = static_cast<int>(lane::lane()); i < n; i += 32) {
    const uint32_t m = magnitude(x[i]);
    a = m > a ? m : a;
  }
  return warp_max(a);
}

// In place; false: out of range, and zeros.
LLMC_LANE bool norm_head(float* x, int n, const float* g, float eps) {
  const int l = static_cast<int>(lane::lane());
  const uint32_t a = warp_largest(x, n);
  const bool lost = out_of_range(a);
  uint64_t squares = 0;
  if (!lost) {
    for (int i = l; i < n; i += 32) {
      const int64_t t = norm_integer(a, x[i]);
      squares += static_cast<uint64_t>(t * t);
    }
  }
  squares = warp_add64(squares);
  const float factor = lost ? 0.0f : norm_factor(a, static_cast<int64_t>(squares), n, eps);
  for (int i = l; i < n; i += 32) x[i] = lost ? 0.0f : mul(mul(x[i], factor), g[i]);
  sync_warp();
  return !lost;
}

LLMC_LANE void turn_and_store(const TurnArgs& a) {
  const int row = static_cast<int>(block_x());
  const int head = static_cast<int>(block_y()) * kTurnWarps + static_cast<int>(warp());
  const int l = static_cast<int>(lane::lane()), d = a.shape.head_dim, kv_heads = a.shape.kv_heads;
  const int slot = a.slots[row];
  if (slot < 0 || head >= a.heads + 2 * kv_heads) return;
  if (head == 0 && l == 0) a.largest[row] = 0;

  float* global = a.qkv + row * a.stride + static_cast<size_t>(head) * d;
  float* x = reinterpret_cast<float*>(shared()) + warp() * 256;
  for (int i = l; i < d; i += 32) x[i] = global[i];
  sync_warp();
  const int position = a.positions[row];
  bool sound = true;
  const bool is_value = head >= a.heads + kv_heads;
  if (!is_value) {
    const float* g = head < a.heads ? a.q_norm : a.k_norm;
    if (g) sound = norm_head(x, d, g, a.eps);
    const int half = a.cos ? a.rotary / 2 : 0;
    const float* cos = a.cos + static_cast<size_t>(position) * half;
    const float* sin = a.sin + static_cast<size_t>(position) * half;
    for (int i = l; i < half; i += 32) {
      float& first = x[a.neighbours ? 2 * i : i];
      float& second = x[a.neighbours ? 2 * i + 1 : i + half];
      const float x0 = first, x1 = second;
      first = sub(mul(x0, cos[i]), mul(x1, sin[i]));
      second = add(mul(x1, cos[i]), mul(x0, sin[i]));
    }
    sync_warp();
    for (int i = l; i < d; i += 32) global[i] = x[i];
  }
  if (head >= a.heads) {
    const uint32_t largest = warp_largest(x, d);
    sound = sound && !out_of_range(largest);
    const HeadCache cache(a.cache, a.shape, slot, (head - a.heads) % kv_heads);
    const int limbs = a.shape.limbs;
    const size_t at = static_cast<size_t>(position) * d * limbs;
    if (!is_value) {
      const Quantiser q = quantiser(largest, limbs);
      for (int i = l; i < d; i += 32) {
        const int v = quantised(q, x[i]);
        cache.key[at + i] = static_cast<int8_t>(limbs == 1 ? v : high_limb(v));
        if (limbs == 2) cache.key[at + d + i] = static_cast<int8_t>(low_limb(v));
      }
      if (l == 0) cache.key_scale[position] = q.scale;
    } else {
      const bool zero = out_of_range(largest) || largest < spec::kTinyBits;
      const int least = limbs == 1 ? spec::kZeroValueExponent : spec::kZeroValueExponent16;
      const int e = zero ? least : value_exponent(largest, 8 * limbs);
      for (int i = l; i < d; i += 32) {
        const float v = zero ? 0.0f : rint(mul(x[i], power_of_two(-e)));
        if (limbs == 1) {
          cache.value[at + i] = static_cast<int8_t>(v);
        } else {
          reinterpret_cast<int16_t*>(cache.value + at)[i] = static_cast<int16_t>(v);
        }
      }
      if (l == 0) cache.value_exponent[position] = static_cast<int8_t>(e);
    }
  }
  if (l == 0 && !sound) mark_bad(a.marks, row);
}

struct QueryState {
  float scale;
  uint32_t peak;      // order of the largest score
  uint32_t sum;       // L
  uint32_t exponent;  // e* + 128
  int32_t position, first;
  uint32_t lost;
  uint32_t largest;  // of |o|
};
static_assert(sizeof(QueryState) == kQueryState);

struct alignas(16) FourWords {
  uint32_t word[4];
};

// One block: the heads `heads_at_once` of one kv head, for the rows of one item after another. A query is one of those
// heads of one row; all of them read the same keys and values. most: the most queries.
// wide: keys and values of 16 bits.
template <int most, bool wide>
LLMC_LANE void attend(const AttendArgs& a) {
  const int d = a.shape.head_dim, group = a.heads / a.shape.kv_heads;
  const int parts = (group + a.heads_at_once - 1) / a.heads_at_once;
  const int kv_head = static_cast<int>(block_y()) / parts;
  const int head0 = static_cast<int>(block_y()) % parts * a.heads_at_once;
  const int heads = group - head0 < a.heads_at_once ? group - head0 : a.heads_at_once;
  const int self = static_cast<int>(thread()), step = static_cast<int>(threads());
  auto* state = reinterpret_cast<QueryState*>(shared());
  auto* limbs = reinterpret_cast<int8_t*>(shared() + attend_limbs_at(most));
  auto* out = reinterpret_cast<uint64_t*>(shared() + attend_sums_at(most, d));
  float* scores = a.scratch ? a.scratch + (static_cast<size_t>(block_y()) * grid_x() + block_x()) * most * a.span
                            : reinterpret_cast<float*>(shared() + attend_scores_at(most, d));

  for (int item = static_cast<int>(block_x()); item < a.item_count; item += static_cast<int>(grid_x())) {
    const int row0 = a.items[item].row, count = a.items[item].count;
    if (count == 0) continue;
    const int queries = count * heads;
    const int slot = a.slots[row0];
    const HeadCache cache(a.cache, a.shape, slot, kv_head);
    constexpr int bytes = wide ? 2 : 1;
    sync();  // the item before is done with shared memory

    // The queries as A16 limbs, a warp each: low words first, then high ones.
    for (int i = static_cast<int>(warp()); i < most; i += static_cast<int>(warps())) {
      const int l = static_cast<int>(lane::lane());
      const int row = row0 + i / heads;
      if (i >= queries) {
        for (int e = l; e < 2 * d; e += 32) limbs[i * 2 * d + e] = 0;
        if (l == 0) state[i] = QueryState{0.0f, 0, 0, 0, -1, 0, 1, 0};
        continue;
      }
      const float* x = a.q + row * a.stride + static_cast<size_t>(kv_head * group + head0 + i % heads) * d;
      const uint32_t largest = warp_largest(x, d);
      const Quantiser q = quantiser(largest, 2);
      for (int e = l; e < d; e += 32) {
        const int v = quantised(q, x[e]);
        limbs[i * 2 * d + e] = static_cast<int8_t>(low_limb(v));
        limbs[i * 2 * d + d + e] = static_cast<int8_t>(high_limb(v));
      }
      if (l == 0) {
        const int position = a.positions[row];
        const int first = a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
        state[i] = QueryState{mul(q.scale, a.scale), 0, 0, 0, position, first, out_of_range(largest) ? 1u : 0u, 0};
      }
    }
    for (int i = self; i < most * d; i += step) out[i] = 0;
    sync();

    // Scores: a thread takes whole keys.
    const int begin = state[0].first, end = state[queries - 1].position + 1;
    uint32_t peak[most];
    LLMC_UNROLL
    for (int i = 0; i < most; ++i) peak[i] = 0;
    for (int j = begin + self; j < end; j += step) {
      // Sums of limb products: query low and high with the key's high limb (its only one, unless wide), then its low one.
      int32_t product[most][2 * bytes];
      LLMC_UNROLL
      for (int i = 0; i < most; ++i) {
        LLMC_UNROLL
        for (int e = 0; e < 2 * bytes; ++e) product[i][e] = 0;
      }
      const int8_t* key = cache.key + static_cast<size_t>(j) * d * bytes;
      const auto score = [&](uint32_t k, int word, int limb) {
        LLMC_UNROLL
        for (int i = 0; i < most; ++i) {
          const auto* q = reinterpret_cast<const uint32_t*>(limbs + i * 2 * d);
          product[i][2 * limb] = dp4a(q[word], k, product[i][2 * limb]);
          product[i][2 * limb + 1] = dp4a(q[d / 4 + word], k, product[i][2 * limb + 1]);
        }
      };
      LLMC_UNROLL
      for (int limb = 0; limb < bytes; ++limb) {
        const int8_t* part = key + limb * d;
        if (d % 16 == 0) {
          for (int word = 0; word < d / 4; word += 4) {
            const FourWords k = reinterpret_cast<const FourWords*>(part)[word / 4];
            LLMC_UNROLL
            for (int e = 0; e < 4; ++e) score(k.word[e], word + e, limb);
          }
        } else {
          for (int word = 0; word < d / 4; ++word) score(reinterpret_cast<const uint32_t*>(part)[word], word, limb);
        }
      }
      const float key_scale = cache.key_scale[j];
      LLMC_UNROLL
      for (int i = 0; i < most; ++i) {
        if (i >= queries || j < state[i].first || j > state[i].position) continue;
        float dot;
        if constexpr (wide) {
          dot = f32((static_cast<int64_t>(product[i][1]) * 256 + product[i][0]) * 256 +
                    (static_cast<int64_t>(product[i][3]) * 256 + product[i][2]));
        } else {
          dot = f32(product[i][1] * 256 + product[i][0]);
        }
        const float t = mul(dot, mul(state[i].scale, key_scale));
        scores[i * a.span + j - begin] = t;
        const uint32_t order = order_of(t);
        peak[i] = order > peak[i] ? order : peak[i];
      }
    }
    LLMC_UNROLL
    for (int i = 0; i < most; ++i) {
      const uint32_t m = warp_max(peak[i]);
      if (lane::lane() == 0) atomic_max(&state[i].peak, m);
    }
    sync();

    // Softmax steps u, their sum, and the largest exponent among values that count.
    uint32_t sum[most], exponent[most];
    LLMC_UNROLL
    for (int i = 0; i < most; ++i) {
      sum[i] = exponent[i] = 0;
      if (i >= queries || state[i].lost) continue;
      const float max = float_at(state[i].peak);
      if (out_of_range(magnitude(max))) continue;
      for (int j = begin + self; j < end; j += step) {
        if (j < state[i].first || j > state[i].position) continue;
        float& at = scores[i * a.span + j - begin];
        const float p = lane::exp2(sub(at, max));
        at = p;
        const auto u = static_cast<uint32_t>(rint(mul(p, 32512.0f)));
        sum[i] += u;
        const auto e = static_cast<uint32_t>(cache.value_exponent[j] + 128);
        if (u > 0 && e > exponent[i]) exponent[i] = e;
      }
    }
    LLMC_UNROLL
    for (int i = 0; i < most; ++i) {
      const uint32_t s = warp_add(sum[i]), m = warp_max(exponent[i]);
      if (lane::lane() == 0) {
        atomic_add(&state[i].sum, s);
        atomic_max(&state[i].exponent, m);
      }
    }
    sync();
    if (self < queries && out_of_range(magnitude(float_at(state[self].peak)))) state[self].lost = 1;
    sync();

    // Weights w in place of the scores, each by the thread that wrote p; 0 where a query does not see a position.
    for (int i = 0; i < queries; ++i) {
      const QueryState& s = state[i];
      const int top = static_cast<int>(s.exponent) - 128;
      for (int j = begin + self; j < end; j += step) {
        float& at = scores[i * a.span + j - begin];
        int32_t w = 0;
        if (!s.lost && j >= s.first && j <= s.position && rint(mul(at, 32512.0f)) != 0.0f) {
          w = static_cast<int32_t>(rint(mul(at, mul(32512.0f, power_of_two(cache.value_exponent[j] - top)))));
        }
        at = float_of(static_cast<uint32_t>(w));
      }
    }
    sync();

    // Values: d / 4 threads read one of them, the others the next ones.
    const int across = d / 4, lines = step / across;
    if (self < lines * across) {
      const int column = self % across;
      int64_t acc[most][4];
      LLMC_UNROLL
      for (int i = 0; i < most; ++i) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0;
      for (int j = begin + self / across; j < end; j += lines) {
        const auto* line = reinterpret_cast<const uint32_t*>(cache.value + static_cast<size_t>(j) * d * bytes);
        int32_t v[4];
        if constexpr (wide) {
          const uint32_t v0 = line[2 * column], v1 = line[2 * column + 1];
          v[0] = static_cast<int16_t>(v0), v[1] = static_cast<int16_t>(v0 >> 16);
          v[2] = static_cast<int16_t>(v1), v[3] = static_cast<int16_t>(v1 >> 16);
        } else {
          LLMC_UNROLL
          for (int e = 0; e < 4; ++e) v[e] = static_cast<int8_t>(line[column] >> (8 * e));
        }
        LLMC_UNROLL
        for (int i = 0; i < most; ++i) {
          if (i >= queries) continue;
          const auto w = static_cast<int32_t>(bits_of(scores[i * a.span + j - begin]));
          LLMC_UNROLL
          for (int e = 0; e < 4; ++e) acc[i][e] += static_cast<int64_t>(w) * v[e];
        }
      }
      for (int i = 0; i < most; ++i) {
        if (i >= queries) continue;
        LLMC_UNROLL
        for (int e = 0; e < 4; ++e) atomic_add(out + i * d + 4 * column + e, static_cast<uint64_t>(acc[i][e]));
      }
    }
    sync();

    for (int at = self; at < queries * d; at += step) {
      const int i = at / d, e = at % d;
      const QueryState& s = state[i];
      float o = 0.0f;
      if (!s.lost) {
        o = mul(div(f32(static_cast<int64_t>(out[at])), f32(s.sum)), power_of_two(static_cast<int>(s.exponent) - 128));
      }
      a.out[(row0 + i / heads) * a.out_stride + static_cast<size_t>(kv_head * group + head0 + i % heads) * d + e] = o;
      atomic_max(&state[i].largest, magnitude(o));
    }
    sync();
    if (self < queries) {
      const int row = row0 + self / heads;
      atomic_max(a.largest + row, state[self].largest);
      if (state[self].lost) mark_bad(a.marks, row);
    }
  }
}

LLMC_LANE void attend1(const AttendArgs& a) { attend<1, false>(a); }
LLMC_LANE void attend2(const AttendArgs& a) { attend<2, false>(a); }
LLMC_LANE void attend4(const AttendArgs& a) { attend<4, false>(a); }
LLMC_LANE void attend8(const AttendArgs& a) { attend<8, false>(a); }
LLMC_LANE void attend1_wide(const AttendArgs& a) { attend<1, true>(a); }
LLMC_LANE void attend2_wide(const AttendArgs& a) { attend<2, true>(a); }
LLMC_LANE void attend4_wide(const AttendArgs& a) { attend<4, true>(a); }
LLMC_LANE void attend8_wide(const AttendArgs& a) { attend<8, true>(a); }

}  // namespace llmc::cuda
