// LLMC-X1 in plain C++: the executable form of docs/NUMERICS.md, written to be read.
// One float operator is one correctly rounded binary32 operation (-ffp-contract=off).
#include <cmath>
#include <cstring>

#include "exact/spec.h"
#include "exact/tables.h"

namespace llmc::exact {
namespace {

using spec::exponent;
using spec::power_of_two;

constexpr size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

// One correctly rounded conversion of the exact integer.
float f32(int64_t n) { return static_cast<float>(n); }

// The largest |x|, as bits: the order of magnitudes is the order of their bits, NaN above all.
uint32_t absmax_bits(int n, const float* x) {
  uint32_t a = 0;
  for (int i = 0; i < n; ++i) {
    const uint32_t b = spec::magnitude_bits(x[i]);
    if (b > a) a = b;
  }
  return a;
}

bool out_of_range(uint32_t a, uint8_t* flag) {
  if (a < spec::kRangeBits) return false;
  *flag = 1;
  return true;
}

// ---- weights

size_t packed_bytes(int n, int k) { return round_up(static_cast<size_t>(n) * k, 64); }

void pack(int n, int k, const int8_t* w, void* packed) { std::memcpy(packed, w, static_cast<size_t>(n) * k); }

void embed(int rows, int n, int k, const int32_t* ids, const void* packed, const float* sw, float* x, size_t ldx) {
  (void)n;
  for (int row = 0; row < rows; ++row) {
    const int8_t* w = static_cast<const int8_t*>(packed) + static_cast<size_t>(ids[row]) * k;
    for (int i = 0; i < k; ++i) x[row * ldx + i] = f32(w[i]) * sw[ids[row]];
  }
}

// ---- quantised rows

size_t quantised_bytes(int bits, int k) { return round_up(static_cast<size_t>(k) * (bits / 8), 64); }

// q = clamp(rint(x * (limit / a))), s = a / limit; all zero where the row is tiny or out of range.
template <class Int>
void quantise_vector(int limit, int k, const float* x, Int* q, float* s, uint8_t* flag) {
  const uint32_t a_bits = absmax_bits(k, x);
  if (out_of_range(a_bits, flag) || a_bits < spec::kTinyBits) {
    for (int i = 0; i < k; ++i) q[i] = 0;
    *s = 0.0f;
    return;
  }
  const float a = std::bit_cast<float>(a_bits);
  const float inv = f32(limit) / a;
  for (int i = 0; i < k; ++i) q[i] = static_cast<Int>(spec::rint_clamped(x[i] * inv, limit));
  *s = a / f32(limit);
}

template <class Int>
void quantise(int rows, int k, const float* x, size_t ldx, void* q, float* s, uint8_t* range) {
  const int bits = 8 * sizeof(Int);
  for (int row = 0; row < rows; ++row) {
    Int* out = reinterpret_cast<Int*>(static_cast<char*>(q) + row * quantised_bytes(bits, k));
    quantise_vector(bits == 8 ? spec::kMax8 : spec::kMax16, k, x + row * ldx, out, s + row, range + row);
  }
}

void read_quantised(int bits, int k, const void* q_row, int16_t* out) {
  for (int i = 0; i < k; ++i) {
    out[i] = bits == 8 ? static_cast<const int8_t*>(q_row)[i] : static_cast<const int16_t*>(q_row)[i];
  }
}

template <class Int>
void linear(int rows, int n, int k, const void* q, const float* s, const void* packed, const float* sw,
            const float* bias, float* y, size_t ldy) {
  for (int row = 0; row < rows; ++row) {
    const char* at = static_cast<const char*>(q) + row * quantised_bytes(8 * sizeof(Int), k);
    const Int* x = reinterpret_cast<const Int*>(at);
    for (int i = 0; i < n; ++i) {
      const int8_t* w = static_cast<const int8_t*>(packed) + static_cast<size_t>(i) * k;
      int64_t sum = 0;
      for (int j = 0; j < k; ++j) sum += static_cast<int32_t>(x[j]) * w[j];
      float value = f32(sum) * (s[row] * sw[i]);
      if (bias) value = value + bias[i];
      y[row * ldy + i] = value;
    }
  }
}

// ---- norms

// Both norms see a row as integers t of at most 19 bits at the scale 2^(E-17), so that their sums
// are exact: t^2 <= 2^36, and at most 2^16 of them.
void rms_norm_vector(int n, const float* x, const float* g, float eps, float* y, uint8_t* flag) {
  const uint32_t a = absmax_bits(n, x);
  if (out_of_range(a, flag)) {
    for (int i = 0; i < n; ++i) y[i] = 0.0f;
    return;
  }
  float mean_square = 0.0f;
  if (a >= spec::kTinyNormBits) {
    const int e = exponent(a);
    int64_t sum = 0;
    for (int i = 0; i < n; ++i) {
      const int64_t t = static_cast<int64_t>(spec::rint(x[i] * power_of_two(17 - e)));
      sum += t * t;
    }
    mean_square = (f32(sum) / f32(n)) * power_of_two(2 * (e - 17));
  }
  const float r = 1.0f / std::sqrt(mean_square + eps);
  for (int i = 0; i < n; ++i) y[i] = (x[i] * r) * g[i];
}

void rms_norm(int rows, int heads, int n, const float* x, size_t ldx, const float* g, float eps, float* y,
              size_t ldy, uint8_t* range) {
  for (int row = 0; row < rows; ++row) {
    for (int h = 0; h < heads; ++h) {
      rms_norm_vector(n, x + row * ldx + h * n, g, eps, y + row * ldy + h * n, range + row);
    }
  }
}

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

void layer_norm(int rows, int n, const float* x0, size_t ldx, const float* g, const float* b, float eps, float* y0,
                size_t ldy, uint8_t* range) {
  for (int row = 0; row < rows; ++row) {
    const float* x = x0 + row * ldx;
    float* y = y0 + row * ldy;
    const uint32_t a = absmax_bits(n, x);
    if (out_of_range(a, range + row)) {
      for (int i = 0; i < n; ++i) y[i] = 0.0f;
      continue;
    }
    float mean = 0.0f;
    float variance = 0.0f;
    if (a >= spec::kTinyNormBits) {
      const int e = exponent(a);
      int64_t sum = 0;
      for (int i = 0; i < n; ++i) sum += static_cast<int64_t>(spec::rint(x[i] * power_of_two(17 - e)));
      const int64_t middle = floor_divide(2 * sum + n, 2 * n);
      int64_t squares = 0;
      for (int i = 0; i < n; ++i) {
        const int64_t t = static_cast<int64_t>(spec::rint(x[i] * power_of_two(17 - e))) - middle;
        squares += t * t;
      }
      mean = (f32(sum) / f32(n)) * power_of_two(e - 17);
      variance = (f32(squares) / f32(n)) * power_of_two(2 * (e - 17));
    }
    const float r = 1.0f / std::sqrt(variance + eps);
    for (int i = 0; i < n; ++i) y[i] = (((x[i] - mean) * r) * g[i]) + b[i];
  }
}

// ---- elementwise

void rope(int rows, int heads, int head_dim, int rotary, RopePairs pairs, const int32_t* pos, const float* cos,
          const float* sin, float* x, size_t ldx) {
  const int half = rotary / 2;
  for (int row = 0; row < rows; ++row) {
    const float* c = cos + static_cast<size_t>(pos[row]) * half;
    const float* s = sin + static_cast<size_t>(pos[row]) * half;
    for (int h = 0; h < heads; ++h) {
      float* v = x + row * ldx + h * head_dim;
      for (int i = 0; i < half; ++i) {
        float& first = v[pairs == RopePairs::halves ? i : 2 * i];
        float& second = v[pairs == RopePairs::halves ? i + half : 2 * i + 1];
        const float x0 = first;
        const float x1 = second;
        first = (x0 * c[i]) - (x1 * s[i]);
        second = (x1 * c[i]) + (x0 * s[i]);
      }
    }
  }
}

void exp2_vector(int n, const float* x, float* y) {
  for (int i = 0; i < n; ++i) y[i] = spec::exp2(x[i]);
}

void silu_mul(int rows, int n, const float* g, size_t ldg, const float* up, size_t ldu, float* y, size_t ldy) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < n; ++i) y[row * ldy + i] = spec::silu(g[row * ldg + i]) * up[row * ldu + i];
  }
}

void gelu(Gelu kind, int rows, int n, const float* g, size_t ldg, const float* up, size_t ldu, float* y, size_t ldy) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < n; ++i) {
      const float x = g[row * ldg + i];
      const float v = kind == Gelu::erf ? spec::gelu_erf(x) : spec::gelu_tanh(x);
      y[row * ldy + i] = up ? v * up[row * ldu + i] : v;
    }
  }
}

void add(int rows, int n, float* x, size_t ldx, const float* d, size_t ldd) {
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < n; ++i) x[row * ldx + i] = x[row * ldx + i] + d[row * ldd + i];
  }
}

// ---- attention

// A cache block, per kv head: key scales float [context], keys Int [context][head_dim], values the
// same, value exponents int8 [context]. Int is int8_t, or int16_t where 16 bits are kept.
template <class Int>
struct Cache {
  Cache(const AttentionShape& shape, const void* block, int kv_head) {
    const size_t vectors = static_cast<size_t>(shape.context) * shape.head_dim;
    const size_t head = 2 * vectors * sizeof(Int) + shape.context * (sizeof(float) + 1);
    char* at = static_cast<char*>(const_cast<void*>(block)) + kv_head * round_up(head, 64);
    key_scale = reinterpret_cast<float*>(at);
    key = reinterpret_cast<Int*>(key_scale + shape.context);
    value = key + vectors;
    value_exponent = reinterpret_cast<int8_t*>(value + vectors);
    bytes = round_up(head, 64);
  }
  float* key_scale;
  Int* key;
  Int* value;
  int8_t* value_exponent;
  size_t bytes;
};

size_t kv_bytes(const AttentionShape& shape) {
  const size_t head =
      shape.kv_bits == 8 ? Cache<int8_t>(shape, nullptr, 0).bytes : Cache<int16_t>(shape, nullptr, 0).bytes;
  return head * shape.kv_heads;
}

template <class Int>
void store_value(int n, const float* v, Int* out, int8_t* e, uint8_t* flag) {
  constexpr int kBits = 8 * sizeof(Int);
  const uint32_t m = absmax_bits(n, v);
  if (out_of_range(m, flag) || m < spec::kTinyBits) {
    for (int i = 0; i < n; ++i) out[i] = 0;
    *e = kBits == 8 ? spec::kZeroValueExponent : spec::kZeroValueExponent16;
    return;
  }
  const int exponent = spec::value_exponent(m, kBits);
  for (int i = 0; i < n; ++i) out[i] = static_cast<Int>(spec::rint(v[i] * power_of_two(-exponent)));
  *e = static_cast<int8_t>(exponent);
}

template <class Int>
void store(const AttentionShape& shape, void* block, int first, int rows, const float* k, size_t ldk, const float* v,
           size_t ldv, uint8_t* range) {
  const int d = shape.head_dim;
  const int limit = sizeof(Int) == 1 ? spec::kMax8 : spec::kMax16;
  for (int row = 0; row < rows; ++row) {
    const size_t pos = first + row;
    for (int h = 0; h < shape.kv_heads; ++h) {
      const Cache<Int> cache(shape, block, h);
      quantise_vector(limit, d, k + row * ldk + h * d, cache.key + pos * d, cache.key_scale + pos, range + row);
      store_value(d, v + row * ldv + h * d, cache.value + pos * d, cache.value_exponent + pos, range + row);
    }
  }
}

void kv_store(const AttentionShape& shape, void* block, int first, int rows, const float* k, size_t ldk,
              const float* v, size_t ldv, uint8_t* range) {
  (shape.kv_bits == 8 ? store<int8_t> : store<int16_t>)(shape, block, first, rows, k, ldk, v, ldv, range);
}

size_t attention_scratch_bytes(const AttentionShape& shape) { return round_up(shape.context * sizeof(float), 64); }

// One query head at position `pos`; t is scratch for one float per position.
template <class Int>
void attend(const AttentionShape& shape, const Cache<Int>& cache, int pos, const float* q, float* o, uint8_t* flag,
            float* t) {
  const int d = shape.head_dim;
  const int begin = shape.window > 0 && pos >= shape.window ? pos - shape.window + 1 : 0;
  int16_t query[kMaxHeadDim];
  float sq = 0.0f;
  uint8_t bad = 0;
  quantise_vector(spec::kMax16, d, q, query, &sq, &bad);

  float max = 0.0f;
  for (int j = begin; j <= pos && !bad; ++j) {
    const Int* key = cache.key + static_cast<size_t>(j) * d;
    int64_t dot = 0;
    for (int i = 0; i < d; ++i) dot += static_cast<int32_t>(query[i]) * key[i];
    t[j] = f32(dot) * ((sq * shape.scale) * cache.key_scale[j]);
    if (j == begin || t[j] > max) max = t[j];
  }
  if (bad || out_of_range(spec::magnitude_bits(max), &bad)) {
    for (int i = 0; i < d; ++i) o[i] = 0.0f;
    *flag = 1;
    return;
  }

  // u are the softmax weights on 32512 steps; L their sum; top the exponent that values are brought to.
  int64_t sum = 0;
  int top = -128;
  for (int j = begin; j <= pos; ++j) {
    t[j] = spec::exp2(t[j] - max);
    const int u = static_cast<int>(spec::rint(t[j] * 32512.0f));
    sum += u;
    if (u > 0 && cache.value_exponent[j] > top) top = cache.value_exponent[j];
  }
  int64_t out[kMaxHeadDim] = {};
  for (int j = begin; j <= pos; ++j) {
    if (spec::rint(t[j] * 32512.0f) == 0.0f) continue;
    const int shift = cache.value_exponent[j] - top;  // -120..0
    const int w = static_cast<int>(spec::rint(t[j] * (32512.0f * power_of_two(shift))));
    const Int* value = cache.value + static_cast<size_t>(j) * d;
    for (int i = 0; i < d; ++i) out[i] += static_cast<int64_t>(w) * value[i];
  }
  for (int i = 0; i < d; ++i) o[i] = (f32(out[i]) / f32(sum)) * power_of_two(top);
}

void attention(const AttentionShape& shape, const void* block, int first, int rows, const float* q, size_t ldq,
               float* o, size_t ldo, uint8_t* range, void* scratch) {
  const int d = shape.head_dim;
  const int group = shape.heads / shape.kv_heads;
  for (int row = 0; row < rows; ++row) {
    for (int h = 0; h < shape.heads; ++h) {
      const float* query = q + row * ldq + h * d;
      float* out = o + row * ldo + h * d;
      float* t = static_cast<float*>(scratch);
      if (shape.kv_bits == 8) {
        attend(shape, Cache<int8_t>(shape, block, h / group), first + row, query, out, range + row, t);
      } else {
        attend(shape, Cache<int16_t>(shape, block, h / group), first + row, query, out, range + row, t);
      }
    }
  }
}

// ---- frequencies

bool frequencies(const float* y, Frequencies* f) {
  if (absmax_bits(f->real, y) >= spec::kRangeBits) return false;
  float max = 0.0f;
  for (int v = 0; v < f->real; ++v) {
    f->t[v] = y[v] * spec::kLog2e;
    if (v == 0 || f->t[v] > max) max = f->t[v];
  }
  for (int v = 0; v < f->real; ++v) {
    f->w[v] = 1 + static_cast<uint32_t>(spec::exp2(f->t[v] - max) * 0x1p30f);
  }
  if (f->symbols > f->real) f->w[f->real] = 1;
  f->total = 0;
  for (int v = 0; v < f->symbols; ++v) {
    if (v % kFrequencyBlock == 0) f->block[v / kFrequencyBlock] = f->total;
    f->total += f->w[v];
  }
  return true;
}

int rank(const Frequencies& f, int symbol) {
  if (symbol >= f.real) return f.real;
  int before = 0;
  for (int v = 0; v < f.real; ++v) {
    if (f.t[v] > f.t[symbol] || (f.t[v] == f.t[symbol] && v < symbol)) ++before;
  }
  return before;
}

int count_greater(const float* t, int n, float bound) {
  int count = 0;
  for (int v = 0; v < n; ++v) count += t[v] > bound;
  return count;
}

float max_less(const float* t, int n, float bound) {
  float max = -INFINITY;
  for (int v = 0; v < n; ++v) {
    if (t[v] < bound && t[v] > max) max = t[v];
  }
  return max;
}

int symbol_of_rank(const Frequencies& f, int rank) {
  return exact::symbol_of_rank(f, rank, count_greater, max_less);
}

// The float at a place in the order of all floats; -0 is one below +0.
float float_at(int32_t order) { return std::bit_cast<float>(order >= 0 ? order : order ^ 0x7FFFFFFF); }

}  // namespace

SymbolInterval interval(const Frequencies& f, int symbol) {
  const int block = symbol / kFrequencyBlock;
  uint64_t cum = f.block[block];
  for (int v = block * kFrequencyBlock; v < symbol; ++v) cum += f.w[v];
  return {cum, f.w[symbol]};
}

int find(const Frequencies& f, uint64_t target) {
  int low = 0;
  int high = frequency_blocks(f.symbols);  // block[low] <= target < block[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (f.block[middle] <= target ? low : high) = middle;
  }
  uint64_t cum = f.block[low];
  int v = low * kFrequencyBlock;
  while (v + 1 < f.symbols && cum + f.w[v] <= target) cum += f.w[v++];
  return v;
}

// Finds the value that has at most `rank` greater ones and the symbol sought among its ties: by steps
// down from the largest, as most ranks are small, then by bisection over all floats.
int symbol_of_rank(const Frequencies& f, int rank, int (*count_greater)(const float* t, int n, float bound),
                   float (*max_less)(const float* t, int n, float bound)) {
  if (rank >= f.real) return f.real;
  float value = max_less(f.t, f.real, INFINITY);
  int above = 0;  // values greater than `value`
  bool found = false;
  for (int step = 0; step < 6 && !found; ++step) {
    const float below = max_less(f.t, f.real, value);
    const int count = count_greater(f.t, f.real, below);
    found = rank < count;
    if (found) break;
    value = below;
    above = count;
  }
  if (!found) {
    int64_t low = INT32_MIN + int64_t{0x7FFFFF};  // place of -infinity
    int64_t high = 0x7F800000;                    // +infinity, with none greater
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (count_greater(f.t, f.real, float_at(static_cast<int32_t>(middle))) <= rank) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    value = float_at(static_cast<int32_t>(high));
    above = count_greater(f.t, f.real, value);
  }
  int ties = rank - above;
  int v = 0;
  while (f.t[v] != value || ties-- > 0) ++v;
  return v;
}

const Kernels& scalar_kernels() {
  static constexpr Kernels table = {
      .name = "scalar",
      .packed_bytes = packed_bytes,
      .pack = pack,
      .embed = embed,
      .quantised_bytes = quantised_bytes,
      .quantise8 = quantise<int8_t>,
      .quantise16 = quantise<int16_t>,
      .read_quantised = read_quantised,
      .linear8 = linear<int8_t>,
      .linear16 = linear<int16_t>,
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .rope = rope,
      .exp2 = exp2_vector,
      .silu_mul = silu_mul,
      .gelu = gelu,
      .add = add,
      .kv_bytes = kv_bytes,
      .kv_store = kv_store,
      .attention_scratch_bytes = attention_scratch_bytes,
      .attention = attention,
      .frequencies = frequencies,
      .interval = interval,
      .find = find,
      .rank = rank,
      .symbol_of_rank = symbol_of_rank,
  };
  return table;
}

}  // namespace llmc::exact
