#include "archive/shard_file.h"

#include "archive/format.h"

namespace llmc {
namespace {

Result<UserBlock> block_of(const File& file, Digest* digest) {
  LLMC_ASSIGN(const uint64_t size, file.size());
  Bytes bytes(std::min<uint64_t>(size, user_block_bytes));
  LLMC_TRY(file.read_at(0, bytes));
  if (digest) *digest = sha256(bytes);
  return UserBlock::parse(bytes, size, printable(file.path().native()));
}

}  // namespace

Result<UserBlock> ShardFile::read_block(const std::filesystem::path& path, Digest* digest) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  return block_of(file, digest);
}

Result<ShardFile> ShardFile::open(const std::filesystem::path& path) {
  ShardFile shard;
  LLMC_ASSIGN(shard.file_, File::open_read(path));
  LLMC_ASSIGN(shard.block_, block_of(shard.file_, &shard.block_digest_));
  // At most the file's own length, which the block was checked against.
  Bytes stored(shard.block_.index_bytes);
  LLMC_TRY(shard.file_.read_at(shard.block_.index_offset, stored));
  LLMC_ASSIGN(shard.index_, ShardIndex::unpack(stored, shard.block_, printable(path.native())));
  return shard;
}

Result<Bytes> ShardFile::read_frame(uint32_t chunk) const {
  const std::string where = printable(file_.path().native()) + ": shard " + std::to_string(block_.shard) + " chunk " +
                            std::to_string(chunk);
  if (chunk >= index_.chunks.size()) return Status(Code::usage, where + ": there is no such chunk");
  const IndexChunk& expected = index_.chunks[chunk];
  Bytes bytes(expected.frame_size);
  LLMC_TRY(file_.read_at(expected.offset, bytes));
  auto frame = parse_frame(bytes, block_.seed);
  if (!frame.ok()) return frame.status().with(where);
  if (frame->chunk != chunk || frame->text_size != block_.chunk_size(chunk) || frame->tokens != expected.tokens ||
      frame->codec != expected.codec || frame->text_crc != expected.text_crc) {
    return Status(Code::corrupt, where + ": the frame is not the one that the index speaks of");
  }
  return bytes;
}

Result<Bytes> ShardFile::read_dictionary() const {
  const std::string where = printable(file_.path().native()) + ": the dictionary of shard " + std::to_string(block_.shard);
  Bytes bytes(block_.dictionary_bytes);
  LLMC_TRY(file_.read_at(block_.dictionary_offset, bytes));
  if (sha256(bytes) != block_.dictionary) return Status(Code::corrupt, where + " is damaged (SHA-256)");
  auto frame = parse_frame(bytes, block_.seed);
  if (!frame.ok()) return frame.status().with(where);
  if (frame->codec != Codec::dictionary || frame->text_size != block_.dictionary_text) {
    return Status(Code::corrupt, where + " is not the one that the user block speaks of");
  }
  return bytes;
}

Result<Bytes> ShardFile::read_adaptation() const {
  Bytes bytes(block_.adaptation_bytes);
  if (bytes.empty()) return bytes;
  LLMC_TRY(file_.read_at(block_.adaptation_offset, bytes));
  if (sha256(bytes) == adaptation_of(index_.parameters)) return bytes;
  return Status(Code::corrupt, printable(file_.path().native()) + ": the adaptation in shard " + std::to_string(block_.shard) + " is damaged (SHA-256)");
}

}  // namespace llmc
