#include "coder/mix_history.h"

#include <algorithm>

namespace llmc {
namespace {

constexpr size_t padding = 16;
constexpr int match_tokens[mix_matches] = {8, 2};  // that name a place
constexpr uint32_t longest_check = 32;
constexpr uint32_t most_misses = 8;

}  // namespace

void MixHistory::reset(size_t text_bytes) {
  leaves_.assign(padding, 0);
  at_ = {};
  at_.fields[0] = padding;
  at_.line = at_.line_before = padding;
  const size_t places = std::bit_ceil(std::clamp<size_t>(text_bytes / 4, 1 << 10, 1 << 22));
  for (auto& table : places_) table.reset(places);
}

void MixHistory::copy(const MixHistory& other) {
  leaves_ = other.leaves_;
  at_ = other.at_;
  for (int m = 0; m < mix_matches; ++m) places_[m].copy(other.places_[m]);
}

// The token that stands in the line before where the next but `ahead` will stand in this one, counted
// from the start of the field; 0 where there is none.
uint32_t MixHistory::above(size_t ahead) const {
  if (at_.fields_before[at_.field] == 0) return 0;
  const size_t at = at_.fields_before[at_.field] + (leaves_.size() - at_.fields[at_.field]) + ahead;
  return at < at_.fields[0] ? leaves_[at] : 0;
}

std::array<uint32_t, mix_lists> MixHistory::list_contexts() const {
  const auto h = mix_hash;
  const uint32_t t1 = last(1), t2 = last(2);
  const uint32_t two = h(t1, t2), three = h(two, last(3));
  const size_t column = leaves_.size() - at_.line;
  const uint32_t first = column > 0 ? leaves_[at_.line] : 0;
  const uint32_t by_column = column > 0 && at_.line_before + column < at_.line ? leaves_[at_.line_before + column] : 0;
  const uint32_t by_field = above(0);
  return {h(two, 0),
          h(three, 1),
          h(h(h(h(three, last(4)), last(5)), last(6)), 2),
          h(at_.word, 3),
          h(h(at_.word_before, at_.word), 4),
          h(h(static_cast<uint32_t>(at_.shape), static_cast<uint32_t>(at_.shape >> 32)), 5),
          h(h(at_.key, t1), 6),
          h(h(by_column, t1), 7),
          h(h(first, static_cast<uint32_t>(column)), 8),
          h(h(at_.field, t1), 9),
          h(h(at_.field, by_field), 10),
          h(h(h(by_field, above(1)), at_.word), 11)};
}

void MixHistory::append(uint32_t leaf, ByteView text) {
  leaves_.push_back(leaf);
  follow_matches(leaf);
  read(text);
}

void MixHistory::read(ByteView text) {
  bool feed = false;
  for (const uint8_t c : text) {
    const bool letter = ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 128;
    const bool digit = c >= '0' && c <= '9';
    if (letter) {
      at_.word = mix_hash(at_.word, c | 32) | 1;
    } else if (at_.word != 0) {
      at_.word_before = at_.word;
      at_.word = 0;
    }
    if (c == ':' || c == '=' || c == '>') at_.key = at_.word_before;
    const uint8_t kind = digit ? '0' : letter ? 'a' : c;
    if (kind != (at_.shape & 255) || !(letter || digit)) at_.shape = at_.shape << 8 | kind;
    if (!letter && !digit && c != '_' && c != '.' && c != '-') {
      if (at_.field + 1 < most_fields) ++at_.field;
      at_.fields[at_.field] = static_cast<uint32_t>(leaves_.size());
    }
    feed |= c == '\n';
  }
  if (!feed) return;
  at_.line_before = at_.line;
  at_.line = leaves_.size() - 1;
  std::fill(at_.fields.begin() + at_.field + 1, at_.fields.end(), 0);  // what the line before left there
  at_.fields_before = at_.fields;
  at_.field = 0;
  at_.fields[0] = static_cast<uint32_t>(leaves_.size());
}

void MixHistory::follow_matches(uint32_t leaf) {
  const size_t n = leaves_.size();
  for (int i = 0; i < mix_matches; ++i) {
    MixMatch& m = at_.matches[i];
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
