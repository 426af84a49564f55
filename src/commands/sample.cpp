#include "commands/sample.h"

#include <cstdlib>

namespace llmc {

Result<double> Sample::parse_rate(const std::string& text, const std::string& option) {
  if (text == "all") return 1.0;
  if (text == "none") return 0.0;
  char* end = nullptr;
  const double rate = std::strtod(text.c_str(), &end) / 100;
  if (end == text.c_str() || std::string(end) != "%" || !(rate >= 0 && rate <= 1)) {
    return Status(Code::usage, option + " is a percentage such as 1%, all or none, not '" + text + "'");
  }
  return rate;
}

bool Sample::picks(uint32_t shard, uint32_t chunk) const {
  if (rate <= 0) return false;
  if (rate >= 1) return true;
  // The seed must not merely shift the chunk numbers.
  uint64_t x = (uint64_t{seed} << 32 | shard) * 0x9e3779b97f4a7c15 + chunk;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) < rate * 9007199254740992.0;  // 2^53
}

}  // namespace llmc
