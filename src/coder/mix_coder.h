// Codes a stream of tokens by what a language model says of each and a MixModel: two coders, which walk down the
// tree in the same way.
//
// The model and its tree outlive the coders; the model is reset by them. One thread.
#pragma once

#include <span>

#include "coder/mix_model.h"
#include "coder/mix_tree.h"
#include "coder/range_coder.h"

namespace llmc {

class MixEncoder {
 public:
  MixEncoder(const MixTree& tree, MixModel& model, size_t text_bytes) : tree_(tree), model_(model) {
    model_.reset(text_bytes);
  }
  // Goes on behind what `start` has coded.
  MixEncoder(const MixTree& tree, MixModel& model, const MixModel& start) : tree_(tree), model_(model) {
    model_.copy(start);
  }
  // symbol: an id, or their number for the escape; chances: of the right side at each node on the way to it, from the
  // root, 0 where there is no right side: what Ask::paths answers.
  void encode(std::span<const uint32_t> chances, uint32_t symbol) {
    const uint32_t leaf = tree_.leaf_of(symbol);
    model_.begin();
    int level = tree_.depth();
    for (const uint32_t chance : chances) {
      const bool right = leaf >> --level & 1;
      if (chance == 0) {
        model_.go_left();
        continue;
      }
      out_.encode_bit(right, model_.chance(chance));
      model_.update(right);
    }
    model_.end(leaf);
  }
  void encode_byte(uint8_t byte) { out_.encode_byte(byte); }
  size_t size() const { return out_.size(); }
  Bytes finish() { return out_.finish(); }

 private:
  const MixTree& tree_;
  MixModel& model_;
  RangeEncoder out_;
};

class MixDecoder {
 public:
  // The code must outlive the decoder.
  MixDecoder(const MixTree& tree, MixModel& model, size_t text_bytes, ByteView code)
      : tree_(tree), model_(model), path_(tree), in_(code) {
    model_.reset(text_bytes);
  }
  MixDecoder(const MixTree& tree, MixModel& model, const MixModel& start, ByteView code)
      : tree_(tree), model_(model), path_(tree), in_(code) {
    model_.copy(start);
  }
  // As MixPath::begin takes them: what Ask::leaves answers. Any code yields symbols of the tree.
  uint32_t decode(std::span<const uint32_t> weights, std::span<const uint64_t> sums) {
    path_.begin(weights, sums);
    model_.begin();
    for (int level = tree_.depth(); level > 0; --level) {
      bool right = false;
      if (path_.has_right()) {
        right = in_.decode_bit(model_.chance(path_.right_chance()));
        model_.update(right);
      } else {
        model_.go_left();
      }
      path_.descend(right);
    }
    model_.end(path_.leaf());
    return tree_.symbol_of(path_.leaf());
  }
  uint8_t decode_byte() { return in_.decode_byte(); }
  bool at_end() const { return in_.at_end(); }

 private:
  const MixTree& tree_;
  MixModel& model_;
  MixPath path_;
  RangeDecoder in_;
};

}  // namespace llmc
