// AVX-512 without VNNI: vpmaddwd on int16 pairs, 512 bits wide.
#include "exact/simd512.h"
#include "exact/vector_attention.h"

namespace llmc::exact {
namespace {

struct Avx512 : Simd512 {
  static constexpr bool kQuad = false;
  static constexpr int kPanel = 4;

  static I load_weights(const uint8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static I broadcast(const char* q) {
    int32_t x;
    __builtin_memcpy(&x, q, 4);
    return _mm512_set1_epi32(x);
  }
  static I dot(I sum, I weights, I x) { return _mm512_add_epi32(sum, _mm512_madd_epi16(weights, x)); }
};

}  // namespace

const Kernels& avx512_kernels() {
  static constexpr Kernels table = table_of<Avx512>("avx512");
  return table;
}

}  // namespace llmc::exact
