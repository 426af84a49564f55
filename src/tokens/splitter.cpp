#include "tokens/splitter.h"

#include <array>

#include "tokens/unicode.h"

namespace llmc {
namespace {

using unicode::kLetter;
using unicode::kNumber;
using unicode::kOther;
using unicode::kSpace;

// A numeric character where Digits splits: a piece of its own, and the end of the string for all before it.
constexpr uint8_t kDigit = 8;

struct Character {
  uint8_t kind;
  uint8_t length;
};

constexpr bool follows(const uint8_t* p, uint8_t low, uint8_t high) { return *p >= low && *p <= high; }

// The code point of the well-formed sequence of two to four bytes at p; *length is 1 where there is none.
uint32_t sequence(const uint8_t* p, const uint8_t* end, uint8_t* length) {
  const auto left = end - p;
  const uint8_t lead = p[0];
  *length = 1;
  if (lead < 0xC2 || lead > 0xF4 || left < 2) return 0;
  if (lead < 0xE0) {
    if (!follows(p + 1, 0x80, 0xBF)) return 0;
    *length = 2;
    return (lead & 0x1Fu) << 6 | (p[1] & 0x3Fu);
  }
  if (lead < 0xF0) {
    const uint8_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    if (left < 3 || !follows(p + 1, low, high) || !follows(p + 2, 0x80, 0xBF)) return 0;
    *length = 3;
    return (lead & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
  }
  const uint8_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
  if (left < 4 || !follows(p + 1, low, high) || !follows(p + 2, 0x80, 0xBF) || !follows(p + 3, 0x80, 0xBF)) return 0;
  *length = 4;
  return (lead & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

constexpr std::array<uint8_t, 128> make_ascii() {
  std::array<uint8_t, 128> kinds{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool number = c >= '0' && c <= '9';
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    kinds[c] = letter ? kLetter : number ? kNumber : space ? kSpace : kOther;
  }
  return kinds;
}
constexpr std::array<uint8_t, 128> kAscii = make_ascii();

inline Character character(const uint8_t* p, const uint8_t* end, bool digits) {
  if (*p < 0x80) {
    const uint8_t kind = kAscii[*p];
    return {digits && kind == kNumber ? kDigit : kind, 1};
  }
  Character c{};
  const uint32_t point = sequence(p, end, &c.length);
  if (c.length == 1) return {kOther, 1};
  const uint8_t properties = unicode::properties(point);
  c.kind = digits && (properties & unicode::kNumeric) ? kDigit : properties & unicode::kClassMask;
  return c;
}

// Length of 's 't 're 've 'm 'll 'd at p, where *p is an apostrophe; 0 where there is none.
size_t contraction(const uint8_t* p, const uint8_t* end) {
  if (end - p < 2) return 0;
  const uint8_t a = p[1];
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (end - p < 3) return 0;
  const uint8_t b = p[2];
  return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

}  // namespace

const uint8_t* Splitter::piece_end() const {
  const uint8_t* p = at_;
  if (*p == '\'') {
    if (const size_t n = contraction(p, end_)) return p + n;
  }
  Character c = character(p, end_, individual_digits_);
  p += c.length;
  if (c.kind == kDigit) return p;
  if (*at_ == ' ') {
    if (p == end_) return p;
    const Character after = character(p, end_, individual_digits_);
    if (after.kind == kDigit) return p;
    if (after.kind != kSpace) {
      c = after;
      p += c.length;
    }
  }
  const uint8_t kind = c.kind;
  const uint8_t* last = at_;  // start of the run's last character
  while (p != end_) {
    c = character(p, end_, individual_digits_);
    if (c.kind != kind) {
      // \s+(?!\S): the last space is left to what follows it, unless it is all there is
      if (kind == kSpace && c.kind != kDigit && last != at_) return last;
      return p;
    }
    last = p;
    p += c.length;
  }
  return p;
}

ByteView Splitter::next() {
  if (at_ == end_) return {};
  const uint8_t* from = at_;
  at_ = piece_end();
  return {from, at_};
}

}  // namespace llmc
