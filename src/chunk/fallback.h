// What stands in where a model gains nothing: zstd, or the bytes as they are.
//
// An object belongs to one thread; it keeps zstd's working memory between chunks.
#pragma once

#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/status.h"
#include "frame/frame.h"

namespace llmc {

struct ModelPayload {
  Codec codec = Codec::range;
  uint32_t tokens = 0;
  Bytes bytes;
};

class Fallback {
 public:
  Fallback();
  ~Fallback();
  Fallback(Fallback&&) noexcept;

  // The frame of a chunk: the smallest of the model's payload (where there is one), zstd -19
  // and (`zstd` false: only) the bytes as they are. Level 19 is slow beside a model on a GPU: where
  // a fast level is far behind the model it is not tried.
  Bytes frame(ByteView text, uint32_t chunk, uint32_t seed, const std::optional<ModelPayload>& model, bool zstd = true);

  // The text of a stored or zstd frame, all checks but the CRC of the text included.
  static Result<Bytes> text(const Frame& frame);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llmc
