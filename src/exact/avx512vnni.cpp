// AVX-512 with VNNI: vpdpbusd, the form that wraps (vpdpbusds saturates and would be wrong).
#include "exact/simd512.h"
#include "exact/vector_attention.h"

namespace llmc::exact {
namespace {

struct Avx512Vnni : Simd512 {
  static constexpr bool kQuad = true;
  static constexpr int kPanel = 4;

  static I load_weights(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static I broadcast(const char* q) {
    int32_t x;
    __builtin_memcpy(&x, q, 4);
    return _mm512_set1_epi32(x);
  }
  static I dot(I sum, I weights, I x) { return _mm512_dpbusd_epi32(sum, weights, x); }
};

}  // namespace

const Kernels& avx512vnni_kernels() {
  static constexpr Kernels table = table_of<Avx512Vnni>("avx512vnni");
  return table;
}

}  // namespace llmc::exact
