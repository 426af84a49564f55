// The numeric kernels of LLMC-X1 (docs/NUMERICS.md): everything between token ids and
// frequencies that is arithmetic. Every table computes the same bits; "scalar" is the
// specification in executable form, the others are faster.
//
// A kernel is a plain function: no state, no allocation, no thread of its own, re-entrant, so any
// number of threads may call it on different buffers. It must run inside a FloatState. It works on
// rows, one row = one token; the result of a row never depends on the rows beside it.
//
// Buffers belong to the caller. Rows of floats lie `ld` floats apart and need no alignment. Opaque
// buffers (packed weights, quantised rows, KV caches, scratch) start on a multiple of 64 bytes, are
// written and read by the same table only, and need not be cleared.
//
// Range errors. Operations with `uint8_t* range` (one byte per row, set to 1, never cleared) check
// that every input is finite and below 2^60 in magnitude. A row that fails gives zeros from there
// on and harms no other; its stream has to be given up (Code::range). Arguments themselves (sizes,
// ids, positions) are not checked: import and session do that, once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace llmc {

// What LLMC-X1 is proved for; import refuses models beyond it.
inline constexpr int kMaxWidth = 1 << 16;      // K and N of a linear, except the head's N
inline constexpr int kMaxVocabulary = 1 << 19;  // symbols, the escape included
inline constexpr int kMaxContext = 1 << 17;     // positions of a KV cache
inline constexpr int kMinHeadDim = 8;           // head sizes are multiples of 8
inline constexpr int kMaxHeadDim = 256;

enum class RopePairs : uint8_t {
  halves,      // (i, i + rotary/2), as in Llama checkpoints of Hugging Face
  neighbours,  // (2i, 2i + 1), as in the original paper and GPT-J
};

// x times the chance that a normal variate is below x: by the error function or by its usual
// approximation through tanh.
enum class Gelu : uint8_t { erf, tanh };

struct AttentionShape {
  int heads = 0;     // query heads, a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;  // 8..256, a multiple of 8
  int context = 0;   // positions that the cache can hold, 1..kMaxContext
  float scale = 0;   // C: the model's softmax scale times log2(e), as stored in the model file
  int window = 0;    // row at position p sees the last `window` positions, itself included; 0: all
  int kv_bits = 8;   // of stored keys and values: 8 or 16; with 16, context is at most kMaxContext / 2
};

// Frequencies of one token. The caller owns the arrays.
struct Frequencies {
  int real = 0;                 // ids 0..real-1 can be coded
  int symbols = 0;              // real, or real + 1 with the escape symbol (W = 1, last)
  float* t = nullptr;           // [real] logits times log2(e): the rank order
  uint32_t* w = nullptr;        // [symbols] W, each at least 1
  uint64_t* block = nullptr;    // [frequency_blocks(symbols)] sums of W before each block of 256
  uint64_t total = 0;           // Tot <= 2^49 + 2^19 + 1
};
inline constexpr int kFrequencyBlock = 256;
inline constexpr int frequency_blocks(int symbols) { return (symbols + kFrequencyBlock - 1) / kFrequencyBlock; }

// (Interval is the name of the whole answer in model/session.h.)
struct SymbolInterval {
  uint64_t cum = 0;  // sum of W over lower symbols
  uint64_t w = 0;
};

struct Kernels {
  const char* name;  // "scalar", "avx2", "avx512", "avx512vnni"

  // ---- weights: int8 in +-127, [n][k] row-major, one scale `sw` per output row n
  size_t (*packed_bytes)(int n, int k);
  void (*pack)(int n, int k, const int8_t* w, void* packed);
  // x[row][0..k) = w[ids[row]] * sw[ids[row]]; the same packed matrix may serve as the head.
  void (*embed)(int rows, int n, int k, const int32_t* ids, const void* packed, const float* sw, float* x,
                size_t ldx);

  // ---- activations to integers, one scale per row; bits is 8 (A8) or 16 (A16)
  size_t (*quantised_bytes)(int bits, int k);  // of one row, a multiple of 64; rows lie that far apart
  void (*quantise8)(int rows, int k, const float* x, size_t ldx, void* q, float* s, uint8_t* range);
  void (*quantise16)(int rows, int k, const float* x, size_t ldx, void* q, float* s, uint8_t* range);
  // The integers of one row, for tests and traces.
  void (*read_quantised)(int bits, int k, const void* q_row, int16_t* out);

  // y[row][0..n) = (q . w) * (s * sw) [+ bias]; bias may be null.
  void (*linear8)(int rows, int n, int k, const void* q, const float* s, const void* packed, const float* sw,
                  const float* bias, float* y, size_t ldy);
  void (*linear16)(int rows, int n, int k, const void* q, const float* s, const void* packed, const float* sw,
                   const float* bias, float* y, size_t ldy);

  // ---- elementwise and norms; y may be x
  // A row is `heads` vectors of n floats side by side, each normalised by itself with the same g
  // (heads = 1: the usual norm; otherwise q/k norms).
  void (*rms_norm)(int rows, int heads, int n, const float* x, size_t ldx, const float* g, float eps, float* y,
                   size_t ldy, uint8_t* range);
  void (*layer_norm)(int rows, int n, const float* x, size_t ldx, const float* g, const float* b, float eps,
                     float* y, size_t ldy, uint8_t* range);
  // In place on `heads` vectors of head_dim floats; the first `rotary` (even) floats of each turn.
  // cos and sin are [position][rotary/2]; pos[row] must lie inside the tables.
  void (*rope)(int rows, int heads, int head_dim, int rotary, RopePairs pairs, const int32_t* pos, const float* cos,
               const float* sin, float* x, size_t ldx);
  // y = 2^x by the polynomial of the specification, for x <= 0; alone only in tests and traces.
  void (*exp2)(int n, const float* x, float* y);
  void (*silu_mul)(int rows, int n, const float* g, size_t ldg, const float* up, size_t ldu, float* y, size_t ldy);
  // y = gelu(g) * up; without up (null): gelu(g).
  void (*gelu)(Gelu kind, int rows, int n, const float* g, size_t ldg, const float* up, size_t ldu, float* y,
               size_t ldy);
  // x += d, the residual connection.
  void (*add)(int rows, int n, float* x, size_t ldx, const float* d, size_t ldd);

  // ---- attention of one stream in one layer; the cache is an opaque block per (stream, layer)
  size_t (*kv_bytes)(const AttentionShape& shape);
  // Stores rows at positions first..first+rows-1: k (after RoPE) and v, kv_heads * head_dim floats each.
  void (*kv_store)(const AttentionShape& shape, void* cache, int first, int rows, const float* k, size_t ldk,
                   const float* v, size_t ldv, uint8_t* range);
  // Scratch of one call; one block per thread, shared by all streams and layers of that shape.
  size_t (*attention_scratch_bytes)(const AttentionShape& shape);
  // Row i stands at position first + i and sees what is stored at positions up to its own.
  // q (after RoPE) and o: heads * head_dim floats a row; o may be q.
  void (*attention)(const AttentionShape& shape, const void* cache, int first, int rows, const float* q, size_t ldq,
                    float* o, size_t ldo, uint8_t* range, void* scratch);

  // ---- logits to frequencies, one token
  // Fills *f (real, symbols and the arrays are the caller's input) from y[0..real). False: range error.
  bool (*frequencies)(const float* y, Frequencies* f);
  SymbolInterval (*interval)(const Frequencies& f, int symbol);
  // The symbol whose interval holds target (< total).
  int (*find)(const Frequencies& f, uint64_t target);
  // Place in the order t descending (-0 = +0), ties by ascending id; the escape symbol is last.
  int (*rank)(const Frequencies& f, int symbol);
  int (*symbol_of_rank)(const Frequencies& f, int rank);
};

// The table named `isa`; "" takes the environment variable LLMC_ISA and, where that is unset or
// empty, the fastest that this machine runs. Unknown or unavailable names are Code::usage.
Result<const Kernels*> select_kernels(std::string_view isa = "");
// Names that select_kernels accepts here, slowest first. "scalar" is always there.
std::vector<std::string> available_isas();

// Sets the floating-point environment of LLMC-X1 (round to nearest even, denormals kept, no traps)
// for the calling thread and restores the former one at the end of its scope. Every entry into
// exact arithmetic, and every thread or task that it starts, opens one: plugins run on threads
// whose settings belong to others.
class FloatState {
 public:
  FloatState();
  ~FloatState();
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;

 private:
  uint64_t saved_ = 0;
};

// Canaries for the calling thread: denormals live, no contraction, nearest-even, and that `kernels`
// gives the committed answers of a small example of each operation. A worker that fails must not code.
Status check_arithmetic(const Kernels& kernels);

}  // namespace llmc
