#include "coder/mix_tree.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace llmc {

MixTree::MixTree(std::span<const ByteView> texts, bool escape) {
  const auto ids = static_cast<uint32_t>(texts.size());
  symbol_of_.resize(ids);
  std::iota(symbol_of_.begin(), symbol_of_.end(), 0u);
  std::stable_sort(symbol_of_.begin(), symbol_of_.end(), [&](uint32_t a, uint32_t b) {
    return std::lexicographical_compare(texts[a].begin(), texts[a].end(), texts[b].begin(), texts[b].end());
  });
  if (escape) symbol_of_.push_back(ids);
  leaf_of_.resize(symbol_of_.size());
  for (uint32_t leaf = 0; leaf < leaves(); ++leaf) {
    leaf_of_[symbol_of_[leaf]] = leaf;
    begins_.push_back(static_cast<uint32_t>(bytes_.size()));
    if (symbol_of_[leaf] < ids) {
      const ByteView text = texts[symbol_of_[leaf]];
      bytes_.insert(bytes_.end(), text.begin(), text.end());
    }
  }
  begins_.push_back(static_cast<uint32_t>(bytes_.size()));
  depth_ = leaves() < 2 ? 0 : std::bit_width(leaves() - 1);
}

MixPath::MixPath(const MixTree& tree) : tree_(tree), low_bits_(std::min(tree.depth(), block_bits)) {
  upper_.resize(size_t{2} << (tree.depth() - low_bits_));
  lower_.resize(size_t{2} << low_bits_);
}

void MixPath::begin(std::span<const uint32_t> weights, std::span<const uint64_t> sums) {
  weights_ = weights;
  const size_t blocks = upper_.size() / 2;
  std::copy(sums.begin(), sums.end(), upper_.begin() + static_cast<ptrdiff_t>(blocks));
  for (size_t n = blocks - 1; n >= 1; --n) upper_[n] = upper_[2 * n] + upper_[2 * n + 1];
  low_ = 0;
  levels_left_ = tree_.depth();
  node_ = 1;
  inside_ = false;
  if (levels_left_ == low_bits_) load_block(0);
}

void MixPath::load_block(uint32_t block) {
  const uint32_t size = 1u << low_bits_, first = std::min(block * size, tree_.leaves());
  const auto weights = weights_.subspan(first, std::min(size, tree_.leaves() - first));
  std::fill(std::copy(weights.begin(), weights.end(), lower_.begin() + size), lower_.end(), 0);
  for (uint32_t n = size - 1; n >= 1; --n) lower_[n] = lower_[2 * n] + lower_[2 * n + 1];
  node_ = 1;
  inside_ = true;
}

uint32_t MixPath::right_chance() const {
  const std::vector<uint64_t>& sums = inside_ ? lower_ : upper_;
  return chance_of(sums[2 * node_ + 1], sums[node_]);
}

void MixPath::descend(bool right) {
  --levels_left_;
  if (right) low_ += 1u << levels_left_;
  node_ = 2 * node_ + right;
  if (!inside_ && levels_left_ == low_bits_) load_block(low_ >> low_bits_);
}

}  // namespace llmc
