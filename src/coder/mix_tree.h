// The tree that the mix codec walks from the root to a token, one binary decision a level.
//
// Leaves are the token ids in the order of their bytes (ties by id), then the escape where
// there is one; a tree of depth d has room for 2^d leaves, those past the last are empty.
// Immutable after construction: any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/chance.h"

namespace llmc {

class MixTree {
 public:
  // texts: the bytes of every id (copied), empty for ids that are not text. At most 2^19 ids.
  MixTree(std::span<const ByteView> texts, bool escape);

  uint32_t leaves() const { return static_cast<uint32_t>(symbol_of_.size()); }
  int depth() const { return depth_; }  // the least with 2^depth >= leaves
  uint32_t leaf_of(uint32_t symbol) const { return leaf_of_[symbol]; }  // the escape is symbol texts.size()
  uint32_t symbol_of(uint32_t leaf) const { return symbol_of_[leaf]; }
  std::span<const uint32_t> symbols() const { return symbol_of_; }  // by leaf
  // Empty for the escape.
  ByteView text(uint32_t leaf) const {
    return ByteView(bytes_).subspan(begins_[leaf], begins_[leaf + 1] - begins_[leaf]);
  }

 private:
  int depth_ = 0;
  std::vector<uint32_t> symbol_of_;
  std::vector<uint32_t> leaf_of_;
  std::vector<uint32_t> begins_;
  Bytes bytes_;
};

// What a model's weights say of the decisions on a way down that is not known before. Kept for the next token: no
// memory is taken after the first. One thread.
class MixPath {
 public:
  explicit MixPath(const MixTree& tree);
  // Starts at the root. weights: by leaf, their sum below 2^50; sums: of each leaf_block of them. Both stay until the end
  // of the way.
  void begin(std::span<const uint32_t> weights, std::span<const uint64_t> sums);
  // Whether the right side of the node holds a leaf. Where not, nothing is coded: go left.
  bool has_right() const { return mid() < tree_.leaves(); }
  // The chance of the right side in 1 / 2^31, at least 1 and at most 2^31 - 1.
  uint32_t right_chance() const;
  void descend(bool right);
  // After depth() steps.
  uint32_t leaf() const { return low_; }

 private:
  uint32_t mid() const { return low_ + (1u << (levels_left_ - 1)); }
  void load_block(uint32_t block);

  static constexpr int block_bits = std::bit_width(leaf_block) - 1;
  const MixTree& tree_;
  int low_bits_;                 // levels inside a block
  std::span<const uint32_t> weights_;
  std::vector<uint64_t> upper_;  // heap of sums over blocks: [1] the root, [2n] left of n, [2n + 1] right
  std::vector<uint64_t> lower_;  // the same inside the block that the way leads into
  uint32_t low_ = 0;             // first leaf below the node
  int levels_left_ = 0;
  uint32_t node_ = 1;            // in upper_, then in lower_
  bool inside_ = false;
};

}  // namespace llmc
