#include "corpus/plain_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/fault.h"

namespace llmc {

namespace {

constexpr size_t kPackedBlock = size_t{1} << 17;

SourceFacts facts_of(const struct stat& st) {
  return {static_cast<uint64_t>(st.st_size), st.st_mtim.tv_sec * int64_t{1000000000} + st.st_mtim.tv_nsec,
          static_cast<uint64_t>(st.st_ino)};
}

}  // namespace

// Turns packed bytes into plain ones. The subclass decodes, this class feeds it.
class Unpacker {
 public:
  explicit Unpacker(Sha256* digest) : buffer_(kPackedBlock), digest_(digest) {}
  virtual ~Unpacker() = default;

  Result<size_t> read(File& file, std::span<uint8_t> out) {
    size_t done = 0;
    while (done < out.size()) {
      if (rest_.empty() && !end_) LLMC_TRY(refill(file));
      if (between_) {
        if (rest_.empty()) break;
        LLMC_ASSIGN(const bool more, begin_member());
        if (!more) continue;
      }
      const size_t left = rest_.size();
      LLMC_ASSIGN(const size_t n, decode(out.subspan(done)));
      done += n;
      if (n == 0 && rest_.size() == left && !between_ && rest_.empty() && end_) {
        return Status(Code::corrupt, "the packed data ends too early");
      }
    }
    return done;
  }

 protected:
  // At the first byte of a member; false where this was padding and has been passed over.
  virtual Result<bool> begin_member() = 0;
  // Takes from rest_, sets between_ at the end of a member. Makes no progress only if rest_ is empty.
  virtual Result<size_t> decode(std::span<uint8_t> out) = 0;

  ByteView rest_;
  bool between_ = true;

 private:
  Status refill(File& file) {
    LLMC_ASSIGN(const size_t n, file.read(buffer_));
    end_ = n == 0;
    rest_ = ByteView(buffer_).first(n);
    if (digest_) digest_->update(rest_);
    return {};
  }
  Bytes buffer_;
  Sha256* digest_;
  bool end_ = false;
};

namespace {

class GzipUnpacker : public Unpacker {
 public:
  explicit GzipUnpacker(Sha256* digest) : Unpacker(digest) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: gzip, with its CRC
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

 protected:
  Result<bool> begin_member() override {
    if (any_ && rest_[0] == 0) padding_ = true;
    if (padding_) {
      for (const uint8_t b : rest_) {
        if (b != 0) return Status(Code::corrupt, "other bytes follow the padding behind the gzip data");
      }
      rest_ = {};
      return false;
    }
    inflateReset(&stream_);
    any_ = true;
    between_ = false;
    return true;
  }
  Result<size_t> decode(std::span<uint8_t> out) override {
    const auto room = static_cast<uInt>(std::min<size_t>(out.size(), 1u << 30));
    stream_.next_in = const_cast<Bytef*>(rest_.data());
    stream_.avail_in = static_cast<uInt>(rest_.size());
    stream_.next_out = out.data();
    stream_.avail_out = room;
    const int rc = inflate(&stream_, Z_NO_FLUSH);
    rest_ = rest_.last(stream_.avail_in);
    if (rc == Z_MEM_ERROR) throw std::bad_alloc();
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
      return Status(Code::corrupt, std::string("the gzip data is damaged (") + (stream_.msg ? stream_.msg : "?") + ")");
    }
    between_ = rc == Z_STREAM_END;
    return room - stream_.avail_out;
  }

 private:
  z_stream stream_{};
  bool any_ = false, padding_ = false;
};

// The decoder's default window limit (128 MiB) stays: a header may not ask for more memory.
class ZstdUnpacker : public Unpacker {
 public:
  explicit ZstdUnpacker(Sha256* digest) : Unpacker(digest), stream_(ZSTD_createDStream()) {
    if (!stream_) throw std::bad_alloc();
  }
  ~ZstdUnpacker() override { ZSTD_freeDStream(stream_); }

 protected:
  Result<bool> begin_member() override {
    between_ = false;
    return true;
  }
  Result<size_t> decode(std::span<uint8_t> out) override {
    ZSTD_inBuffer in{rest_.data(), rest_.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const size_t rc = ZSTD_decompressStream(stream_, &to, &in);
    if (ZSTD_isError(rc)) {
      return Status(Code::corrupt, std::string("the zstd data is damaged (") + ZSTD_getErrorName(rc) + ")");
    }
    rest_ = rest_.subspan(in.pos);
    between_ = rc == 0;
    return to.pos;
  }

 private:
  ZSTD_DStream* stream_;
};

}  // namespace

PlainSource::PlainSource(File file, const SourceFacts& facts) : file_(std::move(file)), facts_(facts) {}
PlainSource::PlainSource(PlainSource&&) noexcept = default;
PlainSource& PlainSource::operator=(PlainSource&&) noexcept = default;
PlainSource::~PlainSource() = default;

Result<PlainSource> PlainSource::open(const std::string& path, Packing packing, Sha256* packed_digest) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return errno_status(errno, path);
  if (!S_ISREG(st.st_mode)) return Status(Code::failure, printable(path) + ": is not a regular file");
  LLMC_ASSIGN(File file, File::open_read(path));
  if (::fstat(file.descriptor(), &st) != 0) return errno_status(errno, path);
  if (!S_ISREG(st.st_mode)) return Status(Code::failure, printable(path) + ": is not a regular file");
  ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_SEQUENTIAL);
  PlainSource source(std::move(file), facts_of(st));
  if (packing == Packing::gzip) source.unpacker_ = std::make_unique<GzipUnpacker>(packed_digest);
  if (packing == Packing::zstd) source.unpacker_ = std::make_unique<ZstdUnpacker>(packed_digest);
  return source;
}

Result<SourceFacts> PlainSource::facts_now() const {
  struct stat st;
  if (::fstat(file_.descriptor(), &st) != 0) return errno_status(errno, file_.path());
  return facts_of(st);
}

Result<size_t> PlainSource::read(std::span<uint8_t> out) {
  if (const Status fault = fault_point("corpus.read"); !fault.ok()) return fault.with(printable(file_.path().native()));
  size_t done = 0;
  if (unpacker_) {
    auto n = unpacker_->read(file_, out);
    if (!n.ok()) {
      return n.status().code() == Code::corrupt ? n.status().with(printable(file_.path().native())) : n.status();
    }
    done = *n;
  } else {
    while (done < out.size()) {
      LLMC_ASSIGN(const size_t n, file_.read(out.subspan(done)));
      if (n == 0) break;
      done += n;
    }
  }
  position_ += done;
  return done;
}

Status PlainSource::skip(uint64_t n) {
  const auto too_short = [&] {
    return Status(Code::corrupt,
                  printable(file_.path().native()) + ": ends before byte " + std::to_string(position_ + n));
  };
  if (!unpacker_) {
    LLMC_ASSIGN(const uint64_t size, file_.size());
    if (position_ > size || n > size - position_) return too_short();
    LLMC_TRY(file_.seek(position_ + n));
    position_ += n;
    return {};
  }
  Bytes scratch(static_cast<size_t>(std::min<uint64_t>(n, 1u << 16)));
  while (n > 0) {
    const auto part = std::span(scratch).first(static_cast<size_t>(std::min<uint64_t>(n, scratch.size())));
    LLMC_ASSIGN(const size_t got, read(part));
    n -= got;
    if (got < part.size()) return too_short();
  }
  return {};
}

Packing packing_of(ByteView head) {
  if (head.size() >= 3 && head[0] == 0x1F && head[1] == 0x8B && head[2] == 8) return Packing::gzip;
  if (head.size() >= 4 && head[1] == 0xB5 && head[2] == 0x2F && head[3] == 0xFD && head[0] == 0x28)
    return Packing::zstd;
  // A skippable frame, with which pzstd and seekable files begin.
  if (head.size() >= 4 && head[0] >> 4 == 5 && head[1] == 0x2A && head[2] == 0x4D && head[3] == 0x18)
    return Packing::zstd;
  return Packing::none;
}

}  // namespace llmc
