#include "archive/name_index.h"

#include <zstd.h>

#include <algorithm>
#include <memory>

#include "plan/plan.h"

namespace llmc {
namespace {

constexpr uint8_t index_magic[8] = {0x89, 'L', 'L', 'C', 'N', 'A', 'M', '\n'};
constexpr size_t header_bytes = 16, trailer_bytes = 48;
constexpr size_t max_block_plain = 32768, max_block_bytes = 34000;
constexpr size_t crc_bytes = 4;

// No set has names that need more levels: a name takes five varints at most beside its own bytes, so at least four rows make a
// block, but for the last of a level; and four times as many names make one level more.
constexpr uint32_t max_levels = 20;
constexpr size_t max_row_bytes = max_name_bytes + 5 * 10;
static_assert(3 * max_row_bytes < name_block_bytes && name_block_bytes + max_row_bytes < max_block_plain);
static_assert(uint64_t{max_shards} * max_shard_pieces <= uint64_t{1} << (2 * max_levels));

Bytes shrink(ByteView plain) {
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, 3);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0);  // the block above has it
  Bytes out(ZSTD_compressBound(plain.size()));
  const size_t n = ZSTD_compress2(context.get(), out.data(), out.size(), plain.data(), plain.size());
  if (ZSTD_isError(n)) std::abort();  // only for want of memory: the bound holds
  out.resize(n);
  return out;
}

size_t shared_bytes(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

void put_name(ByteWriter& out, std::string_view before, std::string_view name) {
  const size_t shared = shared_bytes(name, before);
  out.varint(shared);
  out.string(name.substr(shared));
}

// False where it does not rise or is none.
bool take_name(ByteReader& in, std::string_view before, bool first, std::string* name) {
  const uint64_t shared = in.varint();
  const std::string_view rest = in.string();
  if (!in.ok() || shared > before.size() || shared + rest.size() > max_name_bytes) return false;
  *name = std::string(before.substr(0, shared)).append(rest);
  return first || *name > before;
}

}  // namespace

Result<const NamedPlace*> NameStream::seek(std::string_view name) {
  while (!here_ || here_->name < name) {
    LLMC_ASSIGN(here_, next());
    if (!here_) break;
  }
  return here_;
}

Result<NameIndexWriter> NameIndexWriter::create(const std::filesystem::path& path, uint32_t first_shard, uint32_t shards, size_t block_bytes) {
  NameIndexWriter writer;
  writer.block_bytes_ = block_bytes;
  LLMC_ASSIGN(writer.file_, File::create(path));
  writer.first_shard_ = first_shard;
  writer.shards_ = shards;
  ByteWriter header;
  header.bytes(index_magic);
  header.u32(first_shard);
  header.u32(shards);
  LLMC_TRY(writer.put(header.view()));
  return writer;
}

Status NameIndexWriter::put(ByteView bytes) {
  hash_.update(bytes);
  at_ += bytes.size();
  return file_.write(bytes);
}

Status NameIndexWriter::close_block(std::vector<Block>* level) {
  const Bytes plain = plain_.take();
  plain_ = ByteWriter();
  const Bytes packed = shrink(plain);
  ByteWriter crc;
  crc.u32(crc32c(packed, static_cast<uint32_t>(at_)));
  LLMC_TRY(put(crc.view()));
  LLMC_TRY(put(packed));
  level->push_back({std::move(first_), static_cast<uint32_t>(packed.size() + crc_bytes), static_cast<uint32_t>(plain.size())});
  first_.clear();
  last_.clear();
  return {};
}

Status NameIndexWriter::add(const NamedPlace& place) {
  const bool rises = names_ == 0 || place.name > newest_;
  const bool named = !place.name.empty() && place.name.size() <= max_name_bytes;
  const bool in_shards = place.shard >= first_shard_ && place.shard - first_shard_ < shards_;
  if (!rises || !named || !in_shards) {
    return {Code::corrupt, printable(place.name) + ": names of a set must rise and lie in its shards"};
  }
  if (plain_.size() == 0) first_ = place.name;
  put_name(plain_, last_, place.name);
  plain_.varint(place.shard - first_shard_);
  plain_.varint(place.entry);
  last_ = newest_ = place.name;
  ++names_;
  return plain_.size() >= block_bytes_ ? close_block(&leaves_) : Status();
}

Result<NameIndexFacts> NameIndexWriter::finish() {
  if (plain_.size() > 0 || leaves_.empty()) LLMC_TRY(close_block(&leaves_));
  std::vector<Block> level = std::move(leaves_);
  uint64_t begin = header_bytes;  // of the level's first block
  uint32_t levels = 1;
  for (; level.size() > 1; ++levels) {
    std::vector<Block> above;
    uint64_t offset = begin;
    begin = at_;
    for (const Block& block : level) {
      if (plain_.size() == 0) {
        first_ = block.first;
        plain_.varint(offset);
      }
      put_name(plain_, last_, block.first);
      plain_.varint(block.bytes);
      plain_.varint(block.plain);
      last_ = block.first;
      offset += block.bytes;
      if (plain_.size() >= block_bytes_) LLMC_TRY(close_block(&above));
    }
    if (plain_.size() > 0) LLMC_TRY(close_block(&above));
    level = std::move(above);
  }
  ByteWriter trailer;
  trailer.u64(names_);
  trailer.u64(begin);
  trailer.u32(level[0].bytes);
  trailer.u32(level[0].plain);
  trailer.u32(levels);
  trailer.u32(1);  // version
  trailer.u32(first_shard_);
  trailer.u32(crc32c(trailer.view(), shards_));
  trailer.bytes(index_magic);
  LLMC_TRY(put(trailer.view()));
  LLMC_TRY(file_.sync());
  LLMC_TRY(file_.close());
  return NameIndexFacts{names_, at_, hash_.finish()};
}

Status NameIndex::corrupt(const char* what) const {
  return {Code::corrupt, printable(file_.path().native()) + ": this index of names is damaged (" + what + ")"};
}

Result<NameIndex> NameIndex::open(const std::filesystem::path& path, uint32_t first_shard, uint32_t shards) {
  NameIndex index;
  LLMC_ASSIGN(index.file_, File::open_read(path));
  LLMC_ASSIGN(index.bytes_, index.file_.size());
  index.first_shard_ = first_shard;
  index.shards_ = shards;
  if (index.bytes_ < header_bytes + trailer_bytes) return index.corrupt("cut off");
  Bytes header(header_bytes), trailer(trailer_bytes);
  LLMC_TRY(index.file_.read_at(0, header));
  LLMC_TRY(index.file_.read_at(index.bytes_ - trailer_bytes, trailer));
  ByteReader head(ByteView(header).subspan(sizeof index_magic)), in(trailer);
  const bool ours = std::equal(std::begin(index_magic), std::end(index_magic), header.begin()) &&
                    std::equal(std::begin(index_magic), std::end(index_magic), trailer.end() - sizeof index_magic);
  if (!ours || head.u32() != first_shard || head.u32() != shards) return index.corrupt("begin or end");
  index.names_ = in.u64();
  const uint64_t root = in.u64();
  const uint32_t root_bytes = in.u32(), root_plain = in.u32();
  index.levels_ = in.u32();
  const uint32_t version = in.u32(), first_again = in.u32();
  if (in.u32() != crc32c(ByteView(trailer).first(36), shards)) return index.corrupt("end");
  if (version != 1 || first_again != first_shard || index.levels_ < 1 || index.levels_ > max_levels) return index.corrupt("end");
  index.path_.resize(index.levels_);
  LLMC_ASSIGN(index.path_[0], index.read_block(root, root_bytes, root_plain, 0));
  return index;
}

Result<NameIndex::Node> NameIndex::read_block(uint64_t offset, uint32_t bytes, uint32_t plain_bytes, uint32_t level) {
  const uint64_t end = bytes_ - trailer_bytes;
  if (bytes < crc_bytes || bytes > max_block_bytes || plain_bytes > max_block_plain || offset < header_bytes || offset > end ||
      bytes > end - offset) {
    return corrupt("place of a block");
  }
  Bytes stored(bytes), plain(plain_bytes);
  LLMC_TRY(file_.read_at(offset, stored));
  ++blocks_read_;
  const ByteView packed = ByteView(stored).subspan(crc_bytes);
  if (ByteReader(stored).u32() != crc32c(packed, static_cast<uint32_t>(offset))) return corrupt("CRC of a block");
  const size_t got = ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
  if (ZSTD_isError(got) || got != plain.size()) return corrupt("a block");
  Node node;
  node.offset = offset;
  ByteReader in(plain);
  std::string name;
  if (level + 1 < levels_) {
    uint64_t at = in.varint();
    while (in.left() > 0) {
      Child child;
      if (!take_name(in, name, node.children.empty(), &child.first)) return corrupt("names");
      const uint64_t child_bytes = in.varint(), child_plain = in.varint();
      if (child_bytes > max_block_bytes || child_plain > max_block_plain || at < header_bytes || at > end) {
        return corrupt("a block");
      }
      child.offset = at;
      child.bytes = static_cast<uint32_t>(child_bytes);
      child.plain = static_cast<uint32_t>(child_plain);
      at += child_bytes;
      name = child.first;
      node.children.push_back(std::move(child));
    }
    if (node.children.empty()) return corrupt("a block");
  } else {
    while (in.left() > 0) {
      NamedPlace place;
      if (!take_name(in, name, node.places.empty(), &place.name)) return corrupt("names");
      const uint64_t shard = in.varint(), entry = in.varint();
      if (shard >= shards_ || entry >= max_shard_pieces) return corrupt("a place");
      place.shard = first_shard_ + static_cast<uint32_t>(shard);
      place.entry = static_cast<uint32_t>(entry);
      name = place.name;
      node.places.push_back(std::move(place));
    }
    if (node.places.empty() && levels_ > 1) return corrupt("a block");
  }
  if (!in.ok()) return corrupt("a block");
  return node;
}

namespace {

// The last child that does not begin behind `name`; the first where all do.
template <class Children>
size_t child_of(const Children& children, std::string_view name) {
  const auto after = std::upper_bound(children.begin(), children.end(), name,
                                      [](std::string_view n, const auto& child) { return n < child.first; });
  return after == children.begin() ? 0 : static_cast<size_t>(after - children.begin()) - 1;
}

}  // namespace

Result<const NameIndex::Node*> NameIndex::leaf_of(std::string_view name) {
  for (uint32_t level = 0; level + 1 < levels_; ++level) {
    const Child child = path_[level].children[child_of(path_[level].children, name)];
    if (path_[level + 1].offset == child.offset) continue;
    LLMC_ASSIGN(path_[level + 1], read_block(child.offset, child.bytes, child.plain, level + 1));
  }
  return &path_.back();
}

Result<std::optional<NamedPlace>> NameIndex::find(std::string_view name) {
  LLMC_ASSIGN(const Node* const leaf, leaf_of(name));
  const auto at = std::partition_point(leaf->places.begin(), leaf->places.end(), [&](const NamedPlace& p) { return p.name < name; });
  if (at == leaf->places.end() || at->name != name) return std::optional<NamedPlace>();
  return std::optional(*at);
}

// From the lowest level that need not change down to the leaf.
Status NameIndexStream::descend(std::string_view name, bool from_start) {
  if (levels_.empty()) levels_.push_back({index_.path_[0], 0});
  for (uint32_t level = 0; level + 1 < index_.levels_; ++level) {
    Level& here = levels_[level];
    const size_t wanted = from_start ? here.at : std::max(here.at, child_of(here.node.children, name));
    if (wanted == here.at && levels_.size() > level + 1) continue;
    here.at = wanted;
    levels_.resize(level + 1);
    const NameIndex::Child& child = here.node.children[wanted];
    LLMC_ASSIGN(NameIndex::Node node, index_.read_block(child.offset, child.bytes, child.plain, level + 1));
    levels_.push_back({std::move(node), 0});
  }
  return {};
}

Result<const NamedPlace*> NameIndexStream::next() {
  if (levels_.empty()) {
    LLMC_TRY(descend({}, true));
  } else if (here_) {
    ++levels_.back().at;
  }
  here_ = nullptr;
  while (levels_.back().at >= levels_.back().node.places.size()) {
    // Up to the first level that goes on, and down to its next leaf.
    size_t level = levels_.size() - 1;
    do {
      if (level == 0) return here_;
      --level;
    } while (levels_[level].at + 1 >= levels_[level].node.children.size());
    ++levels_[level].at;
    levels_.resize(level + 1);
    LLMC_TRY(descend({}, true));
  }
  here_ = &levels_.back().node.places[levels_.back().at];
  // Over blocks too: a tree that leads to one block again and again has no end.
  if (here_->name <= last_) {
    here_ = nullptr;
    return index_.corrupt("names");
  }
  last_ = here_->name;
  return here_;
}

Result<const NamedPlace*> NameIndexStream::seek(std::string_view name) {
  if (here_ && here_->name >= name) return here_;
  if (levels_.empty() || here_) {
    here_ = nullptr;
    LLMC_TRY(descend(name, false));
    Level& leaf = levels_.back();
    const auto begin = leaf.node.places.begin() + static_cast<ptrdiff_t>(leaf.at);
    leaf.at += static_cast<size_t>(
        std::partition_point(begin, leaf.node.places.end(), [&](const NamedPlace& p) { return p.name < name; }) - begin);
    return next();  // here_ is null: it gives what stands at leaf.at, or goes on to the next leaf
  }
  return here_;  // the end was reached before
}

}  // namespace llmc
