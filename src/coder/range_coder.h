// Range coder: intervals of integer frequencies to bytes and back, exactly.
//
// After G. N. N. Martin, "Range encoding: an algorithm for removing redundancy from a
// digitised message" (1979), with a 64-bit low whose carry runs through the bytes already
// written (as in Schindler's and LZMA's coders). Totals up to 2^49 + 2^19 + 1: the range
// never falls below 2^56, so a symbol costs at most 2^-7 more of itself than -log2(W / Tot).
//
//    low = 0, range = 2^64 - 1; for a symbol [cum, cum + W) of Tot:
//      r = range / Tot;  low += r * cum;  range = cum + W == Tot ? range - r * cum : r * W
//      while range < 2^56: write the top byte of low; low <<= 8; range <<= 8
//    end: low += 2^56 - 1, write its top byte, drop trailing zero bytes
//
// The decoder reads zeros past the end. Any bytes decode to some symbols: what they mean is
// for the caller to check. An object belongs to one thread at a time.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/chance.h"

namespace llmc {

inline constexpr uint64_t max_total = (uint64_t{1} << 49) + (1u << 19) + 1;

class RangeEncoder {
 public:
  // weight > 0, cum + weight <= total <= max_total.
  void encode(uint64_t cum, uint64_t weight, uint64_t total) {
    const uint64_t r = range_ / total;
    const uint64_t below = r * cum;
    add(below);
    range_ = cum + weight == total ? range_ - below : r * weight;
    while (range_ < bottom) {
      shift();
      range_ <<= 8;
    }
  }
  // A binary decision: `right` with the chance right_chance / 2^31. The left side stands first.
  void encode_bit(bool right, uint32_t right_chance) {
    const uint32_t left = chance_one - right_chance;
    right ? encode(left, right_chance, chance_one) : encode(0, left, chance_one);
  }
  // One of 256 equally likely values.
  void encode_byte(uint8_t byte) { encode(byte, 1, 256); }

  // Bytes written so far; the end adds at most one.
  size_t size() const { return out_.size(); }
  // Ends the code and hands it over; the object is used up.
  Bytes finish();

 private:
  static constexpr uint64_t bottom = uint64_t{1} << 56;
  void add(uint64_t amount) {
    low_ += amount;
    if (low_ < amount) carry();
  }
  void shift() {
    out_.push_back(static_cast<uint8_t>(low_ >> 56));
    low_ <<= 8;
  }
  void carry();

  uint64_t low_ = 0;
  uint64_t range_ = ~uint64_t{0};
  Bytes out_;
};

class RangeDecoder {
 public:
  // The code must outlive the decoder.
  explicit RangeDecoder(ByteView code) : code_bytes_(code) {
    for (int i = 0; i < 8; ++i) code_ = code_ << 8 | next_byte();
  }

  // A number in [0, total) that lies in the interval of the next symbol. Must be followed by
  // take() of the interval that holds it.
  uint64_t target(uint64_t total) {
    step_ = range_ / total;
    const uint64_t t = code_ / step_;
    return t < total ? t : total - 1;
  }
  void take(uint64_t cum, uint64_t weight, uint64_t total) {
    const uint64_t below = step_ * cum;
    code_ -= below;
    range_ = cum + weight == total ? range_ - below : step_ * weight;
    while (range_ < bottom) {
      code_ = code_ << 8 | next_byte();
      range_ <<= 8;
    }
  }
  bool decode_bit(uint32_t right_chance) {
    const uint32_t left = chance_one - right_chance;
    const bool right = target(chance_one) >= left;
    right ? take(left, right_chance, chance_one) : take(0, left, chance_one);
    return right;
  }
  uint8_t decode_byte() {
    const auto byte = static_cast<uint8_t>(target(256));
    take(byte, 1, 256);
    return byte;
  }

  // Where it stands before a symbol: what target() computes from, range() >= 2^56.
  uint64_t code() const { return code_; }
  uint64_t range() const { return range_; }

  // After the last symbol: true where an encoder could have written exactly this many bytes.
  bool at_end() const {
    // Of the bytes read, seven lie beyond the last one that an encoder writes.
    return code_bytes_.size() + 7 <= read_ && (code_bytes_.empty() || code_bytes_.back() != 0);
  }

 private:
  static constexpr uint64_t bottom = uint64_t{1} << 56;
  uint64_t next_byte() {
    const uint64_t i = read_++;
    return i < code_bytes_.size() ? code_bytes_[i] : 0;
  }

  ByteView code_bytes_;
  uint64_t read_ = 0;
  uint64_t code_ = 0;  // the coded number less the encoder's low
  uint64_t range_ = ~uint64_t{0};
  uint64_t step_ = 1;
};

}  // namespace llmc
