#include "archive/user_block.h"

#include <algorithm>

#include "archive/format.h"
#include "frame/frame.h"
#include "plan/plan.h"

namespace llmc {
namespace {

// As in PNG: a high bit, a name, and the line ends and the end-of-file mark that text-mode
// copies break.
constexpr auto& magic = user_block_magic;
constexpr size_t crc_offset = user_block_bytes - 4;

void read_digest(ByteReader& in, Digest* digest) {
  const ByteView bytes = in.bytes(digest->size());
  if (bytes.size() == digest->size()) std::copy(bytes.begin(), bytes.end(), digest->begin());
}

}  // namespace

std::string shard_name(uint32_t shard) {
  std::string digits = std::to_string(shard);
  return "shard-" + std::string(6 - std::min<size_t>(6, digits.size()), '0') + digits + ".h5";
}

Status newer_version(const std::string& name, uint64_t version, uint64_t features) {
  return {Code::failure, name + ": written by a newer version of llmc-batch (format " + std::to_string(version) +
                             ", features " + std::to_string(features) + "); this one reads format " +
                             std::to_string(archive_version)};
}

Digest adaptation_of(ByteView parameters) {
  Digest digest{};
  if (features_of(parameters) & feature_adaptation) std::copy_n(parameters.end() - digest.size(), digest.size(), digest.begin());
  return digest;
}

Bytes UserBlock::serialize() const {
  ByteWriter out;
  out.bytes(magic);
  out.u16(archive_version);
  out.u16(0);
  out.u32(features);
  out.u32(shard);
  out.u32(shards);
  out.u64(file_bytes);
  out.u64(text_bytes);
  out.u64(text_offset);
  out.u32(chunk_bytes);
  out.u32(chunks);
  out.u32(seed);
  out.u32(0);
  out.u64(index_offset);
  out.u64(index_bytes);
  out.u64(index_plain_bytes);
  out.bytes(model);
  out.bytes(plan);
  out.bytes(index);
  out.bytes(body);
  out.u64(dictionary_offset);
  out.u32(dictionary_bytes);
  out.u32(dictionary_text);
  out.bytes(dictionary);
  out.u64(adaptation_offset);
  out.u32(adaptation_bytes);
  Bytes bytes = out.take();
  bytes.resize(crc_offset);
  ByteWriter crc;
  crc.u32(crc32c(bytes));
  bytes.insert(bytes.end(), crc.view().begin(), crc.view().end());
  return bytes;
}

Result<UserBlock> UserBlock::parse(ByteView bytes, uint64_t file_bytes, const std::string& name) {
  auto refuse = [&](const std::string& what) { return Status(Code::corrupt, name + ": " + what); };
  if (bytes.size() < user_block_bytes || file_bytes < user_block_bytes) {
    return refuse("not an archive, or cut off: shorter than 512 bytes");
  }
  bytes = bytes.first(user_block_bytes);
  if (!std::equal(std::begin(magic), std::end(magic), bytes.begin())) {
    const bool zero = std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
    return refuse(zero ? "its first 512 bytes are zero: never finished, or damaged" : "not an archive");
  }
  ByteReader tail(bytes.subspan(crc_offset));
  if (tail.u32() != crc32c(bytes.first(crc_offset))) return refuse("the user block is damaged (CRC)");
  ByteReader in(bytes.first(crc_offset).subspan(sizeof magic));
  UserBlock b;
  const uint16_t version = in.u16();
  const uint16_t zero16 = in.u16();
  b.features = in.u32();
  if (version > archive_version || (b.features & ~known_features) != 0) {
    return newer_version(name, version, b.features);
  }
  b.shard = in.u32();
  b.shards = in.u32();
  b.file_bytes = in.u64();
  b.text_bytes = in.u64();
  b.text_offset = in.u64();
  b.chunk_bytes = in.u32();
  b.chunks = in.u32();
  b.seed = in.u32();
  const uint32_t zero32 = in.u32();
  b.index_offset = in.u64();
  b.index_bytes = in.u64();
  b.index_plain_bytes = in.u64();
  read_digest(in, &b.model);
  read_digest(in, &b.plan);
  read_digest(in, &b.index);
  read_digest(in, &b.body);
  b.dictionary_offset = in.u64();
  b.dictionary_bytes = in.u32();
  b.dictionary_text = in.u32();
  read_digest(in, &b.dictionary);
  b.adaptation_offset = in.u64();
  b.adaptation_bytes = in.u32();
  const ByteView rest = in.bytes(in.left());
  if (b.file_bytes != file_bytes) {
    return refuse((file_bytes < b.file_bytes ? "cut off: " : "bytes were added: ") + std::to_string(file_bytes) +
                  " bytes instead of " + std::to_string(b.file_bytes));
  }
  // A CRC that fits is no proof of good will: the fields must agree with each other as well.
  const uint64_t limit = uint64_t{1} << 62;
  const uint64_t chunks = b.chunk_bytes ? (b.text_bytes + b.chunk_bytes - 1) / b.chunk_bytes : 0;
  const bool no_dictionary = b.dictionary_offset == 0 && b.dictionary_bytes == 0 && b.dictionary_text == 0 && b.dictionary == Digest{};
  const bool a_dictionary = (b.features & feature_dictionary) != 0 && b.chunk_bytes <= max_primed_chunk_bytes &&
                            b.dictionary_offset >= user_block_bytes && b.dictionary_offset <= file_bytes &&
                            b.dictionary_bytes > frame_header_bytes && b.dictionary_bytes <= file_bytes - b.dictionary_offset &&
                            b.dictionary_text <= max_dictionary_bytes && b.dictionary_bytes - frame_header_bytes < b.dictionary_text;
  const bool sound_adaptation = (b.features & feature_adaptation) == 0
                                    ? b.adaptation_offset == 0 && b.adaptation_bytes == 0
                                    : b.adaptation_offset >= user_block_bytes && b.adaptation_offset <= file_bytes &&
                                          b.adaptation_bytes > 0 && b.adaptation_bytes <= file_bytes - b.adaptation_offset &&
                                          b.adaptation_bytes <= max_plan_adaptation_bytes;
  const bool sound = (no_dictionary || a_dictionary) && sound_adaptation && version != 0 && zero16 == 0 && zero32 == 0 &&
                     std::all_of(rest.begin(), rest.end(), [](uint8_t x) { return x == 0; }) && b.shards >= 1 &&
                     b.shards <= max_shards && b.shard < b.shards && b.text_bytes <= limit && b.text_offset <= limit &&
                     b.chunk_bytes >= 1 && b.chunk_bytes <= max_chunk_bytes && b.chunks == chunks &&
                     b.chunks <= file_bytes / frame_header_bytes && b.index_offset >= user_block_bytes &&
                     b.index_offset <= file_bytes && b.index_bytes >= 1 &&
                     b.index_bytes <= file_bytes - b.index_offset && b.index_bytes <= max_stored_index_bytes &&
                     b.index_plain_bytes <= max_index_bytes;
  if (!sound) return refuse("the user block contradicts itself");
  return b;
}

}  // namespace llmc
