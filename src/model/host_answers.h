// Answers to a feed() on the CPU: from rows of logits to intervals, ranks and tables. Shared by the
// back ends whose logits lie in host memory. One thread.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "exact/kernels.h"
#include "model/leaf_order.h"
#include "model/session.h"

namespace llmc {

class HostAnswers {
 public:
  // `real` ids, `symbols` with the escape; `kernels` outlive this.
  HostAnswers(const Kernels& kernels, int real, int symbols);

  // For Ask::paths and Ask::leaves; outlives this.
  void set_leaves(const LeafOrder& order) { order_ = &order; }
  // Forgets the answers before; `count` asking rows follow.
  void begin(int count, Ask ask);
  // False: range error. `symbol` as in Ops::frequencies, `state` for Ask::search and Ask::leaves.
  bool add(int i, const float* logits, int32_t symbol, const RangeState& state);

  Interval interval(int i) const;
  uint32_t rank(int i) const;
  std::span<const uint32_t> path(int i) const;
  LeafWeights leaves(int i);
  uint64_t total(int i) const;
  Symbol find(int i, uint64_t target, Interval* interval) const;
  Symbol symbol_of_rank(int i, uint32_t rank) const;
  Symbol found(int i, Interval* interval) const;
  std::span<const uint32_t> weights(int i) const;

 private:
  struct Table {
    std::vector<float> t;
    std::vector<uint32_t> w;
    std::vector<uint64_t> block;
    Frequencies f;
  };
  Interval look_up(const Frequencies& f, int symbol) const;
  std::pair<Symbol, Interval> search(const Frequencies& f, const RangeState& state) const;
  struct Leaves {
    std::vector<uint32_t> weights;
    std::vector<uint64_t> sums;
  };
  void sort_leaves(const Frequencies& f, int i);
  void find_path(const Frequencies& f, int symbol, uint32_t* chances) const;
  Table& table(int i);

  const Kernels& kernels_;
  const int real_, symbols_;
  const LeafOrder* order_ = nullptr;
  Ask ask_ = Ask::intervals;
  std::vector<Interval> intervals_;
  std::vector<uint32_t> paths_;
  std::vector<Leaves> leaves_;  // grown as needed, kept
  std::vector<std::pair<Symbol, Interval>> found_;
  std::vector<uint32_t> ranks_;
  std::vector<std::unique_ptr<Table>> tables_;  // grown as needed, kept; the first serves the other questions
};

}  // namespace llmc
