// CRC-32C for frames and spool records, SHA-256 for identity.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace llmc {

// CRC-32C (Castagnoli, reflected 0x82F63B78, as in iSCSI, RFC 3720 B.4). `crc` is the
// value of the bytes before, so that crc32c(b, crc32c(a)) == crc32c(a + b); a start value
// other than 0 acts as a seed. Any thread.
uint32_t crc32c(ByteView bytes, uint32_t crc = 0);

using Digest = std::array<uint8_t, 32>;

// SHA-256 (FIPS 180-4) over any number of pieces. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(ByteView bytes);
  // The digest of everything so far; the object starts anew.
  Digest finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Digest sha256(ByteView bytes);
inline std::string to_hex(const Digest& digest) { return to_hex(ByteView(digest)); }

}  // namespace llmc
