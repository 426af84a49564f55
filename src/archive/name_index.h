// A file of sorted names: where in a set each entry stands. Beside the shards of large and of appended sets, so that
// a look-up reads three or four small blocks and no shard's index.
//
// A static tree: leaves of some 16 KiB of names that share their beginnings, above them blocks of the first names
// of those below, up to one root; each block zstd and a CRC. docs/FORMAT.md 6.2 has every byte. It repeats what
// the shards' indexes say and can be made from them again: what it answers is held against the shard.
//
// Each object is one thread's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/status.h"

namespace llmc {

// An entry, or the first piece of one that is cut.
struct NamedPlace {
  std::string name;
  uint32_t shard = 0;  // number in the set
  uint32_t entry = 0;  // in that shard's index
};

// Names in rising order.
class NameStream {
 public:
  virtual ~NameStream() = default;
  // Null at the end. Valid until the next call.
  virtual Result<const NamedPlace*> next() = 0;
  // The first name that is not before `name`, going on from where the stream stands: never back.
  virtual Result<const NamedPlace*> seek(std::string_view name);

 protected:
  const NamedPlace* here_ = nullptr;  // what next() gave last
};

struct NameIndexFacts {
  uint64_t names = 0, bytes = 0;
  Digest sha256{};
};

// A block ends with the name that reaches it.
inline constexpr size_t name_block_bytes = 16384;

// Writes names that rise; the same names give the same bytes. Memory: a block, and of each block made its first name and
// some 60 bytes.
class NameIndexWriter {
 public:
  // Of these shards of a set. Tests make deep trees of few names by small blocks, which must hold two names at least.
  static Result<NameIndexWriter> create(const std::filesystem::path& path, uint32_t first_shard, uint32_t shards,
                                        size_t block_bytes = name_block_bytes);
  // Code::corrupt where the name does not rise, or the place is not in these shards.
  Status add(const NamedPlace& place);
  // The file is on the device when this returns.
  Result<NameIndexFacts> finish();

 private:
  struct Block {
    std::string first;
    uint32_t bytes = 0, plain = 0;
  };
  NameIndexWriter() = default;
  Status put(ByteView bytes);
  Status close_block(std::vector<Block>* level);

  File file_;
  Sha256 hash_;
  uint32_t first_shard_ = 0, shards_ = 0;
  size_t block_bytes_ = name_block_bytes;
  uint64_t at_ = 0, names_ = 0;
  ByteWriter plain_;
  std::string first_, last_;  // names of the open block
  std::string newest_;
  std::vector<Block> leaves_;
};

class NameIndex {
 public:
  // Code::missing, or Code::corrupt where it is not a whole index of these shards. Reads header, trailer and root.
  static Result<NameIndex> open(const std::filesystem::path& path, uint32_t first_shard, uint32_t shards);

  uint64_t names() const { return names_; }
  uint64_t bytes() const { return bytes_; }
  Result<std::optional<NamedPlace>> find(std::string_view name);
  // Of all blocks since open(): what look-ups cost.
  uint64_t blocks_read() const { return blocks_read_; }

 private:
  friend class NameIndexStream;
  struct Child {
    std::string first;
    uint64_t offset = 0;
    uint32_t bytes = 0, plain = 0;
  };
  struct Node {  // a block, taken apart: one of the two is empty
    uint64_t offset = 0;
    std::vector<Child> children;
    std::vector<NamedPlace> places;
  };
  Status corrupt(const char* what) const;
  Result<Node> read_block(uint64_t offset, uint32_t bytes, uint32_t plain, uint32_t level);
  // The block that would hold `name`, from the root down; blocks that were read last are kept.
  Result<const Node*> leaf_of(std::string_view name);

  File file_;
  uint32_t first_shard_ = 0, shards_ = 0, levels_ = 0;
  uint64_t names_ = 0, bytes_ = 0, blocks_read_ = 0;
  std::vector<Node> path_;  // [0] the root
};

// All names of an index, or from the one sought on. The index outlives it and answers nobody else meanwhile.
class NameIndexStream : public NameStream {
 public:
  explicit NameIndexStream(NameIndex& index) : index_(index) {}
  Result<const NamedPlace*> next() override;
  Result<const NamedPlace*> seek(std::string_view name) override;

 private:
  struct Level {
    NameIndex::Node node;
    size_t at = 0;
  };
  Status descend(std::string_view name, bool from_start);
  NameIndex& index_;
  std::vector<Level> levels_;  // from the root to the leaf
  std::string last_;           // name that was given; none is empty
};

}  // namespace llmc
