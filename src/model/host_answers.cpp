#include "model/host_answers.h"

#include <algorithm>

#include "base/chance.h"

namespace llmc {

HostAnswers::HostAnswers(const Kernels& kernels, int real, int symbols)
    : kernels_(kernels), real_(real), symbols_(symbols) {}

void HostAnswers::begin(int count, Ask ask) {
  ask_ = ask;
  if (ask == Ask::intervals || ask == Ask::paths) intervals_.assign(count, {});
  if (ask == Ask::paths) paths_.resize(static_cast<size_t>(count) * order_->depth());
  if (ask == Ask::ranks) ranks_.assign(count, 0);
  if (ask == Ask::search || ask == Ask::leaves) found_.assign(count, {Row::no_question, {}});
}

HostAnswers::Table& HostAnswers::table(int i) {
  if (static_cast<size_t>(i) >= tables_.size()) tables_.resize(i + 1);
  if (!tables_[i]) {
    auto table = std::make_unique<Table>();
    table->t.resize(real_);
    table->w.resize(symbols_);
    table->block.resize(frequency_blocks(symbols_));
    table->f.real = real_;
    table->f.symbols = symbols_;
    table->f.t = table->t.data();
    table->f.w = table->w.data();
    table->f.block = table->block.data();
    tables_[i] = std::move(table);
  }
  return *tables_[i];
}

bool HostAnswers::add(int i, const float* logits, int32_t symbol, const RangeState& state) {
  Frequencies& f = table(ask_ == Ask::tables ? i : 0).f;
  if (!kernels_.frequencies(logits, &f)) return false;
  if (ask_ == Ask::intervals || ask_ == Ask::paths) intervals_[i] = look_up(f, symbol);
  if (ask_ == Ask::leaves) sort_leaves(f, i);
  if (ask_ == Ask::paths) find_path(f, symbol, &paths_[static_cast<size_t>(i) * order_->depth()]);
  if (ask_ == Ask::ranks) ranks_[i] = static_cast<uint32_t>(kernels_.rank(f, symbol));
  if (ask_ == Ask::search || (ask_ == Ask::leaves && state.range != 0)) found_[i] = search(f, state);
  return true;
}

Interval HostAnswers::look_up(const Frequencies& f, int symbol) const {
  const SymbolInterval part = kernels_.interval(f, symbol);
  return {part.cum, part.w, f.total};
}

void HostAnswers::sort_leaves(const Frequencies& f, int i) {
  if (static_cast<size_t>(i) >= leaves_.size()) leaves_.resize(i + 1);
  Leaves& to = leaves_[i];
  const uint32_t leaves = order_->leaves();
  to.weights.resize(leaves);
  to.sums.resize(leaf_blocks(leaves));
  const uint32_t* const symbols = order_->symbol_of.data();
  for (uint32_t first = 0; first < leaves; first += leaf_block) {
    uint64_t sum = 0;
    for (uint32_t leaf = first; leaf < std::min(first + leaf_block, leaves); ++leaf) {
      sum += to.weights[leaf] = f.w[symbols[leaf]];
    }
    to.sums[first / leaf_block] = sum;
  }
}

// From the leaf up. Only half of the tree is read: what the other half of all weighs is known.
void HostAnswers::find_path(const Frequencies& f, int symbol, uint32_t* chances) const {
  const uint32_t leaf = order_->leaf_of[symbol], leaves = order_->leaves();
  const uint32_t* const symbols = order_->symbol_of.data();
  const int depth = order_->depth();
  uint64_t node = f.w[symbol];
  for (int level = 0; level < depth; ++level) {
    const uint32_t beside = (leaf >> level ^ 1) << level;  // the first leaf of the other side
    const uint32_t end = std::min(beside + (1u << level), leaves);
    uint64_t other = 0;
    if (level == depth - 1) {
      other = f.total - node;
    } else {
      for (uint32_t i = beside; i < end; ++i) other += f.w[symbols[i]];
    }
    const bool right = leaf >> level & 1;
    const uint64_t own = node;
    node += other;
    chances[depth - 1 - level] = right ? chance_of(own, node) : beside < leaves ? chance_of(other, node) : 0;
  }
}

// The decoder's step of docs/NUMERICS.md 6, as coder/range_coder.h does it. A state that no decoder has
// (range below the total) finds the first symbol.
std::pair<Symbol, Interval> HostAnswers::search(const Frequencies& f, const RangeState& state) const {
  const uint64_t step = state.range / f.total;
  const uint64_t target = step == 0 ? 0 : std::min(state.code / step, f.total - 1);
  const int symbol = kernels_.find(f, target);
  return {symbol, look_up(f, symbol)};
}

Interval HostAnswers::interval(int i) const {
  return ask_ == Ask::intervals || ask_ == Ask::paths ? intervals_[i] : Interval{};
}
std::span<const uint32_t> HostAnswers::path(int i) const {
  if (ask_ != Ask::paths) return {};
  const size_t depth = order_->depth();
  return std::span(paths_).subspan(i * depth, depth);
}
uint32_t HostAnswers::rank(int i) const { return ask_ == Ask::ranks ? ranks_[i] : 0; }
uint64_t HostAnswers::total(int i) const { return ask_ == Ask::tables ? tables_[i]->f.total : 0; }

LeafWeights HostAnswers::leaves(int i) {
  if (ask_ == Ask::tables && order_) {
    sort_leaves(tables_[i]->f, 0);
    i = 0;
  } else if (ask_ != Ask::leaves) {
    return {};
  }
  return {leaves_[i].weights, leaves_[i].sums};
}

Symbol HostAnswers::find(int i, uint64_t target, Interval* interval) const {
  if (ask_ != Ask::tables || target >= tables_[i]->f.total) return Row::no_question;
  const Frequencies& f = tables_[i]->f;
  const int symbol = kernels_.find(f, target);
  if (interval != nullptr) *interval = look_up(f, symbol);
  return symbol;
}

Symbol HostAnswers::symbol_of_rank(int i, uint32_t rank) const {
  return ask_ == Ask::tables ? kernels_.symbol_of_rank(tables_[i]->f, static_cast<int>(rank)) : Row::no_question;
}

Symbol HostAnswers::found(int i, Interval* interval) const {
  if (ask_ != Ask::search && ask_ != Ask::leaves) return Row::no_question;
  if (interval != nullptr) *interval = found_[i].second;
  return found_[i].first;
}

std::span<const uint32_t> HostAnswers::weights(int i) const {
  return ask_ == Ask::tables ? std::span<const uint32_t>(tables_[i]->w) : std::span<const uint32_t>();
}

}  // namespace llmc
