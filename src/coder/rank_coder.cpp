#include "coder/rank_coder.h"

#include <algorithm>
#include <bit>

namespace llmc {
namespace {

constexpr int fast_shift = 6;
constexpr int slow_shift = 9;
constexpr uint32_t estimate_one = 1u << 22;

// `sum` of n chances, each in 1 / 2^23, as a chance of the range coder.
uint32_t mean_chance(uint32_t sum, uint32_t n) {
  const uint64_t chance = (uint64_t{sum} << (chance_bits - 23)) / n;
  return std::clamp<uint64_t>(chance, 1u << 8, chance_one - (1u << 8));
}

}  // namespace

void RankModel::Chance::update(bool right) {
  // Steps of about 1/n at first, so that a short chunk learns as well as a long one.
  seen_ = std::min(seen_ + 1, 1u << slow_shift);
  const int warm = std::bit_width(seen_);
  const auto move = [right](uint32_t& estimate, int shift) {
    if (right) {
      estimate += (estimate_one - estimate) >> shift;
    } else {
      estimate -= estimate >> shift;
    }
  };
  move(fast_, std::min(warm, fast_shift));
  move(slow_, std::min(warm, slow_shift));
}

void RankModel::remember(int bucket) {
  before_that_ = before_;
  before_ = bucket;
  average_ += (bucket * 64 - average_) / 16;
}

template <class Coder>
uint32_t RankModel::pass(uint32_t rank, Coder&& coder) {
  const int wanted = std::bit_width(rank + 1) - 1;
  auto& near = near_[std::min(before_, 5) * 4 + std::min(before_that_ + 1, 7) / 2];
  auto& mean = mean_[std::min(average_ / 32, 15)];
  int bucket = 0;
  while (bucket < rank_buckets - 1) {
    Chance* const chances[3] = {&plain_[bucket], &near[bucket], &mean[bucket]};
    const uint32_t sum = chances[0]->sum() + chances[1]->sum() + chances[2]->sum();
    const bool more = coder(wanted > bucket, mean_chance(sum, 3));
    for (Chance* chance : chances) chance->update(more);
    if (!more) break;
    ++bucket;
  }
  uint32_t value = 1;
  for (int bit = bucket - 1; bit >= 0; --bit) {
    Chance& chance = bucket - bit <= 2 ? upper_[bucket][value] : lower_[bucket][bit];
    const bool right = coder((rank + 1) >> bit & 1, mean_chance(chance.sum(), 1));
    chance.update(right);
    value = value * 2 + right;
  }
  remember(bucket);
  return value - 1;
}

void RankEncoder::encode(uint32_t rank) {
  model_.pass(rank, [this](bool right, uint32_t chance) {
    out_.encode_bit(right, chance);
    return right;
  });
}

uint32_t RankDecoder::decode() {
  return model_.pass(0, [this](bool, uint32_t chance) { return in_.decode_bit(chance); });
}

}  // namespace llmc
