// The kernels of the GPU back end: their arguments, and the list from which launchers are made. Each does what one or
// more operations of model/ops.h ask for, in the arithmetic of docs/NUMERICS.md; pointers are device memory.
//
// A row is alive where `alive[row] >= 0`; others are padding: computed or not, never checked, never answered. Marks:
// bad[row] = max(bad[row], mark), where earlier layers have larger marks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace llmc::cuda {

struct Launch {
  unsigned x = 1, y = 1;     // blocks
  unsigned threads = 32;     // of a block, a multiple of 32
  unsigned shared_bytes = 0;  // of a block
};

struct Marks {
  uint32_t* bad = nullptr;
  uint32_t mark = 0;
};

// Rows as integers: `limbs` planes of int8 [rows][stride], the high limb first, zeros from k to stride. A block a row.
struct Quantised {
  int8_t* q = nullptr;
  float* scale = nullptr;
  size_t plane = 0;  // bytes from limb to limb
  int stride = 0;    // a multiple of 64
  int limbs = 1;     // 1: A8, 2: A16
};

struct EmbedArgs {  // a block a row
  const int32_t* ids;
  const int32_t* alive;
  const int8_t* w;
  const float* scale;
  const float* learned;  // [position][width], added; or null
  const int32_t* positions;
  float* x;
  int width, w_stride;
  size_t x_stride;
};

struct CopyArgs {  // a block a row: to[i] = from[rows[i]]
  const int32_t* rows;
  const float* from;
  float* to;
  int width;
  size_t stride;
};

struct NormArgs {  // a block a row; LayerNorm where there is a shift b, else RMS norm
  const int32_t* alive;
  const float* x;
  const float* g;
  const float* b;
  size_t x_stride;
  int width;
  float eps;
  Quantised out;
  Marks marks;
};

struct QuantiseArgs {  // a block a row; `largest` is the maximum of |x| as bits, over all devices
  const int32_t* alive;
  const float* x;
  const uint32_t* largest;
  size_t x_stride;
  int width;
  Quantised out;
  Marks marks;
};

struct ActivateArgs {  // a block a row; y = function(gate) * up, or without up, largest = max|y|
  enum Function : int { silu, gelu_erf, gelu_tanh };
  const int32_t* alive;
  const float* gate_up;
  float* y;
  uint32_t* largest;
  size_t stride, y_stride;
  int width;
  Function function;
  bool gated;
};

struct LinearArgs {  // tiles as in cuda/shapes.h; buffers reach to full tiles
  enum Into : int { store, add, sums };
  Quantised in;
  const int8_t* w;     // [n][k_stride], zeros from k on
  const float* scale;  // [n]
  const float* bias;   // [n] or null
  float* y;            // store: y = , add: y +=
  int64_t* acc;        // sums: [rows][n], before any scale
  int rows, n, k_stride;
  size_t y_stride;
  Into into;
};

struct FinishArgs {  // sums of all devices -> y += ; 256 elements a block
  const int64_t* acc;
  const float* in_scale;
  const float* scale;
  const float* bias;
  float* y;
  int rows, n;
  size_t y_stride;
};

// Of one layer, per (slot, kv head): keys [context][limbs][head_dim] int8, high limbs first; values [context][head_dim]
// int8 or int16; scales of the keys, exponents of the values.
struct CacheShape {
  int kv_heads, head_dim, context;
  int limbs;  // 1: 8 bits, 2: 16 bits
  size_t head_bytes, slot_bytes;
};

struct TurnArgs {  // a warp a row and head of q, k, v
  const int32_t* slots;  // < 0: padding
  const int32_t* positions;
  float* qkv;
  size_t stride;
  const float* q_norm;  // or null
  const float* k_norm;
  const float* cos;  // or null: nothing turns
  const float* sin;
  uint8_t* cache;     // of the layer
  uint32_t* largest;  // set to 0 for attend
  CacheShape shape;
  int rows, heads, rotary;
  bool neighbours;  // pairs (2i, 2i + 1)
  float eps;
  Marks marks;
};

struct Item {  // rows of one stream at consecutive positions, for one block
  int32_t row = 0;
  int32_t count = 0;  // 0: padding
};
struct AttendArgs {  // x: items (in turns), y: kv heads times parts of their query heads
  const Item* items;
  const int32_t* slots;
  const int32_t* positions;
  const float* q;  // rows of qkv
  size_t stride;
  const uint8_t* cache;
  float* out;
  size_t out_stride;
  uint32_t* largest;  // max|out| of each row, over the heads of this device
  float* scratch;     // of all blocks, where the scores do not fit into shared memory; or null
  CacheShape shape;
  int item_count, heads, heads_at_once, span, window;  // span: floats of one query's scores
  float scale;
  Marks marks;
};

// Frequencies: `peaks` is [2][rows]: max|logit| as bits, the largest t as order; totals is [shards][rows]; sums are those
// of W over 256 ids each.
struct PeakArgs {  // a block a row
  const int32_t* alive;
  const float* logits;
  size_t stride;
  int real, rows, shards;
  uint32_t* peaks;
  uint64_t* totals;  // set to 0
};

struct WeighArgs {  // x: eight groups of 256 ids, y: rows
  const int32_t* alive;
  const float* logits;
  size_t stride;
  int real, symbols, rows, shard;  // symbols: real, or one more with the escape
  const uint32_t* peaks;
  uint64_t* sums;  // [rows][groups]
  int groups;
  uint64_t* totals;
  Marks marks;
};

// As weigh, and for each row the way down a tree to the wanted symbol: of this shard's leaves, the weight of the wanted one,
// and of those that the way leaves at each level, from the lowest.
struct BranchArgs {  // a block of kWeighThreads a row
  WeighArgs weigh;
  const int32_t* wanted;
  const uint32_t* leaf_of;  // by symbol of the whole vocabulary
  int first;                // id of the shard's first symbol
  uint64_t* branches;       // [rows][kBranches]
};

// W in the order of a tree's leaves, and the sums of each leaf_block of them (base/chance.h): x: 32 blocks, y: rows.
struct LeavesArgs {
  const int32_t* alive;
  const float* logits;
  size_t stride;
  int real, symbols, rows, first;  // of this shard, as in WeighArgs; first: id of its first symbol
  int leaves;
  const uint32_t* peaks;
  const uint32_t* symbol_of;  // by leaf
  uint32_t* weights;          // [rows][leaves], 0 for symbols on other devices
  uint64_t* sums;             // [rows][leaf_blocks(leaves)]
  Marks marks;
};

struct RangeState {
  uint64_t code = 0, range = 0;
};
struct Answer {
  uint64_t cum = 0, weight = 0, total = 0, symbol = 0;
};
struct AnswerArgs {  // a warp a row
  const int32_t* alive;
  const float* logits;
  size_t stride;
  int real, symbols, rows, first, groups;  // first: id of the shard's first symbol
  int shard, shards;
  const uint32_t* peaks;
  const uint64_t* sums;
  const uint64_t* totals;
  const int32_t* wanted;     // intervals: symbols
  const RangeState* states;  // or null: the symbol that a range decoder in this state reads
  Answer* answers;           // 0 for symbols on other devices; total from shard 0
  // Or null: also the chances on the way down the tree, from the sums of all shards.
  const uint64_t* branches = nullptr;
  const uint32_t* leaf_of = nullptr;
  uint32_t* paths = nullptr;  // [rows][depth], from the root
  int depth = 0, leaves = 0;
};

struct RankArgs {  // a block a row
  const int32_t* alive;
  const float* logits;
  size_t stride;
  int real, first;
  const int32_t* wanted;
  uint32_t* order;   // of the wanted symbol's t, 0 where another device holds it: find_order writes, rank reads
  Answer* answers;   // .symbol: how many of this device's ids come before it
};

#define LLMC_CUDA_KERNELS(X) \
  X(embed, EmbedArgs)        \
  X(copy_rows, CopyArgs)     \
  X(norm_quantise, NormArgs) \
  X(quantise, QuantiseArgs)  \
  X(activate, ActivateArgs)  \
  X(linear8_small, LinearArgs)  \
  X(linear16_small, LinearArgs) \
  X(linear8_large, LinearArgs)  \
  X(linear16_large, LinearArgs) \
  X(finish, FinishArgs)      \
  X(turn_and_store, TurnArgs) \
  X(attend1, AttendArgs)     \
  X(attend2, AttendArgs)     \
  X(attend4, AttendArgs)     \
  X(attend8, AttendArgs)     \
  X(attend1_wide, AttendArgs) \
  X(attend2_wide, AttendArgs) \
  X(attend4_wide, AttendArgs) \
  X(attend8_wide, AttendArgs) \
  X(peak, PeakArgs)          \
  X(weigh, WeighArgs)        \
  X(weigh_branches, BranchArgs) \
  X(weigh_leaves, LeavesArgs) \
  X(answer, AnswerArgs)      \
  X(find_order, RankArgs)    \
  X(rank, RankArgs)

}  // namespace llmc::cuda
