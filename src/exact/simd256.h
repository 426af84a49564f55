// 256-bit vectors for vector_kernels.h: 8 lanes. Included by avx2.cpp only; everything is in an
// unnamed namespace, so that no copy compiled with these flags reaches another file.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace llmc::exact {
namespace {

struct Simd256 {
  using F = __m256;
  using I = __m256i;
  using D = __m256d;
  static constexpr int kWidth = 8;
  static constexpr int kDoubles = 4;

  static I first(int m) { return _mm256_cmpgt_epi32(iset(m), iota(0)); }

  // Loads and stores of the first m lanes only (m > 0); other lanes load as `fill`.
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, int m) { return m >= 8 ? load(p) : _mm256_maskload_ps(p, first(m)); }
  static F load(const float* p, int m, F fill) {
    return m >= 8 ? load(p) : _mm256_blendv_ps(fill, _mm256_maskload_ps(p, first(m)), floats(first(m)));
  }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static void store(float* p, F x, int m) {
    if (m >= 8) return store(p, x);
    _mm256_maskstore_ps(p, first(m), x);
  }
  static void store(uint32_t* p, I x, int m) { store(reinterpret_cast<float*>(p), floats(x), m); }

  static F set(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }  // b where either is NaN
  static float reduce_max(F a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
  }
  // a < b ? x : y, false for NaN.
  static F where_less(F a, F b, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static F where_not_negative(F a, F x, F y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GE_OQ));
  }
  static int count_greater(F a, F b) {
    return __builtin_popcount(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static int count_not_less(F a, F b) {
    return __builtin_popcount(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
  static uint32_t equal_lanes(F a, F b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }

  static I rint(F x) { return _mm256_cvtps_epi32(x); }
  static I trunc(F x) { return _mm256_cvttps_epi32(x); }
  static F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static I bits(F x) { return _mm256_castps_si256(x); }
  static F floats(I x) { return _mm256_castsi256_ps(x); }

  static I zero() { return _mm256_setzero_si256(); }
  static I iset(int x) { return _mm256_set1_epi32(x); }
  static I iota(int start) { return _mm256_add_epi32(iset(start), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
  static I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I imax(I a, I b) { return _mm256_max_epi32(a, b); }
  static I imin(I a, I b) { return _mm256_min_epi32(a, b); }
  static I band(I a, I b) { return _mm256_and_si256(a, b); }
  static I magnitude(F x) { return _mm256_and_si256(bits(x), iset(0x7FFFFFFF)); }
  template <int S>
  static I shift_left(I x) {
    return _mm256_slli_epi32(x, S);
  }
  static I shift_right8(I x) { return _mm256_srai_epi32(x, 8); }
  static int reduce_imax(I a) {
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32(x, 0xB1)));
  }
  static int reduce_iadd(I a) {
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xB1)));
  }
  // a where c > 0, else b.
  static I where_positive(I c, I a, I b) { return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi32(c, zero())); }
  // x in lanes whose index i has low <= i <= high, else `other`.
  static F where_between(I i, int low, int high, F x, F other) {
    const I outside = _mm256_or_si256(_mm256_cmpgt_epi32(iset(low), i), _mm256_cmpgt_epi32(i, iset(high)));
    return _mm256_blendv_ps(x, other, floats(outside));
  }
  static I load_i8(const int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }

  // Sums in 64-bit lanes.
  static I add_squares(I sum, I t) {
    const I odd = _mm256_srli_epi64(t, 32);
    return _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_mul_epi32(t, t), _mm256_mul_epi32(odd, odd)));
  }
  static I add_signed64(I sum, I t) {
    const I one = iset(1);
    const I odd = _mm256_srli_epi64(t, 32);
    return _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_mul_epi32(t, one), _mm256_mul_epi32(odd, one)));
  }
  static I add_unsigned64(I sum, I w) {
    const I even = _mm256_and_si256(w, _mm256_set1_epi64x(0xFFFFFFFF));
    return _mm256_add_epi64(sum, _mm256_add_epi64(even, _mm256_srli_epi64(w, 32)));
  }
  static int64_t reduce64(I a) {
    const __m128i x = _mm_add_epi64(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    return _mm_cvtsi128_si64(x) + _mm_extract_epi64(x, 1);
  }

  // 32-bit lanes as doubles and back; exact going up, one rounding coming down.
  static D low_doubles(I x) { return _mm256_cvtepi32_pd(_mm256_castsi256_si128(x)); }
  static D high_doubles(I x) { return _mm256_cvtepi32_pd(_mm256_extracti128_si256(x, 1)); }
  static F round_doubles(D low, D high) { return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low)); }
  static D dset(double x) { return _mm256_set1_pd(x); }
  static D dadd(D a, D b) { return _mm256_add_pd(a, b); }
  static D dmul(D a, D b) { return _mm256_mul_pd(a, b); }

  static void store_i16(int16_t* p, I x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
  }
};

}  // namespace
}  // namespace llmc::exact
