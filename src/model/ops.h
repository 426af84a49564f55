// The operations that a forward pass is made of: what a back end implements.
//
// An Ops owns the activations, KV caches and answers of one session on one device. Weights are
// shared between the sessions of an engine. forward() (model/forward.h) calls the operations in the
// order of docs/MODEL.md; an implementation may run them at once or queue them on a stream, as long
// as finish() and the answers wait for what they return. Each operation is one that a GPU would
// want as one fused kernel. One thread at a time; every call runs inside a FloatState.
//
// Range errors: an operation marks, for the current layer, the rows whose activations leave the
// proven range (exact/kernels.h); such rows go on as zeros.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "model/leaf_order.h"
#include "model/model.h"
#include "model/session.h"

namespace llmc {

// Rows first_row .. first_row + rows - 1 are the tokens of one stream at consecutive positions.
struct Run {
  int slot = 0;
  int first_row = 0;
  int rows = 0;
  int position = 0;  // of its first row
};

// The rows of one pass and what is asked of them. The arrays live until finish() returns.
struct Batch {
  std::span<const int32_t> ids;
  std::span<const int32_t> positions;
  std::span<const Run> runs;
  std::span<const int32_t> asking;      // rows that go through the head, rising
  std::span<const int32_t> symbols;     // what each asks about
  std::span<const RangeState> states;   // of each, for Ask::search
  Ask ask = Ask::intervals;
};

// Activation buffers: rows of floats.
enum class Place : uint8_t {
  stream,   // [rows][width] the residual stream
  qkv,      // [rows][q_width + 2 kv_width]
  mixed,    // [rows][q_width] what attention gives
  gate_up,  // [rows][2 ffn], without gate [rows][ffn]
  active,   // [rows][ffn]
  last,     // [asking rows][width] the residual stream of rows that ask
  logits,   // [head_rows][vocab]
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual int max_rows() const = 0;
  virtual int head_rows() const = 0;  // rows of logits at once

  // Of Ask::paths and Ask::leaves; stays as it is until another is set.
  virtual Status set_leaves(const LeafOrder& order) = 0;

  // ---- one pass
  virtual Status begin(const Batch& batch) = 0;  // fails where memory is short
  virtual void layer(int layer) = 0;             // the operations that follow belong to it; layers() is the head
  virtual void embed() = 0;                      // ids -> stream, learned positions added where there are such
  // Norm (LayerNorm where it has a shift), quantise, linear with its bias: rows [first, first + count) of
  // `in` -> the first `count` rows of `out`.
  virtual void norm_linear(Place in, int first, int count, const Norm& norm, const Linear& linear, Place out) = 0;
  // In qkv: norms of q and k heads (null: none), RoPE where there is a table; k and v go to the caches of
  // the rows' streams.
  virtual void turn_and_store(const Norm* q_norm, const Norm* k_norm) = 0;
  virtual void attend() = 0;  // qkv, caches -> mixed, within the layer's window
  // Quantise `in`, linear with its bias, and add to the residual stream.
  virtual void linear_add(Place in, const Linear& linear) = 0;
  virtual void activate() = 0;                             // gate_up -> active, by the model's activation
  virtual void gather(std::span<const int32_t> rows) = 0;  // stream -> last
  // Frequencies from the first symbols.size() rows of logits; the answers of asking rows first.. .
  // symbols: what interval and rank are asked of.
  virtual void frequencies(int first, std::span<const int32_t> symbols, Ask ask) = 0;
  // Waits. Afterwards range(layer) may be read.
  virtual Status finish() = 0;
  // One byte per row, 1: range error in that layer; for the head one per asking row.
  virtual std::span<const uint8_t> range(int layer) = 0;

  // ---- answers, by asking row, until the next begin()
  virtual Interval interval(int i) = 0;
  virtual uint32_t rank(int i) = 0;
  virtual std::span<const uint32_t> path(int i) = 0;
  virtual LeafWeights leaves(int i) = 0;
  virtual uint64_t total(int i) = 0;
  virtual Symbol find(int i, uint64_t target, Interval* interval) = 0;
  virtual Symbol symbol_of_rank(int i, uint32_t rank) = 0;
  virtual Symbol found(int i, Interval* interval) = 0;
  virtual std::span<const uint32_t> weights(int i) = 0;

  // ---- for tests: the floats that an operation left in `place`, of the current pass
  virtual std::vector<float> read(Place place, int rows) = 0;
};

}  // namespace llmc
