#include "frame/frame.h"

#include <algorithm>
#include <array>

#include "base/checksum.h"

namespace llmc {
namespace {

constexpr std::array<uint8_t, 4> magic = {0x8C, 'L', 'C', 'F'};
constexpr uint8_t version = 1;
constexpr size_t crc_offset = 28;

constexpr std::pair<Codec, const char*> names[] = {
    {Codec::stored, "stored"}, {Codec::zstd, "zstd"}, {Codec::range, "range"},
    {Codec::mix, "mix"},       {Codec::rank, "rank"}, {Codec::primed, "primed"},
    {Codec::dictionary, "dictionary"},
};

uint32_t frame_crc(ByteView header, ByteView payload, uint32_t seed) {
  return crc32c(payload, crc32c(header.first(crc_offset), seed));
}

Status corrupt(const std::string& what) { return {Code::corrupt, what}; }

// All that can be told of the fields without the CRC; `bytes` may go on after the frame.
Status read_header(ByteView bytes, Frame* frame, size_t* frame_size) {
  if (bytes.size() < frame_header_bytes) {
    return corrupt("the frame is cut off after " + std::to_string(bytes.size()) + " of 32 header bytes");
  }
  if (!std::equal(magic.begin(), magic.end(), bytes.begin())) return corrupt("these bytes do not begin with a frame");
  ByteReader in(bytes.subspan(magic.size()));
  const uint8_t found_version = in.u8();
  if (found_version != version) {
    return corrupt("frame version " + std::to_string(found_version) + " is not known to this version of llmc-batch");
  }
  const uint8_t codec = in.u8();
  if (codec > static_cast<uint8_t>(Codec::dictionary)) {
    return corrupt("frame codec " + std::to_string(codec) + " is not known to this version of llmc-batch");
  }
  frame->codec = static_cast<Codec>(codec);
  if (in.u16() != 0) return corrupt("a reserved field of the frame is not zero");
  frame->chunk = in.u32();
  frame->text_size = in.u32();
  frame->tokens = in.u32();
  const uint32_t payload_size = in.u32();
  frame->text_crc = in.u32();

  const bool modelled = frame->codec != Codec::stored && frame->codec != Codec::zstd;
  if (frame->text_size > max_chunk_bytes) {
    return corrupt("the frame claims a text of " + std::to_string(frame->text_size) + " bytes, more than 1 GiB");
  }
  const bool dictionary = frame->codec == Codec::dictionary;
  if (dictionary != (frame->chunk == frame_dictionary) || (dictionary && frame->text_size > max_dictionary_bytes)) {
    return corrupt("the frame is neither that of a chunk nor a dictionary");
  }
  if (modelled ? frame->tokens == 0 || frame->tokens > frame->text_size : frame->tokens != 0) {
    return corrupt("the frame claims " + std::to_string(frame->tokens) + " tokens for " +
                   std::to_string(frame->text_size) + " bytes of text");
  }
  // An encoder stores what it cannot shrink.
  if (frame->codec == Codec::stored ? payload_size != frame->text_size : payload_size >= frame->text_size) {
    return corrupt("the frame claims a payload of " + std::to_string(payload_size) + " bytes for " +
                   std::to_string(frame->text_size) + " bytes of text");
  }
  *frame_size = frame_header_bytes + payload_size;
  return {};
}

}  // namespace

const char* codec_name(Codec codec) {
  for (const auto& [value, name] : names) {
    if (value == codec) return name;
  }
  return "unknown";
}

Result<Codec> codec_from_name(const std::string& name) {
  std::string known;
  for (const auto& [value, candidate] : names) {
    if (value == Codec::primed || value == Codec::dictionary) continue;
    if (name == candidate) return value;
    known += known.empty() ? candidate : std::string(", ") + candidate;
  }
  return Status(Code::usage, "there is no codec \"" + name + "\"; the codecs are " + known);
}

Bytes make_frame(const Frame& frame, uint32_t seed) {
  ByteWriter out;
  out.bytes(magic);
  out.u8(version);
  out.u8(static_cast<uint8_t>(frame.codec));
  out.u16(0);
  out.u32(frame.chunk);
  out.u32(frame.text_size);
  out.u32(frame.tokens);
  out.u32(static_cast<uint32_t>(frame.payload.size()));
  out.u32(frame.text_crc);
  out.u32(frame_crc(out.view(), frame.payload, seed));
  out.bytes(frame.payload);
  return out.take();
}

Result<Frame> parse_frame(ByteView bytes, uint32_t seed) {
  Frame frame;
  size_t size = 0;
  LLMC_TRY(read_header(bytes, &frame, &size));
  if (size != bytes.size()) {
    return corrupt("the frame is " + std::to_string(bytes.size()) + " bytes long and claims " + std::to_string(size));
  }
  frame.payload = bytes.subspan(frame_header_bytes);
  ByteReader stored_crc(bytes.subspan(crc_offset));
  if (frame_crc(bytes, frame.payload, seed) != stored_crc.u32()) {
    return corrupt("the checksum of the frame does not match: it is damaged or belongs to another archive");
  }
  return frame;
}

bool peek_frame(ByteView bytes, Frame* frame, size_t* frame_size) {
  Frame found;
  size_t size = 0;
  if (!read_header(bytes, &found, &size).ok() || size > bytes.size()) return false;
  found.payload = bytes.subspan(frame_header_bytes, size - frame_header_bytes);
  *frame = found;
  *frame_size = size;
  return true;
}

size_t find_frame(ByteView bytes, size_t from) {
  Frame frame;
  size_t size = 0;
  while (from < bytes.size()) {
    const auto at = std::search(bytes.begin() + from, bytes.end(), magic.begin(), magic.end());
    if (at == bytes.end()) break;
    from = at - bytes.begin();
    if (peek_frame(bytes.subspan(from), &frame, &size)) return from;
    ++from;
  }
  return std::string::npos;
}

}  // namespace llmc
