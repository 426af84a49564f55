// What one GPU thread can do, under one set of names: CUDA's own where nvcc compiles, and functions that an emulator
// supplies elsewhere (tests/cuda/emulator.cpp), so that the very kernels run on a CPU, thread by thread.
//
// Floating point only through these names: on the device each is one instruction rounded to nearest even, without
// flushing or contraction; elsewhere it is the plain operator under -ffp-contract=off.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define LLMC_LANE __device__ __forceinline__
#define LLMC_UNROLL _Pragma("unroll")
#else
#include <bit>
#include <cmath>
#include <cstring>
#define LLMC_LANE inline
#define LLMC_UNROLL
#endif

namespace llmc::lane {

#ifdef __CUDACC__

extern __shared__ __align__(16) unsigned char block_memory[];

LLMC_LANE unsigned thread() { return threadIdx.x; }
LLMC_LANE unsigned threads() { return blockDim.x; }
LLMC_LANE unsigned block_x() { return blockIdx.x; }
LLMC_LANE unsigned block_y() { return blockIdx.y; }
LLMC_LANE unsigned grid_x() { return gridDim.x; }
LLMC_LANE unsigned grid_y() { return gridDim.y; }
LLMC_LANE unsigned char* shared() { return block_memory; }
LLMC_LANE void sync() { __syncthreads(); }
LLMC_LANE void sync_warp() { __syncwarp(); }

LLMC_LANE uint32_t shuffle(uint32_t v, unsigned from) { return __shfl_sync(0xFFFFFFFFu, v, from); }
LLMC_LANE uint32_t warp_max(uint32_t v) { return __reduce_max_sync(0xFFFFFFFFu, v); }
LLMC_LANE uint32_t warp_add(uint32_t v) { return __reduce_add_sync(0xFFFFFFFFu, v); }

LLMC_LANE void atomic_max(uint32_t* at, uint32_t v) { atomicMax(at, v); }
LLMC_LANE void atomic_add(uint32_t* at, uint32_t v) { atomicAdd(at, v); }
LLMC_LANE void atomic_add(uint64_t* at, uint64_t v) {
  atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(v));
}

LLMC_LANE int bit_length(uint64_t v) { return 64 - __clzll(static_cast<long long>(v)); }

LLMC_LANE float mul(float a, float b) { return __fmul_rn(a, b); }
LLMC_LANE float add(float a, float b) { return __fadd_rn(a, b); }
LLMC_LANE float sub(float a, float b) { return __fsub_rn(a, b); }
LLMC_LANE float div(float a, float b) { return __fdiv_rn(a, b); }
LLMC_LANE float root(float a) { return __fsqrt_rn(a); }
LLMC_LANE float f32(int32_t n) { return __int2float_rn(n); }
LLMC_LANE float f32(uint32_t n) { return __uint2float_rn(n); }
LLMC_LANE float f32(int64_t n) { return __ll2float_rn(n); }
LLMC_LANE uint32_t bits_of(float x) { return __float_as_uint(x); }
LLMC_LANE float float_of(uint32_t b) { return __uint_as_float(b); }

LLMC_LANE int32_t dp4a(uint32_t a, uint32_t b, int32_t c) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
}

// Four 8x8 matrices of 16-bit elements, here 8 rows of 16 bytes: lane 8m + i names row i of matrix m; register m of
// lane l is bytes 4 (l % 4) .. of row l / 4 of matrix m.
LLMC_LANE void load_matrices(uint32_t (&r)[4], const void* row) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at)
               : "memory");
}

// d[16][8] += a[16][32] b[8][32]^T in int32. With g = lane / 4, t = lane % 4: a = rows g, g + 8 at bytes 4t, then the same
// at 16 + 4t; b = row g at bytes 4t and 16 + 4t; d = row g at columns 2t, 2t + 1, then row g + 8.
LLMC_LANE void multiply_add(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes from global to shared memory, in the background; both aligned to 16.
LLMC_LANE void copy_later(void* to, const void* from) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
LLMC_LANE void copies_end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the last `left` groups have arrived for this thread; sync() makes them visible to the block.
template <int left>
LLMC_LANE void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

#else  // emulated

struct Here {
  unsigned thread = 0, threads = 1, block_x = 0, block_y = 0, grid_x = 1, grid_y = 1;
  unsigned char* shared = nullptr;
};
// Of the emulated thread that runs now.
const Here& here();
void sync();
void sync_warp();
// Every lane of the warp gives `bytes` (at most 32) and gets those of all 32 lanes.
void exchange(const void* mine, size_t bytes, void* all);

inline unsigned thread() { return here().thread; }
inline unsigned threads() { return here().threads; }
inline unsigned block_x() { return here().block_x; }
inline unsigned block_y() { return here().block_y; }
inline unsigned grid_x() { return here().grid_x; }
inline unsigned grid_y() { return here().grid_y; }
inline unsigned char* shared() { return here().shared; }

inline uint32_t shuffle(uint32_t v, unsigned from) {
  uint32_t all[32];
  exchange(&v, sizeof v, all);
  return all[from % 32];
}
inline uint32_t warp_max(uint32_t v) {
  uint32_t all[32];
  exchange(&v, sizeof v, all);
  for (const uint32_t other : all) v = other > v ? other : v;
  return v;
}
inline uint32_t warp_add(uint32_t v) {
  uint32_t all[32], sum = 0;
  exchange(&v, sizeof v, all);
  for (const uint32_t other : all) sum += other;
  return sum;
}

inline void atomic_max(uint32_t* at, uint32_t v) { *at = v > *at ? v : *at; }
inline void atomic_add(uint32_t* at, uint32_t v) { *at += v; }
inline void atomic_add(uint64_t* at, uint64_t v) { *at += v; }

inline int bit_length(uint64_t v) { return std::bit_width(v); }

inline float mul(float a, float b) { return a * b; }
inline float add(float a, float b) { return a + b; }
inline float sub(float a, float b) { return a - b; }
inline float div(float a, float b) { return a / b; }
inline float root(float a) { return std::sqrt(a); }
inline float f32(int32_t n) { return static_cast<float>(n); }
inline float f32(uint32_t n) { return static_cast<float>(n); }
inline float f32(int64_t n) { return static_cast<float>(n); }
inline uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
inline float float_of(uint32_t b) { return std::bit_cast<float>(b); }

inline int32_t byte_of(uint32_t word, int i) { return static_cast<int8_t>(word >> (8 * i)); }
inline int32_t dp4a(uint32_t a, uint32_t b, int32_t c) {
  for (int i = 0; i < 4; ++i) c += byte_of(a, i) * byte_of(b, i);
  return c;
}

inline void load_matrices(uint32_t (&r)[4], const void* row) {
  const unsigned char* rows[32];
  exchange(&row, sizeof row, rows);
  const unsigned l = thread() % 32;
  for (int m = 0; m < 4; ++m) std::memcpy(&r[m], rows[8 * m + l / 4] + 4 * (l % 4), 4);
}

inline void multiply_add(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Part {
    uint32_t a[4], b[2];
  };
  const Part mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  Part all[32];
  exchange(&mine, sizeof mine, all);
  const unsigned l = thread() % 32, g = l / 4, t = l % 4;
  for (int i = 0; i < 4; ++i) {
    const unsigned column = 2 * t + (i & 1);
    for (unsigned k = 0; k < 4; ++k) {
      const Part& left = all[4 * g + k];
      const Part& right = all[4 * column + k];
      d[i] = dp4a(left.a[i / 2], right.b[0], d[i]);
      d[i] = dp4a(left.a[2 + i / 2], right.b[1], d[i]);
    }
  }
}

inline void copy_later(void* to, const void* from) { std::memcpy(to, from, 16); }
inline void copies_end_group() {}
template <int left>
inline void copies_wait() {}

#endif

LLMC_LANE unsigned lane() { return thread() % 32; }
LLMC_LANE unsigned warp() { return thread() / 32; }
LLMC_LANE unsigned warps() { return threads() / 32; }

}  // namespace llmc::lane
