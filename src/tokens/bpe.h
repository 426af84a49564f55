// Byte-pair merging inside one piece of text: the tables and the algorithm.
//
// The result is that of Hugging Face `tokenizers`' BPE model: of all adjacent pairs with a
// merge, the one of lowest rank (the leftmost of equals) is merged, until none is left.
// (Sennrich et al. 2016, on bytes as in GPT-2.) Immutable once built: any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "tokens/definition.h"
#include "tokens/hash.h"

namespace llmc {

class Bpe {
 public:
  // Longer pieces are cut after this many bytes, so that merging needs at most 150 MB.
  // (The reference does not cut, and needs gigabytes there.)
  static constexpr size_t kMaxPiece = size_t{4} << 20;

  Bpe(Bpe&&) = default;  // no copies: the tables point into blob_
  Bpe& operator=(Bpe&&) = default;

  // Code::model where the tables cannot be built.
  static Result<Bpe> build(const TokenizerDefinition& definition);

  int vocab() const { return static_cast<int>(offsets_.size()) - 1; }
  // Empty for ids that no text yields.
  ByteView bytes_of(int32_t id) const { return {blob_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]}; }
  // The id of one byte, or vocab() + byte where it has no token.
  int32_t byte_symbol(uint8_t byte) const { return byte_symbol_[byte]; }
  // Appends the symbols of a piece that is not empty. O(n log n).
  void encode(ByteView piece, std::vector<int32_t>* out) const;

 private:
  static constexpr size_t kShort = 48;

  Bpe() = default;
  void merge(ByteView piece, std::vector<int32_t>* out) const;
  // Appends what a piece is before any merge: its bytes, or its characters (their bytes where they have no token).
  void start(ByteView piece, std::vector<int32_t>* out) const;
  // Merges the symbols from `first` on.
  void merge_short(size_t first, std::vector<int32_t>* symbols) const;
  void merge_long(size_t first, std::vector<int32_t>* symbols) const;

  Bytes blob_;
  std::vector<uint32_t> offsets_;
  std::array<int32_t, 256> byte_symbol_{};
  bool characters_ = false;  // SentencePiece's kind
  BytesTable character_;     // single characters with a token, where characters_
  PairTable pairs_;
  // The pieces that are one token whatever the merging does: with ignore_merges all tokens,
  // otherwise those that merging their own bytes yields.
  BytesTable whole_;
  size_t longest_ = 0;
};

}  // namespace llmc
