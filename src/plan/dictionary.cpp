#include "plan/dictionary.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <queue>

namespace llmc {
namespace {

constexpr size_t gram_bytes = 8;
constexpr uint32_t most_worth = 255;  // of one gram, however often it comes

uint64_t hash_of(const uint8_t* gram) {
  uint64_t value = 0;
  for (size_t i = 0; i < gram_bytes; ++i) value |= uint64_t{gram[i]} << (8 * i);  // the same on every machine
  return value * 0x9E3779B97F4A7C15u;
}

// In how many blocks each gram stands. A place belongs to the gram that came there first; others count for nothing.
class Counts {
 public:
  explicit Counts(const std::vector<Bytes>& blocks) {
    size_t bytes = 0;
    for (const Bytes& block : blocks) bytes += block.size();
    bits_ = static_cast<int>(std::bit_width(std::max<size_t>(bytes, 4096)));
    places_.resize(size_t{1} << bits_);
    for (const Bytes& block : blocks) {
      each(block, [&](Place& place) { place.count = static_cast<uint16_t>(std::min<uint32_t>(place.count + 1u, most_worth + 1)); });
    }
  }
  uint64_t worth(const Bytes& block) {
    uint64_t sum = 0;
    each(block, [&](const Place& place) { sum += place.count > 1 ? place.count - 1u : 0; });
    return sum;
  }
  void take(const Bytes& block) {
    each(block, [&](Place& place) { place.count = 0; });
  }

 private:
  struct Place {
    uint32_t seen = 0;  // the last round that came here
    uint16_t check = 0;
    uint16_t count = 0;
  };

  // Each place once for a block.
  template <class F>
  void each(const Bytes& block, F&& visit) {
    ++round_;
    for (size_t i = 0; i + gram_bytes <= block.size(); ++i) {
      const uint64_t hash = hash_of(&block[i]);
      Place& place = places_[static_cast<size_t>(hash >> (64 - bits_))];
      const auto check = static_cast<uint16_t>(hash >> 16);
      if (place.seen == 0) place.check = check;
      if (place.check != check || place.seen == round_) continue;
      place.seen = round_;
      visit(place);
    }
  }

  int bits_ = 0;
  std::vector<Place> places_;
  uint32_t round_ = 0;
};

}  // namespace

uint64_t dictionary_size(uint64_t text_bytes, uint32_t chunks, uint64_t most, bool only_if_worth) {
  constexpr uint32_t least_chunks = 2, least_measured_chunks = 16;
  if (chunks < (only_if_worth ? least_measured_chunks : least_chunks)) return 0;
  return std::min(most, text_bytes / (only_if_worth ? 16 : 4));
}

std::vector<uint32_t> dictionary_sample(uint32_t chunks) {
  const uint64_t count = std::clamp<uint64_t>(chunks / 16, 2, 8);
  std::vector<uint32_t> sample;
  for (uint64_t i = 0; i < count; ++i) sample.push_back(static_cast<uint32_t>(uint64_t{chunks} * (2 * i + 1) / (2 * count)));
  return sample;
}

std::vector<uint64_t> dictionary_candidates(uint64_t text_bytes, size_t block_bytes) {
  const uint64_t all = (text_bytes + block_bytes - 1) / block_bytes;
  std::vector<uint64_t> offsets;
  const uint64_t count = std::min<uint64_t>(all, most_candidates);
  for (uint64_t i = 0; i < count; ++i) {
    // Division by whole and rest, so that nothing overflows.
    offsets.push_back((all / count * i + all % count * i / count) * block_bytes);
  }
  return offsets;
}

Bytes choose_dictionary(const std::vector<Bytes>& blocks, size_t bytes) {
  Counts counts(blocks);
  struct Candidate {
    uint64_t worth;
    size_t block;
    size_t round;  // blocks taken when this was computed
    bool operator<(const Candidate& other) const {
      return worth != other.worth ? worth < other.worth : block > other.block;
    }
  };
  // What is taken makes others worth less, never more: a worth that is still the largest when it is computed again is.
  std::priority_queue<Candidate> queue;
  for (size_t b = 0; b < blocks.size(); ++b) queue.push({counts.worth(blocks[b]), b, 0});
  std::vector<size_t> taken;
  size_t size = 0;
  while (!queue.empty() && size < bytes) {
    Candidate best = queue.top();
    queue.pop();
    if (best.worth == 0) break;
    if (best.round != taken.size()) {
      best.worth = counts.worth(blocks[best.block]);
      best.round = taken.size();
      queue.push(best);
      continue;
    }
    if (blocks[best.block].size() > bytes - size) break;
    taken.push_back(best.block);
    size += blocks[best.block].size();
    counts.take(blocks[best.block]);
  }
  std::sort(taken.begin(), taken.end());
  Bytes text;
  for (const size_t b : taken) text.insert(text.end(), blocks[b].begin(), blocks[b].end());
  return text;
}

}  // namespace llmc
