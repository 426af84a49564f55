// A file seen through a window that moves over it: for searches over files that may be damaged, cut
// off or on a failing device. What cannot be read counts as zeros.
//
// One thread. Memory: the window.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/file.h"

namespace llmc {

class ScanWindow {
 public:
  static constexpr size_t window_bytes = size_t{4} << 20;

  // `file` outlives the window.
  ScanWindow(const File& file, uint64_t size) : file_(file), size_(size) {}

  uint64_t size() const { return size_; }
  uint64_t unreadable() const { return unreadable_; }  // bytes that the device did not give

  // Up to `length` bytes from `offset`, fewer at the end of the file. Valid until the next call.
  ByteView at(uint64_t offset, size_t length) {
    if (offset >= size_) return {};
    length = static_cast<size_t>(std::min<uint64_t>(length, size_ - offset));
    if (offset < begin_ || offset + length > begin_ + bytes_.size()) fill(offset, length);
    return ByteView(bytes_).subspan(static_cast<size_t>(offset - begin_), length);
  }

  // The first place at or behind `from` where `pattern` stands, or size().
  uint64_t find(uint64_t from, std::string_view pattern) {
    while (from + pattern.size() <= size_) {
      const ByteView view = at(from, window_bytes);
      const size_t found = as_text(view).find(pattern);
      if (found != std::string_view::npos) return from + found;
      from += view.size() - pattern.size() + 1;
    }
    return size_;
  }

 private:
  void fill(uint64_t offset, size_t length) {
    begin_ = offset;
    bytes_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(length, window_bytes), size_ - offset)));
    if (file_.read_at(begin_, bytes_).ok()) return;
    // Sector by sector: one that is lost takes no other with it.
    constexpr size_t sector = 4096;
    for (size_t at = 0; at < bytes_.size(); at += sector) {
      const auto part = std::span(bytes_).subspan(at, std::min(sector, bytes_.size() - at));
      if (file_.read_at(begin_ + at, part).ok()) continue;
      std::fill(part.begin(), part.end(), uint8_t{0});
      unreadable_ += part.size();
    }
  }

  const File& file_;
  const uint64_t size_;
  uint64_t begin_ = 0;
  Bytes bytes_;
  uint64_t unreadable_ = 0;
};

}  // namespace llmc
