#include "coder/mix_history.h"

namespace llmc {
namespace {

constexpr size_t padding = 16;
constexpr int match_tokens[mix_matches] = {8, 3};  // that name a place
constexpr uint32_t longest_check = 32;
constexpr uint32_t most_misses = 8;

}  // namespace

void MixHistory::reset(size_t text_bytes) {
  leaves_.assign(padding, 0);
  word_ = word_before_ = 0;
  shape_ = 0;
  line_ = line_before_ = padding;
  matches_.fill({});
  const size_t places = std::bit_ceil(std::clamp<size_t>(text_bytes / 4, 1 << 10, 1 << 22));
  for (auto& table : places_) table.reset(places);
}

std::array<uint32_t, mix_lists> MixHistory::list_contexts() const {
  const auto h = mix_hash;
  const uint32_t t1 = last(1), t2 = last(2);
  const uint32_t two = h(t1, t2), four = h(h(two, last(3)), last(4));
  const size_t column = leaves_.size() - line_;
  const uint32_t above = column > 0 && line_before_ + column < line_ ? leaves_[line_before_ + column] : 0;
  return {h(two, 2),
          h(four, 4),
          h(h(h(four, last(5)), last(6)), 5),
          h(word_, 6),
          h(h(t2, last(3)), 7),
          h(h(above, t1), 8),
          h(h(word_before_, word_), 9),
          h(h(static_cast<uint32_t>(shape_), static_cast<uint32_t>(shape_ >> 32)), 16),
          h(h(column > 0 ? leaves_[line_] : 0, static_cast<uint32_t>(column)), 17)};
}

void MixHistory::append(uint32_t leaf, ByteView text) {
  leaves_.push_back(leaf);
  follow_matches(leaf);
  read(text);
}

void MixHistory::read(ByteView text) {
  bool feed = false;
  for (const uint8_t c : text) {
    const bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
    const bool digit = c >= '0' && c <= '9';
    if (letter || c >= 128) {
      word_ = mix_hash(word_, c | 32) | 1;
    } else if (word_ != 0) {
      word_before_ = word_;
      word_ = 0;
    }
    const uint8_t kind = digit ? '0' : letter || c >= 128 ? 'a' : c;
    if (kind != (shape_ & 255) || !(kind == '0' || kind == 'a')) shape_ = shape_ << 8 | kind;
    feed |= c == '\n';
  }
  if (feed) {
    line_before_ = line_;
    line_ = leaves_.size() - 1;
  }
}

void MixHistory::follow_matches(uint32_t leaf) {
  const size_t n = leaves_.size();
  for (int i = 0; i < mix_matches; ++i) {
    MixMatch& m = matches_[i];
    if (m.at != 0) {
      if (leaves_[m.at] == leaf) {
        ++m.length;
        if (m.length > 16) m.missed = 0;
      } else {
        m.length = 0;
        ++m.missed;
      }
      m.missed > most_misses ? m.at = 0 : ++m.at;
    }
    const auto least = static_cast<uint32_t>(match_tokens[i]);
    uint32_t h = 0;
    for (uint32_t k = 1; k <= least; ++k) h = mix_hash(h, leaves_[n - k] + 1);
    uint32_t& place = places_[i][h >> 7 & (places_[i].size() - 1)];
    if (m.length < least && place != 0) {
      uint32_t length = 0;
      while (length < longest_check && length < place && leaves_[place - 1 - length] == leaves_[n - 1 - length]) ++length;
      if (length >= least && length > m.length) m = {place, length, 0};
    }
    place = static_cast<uint32_t>(n);
    if (m.at == 0) m.length = 0;
  }
}

}  // namespace llmc
