#include "archive/file_digest.h"

#include <algorithm>

namespace llmc {

Result<Digest> file_digest(const File& file, const StopRequest& stop) {
  LLMC_ASSIGN(const uint64_t size, file.size());
  Sha256 hash;
  Bytes buffer(1u << 20);
  for (uint64_t at = 0; at < size;) {
    if (stop && stop()) return Status(Code::interrupted, "interrupted");
    const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), size - at));
    LLMC_TRY(file.read_at(at, part));
    hash.update(part);
    at += part.size();
  }
  return hash.finish();
}

}  // namespace llmc
