// Codes a stream of token ranks (0: the model's first choice), adaptively, in integers only.
//
// rank + 1 is split as Elias's gamma code does: its bit length less one (the bucket, 0..19)
// in unary, then the bits below the leading one. Every one of these binary decisions has an
// adaptive chance; the unary ones take the mean of three: for this step alone, for the
// buckets of the two ranks before, and for a decaying average of all buckets before. Each
// chance is itself the mean of a fast and a slow estimate, both quick at first.
//
// Ranks after a language model are nearly memoryless: on English text the code ends 0.4 %
// below the order-0 entropy of the ranks, learning included, and 1.8 % below brotli -11.
//
// An object belongs to one thread at a time.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "coder/range_coder.h"

namespace llmc {

inline constexpr int rank_buckets = 20;
// Vocabularies end at 2^19 ids and one escape.
inline constexpr uint32_t max_rank = (1u << rank_buckets) - 2;

// The adaptive state, the same on both sides. Its steps are public for the two coders below.
class RankModel {
 public:
  class Chance {
   public:
    // In 1 / 2^23 of one: the sum of two 22-bit estimates.
    uint32_t sum() const { return fast_ + slow_; }
    void update(bool right);

   private:
    uint32_t fast_ = 1u << 21;
    uint32_t slow_ = 1u << 21;
    uint32_t seen_ = 0;
  };

  // Coder: anything with bool operator()(bool right, uint32_t right_chance), which codes the
  // decision, or ignores `right` and decodes it; returns the decision.
  template <class Coder>
  uint32_t pass(uint32_t rank, Coder&& coder);

 private:
  void remember(int bucket);

  std::array<Chance, rank_buckets> plain_;
  std::array<std::array<Chance, rank_buckets>, 24> near_;
  std::array<std::array<Chance, rank_buckets>, 16> mean_;
  std::array<std::array<Chance, 4>, rank_buckets> upper_;  // the two bits below the leading one
  std::array<std::array<Chance, rank_buckets>, rank_buckets> lower_;
  int before_ = 0;         // bucket of the rank before
  int before_that_ = 0;
  int average_ = 0;        // of buckets, in 1/64
};

class RankEncoder {
 public:
  // rank <= max_rank.
  void encode(uint32_t rank);
  void encode_byte(uint8_t byte) { out_.encode_byte(byte); }
  size_t size() const { return out_.size(); }
  Bytes finish() { return out_.finish(); }

 private:
  RangeEncoder out_;
  RankModel model_;
};

class RankDecoder {
 public:
  // The code must outlive the decoder.
  explicit RankDecoder(ByteView code) : in_(code) {}
  // At most max_rank; whether a vocabulary has so many is for the caller to check.
  uint32_t decode();
  uint8_t decode_byte() { return in_.decode_byte(); }
  bool at_end() const { return in_.at_end(); }

 private:
  RangeDecoder in_;
  RankModel model_;
};

}  // namespace llmc
