// 512-bit vectors for vector_kernels.h: 16 lanes. Included by the AVX-512 files only; everything is
// in an unnamed namespace, so that no copy compiled with these flags reaches another file.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace llmc::exact {
namespace {

struct Simd512 {
  using F = __m512;
  using I = __m512i;
  using D = __m512d;
  static constexpr int kWidth = 16;
  static constexpr int kDoubles = 8;

  static __mmask16 first(int m) { return static_cast<__mmask16>(m >= 16 ? 0xFFFF : (1 << m) - 1); }

  // Loads and stores of the first m lanes only (m > 0); other lanes load as `fill`.
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, int m) { return m >= 16 ? load(p) : _mm512_maskz_loadu_ps(first(m), p); }
  static F load(const float* p, int m, F fill) { return _mm512_mask_loadu_ps(fill, first(m), p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, F x, int m) {
    if (m >= 16) return store(p, x);
    _mm512_mask_storeu_ps(p, first(m), x);
  }
  static void store(uint32_t* p, I x, int m) { _mm512_mask_storeu_epi32(p, first(m), x); }

  static F set(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }  // b where either is NaN
  static float reduce_max(F a) { return _mm512_reduce_max_ps(a); }
  // a < b ? x : y, false for NaN.
  static F where_less(F a, F b, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
  static F where_not_negative(F a, F x, F y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GE_OQ), y, x);
  }
  static int count_greater(F a, F b) { return _mm_popcnt_u32(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)); }
  static int count_not_less(F a, F b) { return _mm_popcnt_u32(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ)); }
  static uint32_t equal_lanes(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

  static I rint(F x) { return _mm512_cvtps_epi32(x); }
  static I trunc(F x) { return _mm512_cvttps_epi32(x); }
  static F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static I bits(F x) { return _mm512_castps_si512(x); }
  static F floats(I x) { return _mm512_castsi512_ps(x); }

  static I zero() { return _mm512_setzero_si512(); }
  static I iset(int x) { return _mm512_set1_epi32(x); }
  static I iota(int start) {
    return _mm512_add_epi32(iset(start), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  static I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I imax(I a, I b) { return _mm512_max_epi32(a, b); }
  static I imin(I a, I b) { return _mm512_min_epi32(a, b); }
  static I band(I a, I b) { return _mm512_and_si512(a, b); }
  static I magnitude(F x) { return _mm512_and_si512(bits(x), iset(0x7FFFFFFF)); }
  template <int S>
  static I shift_left(I x) {
    return _mm512_slli_epi32(x, S);
  }
  static I shift_right8(I x) { return _mm512_srai_epi32(x, 8); }
  static int reduce_imax(I a) { return _mm512_reduce_max_epi32(a); }
  static int reduce_iadd(I a) { return _mm512_reduce_add_epi32(a); }
  // a where c > 0, else b.
  static I where_positive(I c, I a, I b) {
    return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(c, zero()), b, a);
  }
  // x in lanes whose index i has low <= i <= high, else `other`.
  static F where_between(I i, int low, int high, F x, F other) {
    const __mmask16 m = _mm512_cmpge_epi32_mask(i, iset(low)) & _mm512_cmple_epi32_mask(i, iset(high));
    return _mm512_mask_blend_ps(m, other, x);
  }
  static I load_i8(const int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  // Sums in 64-bit lanes.
  static I add_squares(I sum, I t) {
    const I odd = _mm512_srli_epi64(t, 32);
    return _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_mul_epi32(t, t), _mm512_mul_epi32(odd, odd)));
  }
  static I add_signed64(I sum, I t) {
    const I one = iset(1);
    const I odd = _mm512_srli_epi64(t, 32);
    return _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_mul_epi32(t, one), _mm512_mul_epi32(odd, one)));
  }
  static I add_unsigned64(I sum, I w) {
    const I even = _mm512_and_si512(w, _mm512_set1_epi64(0xFFFFFFFF));
    return _mm512_add_epi64(sum, _mm512_add_epi64(even, _mm512_srli_epi64(w, 32)));
  }
  static int64_t reduce64(I a) { return _mm512_reduce_add_epi64(a); }

  // 32-bit lanes as doubles and back; exact going up, one rounding coming down.
  static D low_doubles(I x) { return _mm512_cvtepi32_pd(_mm512_castsi512_si256(x)); }
  static D high_doubles(I x) { return _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(x, 1)); }
  static F round_doubles(D low, D high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
  }
  static D dset(double x) { return _mm512_set1_pd(x); }
  static D dadd(D a, D b) { return _mm512_add_pd(a, b); }
  static D dmul(D a, D b) { return _mm512_mul_pd(a, b); }

  static void store_i16(int16_t* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
  }
  static void store_i8(int8_t* p, I x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x)); }
};

}  // namespace
}  // namespace llmc::exact
