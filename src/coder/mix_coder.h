// Codes a stream of tokens by a language model's weights and a MixModel: the walk down the
// tree, the same for both directions, and the two coders around it.
//
// The model and its tree outlive the coders; the model is reset by them. One thread.
#pragma once

#include <span>

#include "coder/mix_model.h"
#include "coder/mix_tree.h"
#include "coder/range_coder.h"

namespace llmc {

// One token: decide(depth, right_chance) codes or decodes a decision and returns it.
template <class Decide>
uint32_t mix_walk(MixModel& model, MixPath& path, const MixTree& tree, std::span<const uint32_t> weights, Decide&& decide) {
  path.begin(weights);
  model.begin();
  for (int level = tree.depth() - 1; level >= 0; --level) {
    bool right = false;
    if (path.has_right()) {
      right = decide(level, model.chance(path.right_chance()));
      model.update(right);
    } else {
      model.go_left();
    }
    path.descend(right);
  }
  model.end(path.leaf());
  return path.leaf();
}

class MixEncoder {
 public:
  MixEncoder(const MixTree& tree, MixModel& model, size_t text_bytes) : tree_(tree), model_(model), path_(tree) {
    model_.reset(text_bytes);
  }
  // Goes on behind what `start` has coded.
  MixEncoder(const MixTree& tree, MixModel& model, const MixModel& start) : tree_(tree), model_(model), path_(tree) {
    model_.copy(start);
  }
  // weights: W of every symbol, the escape's last; symbol: an id, or their number for the escape.
  void encode(std::span<const uint32_t> weights, uint32_t symbol) {
    const uint32_t leaf = tree_.leaf_of(symbol);
    mix_walk(model_, path_, tree_, weights, [&](int level, uint32_t chance) {
      const bool right = leaf >> level & 1;
      out_.encode_bit(right, chance);
      return right;
    });
  }
  void encode_byte(uint8_t byte) { out_.encode_byte(byte); }
  size_t size() const { return out_.size(); }
  Bytes finish() { return out_.finish(); }

 private:
  const MixTree& tree_;
  MixModel& model_;
  MixPath path_;
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
  // Any code yields symbols of the tree.
  uint32_t decode(std::span<const uint32_t> weights) {
    return tree_.symbol_of(
        mix_walk(model_, path_, tree_, weights, [&](int, uint32_t chance) { return in_.decode_bit(chance); }));
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
