// Sizes of blocks and of their shared memory, as host code and kernels have to agree on them.
#pragma once

#include <cstdint>

namespace llmc::cuda {

inline constexpr int kGroup = 256;  // ids whose W are added up at once
inline constexpr unsigned kWeighThreads = 256;
inline constexpr int kLeafBlock = 64;  // base/chance.h's leaf_block
inline constexpr int kLeafBlocksOfWarp = 4;
// Of a tree at most 20 deep: the leaf itself, then what leaves the way to it at each level. With the sums of each thread in
// shared memory.
inline constexpr int kBranches = 21;
inline constexpr unsigned kBranchBytes = kBranches * kWeighThreads * 8;
inline constexpr int kTurnWarps = 4;
inline constexpr unsigned kTurnShared = kTurnWarps * 256 * sizeof(float);
inline constexpr unsigned kReductionBytes = 256;  // of shared memory, for maxima and sums over a block

// Tiles of a linear layer: kTileK bytes of k at a time.
inline constexpr int kTileK = 64;
inline constexpr int kLargestTile = 128;
inline constexpr int kTilePitch = kTileK + 16;  // bytes from line to line in shared memory

template <int limbs_, int rows_, int columns_, int warp_rows_, int warp_columns_, int stages_>
struct Tile {
  static constexpr int limbs = limbs_, rows = rows_, columns = columns_, stages = stages_;
  static constexpr int warp_rows = warp_rows_, warp_columns = warp_columns_;  // of one warp's part
  static constexpr int warps_across = columns / warp_columns;
  static constexpr int threads = rows / warp_rows * warps_across * 32;
  static constexpr int lines = limbs * rows + columns;  // of one stage
  static constexpr unsigned shared_bytes = stages * lines * kTilePitch;
  static_assert(warp_rows % 16 == 0 && warp_columns % 16 == 0);
  static_assert(rows <= kLargestTile && columns <= kLargestTile && threads <= 256);
};
using Linear8Small = Tile<1, 64, 64, 32, 32, 4>;
using Linear16Small = Tile<2, 64, 64, 32, 32, 3>;
using Linear8Large = Tile<1, 128, 128, 64, 32, 4>;
using Linear16Large = Tile<2, 128, 128, 64, 32, 3>;

struct TileShape {
  int rows, columns;
  unsigned threads, shared_bytes;
};
template <class T>
constexpr TileShape shape_of() {
  return {T::rows, T::columns, T::threads, T::shared_bytes};
}
inline TileShape tile_shape(int limbs, bool large) {
  if (limbs == 1) return large ? shape_of<Linear8Large>() : shape_of<Linear8Small>();
  return large ? shape_of<Linear16Large>() : shape_of<Linear16Small>();
}

// Shared memory of attend for so many queries of d values, each with `span` scores: states, limbs of the queries, sums of
// the results, scores.
inline constexpr unsigned kQueryState = 32;
constexpr unsigned attend_limbs_at(int queries) { return queries * kQueryState; }
constexpr unsigned attend_sums_at(int queries, int d) { return attend_limbs_at(queries) + queries * 2 * d; }
constexpr unsigned attend_scores_at(int queries, int d) { return attend_sums_at(queries, d) + queries * d * 8; }
constexpr unsigned attend_shared(int queries, int d, int span) {
  return attend_scores_at(queries, d) + static_cast<unsigned>(queries) * span * 4;
}

// How attention is cut into blocks: a block takes `heads` query heads of one kv head for `rows` rows of a stream, of at
// most `queries` together; one row at a time needs `step_queries`.
struct AttendPlan {
  int heads = 1, rows = 1, queries = 1, step_queries = 1;
  int parts = 1;  // kv heads times parts of their query heads: blocks in y
  int span = 0;
  int most_blocks = 1 << 30;  // in x
  uint64_t scratch_floats = 0;  // where the scores do not fit into shared memory: of all blocks
};
inline AttendPlan plan_attend(int group, int kv_heads, int d, int context, unsigned most_shared) {
  const auto power = [](int n) {
    int p = 1;
    while (p < n) p *= 2;
    return p;
  };
  AttendPlan plan;
  plan.span = context;
  plan.heads = group < 8 ? group : 8;
  plan.step_queries = power(plan.heads);
  plan.rows = 8 / plan.step_queries;
  // Several blocks should fit into a multiprocessor.
  while (plan.rows > 1 && attend_shared(power(plan.rows * plan.heads), d, context) > most_shared / 3) plan.rows /= 2;
  plan.queries = power(plan.rows * plan.heads);
  plan.parts = kv_heads * ((group + plan.heads - 1) / plan.heads);
  if (attend_shared(plan.queries, d, context) > most_shared) {
    constexpr uint64_t most_floats = uint64_t{64} << 20;
    const uint64_t one = static_cast<uint64_t>(plan.parts) * plan.queries * context;
    const uint64_t blocks = most_floats / one;
    plan.most_blocks = static_cast<int>(blocks < 1 ? 1 : (blocks > 1024 ? 1024 : blocks));
    plan.scratch_floats = one * plan.most_blocks;
  }
  return plan;
}

}  // namespace llmc::cuda
