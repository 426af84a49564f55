#include "tokens/splitter.h"

#include <algorithm>
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

// The same in any case, where U+017F is an s as well.
size_t contraction_of_any_case(const uint8_t* p, const uint8_t* end) {
  if (end - p >= 3 && p[1] == 0xC5 && p[2] == 0xBF) return 3;
  uint8_t lower[3] = {};
  const auto n = std::min<size_t>(3, end - p);
  for (size_t i = 0; i < n; ++i) lower[i] = p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i];
  return contraction(lower, lower + n);
}

}  // namespace

size_t character_bytes(const uint8_t* p, const uint8_t* end) {
  if (*p < 0x80) return 1;
  uint8_t length;
  sequence(p, end, &length);
  return length;
}

const uint8_t* Splitter::piece_end() const {
  switch (pattern_) {
    case Pattern::gpt2:
      return gpt2_end();
    case Pattern::gpt4:
    case Pattern::qwen:
      return gpt4_end();
    case Pattern::words:
      return std::find(at_ + 1, end_, ' ');
    case Pattern::whole:
      return end_;
  }
  return end_;
}

// The alternatives of the pattern in their order, each matched as a backtracking engine would.
const uint8_t* Splitter::gpt4_end() const {
  const uint8_t* p = at_;
  if (*p == '\'') {
    if (const size_t n = contraction_of_any_case(p, end_)) return p + n;
  }
  const auto run = [this](const uint8_t* from, uint8_t kind, int most = INT32_MAX) {
    for (; from != end_ && most > 0; --most) {
      const Character c = character(from, end_, false);
      if (c.kind != kind) break;
      from += c.length;
    }
    return from;
  };
  const Character c = character(p, end_, false);
  const uint8_t* const after = p + c.length;
  const bool newline = *p == '\r' || *p == '\n';
  if (c.kind == kLetter) return run(after, kLetter);
  if (c.kind == kNumber) return pattern_ == Pattern::qwen ? after : run(after, kNumber, 2);
  const uint8_t next = after == end_ ? uint8_t{255} : character(after, end_, false).kind;
  if (!newline && next == kLetter) return run(after, kLetter);
  if (c.kind == kOther || (*p == ' ' && next == kOther)) {
    p = run(after, kOther);
    while (p != end_ && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }
  // A run of spaces: through its last line break, else all but the last, which is left to what follows.
  const uint8_t* last = p;
  const uint8_t* line = nullptr;
  while (p != end_) {
    const Character s = character(p, end_, false);
    if (s.kind != kSpace) break;
    last = p;
    p += s.length;
    if (*last == '\r' || *last == '\n') line = p;
  }
  if (line != nullptr) return line;
  return p == end_ || last == at_ ? p : last;
}

const uint8_t* Splitter::gpt2_end() const {
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
