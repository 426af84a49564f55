#include "coder/mix_kernels.h"

#include <algorithm>

#include "coder/mix_model.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace llmc {
namespace {

void dots_plain(const int32_t* weights, const uint32_t* rows, const int32_t* x, int32_t* dots) {
  for (int s = 0; s < MixModel::sets; ++s) {
    const int32_t* w = weights + static_cast<size_t>(rows[s]) * MixModel::inputs;
    int64_t sum = 0;
    for (int i = 0; i < MixModel::inputs; ++i) sum += static_cast<int64_t>(w[i]) * x[i];
    dots[s] = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -mix_most, mix_most));
  }
}

void train_plain(int32_t* weights, const uint32_t* rows, const int32_t* x, const int32_t* errors) {
  for (int s = 0; s < MixModel::sets; ++s) {
    int32_t* w = weights + static_cast<size_t>(rows[s]) * MixModel::inputs;
    for (int i = 0; i < MixModel::inputs; ++i) {
      w[i] = std::clamp(w[i] + ((x[i] * errors[s] + 8192) >> 14), -mix_weight_most, mix_weight_most);
    }
  }
}

void sides_plain(const uint32_t* lanes, int groups, uint32_t bound, uint32_t* sums) {
  for (int list = 0; list < 4 * groups; ++list, lanes += 8) {
    uint32_t all = 0, right = 0;
    for (int k = 0; k < 8; ++k) {
      all += lanes[k] & 255;
      if (lanes[k] >= bound) right += lanes[k] & 255;
    }
    sums[list] = all << 16 | right;
  }
}

void descend_plain(uint32_t* lanes, int groups, uint32_t bound, bool right) {
  for (int k = 0; k < 32 * groups; ++k) {
    if ((lanes[k] >= bound) != right) lanes[k] = 0;
  }
}

constexpr MixKernels plain{dots_plain, train_plain, sides_plain, descend_plain};

#if defined(__x86_64__)
__attribute__((target("avx2"))) void dots_avx2(const int32_t* weights, const uint32_t* rows, const int32_t* x,
                                               int32_t* dots) {
  for (int s = 0; s < MixModel::sets; ++s) {
    const int32_t* w = weights + static_cast<size_t>(rows[s]) * MixModel::inputs;
    __m256i even = _mm256_setzero_si256(), odd = even;
    for (int i = 0; i < MixModel::inputs; i += 8) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
      even = _mm256_add_epi64(even, _mm256_mul_epi32(a, b));
      odd = _mm256_add_epi64(odd, _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)));
    }
    const __m256i both = _mm256_add_epi64(even, odd);
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    const int64_t sum = _mm_extract_epi64(half, 0) + _mm_extract_epi64(half, 1);
    dots[s] = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -mix_most, mix_most));
  }
}

__attribute__((target("avx2"))) void train_avx2(int32_t* weights, const uint32_t* rows, const int32_t* x,
                                                const int32_t* errors) {
  const __m256i round = _mm256_set1_epi32(8192);
  const __m256i most = _mm256_set1_epi32(mix_weight_most), least = _mm256_set1_epi32(-mix_weight_most);
  for (int s = 0; s < MixModel::sets; ++s) {
    int32_t* w = weights + static_cast<size_t>(rows[s]) * MixModel::inputs;
    const __m256i error = _mm256_set1_epi32(errors[s]);
    for (int i = 0; i < MixModel::inputs; i += 8) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + i));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
      const __m256i step = _mm256_srai_epi32(_mm256_add_epi32(_mm256_mullo_epi32(b, error), round), 14);
      const __m256i sum = _mm256_max_epi32(_mm256_min_epi32(_mm256_add_epi32(a, step), most), least);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(w + i), sum);
    }
  }
}

__attribute__((target("avx2"))) inline __m256i side_counts(const uint32_t* lanes, __m256i below) {
  const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes));
  const __m256i count = _mm256_and_si256(v, _mm256_set1_epi32(255));
  const __m256i right = _mm256_and_si256(count, _mm256_cmpgt_epi32(v, below));
  return _mm256_or_si256(_mm256_slli_epi32(count, 16), right);
}

__attribute__((target("avx2"))) void sides_avx2(const uint32_t* lanes, int groups, uint32_t bound, uint32_t* sums) {
  const __m256i below = _mm256_set1_epi32(static_cast<int>(bound) - 1);
  for (int g = 0; g < groups; ++g, lanes += 32, sums += 4) {
    const __m256i a = _mm256_hadd_epi32(side_counts(lanes, below), side_counts(lanes + 8, below));
    const __m256i b = _mm256_hadd_epi32(side_counts(lanes + 16, below), side_counts(lanes + 24, below));
    const __m256i c = _mm256_hadd_epi32(a, b);
    const __m128i d = _mm_add_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums), d);
  }
}

__attribute__((target("avx2"))) void descend_avx2(uint32_t* lanes, int groups, uint32_t bound, bool right) {
  const __m256i below = _mm256_set1_epi32(static_cast<int>(bound) - 1);
  const __m256i flip = _mm256_set1_epi32(right ? 0 : -1);
  for (int k = 0; k < 32 * groups; k += 8) {
    __m256i* at = reinterpret_cast<__m256i*>(lanes + k);
    const __m256i v = _mm256_load_si256(at);
    _mm256_store_si256(at, _mm256_and_si256(v, _mm256_xor_si256(_mm256_cmpgt_epi32(v, below), flip)));
  }
}

constexpr MixKernels avx2{dots_avx2, train_avx2, sides_avx2, descend_avx2};
#endif

}  // namespace

const MixKernels& plain_mix_kernels() { return plain; }

const MixKernels& mix_kernels() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx2");
  return wide ? avx2 : plain;
#else
  return plain;
#endif
}

}  // namespace llmc
