#include <algorithm>
#include <cstring>
#include <optional>

#include "corpus/split.h"

namespace llmc {

namespace {

constexpr size_t kMaxHeader = size_t{1} << 20;

Status bad_warc(uint64_t at, const char* what) {
  return {Code::corrupt, std::string(what) + " (record at byte " + std::to_string(at) + ")"};
}

// Small reads over a source, one block at a time.
class Cursor {
 public:
  explicit Cursor(PlainSource& source) : source_(source), block_(size_t{1} << 16) {}
  uint64_t position() const { return source_.position() - rest_.size(); }
  // The next byte without taking it, or -1 at the end.
  Result<int> peek() {
    if (rest_.empty()) {
      LLMC_ASSIGN(const size_t n, source_.read(block_));
      rest_ = ByteView(block_).first(n);
    }
    return rest_.empty() ? -1 : static_cast<int>(rest_[0]);
  }
  void take() { rest_ = rest_.subspan(1); }
  // The next line without its LF or CRLF. Code::corrupt at the end or where it is longer than `limit`.
  Result<std::string> line(size_t limit) {
    std::string text;
    for (;;) {
      LLMC_ASSIGN(const int next, peek());
      if (next < 0) return Status(Code::corrupt, "it ends inside a record's header");
      const auto* end = static_cast<const uint8_t*>(std::memchr(rest_.data(), '\n', rest_.size()));
      const size_t n = end ? static_cast<size_t>(end - rest_.data()) + 1 : rest_.size();
      if (text.size() + n > limit) return Status(Code::corrupt, "a record's header is longer than 1 MiB");
      text += as_text(rest_.first(n));
      rest_ = rest_.subspan(n);
      if (end) break;
    }
    text.pop_back();
    if (text.ends_with('\r')) text.pop_back();
    return text;
  }
  Status skip(uint64_t n) {
    const uint64_t here = std::min<uint64_t>(n, rest_.size());
    rest_ = rest_.subspan(static_cast<size_t>(here));
    return n > here ? source_.skip(n - here) : Status();
  }

 private:
  PlainSource& source_;
  Bytes block_;
  ByteView rest_;
};

bool version_line(std::string_view line) {
  if (!line.starts_with("WARC/")) return false;
  line.remove_prefix(5);
  const size_t dot = line.find('.');
  const auto digits = [](std::string_view s) {
    return !s.empty() && s.size() <= 4 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  return dot != line.npos && digits(line.substr(0, dot)) && digits(line.substr(dot + 1));
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool same_word(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
         });
}

// <urn:...> and, as WARC 1.0 writers did, <http://...>.
std::string without_brackets(std::string_view value) {
  if (value.size() >= 2 && value.front() == '<' && value.back() == '>') value = value.substr(1, value.size() - 2);
  return std::string(value);
}

}  // namespace

bool looks_like_warc(ByteView head) {
  const std::string_view text = as_text(head);
  std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return version_line(line);
}

Result<Records> split_warc(PlainSource& source) {
  RecordWriter out(RecordKind::warc);
  Cursor in(source);
  for (;;) {
    const uint64_t start = in.position();
    LLMC_ASSIGN(const int first, in.peek());
    if (first < 0) return out.take();

    size_t room = kMaxHeader;
    auto line = in.line(room);
    if (first != 'W' || (line.ok() && !version_line(*line)))
      return bad_warc(start, "a record does not begin with WARC/ and a version");
    std::vector<std::string> fields;
    for (;;) {
      if (line.ok()) {
        room -= std::min(room, line->size() + 2);
        line = in.line(room);
      }
      if (!line.ok()) {
        return line.status().code() == Code::corrupt ? bad_warc(start, line.status().message().c_str()) : line.status();
      }
      if (line->empty()) break;
      if (((*line)[0] == ' ' || (*line)[0] == '\t') && !fields.empty()) {
        fields.back() += *line;  // continued
      } else {
        fields.push_back(std::move(*line));
      }
    }

    std::optional<uint64_t> length;
    std::string uri, id;
    for (const std::string_view field : fields) {
      const size_t colon = field.find(':');
      if (colon == field.npos) continue;
      const std::string_view key = trim(field.substr(0, colon)), value = trim(field.substr(colon + 1));
      if (same_word(key, "warc-target-uri")) uri = without_brackets(value);
      if (same_word(key, "warc-record-id")) id = without_brackets(value);
      if (!same_word(key, "content-length")) continue;
      uint64_t n = 0;
      const bool digits = !value.empty() && value.size() <= 18 &&
                          std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
      for (const char c : value) n = digits ? n * 10 + static_cast<uint64_t>(c - '0') : 0;
      if (!digits || (length && *length != n)) return bad_warc(start, "a record has no valid Content-Length");
      length = n;
    }
    if (!length) return bad_warc(start, "a record has no valid Content-Length");

    const Status skipped = in.skip(*length);
    if (skipped.code() == Code::corrupt) return bad_warc(start, "it ends inside a record");
    LLMC_TRY(skipped);
    // Two CRLF by the standard; writers are known for none, one, three and for LF alone.
    for (;;) {
      LLMC_ASSIGN(const int next, in.peek());
      if (next != '\r' && next != '\n') break;
      in.take();
    }
    out.add({start, in.position() - start, uri.empty() ? std::move(id) : std::move(uri), 0});
  }
}

}  // namespace llmc
