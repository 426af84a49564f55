// A file seen through a window that moves over it: for searches over files that may be damaged, cut
// off or on a failing device. What cannot be read counts as zeros.
//
// One thread. Memory: the window.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "archive/file_digest.h"

namespace llmc {

class ScanWindow {
 public:
  static constexpr size_t window_bytes = size_t{4} << 20;

  // `file` outlives the window. `stop`, where it is given, is asked before each reading; once it has said so nothing is read
  // or found any more.
  ScanWindow(const File& file, uint64_t size, StopRequest stop = {}) : file_(file), size_(size), stop_(std::move(stop)) {}

  uint64_t size() const { return size_; }
  bool stopped() const { return stopped_; }
  // The first error of reading that is not the medium's (Code::corrupt): then what stands in the window means nothing.
  const Status& failure() const { return failure_; }
  // Begin and end of what the device did not give, by place, as far as it was looked at.
  const std::map<uint64_t, uint64_t>& gaps() const { return gaps_; }
  // Whether the device gave all of [begin, end).
  bool gave(uint64_t begin, uint64_t end) const { return !known_gap(begin, end); }
  uint64_t unreadable() const {
    uint64_t bytes = 0;
    for (const auto& [begin, end] : gaps_) bytes += end - begin;
    return bytes;
  }

  // Up to `length` bytes from `offset`, fewer at the end of the file. Valid until the next call.
  ByteView at(uint64_t offset, size_t length) {
    if (offset >= size_) return {};
    length = static_cast<size_t>(std::min<uint64_t>(length, size_ - offset));
    if (offset < begin_ || offset + length > begin_ + bytes_.size()) fill(offset, length);
    return ByteView(bytes_).subspan(static_cast<size_t>(offset - begin_), length);
  }

  // The first place at or behind `from` where `pattern` stands, or size().
  uint64_t find(uint64_t from, std::string_view pattern) {
    while (from + pattern.size() <= size_ && !stopped_) {
      (void)at(from, pattern.size());
      const ByteView view = ByteView(bytes_).subspan(static_cast<size_t>(from - begin_));
      const size_t found = as_text(view).find(pattern);
      if (found != std::string_view::npos) return stopped_ ? size_ : from + found;
      from += view.size() - pattern.size() + 1;
    }
    return size_;
  }

 private:
  void fill(uint64_t offset, size_t length) {
    begin_ = offset;
    bytes_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(length, window_bytes), size_ - offset)));
    const uint64_t end = begin_ + bytes_.size();
    if (!asked() && !known_gap(begin_, end) && read(begin_, bytes_)) return;
    // Sector by sector: one that is lost takes no other with it, and is not asked for twice.
    constexpr uint64_t sector = 4096;
    for (uint64_t at = begin_; at < end;) {
      const uint64_t next = std::min(end, (at / sector + 1) * sector);
      const auto part = std::span(bytes_).subspan(static_cast<size_t>(at - begin_), static_cast<size_t>(next - at));
      if (asked() || known_gap(at, next) || !read(at, part)) {
        std::fill(part.begin(), part.end(), uint8_t{0});
        if (!stopped_) add_gap(at, next);
      }
      at = next;
    }
  }

  bool read(uint64_t at, std::span<uint8_t> out) {
    const Status status = file_.read_at(at, out);
    if (!status.ok() && status.code() != Code::corrupt && failure_.ok()) failure_ = status;
    return status.ok();
  }
  bool asked() { return stopped_ = stopped_ || (stop_ && stop_()); }
  bool known_gap(uint64_t begin, uint64_t end) const {
    const auto behind = gaps_.lower_bound(end);
    return behind != gaps_.begin() && std::prev(behind)->second > begin;
  }
  void add_gap(uint64_t begin, uint64_t end) {
    auto at = gaps_.upper_bound(begin);
    if (at != gaps_.begin() && std::prev(at)->second >= begin) {
      --at;
      at->second = std::max(at->second, end);
    } else {
      at = gaps_.emplace(begin, end).first;
    }
    for (auto next = std::next(at); next != gaps_.end() && next->first <= at->second; next = gaps_.erase(next)) {
      at->second = std::max(at->second, next->second);
    }
  }

  const File& file_;
  const uint64_t size_;
  const StopRequest stop_;
  bool stopped_ = false;
  Status failure_;
  uint64_t begin_ = 0;
  Bytes bytes_;
  std::map<uint64_t, uint64_t> gaps_;
};

}  // namespace llmc
