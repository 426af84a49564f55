#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "corpus/split.h"

namespace llmc {

namespace {

constexpr size_t kBlock = 512;
constexpr uint64_t kMaxSize = uint64_t{1} << 62;
// A pax header or long name is rarely above a few KB.
constexpr uint64_t kMaxExtension = uint64_t{1} << 20;
using Block = std::array<uint8_t, kBlock>;

Status bad_tar(uint64_t at, const char* what) {
  return {Code::corrupt, std::string(what) + " (header at byte " + std::to_string(at) + ")"};
}

// Octal digits with spaces before and space or NUL behind, or GNU's base 256.
std::optional<uint64_t> number(ByteView field) {
  uint64_t value = 0;
  if (field[0] & 0x80) {
    if (field[0] & 0x40) return std::nullopt;  // negative
    for (size_t i = 0; i < field.size(); ++i) {
      if (value >= kMaxSize >> 8) return std::nullopt;
      value = value << 8 | (i == 0 ? field[i] & 0x3F : field[i]);
    }
    return value;
  }
  size_t i = 0;
  while (i < field.size() && field[i] == ' ') ++i;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) value = value << 3 | (field[i] - '0');
  for (; i < field.size(); ++i) {
    if (field[i] != ' ' && field[i] != 0) return std::nullopt;
  }
  return value;  // at most 12 digits: fits
}

std::string_view text(ByteView field) {
  const std::string_view all = as_text(field);
  return all.substr(0, std::min(all.find('\0'), all.size()));
}

// Old writers summed signed characters.
bool checksum_fits(ByteView block) {
  const auto stored = number(block.subspan(148, 8));
  if (!stored) return false;
  int64_t plain = 0, with_sign = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const uint8_t b = i >= 148 && i < 156 ? ' ' : block[i];
    plain += b;
    with_sign += static_cast<int8_t>(b);
  }
  const auto sum = static_cast<int64_t>(*stored);
  return sum == plain || sum == with_sign;
}

// What pax headers say about members; a local header counts for one member, a global one until the next.
struct Pax {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
  bool sparse = false;
};

// Records "LENGTH KEY=VALUE\n"; false where they are damaged.
bool parse_pax(std::string_view data, Pax* pax) {
  while (!data.empty() && data[0] != '\0') {
    uint64_t length = 0;
    size_t i = 0;
    for (; i < data.size() && i < 10 && data[i] >= '0' && data[i] <= '9'; ++i) length = length * 10 + (data[i] - '0');
    if (i == 0 || i >= data.size() || data[i] != ' ' || length > data.size() || length < i + 3) return false;
    const std::string_view record = data.substr(i + 1, length - i - 1);
    const size_t equals = record.find('=');
    if (record.back() != '\n' || equals == record.npos) return false;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1, record.size() - equals - 2);
    if (key == "path") {
      if (value.find('\0') != value.npos) return false;
      pax->path = std::string(value);
    } else if (key == "size") {
      uint64_t size = 0;
      for (const char c : value) {
        if (c < '0' || c > '9' || size >= kMaxSize / 10) return false;
        size = size * 10 + static_cast<uint64_t>(c - '0');
      }
      if (value.empty()) return false;
      pax->size = size;
    } else if (key.starts_with("GNU.sparse.") || key == "SCHILY.realsize") {
      pax->sparse = true;
    }
    data.remove_prefix(length);
  }
  return true;
}

std::string header_name(ByteView block) {
  std::string name(text(block.first(100)));
  // GNU's own format keeps times where ustar has the prefix.
  const bool ustar = std::memcmp(block.data() + 257, "ustar\0", 6) == 0;
  const std::string_view prefix = ustar ? text(block.subspan(345, 155)) : std::string_view();
  return prefix.empty() ? name : std::string(prefix) + "/" + name;
}

Status skip_padding(PlainSource& source, uint64_t size) {
  const size_t padding = static_cast<size_t>((kBlock - size % kBlock) % kBlock);
  Block scratch;
  // Some writers leave the last padding out; the next header's read finds the end then.
  auto n = source.read(std::span(scratch).first(padding));
  return n.status();
}

Result<std::string> read_extension(PlainSource& source, uint64_t at, uint64_t size) {
  if (size > kMaxExtension) return bad_tar(at, "a name or pax header is longer than 1 MiB");
  std::string data(static_cast<size_t>(size), '\0');
  LLMC_ASSIGN(const size_t n, source.read({reinterpret_cast<uint8_t*>(data.data()), data.size()}));
  if (n < data.size()) return bad_tar(at, "it ends inside a pax header or long name");
  LLMC_TRY(skip_padding(source, size));
  return data;
}

}  // namespace

bool looks_like_tar(ByteView head) {
  return head.size() >= kBlock && head[0] != 0 && checksum_fits(head.first(kBlock));
}

Result<Records> split_tar(PlainSource& source) {
  RecordWriter out(RecordKind::tar);
  Pax global, local;
  std::optional<std::string> long_name;
  bool pending = false;  // an extension waits for its member
  for (;;) {
    const uint64_t at = source.position();
    Block block;
    LLMC_ASSIGN(const size_t n, source.read(block));
    if (n != 0 && n < kBlock) return bad_tar(at, "it ends inside a header");
    const bool end = n == 0 || std::all_of(block.begin(), block.end(), [](uint8_t b) { return b == 0; });
    if (end && pending) return bad_tar(at, "it ends behind a pax header or long name");
    if (end) return out.take();
    if (!checksum_fits(block)) return bad_tar(at, "a header has a wrong checksum");
    const auto stored_size = number(ByteView(block).subspan(124, 12));
    if (!stored_size) return bad_tar(at, "a header has no valid size");

    const char type = static_cast<char>(block[156]);
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
      LLMC_ASSIGN(std::string data, read_extension(source, at, *stored_size));
      if (type == 'L') long_name = std::string(text(as_bytes(data)));
      if ((type == 'x' || type == 'g') && !parse_pax(data, type == 'x' ? &local : &global)) {
        return bad_tar(at, "a pax header is damaged");
      }
      pending = type != 'g';
      continue;
    }
    const uint64_t size = local.size ? *local.size : global.size ? *global.size : *stored_size;
    std::string name = local.path    ? *local.path
                       : long_name   ? *long_name
                       : global.path ? *global.path
                                     : header_name(block);
    const bool sparse = local.sparse || global.sparse || type == 'S';
    local = Pax();
    long_name.reset();
    pending = false;

    if (sparse) return bad_tar(at, "it has sparse members");
    if (type == 'M') return bad_tar(at, "it is one volume of several");
    if (type >= '1' && type <= '6') {
      // Writers and readers disagree whether data follows here.
      if (size != 0) return bad_tar(at, "a link, folder or device has a size");
      continue;
    }
    const bool file = (type == '0' || type == '\0' || type == '7') && !name.ends_with('/');
    const uint64_t data = source.position();
    auto skipped = source.skip(size);
    if (skipped.code() == Code::corrupt) return bad_tar(at, "it ends inside a member");
    LLMC_TRY(skipped);
    LLMC_TRY(skip_padding(source, size));
    if (file) out.add({data, size, std::move(name), 0});
  }
}

}  // namespace llmc
