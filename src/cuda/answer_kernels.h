// From logits to answers: frequencies (docs/NUMERICS.md 3.13) without ever writing their table.
//
// A vocabulary may be split over devices by ids: what crosses their border (peaks, totals, answers) lies in arrays that
// are then joined by maxima and integer sums.
#pragma once

#include "cuda/arithmetic.h"
#include "cuda/kernels.h"
#include "cuda/row_kernels.h"
#include "cuda/shapes.h"

namespace llmc::cuda {

using namespace lane;

LLMC_LANE void peak(const PeakArgs& a) {
  const int row = static_cast<int>(block_x());
  const bool alive = a.alive[row] >= 0;
  if (thread() == 0) {
    for (int shard = 0; shard < a.shards; ++shard) a.totals[shard * a.rows + row] = 0;
  }
  const float* logits = a.logits + row * a.stride;
  uint32_t largest = 0, order = 0;
  for (int v = static_cast<int>(thread()); alive && v < a.real; v += static_cast<int>(threads())) {
    const uint32_t m = magnitude(logits[v]);
    largest = m > largest ? m : largest;
    const uint32_t o = order_of(mul(logits[v], spec::kLog2e));
    order = o > order ? o : order;
  }
  largest = block_max(largest);
  order = block_max(order);
  if (thread() == 0) {
    a.peaks[row] = largest;
    a.peaks[a.rows + row] = order;
  }
}

// W of the shard's v-th symbol, v < symbols; the escape comes after the real ids.
LLMC_LANE uint32_t weight_at(const float* logits, int real, float max, int v) {
  return v < real ? weight_of(logits[v], max) : 1u;
}

LLMC_LANE void weigh(const WeighArgs& a) {
  const int row = static_cast<int>(block_y());
  const int group = static_cast<int>(block_x() * warps() + warp());
  if (a.alive[row] < 0) return;
  if (out_of_range(a.peaks[row])) {
    if (block_x() == 0 && thread() == 0) mark_bad(a.marks, row);
    return;
  }
  if (group >= a.groups) return;
  const float* logits = a.logits + row * a.stride;
  const float max = float_at(a.peaks[a.rows + row]);
  uint64_t sum = 0;
  for (int i = static_cast<int>(lane::lane()); i < kGroup; i += 32) {
    const int v = group * kGroup + i;
    if (v < a.symbols) sum += weight_at(logits, a.real, max, v);
  }
  sum = warp_add64(sum);
  if (lane::lane() == 0) {
    a.sums[static_cast<size_t>(row) * a.groups + group] = sum;
    atomic_add(a.totals + static_cast<size_t>(a.shard) * a.rows + row, sum);
  }
}

LLMC_LANE void answer(const AnswerArgs& a) {
  const int row = static_cast<int>(block_x() * warps() + warp()), l = static_cast<int>(lane::lane());
  if (row >= a.rows) return;
  Answer result{0, 0, 0, 0};
  if (a.alive[row] < 0 || out_of_range(a.peaks[row])) {
    if (l == 0) a.answers[row] = result;
    return;
  }
  uint64_t below = 0, own = 0;
  for (int shard = 0; shard < a.shards; ++shard) {
    const uint64_t total = a.totals[static_cast<size_t>(shard) * a.rows + row];
    result.total += total;
    if (shard < a.shard) below += total;
    if (shard == a.shard) own = total;
  }

  const uint64_t* sums = a.sums + static_cast<size_t>(row) * a.groups;
  const float* logits = a.logits + row * a.stride;
  const float max = float_at(a.peaks[a.rows + row]);
  int symbol = -1;      // of the shard
  uint64_t target = 0;  // from the shard's first symbol
  bool here = false;
  if (a.states) {
    const RangeState state = a.states[row];
    const uint64_t step = state.range / result.total;
    target = step ? state.code / step : 0;
    if (target >= result.total) target = result.total - 1;
    here = target >= below && target - below < own;
    target -= below;
  } else {
    symbol = a.wanted[row] - a.first;
    here = symbol >= 0 && symbol < a.symbols;
  }
  if (here) {
    // The group: that of the symbol, or the one whose interval holds the target.
    const int last = a.states ? a.groups : symbol / kGroup;
    uint64_t cum = 0;
    int group = last;
    for (int first = 0; first < last; first += 32) {
      const uint64_t mine = first + l < last ? sums[first + l] : 0;
      const uint64_t upto = cum + warp_prefix64(mine);
      if (a.states) {
        // Lanes whose groups end at or before the target come first.
        const uint32_t passed = warp_add(first + l < last && upto <= target ? 1u : 0u);
        if (passed < 32 && first + static_cast<int>(passed) < last) {
          group = first + static_cast<int>(passed);
          const uint64_t before = shuffle64(upto, passed ? passed - 1 : 0);
          cum = passed ? before : cum;
          break;
        }
      }
      cum = shuffle64(upto, 31);
    }
    // The symbol within it.
    for (int first = group * kGroup; first < (group + 1) * kGroup; first += 32) {
      const int v = first + l;
      const uint64_t w = v < a.symbols ? weight_at(logits, a.real, max, v) : 0;
      const uint64_t upto = cum + warp_prefix64(w);
      const bool found = v < a.symbols && (a.states ? upto > target && upto - w <= target : v == symbol);
      const uint32_t at = warp_max(found ? static_cast<uint32_t>(l) + 1 : 0);
      if (at > 0) {
        result.weight = shuffle64(w, at - 1);
        result.cum = below + shuffle64(upto, at - 1) - result.weight;
        result.symbol = static_cast<uint64_t>(a.first + first + static_cast<int>(at) - 1);
        break;
      }
      cum = shuffle64(upto, 31);
    }
  }
  if (a.shard != 0) result.total = 0;  // the shards' answers are added up
  if (l == 0) a.answers[row] = result;
}

// ---- ranks: the place of t_v in the order t descending (-0 = +0), ties by ascending id

LLMC_LANE void find_order(const RankArgs& a) {
  const int row = static_cast<int>(block_x());
  if (thread() != 0) return;
  const int v = a.wanted[row] - a.first;
  const bool here = a.alive[row] >= 0 && v >= 0 && v < a.real;
  a.order[row] = here ? joined_order_of(mul(a.logits[row * a.stride + v], spec::kLog2e)) : 0u;
}

LLMC_LANE void rank(const RankArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  const uint32_t order = a.order[row];  // 0, below all others, for the escape: it is last
  const int wanted = a.wanted[row] - a.first;
  const float* logits = a.logits + row * a.stride;
  uint64_t before = 0;
  for (int v = static_cast<int>(thread()); v < a.real; v += static_cast<int>(threads())) {
    const uint32_t o = joined_order_of(mul(logits[v], spec::kLog2e));
    before += o > order || (o == order && v < wanted);
  }
  before = block_add64(before);
  if (thread() == 0) a.answers[row] = Answer{0, 0, 0, before};
}

}  // namespace llmc::cuda
