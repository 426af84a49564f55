// Open-addressing tables of the tokenizer: read often, written once while it is built.
//
// Keys come from files, so a run of collisions longer than kMaxProbe refuses the file
// instead of taking quadratic time. Const calls from any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/bytes.h"

namespace llmc {

inline constexpr int kMaxProbe = 256;

inline uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ x >> 32;
}

// (left id, right id) -> (rank, id of both).
class PairTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Slot {
    int32_t left = -1, right = -1;
    uint32_t rank = kNone;
    int32_t made = -1;
  };

  explicit PairTable(size_t entries = 0) : slots_(std::bit_ceil(2 * entries + 2)), mask_(slots_.size() - 1) {}

  // A pair that is there already takes the new values. False where too many keys collide.
  bool insert(int32_t left, int32_t right, uint32_t rank, int32_t made) {
    size_t at = start(left, right);
    for (int probe = 0; probe < kMaxProbe; ++probe, at = (at + 1) & mask_) {
      Slot& slot = slots_[at];
      if (slot.left >= 0 && (slot.left != left || slot.right != right)) continue;
      slot = {left, right, rank, made};
      return true;
    }
    return false;
  }
  // A slot of rank kNone where the pair has no merge.
  const Slot& find(int32_t left, int32_t right) const {
    size_t at = start(left, right);
    while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) at = (at + 1) & mask_;
    return slots_[at];
  }

 private:
  size_t start(int32_t left, int32_t right) const {
    return mix(static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right)) & mask_;
  }
  std::vector<Slot> slots_;
  size_t mask_;
};

// Bytes -> id, over tokens that the owner keeps.
class BytesTable {
 public:
  explicit BytesTable(size_t entries = 0) : slots_(std::bit_ceil(2 * entries + 2)), mask_(slots_.size() - 1) {}

  // The bytes, not none, must outlive the table and differ from all before. False where too many keys collide.
  bool insert(ByteView bytes, int32_t id) {
    const uint64_t h = hash(bytes);
    size_t at = h & mask_;
    for (int probe = 0; probe < kMaxProbe; ++probe, at = (at + 1) & mask_) {
      if (slots_[at].id >= 0) continue;
      slots_[at] = {bytes.data(), static_cast<uint32_t>(bytes.size()), id};
      return true;
    }
    return false;
  }
  // The id, or -1.
  int32_t find(ByteView bytes) const {
    for (size_t at = hash(bytes) & mask_; slots_[at].id >= 0; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.size == bytes.size() && std::memcmp(slot.data, bytes.data(), bytes.size()) == 0) return slot.id;
    }
    return -1;
  }

 private:
  struct Slot {
    const uint8_t* data = nullptr;
    uint32_t size = 0;
    int32_t id = -1;
  };
  static uint64_t hash(ByteView bytes) {
    const uint8_t* p = bytes.data();
    size_t n = bytes.size();
    uint64_t h = n, word = 0;
    for (; n >= 8; p += 8, n -= 8) {
      std::memcpy(&word, p, 8);
      h = mix(h ^ word);
    }
    word = 0;
    if (n != 0) std::memcpy(&word, p, n);
    return mix(h ^ word);
  }
  std::vector<Slot> slots_;
  size_t mask_;
};

}  // namespace llmc
