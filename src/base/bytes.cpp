#include "base/bytes.h"

namespace llmc {

std::string to_hex(ByteView bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t b : bytes) {
    text += digits[b >> 4];
    text += digits[b & 15];
  }
  return text;
}

bool from_hex(std::string_view text, std::span<uint8_t> out) {
  if (text.size() != out.size() * 2) return false;
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

uint32_t next_code_point(std::string_view text, size_t* pos) {
  const auto at = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const size_t i = *pos;
  const uint8_t first = at(i);
  *pos = i + 1;
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4) return invalid_utf8 + first;
  uint32_t code = first & (0x3F >> more);
  for (int k = 1; k <= more; ++k) {
    const uint8_t next = at(i + static_cast<size_t>(k));
    if ((next & 0xC0) != 0x80) return invalid_utf8 + first;
    code = code << 6 | (next & 0x3F);
  }
  static constexpr uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return invalid_utf8 + first;
  *pos = i + 1 + static_cast<size_t>(more);
  return code;
}

std::string printable(std::string_view name) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < name.size();) {
    const size_t start = i;
    const uint32_t code = next_code_point(name, &i);
    if (code == '\\') {
      text += "\\\\";
    } else if (code == '\n') {
      text += "\\n";
    } else if (code < 0x20 || (code >= 0x7F && code < 0xA0) || code >= invalid_utf8) {
      for (const char c : name.substr(start, i - start)) {
        const auto b = static_cast<uint8_t>(c);
        text += {'\\', 'x', digits[b >> 4], digits[b & 15]};
      }
    } else {
      text += name.substr(start, i - start);
    }
  }
  return text;
}

}  // namespace llmc
