// AVX2: vpmaddwd on int16 pairs. Two vectors of columns and six rows fill the 16 registers.
#include "exact/simd256.h"
#include "exact/vector_attention.h"

namespace llmc::exact {
namespace {

struct Avx2 : Simd256 {
  static constexpr bool kQuad = false;
  static constexpr int kPanel = 2;

  static I load_weights(const uint8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I broadcast(const char* q) {
    int32_t x;
    __builtin_memcpy(&x, q, 4);
    return _mm256_set1_epi32(x);
  }
  static I dot(I sum, I weights, I x) { return _mm256_add_epi32(sum, _mm256_madd_epi16(weights, x)); }
};

}  // namespace

const Kernels& avx2_kernels() {
  static constexpr Kernels table = table_of<Avx2>("avx2");
  return table;
}

}  // namespace llmc::exact
