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
  // The intrinsic computes the same, but GCC 12 then copies every sum twice per step.
  static I dot(I sum, I weights, I x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
    return sum;
  }
};

}  // namespace

const Kernels& avx512vnni_kernels() {
  static constexpr Kernels table = table_of<Avx512Vnni>("avx512vnni");
  return table;
}

}  // namespace llmc::exact
