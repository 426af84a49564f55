// Linear layers on the int8 tensor cores (mma.sync m16n8k32, int32 sums): y[row][n] from rows of one or two limbs.
//
// A block computes a tile of kRows x kColumns; its operands come through shared memory in kStages steps of 64 bytes of k,
// copied in the background. Rows of shared memory lie 80 bytes apart, so that the eight rows of a matrix load fall into
// different banks. Every sum is an integer: tiles, order and splits cannot change a bit.
#pragma once

#include "cuda/arithmetic.h"
#include "cuda/kernels.h"
#include "cuda/shapes.h"

namespace llmc::cuda {

using namespace lane;

// Asks for the copy of one step of k into a stage.
template <class T>
LLMC_LANE void fetch(const LinearArgs& a, int row0, int column0, int step) {
  unsigned char* stage = shared() + (step % T::stages) * (T::lines * kTilePitch);
  const size_t k = static_cast<size_t>(step) * kTileK;
  for (int piece = static_cast<int>(thread()); piece < T::lines * 4; piece += T::threads) {
    const int line = piece / 4, part = piece % 4 * 16;
    const int8_t* from;
    if (line < T::limbs * T::rows) {
      from = a.in.q + (line / T::rows) * a.in.plane + static_cast<size_t>(row0 + line % T::rows) * a.in.stride;
    } else {
      from = a.w + static_cast<size_t>(column0 + line - T::limbs * T::rows) * a.k_stride;
    }
    copy_later(stage + line * kTilePitch + part, from + k + part);
  }
}

LLMC_LANE void put(const LinearArgs& a, int row, int column, int64_t sum) {
  if (a.into == LinearArgs::sums) {
    a.acc[static_cast<size_t>(row) * a.n + column] = sum;
    return;
  }
  float y = mul(f32(sum), mul(a.in.scale[row], a.scale[column]));
  if (a.bias) y = add(y, a.bias[column]);
  float& at = a.y[row * a.y_stride + column];
  at = a.into == LinearArgs::add ? add(at, y) : y;
}

template <class T>
LLMC_LANE void linear(const LinearArgs& a) {
  constexpr int mt = T::warp_rows / 16, nt = T::warp_columns / 8;
  const int row0 = static_cast<int>(block_y()) * T::rows;
  const int column0 = static_cast<int>(block_x()) * T::columns;
  const int warp_row = static_cast<int>(warp()) / T::warps_across * T::warp_rows;
  const int warp_column = static_cast<int>(warp()) % T::warps_across * T::warp_columns;
  const int l = static_cast<int>(lane::lane());
  const int steps = a.k_stride / kTileK;

  int32_t sum[T::limbs][mt][nt][4];
  LLMC_UNROLL
  for (int i = 0; i < T::limbs; ++i) {
    LLMC_UNROLL
    for (int m = 0; m < mt; ++m) {
      LLMC_UNROLL
      for (int n = 0; n < nt; ++n) {
        LLMC_UNROLL
        for (int e = 0; e < 4; ++e) sum[i][m][n][e] = 0;
      }
    }
  }

  LLMC_UNROLL
  for (int step = 0; step < T::stages - 1; ++step) {
    if (step < steps) fetch<T>(a, row0, column0, step);
    copies_end_group();
  }
  for (int step = 0; step < steps; ++step) {
    copies_wait<T::stages - 2>();
    sync();  // this step has arrived for all; the stage of the step before is free
    if (step + T::stages - 1 < steps) fetch<T>(a, row0, column0, step + T::stages - 1);
    copies_end_group();
    const unsigned char* stage = shared() + (step % T::stages) * (T::lines * kTilePitch);
    const unsigned char* columns = stage + (T::limbs * T::rows + warp_column) * kTilePitch;
    LLMC_UNROLL
    for (int k = 0; k < kTileK; k += 32) {
      uint32_t b[nt / 2][4];  // of two neighbouring groups of eight columns
      LLMC_UNROLL
      for (int n = 0; n < nt / 2; ++n) {
        load_matrices(b[n], columns + (16 * n + l / 16 * 8 + l % 8) * kTilePitch + k + l / 8 % 2 * 16);
      }
      LLMC_UNROLL
      for (int m = 0; m < mt; ++m) {
        if (row0 + warp_row + 16 * m >= a.rows) continue;  // the same for the whole warp
        LLMC_UNROLL
        for (int i = 0; i < T::limbs; ++i) {
          uint32_t left[4];
          const unsigned char* rows = stage + (i * T::rows + warp_row + 16 * m) * kTilePitch;
          load_matrices(left, rows + (l / 8 % 2 * 8 + l % 8) * kTilePitch + k + l / 16 * 16);
          LLMC_UNROLL
          for (int n = 0; n < nt; ++n) multiply_add(sum[i][m][n], left, b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
      }
    }
  }
  copies_wait<0>();

  LLMC_UNROLL
  for (int m = 0; m < mt; ++m) {
    LLMC_UNROLL
    for (int n = 0; n < nt; ++n) {
      LLMC_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = row0 + warp_row + 16 * m + l / 4 + e / 2 * 8;
        const int column = column0 + warp_column + 8 * n + l % 4 * 2 + e % 2;
        if (row >= a.rows || column >= a.n) continue;
        int64_t total = sum[0][m][n][e];
        if constexpr (T::limbs == 2) total = total * 256 + sum[T::limbs - 1][m][n][e];
        put(a, row, column, total);
      }
    }
  }
}

LLMC_LANE void linear8_small(const LinearArgs& a) { linear<Linear8Small>(a); }
LLMC_LANE void linear16_small(const LinearArgs& a) { linear<Linear16Small>(a); }
LLMC_LANE void linear8_large(const LinearArgs& a) { linear<Linear8Large>(a); }
LLMC_LANE void linear16_large(const LinearArgs& a) { linear<Linear16Large>(a); }

// y += what put() would have, from sums that were added over devices.
LLMC_LANE void finish(const FinishArgs& a) {
  const size_t at = static_cast<size_t>(block_x()) * threads() + thread();
  if (at >= static_cast<size_t>(a.rows) * a.n) return;
  const auto row = static_cast<int>(at / a.n), column = static_cast<int>(at % a.n);
  float y = mul(f32(a.acc[at]), mul(a.in_scale[row], a.scale[column]));
  if (a.bias) y = add(y, a.bias[column]);
  float& x = a.y[row * a.y_stride + column];
  x = add(x, y);
}

}  // namespace llmc::cuda
