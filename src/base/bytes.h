// Byte buffers and little-endian fields: the one way that this project turns
// integers into stored bytes and back.
//
// ByteWriter appends to a buffer that it owns. ByteReader walks over bytes that
// somebody else owns and that must outlive it; after a read past the end it
// stays failed and yields zeros, so that a parser may check ok() once per record.
// Neither is shared between threads.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmc {

static_assert(std::endian::native == std::endian::little, "big-endian machines are not supported");

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteWriter {
 public:
  void u8(uint8_t v) { bytes_.push_back(v); }
  void u16(uint16_t v) { raw(&v, 2); }
  void u32(uint32_t v) { raw(&v, 4); }
  void u64(uint64_t v) { raw(&v, 8); }
  // LEB128: seven bits a byte, lowest first.
  void varint(uint64_t v) {
    while (v >= 0x80) {
      u8(static_cast<uint8_t>(v) | 0x80);
      v >>= 7;
    }
    u8(static_cast<uint8_t>(v));
  }
  // Zigzag, then LEB128.
  void svarint(int64_t v) { varint((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63)); }
  void bytes(ByteView v) { bytes_.insert(bytes_.end(), v.begin(), v.end()); }
  // Length as varint, then the bytes.
  void string(std::string_view v) {
    varint(v.size());
    bytes(as_bytes(v));
  }
  size_t size() const { return bytes_.size(); }
  const Bytes& view() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  void raw(const void* p, size_t n) {
    const auto* b = static_cast<const uint8_t*>(p);
    bytes_.insert(bytes_.end(), b, b + n);
  }
  Bytes bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  uint8_t u8() { return fixed<uint8_t>(); }
  uint16_t u16() { return fixed<uint16_t>(); }
  uint32_t u32() { return fixed<uint32_t>(); }
  uint64_t u64() { return fixed<uint64_t>(); }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = u8();
      if (shift == 63 && b > 1) break;
      v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
    fail();
    return 0;
  }
  int64_t svarint() {
    const uint64_t v = varint();
    return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
  }
  // The next n bytes, or an empty view and failure where fewer are left.
  ByteView bytes(uint64_t n) {
    if (n > rest_.size()) {
      fail();
      return {};
    }
    const ByteView v = rest_.first(n);
    rest_ = rest_.subspan(n);
    return v;
  }
  std::string_view string() { return as_text(bytes(varint())); }

  size_t left() const { return rest_.size(); }
  bool ok() const { return ok_; }
  // True where everything was read and nothing failed.
  bool done() const { return ok_ && rest_.empty(); }
  void fail() {
    ok_ = false;
    rest_ = {};
  }

 private:
  template <class T>
  T fixed() {
    T v{};
    const ByteView b = bytes(sizeof v);
    if (!b.empty()) std::memcpy(&v, b.data(), sizeof v);
    return v;
  }
  ByteView rest_;
  bool ok_ = true;
};

std::string to_hex(ByteView bytes);
// False where text is not exactly 2 * out.size() hexadecimal digits.
bool from_hex(std::string_view text, std::span<uint8_t> out);

// The code point at text[*pos] and *pos moved behind it. A byte that does not begin valid UTF-8
// (RFC 3629: no surrogates, no over-long forms) gives invalid_utf8 + the byte, and moves by one.
inline constexpr uint32_t invalid_utf8 = 0x110000;
uint32_t next_code_point(std::string_view text, size_t* pos);

// A name for messages and listings: control characters, backslash and bytes that are not UTF-8
// as \n or \xNN, so that one name is one line and cannot drive a terminal.
std::string printable(std::string_view name);

}  // namespace llmc
