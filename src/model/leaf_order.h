// A binary tree over a model's symbols, as Ask::paths and Ask::leaves walk it: leaves in a given order, from the left, in a complete
// tree of the least depth that holds them (docs/MIX.md 1). Immutable; any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace llmc {

struct LeafOrder {
  std::vector<uint32_t> symbol_of;  // by leaf; the escape is a model's last symbol
  std::vector<uint32_t> leaf_of;    // by symbol

  static constexpr int most_depth = 20;  // of 2^19 symbols and an escape
  static int depth_of(int symbols) { return symbols < 2 ? 0 : std::bit_width(static_cast<unsigned>(symbols) - 1); }
  int depth() const { return depth_of(static_cast<int>(symbol_of.size())); }
  uint32_t leaves() const { return static_cast<uint32_t>(symbol_of.size()); }

  // False where these are not the symbols 0 .. count - 1, each once.
  bool assign(std::span<const uint32_t> symbols, int count) {
    symbol_of.clear();
    leaf_of.assign(count, ~0u);
    if (symbols.size() != leaf_of.size()) return false;
    for (size_t leaf = 0; leaf < symbols.size(); ++leaf) {
      if (symbols[leaf] >= symbols.size() || leaf_of[symbols[leaf]] != ~0u) return false;
      leaf_of[symbols[leaf]] = static_cast<uint32_t>(leaf);
    }
    symbol_of.assign(symbols.begin(), symbols.end());
    return true;
  }
};

}  // namespace llmc
