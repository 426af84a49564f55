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
  word_ = word_before_ = key_ = field_ = 0;
  fields_.fill(0);
  fields_before_.fill(0);
  fields_[0] = padding;
  shape_ = 0;
  line_ = line_before_ = padding;
  matches_.fill({});
  const size_t places = std::bit_ceil(std::clamp<size_t>(text_bytes / 4, 1 << 10, 1 << 22));
  for (auto& table : places_) table.reset(places);
}

// The token that stands in the line before where the next but `ahead` will stand in this one, counted
// from the start of the field; 0 where there is none.
uint32_t MixHistory::above(size_t ahead) const {
  if (fields_before_[field_] == 0) return 0;
  const size_t at = fields_before_[field_] + (leaves_.size() - fields_[field_]) + ahead;
  return at < fields_[0] ? leaves_[at] : 0;
}

std::array<uint32_t, mix_lists> MixHistory::list_contexts() const {
  const auto h = mix_hash;
  const uint32_t t1 = last(1), t2 = last(2);
  const uint32_t two = h(t1, t2), three = h(two, last(3));
  const size_t column = leaves_.size() - line_;
  const uint32_t first = column > 0 ? leaves_[line_] : 0;
  const uint32_t by_column = column > 0 && line_before_ + column < line_ ? leaves_[line_before_ + column] : 0;
  const uint32_t by_field = above(0);
  return {h(two, 0),
          h(three, 1),
          h(h(h(h(three, last(4)), last(5)), last(6)), 2),
          h(word_, 3),
          h(h(word_before_, word_), 4),
          h(h(static_cast<uint32_t>(shape_), static_cast<uint32_t>(shape_ >> 32)), 5),
          h(h(key_, t1), 6),
          h(h(by_column, t1), 7),
          h(h(first, static_cast<uint32_t>(column)), 8),
          h(h(field_, t1), 9),
          h(h(field_, by_field), 10),
          h(h(h(by_field, above(1)), word_), 11)};
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
      word_ = mix_hash(word_, c | 32) | 1;
    } else if (word_ != 0) {
      word_before_ = word_;
      word_ = 0;
    }
    if (c == ':' || c == '=' || c == '>') key_ = word_before_;
    const uint8_t kind = digit ? '0' : letter ? 'a' : c;
    if (kind != (shape_ & 255) || !(letter || digit)) shape_ = shape_ << 8 | kind;
    if (!letter && !digit && c != '_' && c != '.' && c != '-') {
      if (field_ + 1 < most_fields) ++field_;
      fields_[field_] = static_cast<uint32_t>(leaves_.size());
    }
    feed |= c == '\n';
  }
  if (!feed) return;
  line_before_ = line_;
  line_ = leaves_.size() - 1;
  std::fill(fields_.begin() + field_ + 1, fields_.end(), 0);  // what the line before left there
  fields_before_ = fields_;
  field_ = 0;
  fields_[0] = static_cast<uint32_t>(leaves_.size());
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
