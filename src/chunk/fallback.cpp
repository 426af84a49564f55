#include "chunk/fallback.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <new>

#include "base/checksum.h"

namespace llmc {
namespace {

constexpr int best_level = 19;
constexpr int fast_level = 3;
// Level 19 is seldom a third smaller than level 3.
constexpr size_t hopeless_numerator = 3, hopeless_denominator = 2;
// Windows that a decoder takes without being asked to (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
constexpr int most_window_log = 27;
constexpr size_t text_at_once = size_t{1} << 20;
constexpr size_t level_window = size_t{1} << 23;  // what level 19 would use for any longer text

}  // namespace

struct Fallback::Impl {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  Bytes buffer;

  Impl() {
    if (!context) throw std::bad_alloc();
  }
  ~Impl() { ZSTD_freeCCtx(context); }

  // Empty where the result would not be smaller than `limit` bytes.
  ByteView compress(ByteView text, int level, size_t limit) {
    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    if (level == best_level && text.size() > level_window) {
      ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, std::min<int>(std::bit_width(text.size() - 1), most_window_log));
    }
    buffer.resize(std::max(buffer.size(), ZSTD_compressBound(text.size())));
    const size_t n = ZSTD_compress2(context, buffer.data(), buffer.size(), text.data(), text.size());
    if (ZSTD_isError(n) || n >= limit) return {};
    return ByteView(buffer).first(n);
  }
};

Fallback::Fallback() : impl_(std::make_unique<Impl>()) {}
Fallback::~Fallback() = default;
Fallback::Fallback(Fallback&&) noexcept = default;

Bytes Fallback::frame(ByteView text, uint32_t chunk, uint32_t seed, const std::optional<ModelPayload>& model,
                      bool zstd) {
  Frame frame;
  frame.chunk = chunk;
  frame.text_size = static_cast<uint32_t>(text.size());
  frame.text_crc = crc32c(text);
  frame.codec = Codec::stored;
  frame.payload = text;
  if (model && model->bytes.size() < frame.payload.size()) {
    frame.codec = model->codec;
    frame.tokens = model->tokens;
    frame.payload = model->bytes;
  }
  const bool modelled = frame.codec != Codec::stored;
  const size_t worth = frame.payload.size() * hopeless_numerator / hopeless_denominator;
  if (zstd && !text.empty() && (!modelled || !impl_->compress(text, fast_level, worth).empty())) {
    const ByteView best = impl_->compress(text, best_level, frame.payload.size());
    if (!best.empty()) {
      frame.codec = Codec::zstd;
      frame.tokens = 0;
      frame.payload = best;
    }
  }
  return make_frame(frame, seed);
}

Result<Bytes> Fallback::text(const Frame& frame) {
  if (frame.codec == Codec::stored) return Bytes(frame.payload.begin(), frame.payload.end());
  // A block of zstd takes at least 4 bytes and holds at most 128 KiB: no memory for what cannot be.
  if (frame.text_size > (frame.payload.size() / 4 + 1) * uint64_t{ZSTD_BLOCKSIZE_MAX}) {
    return Status(Code::corrupt, "the zstd payload is too short for its text");
  }
  const auto damaged = [](size_t error) { return Status(Code::corrupt, std::string("the zstd payload is damaged: ") + ZSTD_getErrorName(error)); };
  const auto holds = [&](size_t bytes) {
    return Status(Code::corrupt, "the zstd payload holds " + std::to_string(bytes) + " bytes, not " + std::to_string(frame.text_size));
  };
  if (frame.text_size <= text_at_once) {
    Bytes text(frame.text_size);
    const size_t n = ZSTD_decompress(text.data(), text.size(), frame.payload.data(), frame.payload.size());
    if (ZSTD_isError(n)) return damaged(n);
    if (n != text.size()) return holds(n);
    return text;
  }
  // Memory grows with what comes out, never with what a frame claims.
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) throw std::bad_alloc();
  Bytes text;
  ZSTD_inBuffer in{frame.payload.data(), frame.payload.size(), 0};
  for (size_t hint = 1; hint != 0;) {
    const size_t filled = text.size(), taken = in.pos;
    text.resize(std::min<size_t>(frame.text_size, std::max(text_at_once, 2 * filled)));
    ZSTD_outBuffer out{text.data(), text.size(), filled};
    hint = ZSTD_decompressStream(context.get(), &out, &in);
    text.resize(out.pos);
    if (ZSTD_isError(hint)) return damaged(hint);
    if (hint != 0 && out.pos == filled && in.pos == taken) {
      if (out.pos == frame.text_size) return Status(Code::corrupt, "the zstd payload holds more than its text");
      return Status(Code::corrupt, "the zstd payload is cut off");
    }
  }
  if (in.pos != in.size) return Status(Code::corrupt, "the zstd payload holds more than its text");
  if (text.size() != frame.text_size) return holds(text.size());
  return text;
}

}  // namespace llmc
