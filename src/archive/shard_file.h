// One shard file, open for reading.
//
// libhdf5 is never called: it is no safe parser. The user block (CRC, length of the file, each
// field) says where the index stands, its SHA-256 covers the index, and the index says where
// each frame stands; these are read by position. So nothing but this folder's own parsers sees a
// byte of an untrusted file.
//
// Immutable once open: read_frame may be called by many threads.
#pragma once

#include <filesystem>

#include "archive/shard_index.h"
#include "archive/user_block.h"
#include "base/file.h"

namespace llmc {

class ShardFile {
 public:
  // Code::missing where there is none, Code::corrupt where it is not ours, damaged or cut off,
  // Code::failure where a newer version wrote it.
  static Result<ShardFile> open(const std::filesystem::path& path);
  // The block alone, and its SHA-256.
  static Result<UserBlock> read_block(const std::filesystem::path& path, Digest* digest = nullptr);

  const UserBlock& block() const { return block_; }
  const Digest& block_digest() const { return block_digest_; }
  const ShardIndex& index() const { return index_; }
  const File& file() const { return file_; }

  // The frame of one chunk, with its CRC checked and all that the index says about it.
  Result<Bytes> read_frame(uint32_t chunk) const;
  bool has_dictionary() const { return block_.dictionary_bytes > 0; }
  // The frame of the shard's dictionary, checked in the same way; only where there is one.
  Result<Bytes> read_dictionary() const;
  // What the model is to be adapted with (model/adaptation.h), held against the digest in the coding parameters; no
  // bytes where they name none.
  Result<Bytes> read_adaptation() const;

 private:
  File file_;
  UserBlock block_;
  Digest block_digest_{};
  ShardIndex index_;
};

}  // namespace llmc
