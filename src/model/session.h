// Sessions: many token streams through one model, in lock-step, with exact results.
//
// A Session holds the KV caches of a fixed number of stream slots. feed() appends one or
// more tokens to some of them and answers, for the rows that ask, a question about the next
// token. What a row yields depends on its own stream's tokens alone: never on the other
// rows, the batch, the split into calls, the thread count or the device.
//
// A Session belongs to one thread. Any number of Sessions may share one Engine and Model,
// which outlive them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "tokens/tokenizer.h"

namespace llmc {

class Model;

// A symbol's share of the number line [0, total): what a range coder takes.
struct Interval {
  uint64_t cum = 0;     // weights of all lower ids
  uint64_t weight = 0;  // > 0
  uint64_t total = 0;   // <= 2^49 + 2^19 + 1
};

// Where a range decoder stands (docs/NUMERICS.md 6). Before a symbol range >= 2^56.
struct RangeState {
  uint64_t code = 0;
  uint64_t range = 0;
};

struct Row {
  static constexpr Symbol no_question = -1;
  int stream = 0;             // slot
  Symbol token = 0;           // appended to the stream; an escape symbol counts as the start id
  Symbol want = no_question;  // intervals, ranks, paths: the next symbol (an escape symbol asks for the escape
                              // pseudo-symbol); others: any value >= 0
  RangeState state = {};      // search; leaves: with range 0 nothing is searched for
};

enum class Ask {
  intervals,  // interval(row) of each wanted symbol
  ranks,      // rank(row) of each wanted symbol
  search,     // the symbol that a range decoder reads next: found
  paths,      // path(row) down a tree to each wanted symbol, and its interval(row)
  leaves,     // leaves(row): for a walk down the tree whose way is not known yet; and found, of rows with a range state
  tables,     // whole tables: total, find, symbol_of_rank, weights, leaves
};

// Weights in the order of a tree's leaves, and the sums of each leaf_block of them (base/chance.h).
struct LeafWeights {
  std::span<const uint32_t> weights;
  std::span<const uint64_t> sums;
};

class Session {
 public:
  virtual ~Session() = default;

  virtual int streams() const = 0;
  virtual int max_rows() const = 0;  // rows per feed()
  virtual int context() const = 0;   // tokens a stream may hold

  // Empties a slot: its cache, its range error.
  virtual void reset(int stream) = 0;
  virtual int length(int stream) const = 0;

  // The tree of Ask::paths and Ask::leaves, before the first such question (and leaves() of tables): the model's symbols (the escape last in their numbering,
  // where there is one) in the order of its leaves. Code::failure where they are not each there once, or memory is short.
  virtual Status set_leaves(std::span<const uint32_t> symbols) = 0;

  // Rows of one stream are in the order of its tokens; there may be several (prefill).
  // Errors: too many rows, a bad slot or token, a full context: Code::failure. Activations
  // out of the proven range are no error of the call: they mark the stream.
  virtual Status feed(std::span<const Row> rows, Ask ask) = 0;

  // The layer (0-based; layers() for the head) at which the stream left the proven range, or
  // -1. Such a stream yields nothing more until reset.
  virtual int range_error_layer(int stream) const = 0;

  // Answers to the last feed(), by row index; only for rows that asked and whose stream is sound.
  virtual Interval interval(int row) = 0;
  virtual uint32_t rank(int row) = 0;
  virtual uint64_t total(int row) = 0;
  // The chance of the right side at each node from the root to the wanted symbol's leaf (base/chance.h; docs/MIX.md 1),
  // 0 where no leaf lies right: as many as the tree is deep.
  virtual std::span<const uint32_t> path(int row) = 0;
  // Until the next call.
  virtual LeafWeights leaves(int row) = 0;
  // The symbol whose interval holds target < total(row); an escape is returned as vocab().
  virtual Symbol find(int row, uint64_t target, Interval* interval) = 0;
  virtual Symbol symbol_of_rank(int row, uint32_t rank) = 0;
  // The symbol that the row's range decoder reads, and its interval; an escape is returned as vocab().
  virtual Symbol found(int row, Interval* interval) = 0;
  // W of every real id, then the escape's 1 where the vocabulary lacks a byte.
  virtual std::span<const uint32_t> weights(int row) = 0;
};

// What computes: native kernels on this CPU, or libtorch on a CPU or GPU. Thread-safe.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string name() const = 0;  // "native avx512vnni", "torch cpu avx2", ...
  virtual const Model& model() const = 0;
  // What keeps a device busy: how many sessions at once, and how many streams in each of `sessions`, as
  // its memory allows. 0: as many as the caller has cores, and its own default.
  virtual int good_sessions() const { return 0; }
  virtual int good_streams(int sessions, int context) const { return 0; }
  // context: tokens a stream will hold at most, which decides the size of its cache; 0: all that
  // the model can.
  virtual Result<std::unique_ptr<Session>> make_session(int streams, int context = 0) = 0;
};

}  // namespace llmc
