// The text of a set, read once from front to back: the plain bytes of all files in entry order.
//
// Holds one file open at a time and a block of memory. Used by one thread. What is read is what was planned:
// a file that vanished, whose size, time or inode is not the planned one, or that is longer or shorter than its
// entry says gives an error that names it ("changed while being read"), never other bytes without a word.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/entry.h"
#include "base/status.h"
#include "corpus/plain_source.h"

namespace llmc {

class TextReader {
 public:
  // `entries` must outlive the reader and stay as they are.
  explicit TextReader(const std::vector<Entry>& entries);

  uint64_t size() const { return starts_.back(); }
  uint64_t position() const { return position_; }

  // Exactly the next out.size() bytes, across files. A file is checked again behind its last byte.
  // Reading past the end of the text is Code::failure. After another failure only skip_to may follow.
  Status read(std::span<uint8_t> out);

  // Goes to this offset of the text, forward or back; what lies between is not read, but for
  // the beginning of a packed file.
  Status skip_to(uint64_t text_offset);

 private:
  Status read_on(std::span<uint8_t> out);
  Status open(const Entry& entry);
  Status close(const Entry& entry);
  Status advance();

  const std::vector<Entry>& entries_;
  std::vector<uint64_t> starts_;  // offset of each entry, then the size of the text
  size_t index_ = 0;              // the entry that position_ stands in
  uint64_t position_ = 0;
  std::optional<PlainSource> source_;  // entries_[index_], at position_ - starts_[index_]
};

}  // namespace llmc
