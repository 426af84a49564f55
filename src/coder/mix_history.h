// What a stream has said so far, as the contexts that the mix codec predicts from.
//
// Tokens are leaves of the tree. Two match models point at earlier places that went on as the
// text does now. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "coder/mix_array.h"
#include "coder/mix_tables.h"

namespace llmc {

inline constexpr int mix_lists = 12;
inline constexpr int mix_matches = 2;

struct MixMatch {
  uint32_t at = 0;      // index of the token that should come next; 0: no match
  uint32_t length = 0;  // tokens that agreed since the last that did not
  uint32_t missed = 0;  // since the match was found
};

class MixHistory {
 public:
  // text_bytes decides the size of the match tables.
  void reset(size_t text_bytes);
  // To what another one has become.
  void copy(const MixHistory& other);
  void append(uint32_t leaf, ByteView text);

  // The n-th last leaf, n >= 1.
  uint32_t last(size_t n) const { return leaves_[leaves_.size() - n]; }
  // Hashes that name the contexts of the lists.
  std::array<uint32_t, mix_lists> list_contexts() const;
  uint32_t word() const { return at_.word; }
  // Which field of its line the text is in: separators so far, at most 255.
  uint32_t field() const { return at_.field; }
  // The classes of the last bytes, runs of letters and of digits as one, the newest lowest.
  uint64_t shape() const { return at_.shape; }
  const MixMatch& match(int m) const { return at_.matches[m]; }
  size_t memory() const { return leaves_.capacity() * 4 + places_[0].size() * 4 * mix_matches; }
  // The leaf that the match expects; only while match(m).length > 0.
  uint32_t expected(int m) const { return leaves_[at_.matches[m].at]; }

 private:
  void read(ByteView text);
  uint32_t above(size_t ahead) const;
  void follow_matches(uint32_t leaf);

  static constexpr uint32_t most_fields = 256;
  struct Place {
    uint32_t word = 0, word_before = 0;
    uint64_t shape = 0;
    uint32_t key = 0;  // the word before the last of : = >
    uint32_t field = 0;
    // Index of the first token after each separator, in this line and the one before; 0: no such field.
    std::array<uint32_t, most_fields> fields{}, fields_before{};
    size_t line = 0;         // index of the first token of this line, the one that holds the line feed
    size_t line_before = 0;  // and of the line before
    std::array<MixMatch, mix_matches> matches;
  };

  std::vector<uint32_t> leaves_;  // padded in front
  Place at_;
  std::array<MixArray<uint32_t>, mix_matches> places_;
};

}  // namespace llmc
