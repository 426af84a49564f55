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

// A leaf is left at the highest bit in which it differs from the wanted one.
LLMC_LANE void weigh_branches(const BranchArgs& b) {
  const WeighArgs& a = b.weigh;
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  if (out_of_range(a.peaks[row])) {
    if (thread() == 0) mark_bad(a.marks, row);
    return;
  }
  uint64_t* const mine = reinterpret_cast<uint64_t*>(shared()) + thread();
  for (int i = 0; i < kBranches; ++i) mine[i * kWeighThreads] = 0;
  const float* logits = a.logits + row * a.stride;
  const float max = float_at(a.peaks[a.rows + row]);
  const uint32_t goal = b.leaf_of[b.wanted[row]];
  uint64_t total = 0;
  for (int group = static_cast<int>(warp()); group < a.groups; group += static_cast<int>(warps())) {
    uint64_t sum = 0;
    for (int i = static_cast<int>(lane::lane()); i < kGroup; i += 32) {
      const int v = group * kGroup + i;
      if (v >= a.symbols) continue;
      const uint64_t w = weight_at(logits, a.real, max, v);
      sum += w;
      mine[bit_length(b.leaf_of[b.first + v] ^ goal) * kWeighThreads] += w;
    }
    sum = warp_add64(sum);
    total += sum;
    if (lane::lane() == 0) a.sums[static_cast<size_t>(row) * a.groups + group] = sum;
  }
  if (lane::lane() == 0) atomic_add(a.totals + static_cast<size_t>(a.shard) * a.rows + row, total);
  sync();
  for (int i = static_cast<int>(warp()); i < kBranches; i += static_cast<int>(warps())) {
    const uint64_t* all = reinterpret_cast<const uint64_t*>(shared()) + i * kWeighThreads;
    uint64_t sum = 0;
    for (unsigned t = lane::lane(); t < kWeighThreads; t += 32) sum += all[t];
    sum = warp_add64(sum);
    if (lane::lane() == 0) b.branches[static_cast<size_t>(row) * kBranches + i] = sum;
  }
}

LLMC_LANE void weigh_leaves(const LeavesArgs& a) {
  const int row = static_cast<int>(block_y());
  if (a.alive[row] < 0) return;
  if (out_of_range(a.peaks[row])) {
    if (block_x() == 0 && thread() == 0) mark_bad(a.marks, row);
    return;
  }
  const float* logits = a.logits + row * a.stride;
  const float max = float_at(a.peaks[a.rows + row]);
  uint32_t* weights = a.weights + static_cast<size_t>(row) * a.leaves;
  const int blocks = (a.leaves + kLeafBlock - 1) / kLeafBlock;
  const int first = static_cast<int>(block_x() * warps() + warp()) * kLeafBlocksOfWarp;
  for (int block = first; block < first + kLeafBlocksOfWarp && block < blocks; ++block) {
    uint64_t sum = 0;
    for (int i = static_cast<int>(lane::lane()); i < kLeafBlock; i += 32) {
      const int leaf = block * kLeafBlock + i;
      if (leaf >= a.leaves) continue;
      const int v = static_cast<int>(a.symbol_of[leaf]) - a.first;
      const uint32_t w = v >= 0 && v < a.symbols ? weight_at(logits, a.real, max, v) : 0;
      weights[leaf] = w;
      sum += w;
    }
    sum = warp_add64(sum);
    if (lane::lane() == 0) a.sums[static_cast<size_t>(row) * blocks + block] = sum;
  }
}

// base/chance.h's chance_of.
LLMC_LANE uint32_t chance_of_part(uint64_t part, uint64_t whole) {
  const int length = bit_length(whole), shift = length > 32 ? length - 32 : 0;
  const uint64_t chance = ((part >> shift) << 31) / (whole >> shift);
  return chance < 1 ? 1u : (chance > 0x7FFFFFFF ? 0x7FFFFFFFu : static_cast<uint32_t>(chance));
}

// A lane a level of the tree, the lowest first.
LLMC_LANE void find_path(const AnswerArgs& a, int row) {
  const int level = static_cast<int>(lane::lane());
  const uint64_t* branches = a.branches + static_cast<size_t>(row) * kBranches;
  const uint64_t other = level < a.depth ? branches[level + 1] : 0;
  const uint64_t node = branches[0] + warp_prefix64(other);
  if (level >= a.depth) return;
  const uint32_t leaf = a.leaf_of[a.wanted[row]];
  const bool right = leaf >> level & 1;
  const bool empty = !right && (leaf >> level ^ 1) << level >= static_cast<uint32_t>(a.leaves);
  a.paths[static_cast<size_t>(row) * a.depth + a.depth - 1 - level] =
      empty ? 0 : chance_of_part(right ? node - other : other, node);
}

LLMC_LANE void answer(const AnswerArgs& a) {
  const int row = static_cast<int>(block_x() * warps() + warp()), l = static_cast<int>(lane::lane());
  if (row >= a.rows) return;
  Answer result{0, 0, 0, 0};
  if (a.alive[row] < 0 || out_of_range(a.peaks[row])) {
    if (l == 0) a.answers[row] = result;
    return;
  }
  if (a.branches) find_path(a, row);
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
