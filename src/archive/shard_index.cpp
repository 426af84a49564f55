#include "archive/shard_index.h"

#include <zstd.h>

#include <algorithm>
#include <memory>

#include "archive/format.h"
#include "plan/plan.h"

namespace llmc {
namespace {

// Kinds column: bits 0-1 Entry::Kind, 2-4 RecordKind, 5-6 unpacked, 7 the entry is cut.
uint8_t kind_byte(const IndexEntry& e) {
  return static_cast<uint8_t>(static_cast<unsigned>(e.entry.kind) | static_cast<unsigned>(e.entry.records_kind) << 2 |
                              static_cast<unsigned>(e.entry.unpacked) << 5 | (e.whole() ? 0u : 128u));
}

// An entry takes a byte in the kinds column and two of its name, mode and time at least.
constexpr uint64_t min_entry_bytes = 6;
constexpr uint64_t min_chunk_bytes = 8;

}  // namespace

// Columns, so that zstd sees like beside like; digests and CRCs last, since they do not shrink.
Bytes ShardIndex::serialize() const {
  ByteWriter out;
  out.string(as_text(parameters));
  out.string(model_name);
  out.varint(shard_bytes);
  out.varint(first_entry);
  out.varint(entries.size());
  for (const auto& e : entries) out.u8(kind_byte(e));
  std::string_view before;
  for (const auto& e : entries) {
    const std::string_view name = e.entry.name;
    const size_t shared = static_cast<size_t>(
        std::mismatch(name.begin(), name.end(), before.begin(), before.end()).first - name.begin());
    out.varint(shared);
    out.string(name.substr(shared));
    before = name;
  }
  for (const auto& e : entries) out.varint(e.entry.mode);
  int64_t time = 0;
  for (const auto& e : entries) {
    // Differences of any two times fit when they wrap around.
    out.svarint(static_cast<int64_t>(static_cast<uint64_t>(e.entry.mtime_ns) - static_cast<uint64_t>(time)));
    time = e.entry.mtime_ns;
  }
  for (const auto& e : entries) {
    if (e.entry.kind == Entry::Kind::file) out.varint(e.entry.size);
  }
  for (const auto& e : entries) {
    if (e.whole()) continue;
    out.varint(e.offset);
    out.varint(e.size);
  }
  for (const auto& e : entries) {
    if (e.entry.kind == Entry::Kind::symlink) out.string(e.entry.target);
  }
  for (const auto& e : entries) {
    if (e.entry.records_kind == RecordKind::whole) continue;
    out.varint(e.entry.records.count);
    out.varint(e.entry.records.packed.size());
    if (e.whole()) continue;
    out.varint(e.first_record);
    out.varint(e.records_base);
  }
  for (const auto& e : entries) out.bytes(e.entry.records.packed);
  uint64_t end = 0;
  for (const auto& c : chunks) {
    out.varint(c.offset - end);
    end = c.offset + c.frame_size;
  }
  for (const auto& c : chunks) out.varint(c.frame_size);
  for (const auto& c : chunks) out.varint(c.tokens);
  for (const auto& c : chunks) out.u8(static_cast<uint8_t>(c.codec));
  for (const auto& c : chunks) out.u32(c.text_crc);
  for (const auto& e : entries) {
    if (e.entry.unpacked) out.bytes(e.entry.source_digest);
  }
  for (const auto& e : entries) {
    if (e.size > 0) out.bytes(e.sha256);
  }
  return out.take();
}

Bytes ShardIndex::pack(ByteView plain) {
  // The level is a function of the size alone: large lists of records must not take minutes.
  const int level = plain.size() <= (1u << 20) ? 19 : plain.size() <= (16u << 20) ? 12 : 3;
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0);  // the user block has it
  Bytes out(ZSTD_compressBound(plain.size()));
  const size_t n = ZSTD_compress2(context.get(), out.data(), out.size(), plain.data(), plain.size());
  if (ZSTD_isError(n)) std::abort();  // only for want of memory: the bound holds
  out.resize(n);
  return out;
}

Result<ShardIndex> ShardIndex::unpack(ByteView stored, const UserBlock& block, const std::string& name) {
  if (stored.size() != block.index_bytes || sha256(stored) != block.index) {
    return Status(Code::corrupt, name + ": the index is damaged (SHA-256)");
  }
  const Status wrong(Code::corrupt, name + ": the index does not unpack to its stated length");
  // Memory grows with what really comes out, never with what a file claims.
  Bytes plain;
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_inBuffer in{stored.data(), stored.size(), 0};
  size_t hint = 1;
  while (hint != 0) {
    const size_t room = std::min<uint64_t>(block.index_plain_bytes, std::max<size_t>(plain.size() * 2, 1u << 16));
    const size_t filled = plain.size();
    plain.resize(room);
    ZSTD_outBuffer out{plain.data(), plain.size(), filled};
    hint = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(hint)) return wrong;
    const bool moved = out.pos > filled;
    plain.resize(out.pos);
    if (hint != 0 && !moved && in.pos == in.size) return wrong;                // the input ends too soon
    if (hint != 0 && out.pos == block.index_plain_bytes && !moved) return wrong;  // more than stated
  }
  if (in.pos != in.size || plain.size() != block.index_plain_bytes) return wrong;
  return parse(plain, block, name);
}

Result<ShardIndex> ShardIndex::parse(ByteView plain, const UserBlock& block, const std::string& name) {
  ByteReader in(plain);
  auto wrong = [&](const char* what) { return Status(Code::corrupt, name + ": the index is wrong (" + what + ")"); };
  ShardIndex index;
  const ByteView parameters = as_bytes(in.string());
  const std::string_view model_name = in.string();
  if (parameters.size() > max_parameter_bytes || model_name.size() > max_model_name_bytes) return wrong("parameters");
  if (block.features != features_of(parameters)) return wrong("parameters");
  index.parameters.assign(parameters.begin(), parameters.end());
  index.model_name = model_name;
  index.shard_bytes = in.varint();
  index.first_entry = in.varint();
  const uint64_t count = in.varint();
  if (!in.ok() || count > in.left() / min_entry_bytes || count > max_shard_pieces ||
      block.chunks > in.left() / min_chunk_bytes || index.first_entry > (uint64_t{1} << 32)) {
    return wrong("counts");
  }
  index.entries.resize(count);
  std::vector<bool> cut(count);
  for (size_t i = 0; i < count; ++i) {
    const uint8_t k = in.u8();
    Entry& e = index.entries[i].entry;
    if ((k & 3) > 2 || (k >> 2 & 7) > 5 || (k >> 5 & 3) > 2) return wrong("kind");
    e.kind = static_cast<Entry::Kind>(k & 3);
    e.records_kind = static_cast<RecordKind>(k >> 2 & 7);
    e.unpacked = k >> 5 & 3;
    cut[i] = k >> 7;
    if (e.kind != Entry::Kind::file && k > 2) return wrong("kind");
  }
  uint64_t name_bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t shared = in.varint();
    const std::string_view suffix = in.string();
    const std::string_view before = i ? std::string_view(index.entries[i - 1].entry.name) : std::string_view();
    if (!in.ok() || shared > before.size() || suffix.size() > max_name_bytes) return wrong("name");
    std::string& text = index.entries[i].entry.name;
    // Shared beginnings cost nothing in the file: bound what they may grow to.
    name_bytes += shared + suffix.size();
    if (name_bytes > max_index_bytes) return wrong("names");
    text.reserve(shared + suffix.size());
    text.append(before.substr(0, shared)).append(suffix);
    if (!valid_entry_name(text) || (i > 0 && text <= before)) return wrong("name");
  }
  for (auto& e : index.entries) {
    const uint64_t mode = in.varint();
    if (mode > 07777) return wrong("mode");
    e.entry.mode = static_cast<uint32_t>(mode);
  }
  uint64_t time = 0;
  for (auto& e : index.entries) {
    time += static_cast<uint64_t>(in.svarint());
    e.entry.mtime_ns = static_cast<int64_t>(time);
  }
  for (auto& e : index.entries) {
    if (e.entry.kind == Entry::Kind::file) e.entry.size = e.size = in.varint();
    if (e.entry.size > uint64_t{1} << 62) return wrong("size");
  }
  uint64_t text = 0;
  for (size_t i = 0; i < count; ++i) {
    IndexEntry& e = index.entries[i];
    if (cut[i]) {
      e.offset = in.varint();
      e.size = in.varint();
      const bool inside = e.size > 0 && e.size < e.entry.size && e.offset <= e.entry.size - e.size;
      // A cut entry fills its shard from the start, or goes on to its end.
      const bool goes_on = e.offset + e.size < e.entry.size;
      if (!inside || (e.offset > 0 && i > 0) || (goes_on && i + 1 < count)) return wrong("piece");
    }
    e.shard_offset = text;
    if (e.size > block.text_bytes - text) return wrong("sum of sizes");
    text += e.size;
  }
  if (text != block.text_bytes) return wrong("sum of sizes");
  for (auto& e : index.entries) {
    if (e.entry.kind != Entry::Kind::symlink) continue;
    e.entry.target = in.string();
    const std::string& t = e.entry.target;
    if (t.empty() || t.size() > max_name_bytes || t.find('\0') != std::string::npos) return wrong("link");
  }
  std::vector<uint64_t> packed(count, 0);
  for (size_t i = 0; i < count; ++i) {
    IndexEntry& e = index.entries[i];
    if (e.entry.records_kind == RecordKind::whole) continue;
    e.entry.records.count = in.varint();
    packed[i] = in.varint();
    if (!cut[i]) continue;
    e.first_record = in.varint();
    e.records_base = in.varint();
    if (e.records_base > e.entry.size || (e.offset == 0 && (e.first_record != 0 || e.records_base != 0))) {
      return wrong("records");
    }
  }
  for (size_t i = 0; i < count; ++i) {
    IndexEntry& e = index.entries[i];
    const ByteView bytes = in.bytes(packed[i]);
    if (e.entry.records.count > bytes.size()) return wrong("records");
    e.entry.records.packed.assign(bytes.begin(), bytes.end());
    RecordReader reader(e.entry.records_kind, e.entry.records);
    const uint64_t room = e.entry.size - e.records_base;
    for (Record record; reader.next(&record);) {
      if (record.offset > room || record.length > room - record.offset) return wrong("records");
    }
    if (!reader.ok()) return wrong("records");
  }
  index.chunks.resize(block.chunks);
  std::vector<uint64_t> gaps(block.chunks);
  for (auto& gap : gaps) gap = in.varint();
  uint64_t end = 0;
  for (size_t i = 0; i < index.chunks.size(); ++i) {
    IndexChunk& c = index.chunks[i];
    const uint64_t size = in.varint();
    if (gaps[i] > block.file_bytes - end || size < frame_header_bytes || size > block.file_bytes - end - gaps[i]) {
      return wrong("frame position");
    }
    c.offset = end + gaps[i];
    // No frame is longer than its text by more than its header.
    const uint64_t largest = uint64_t{block.chunk_size(static_cast<uint32_t>(i))} + frame_header_bytes;
    if (c.offset < user_block_bytes || size > largest) {
      return wrong("frame position");
    }
    c.frame_size = static_cast<uint32_t>(size);
    end = c.offset + size;
  }
  for (size_t i = 0; i < index.chunks.size(); ++i) {
    const uint64_t tokens = in.varint();
    if (tokens > block.chunk_size(static_cast<uint32_t>(i))) return wrong("token count");
    index.chunks[i].tokens = static_cast<uint32_t>(tokens);
  }
  for (auto& c : index.chunks) {
    const uint8_t codec = in.u8();
    const bool primed = codec == static_cast<uint8_t>(Codec::primed) && block.dictionary_bytes > 0;
    if (codec > static_cast<uint8_t>(Codec::rank) && !primed) return wrong("codec");
    c.codec = static_cast<Codec>(codec);
  }
  for (auto& c : index.chunks) c.text_crc = in.u32();
  auto digest = [&](Digest* d) {
    const ByteView bytes = in.bytes(d->size());
    if (bytes.size() == d->size()) std::copy(bytes.begin(), bytes.end(), d->begin());
  };
  for (auto& e : index.entries) {
    if (e.entry.unpacked) digest(&e.entry.source_digest);
  }
  for (auto& e : index.entries) {
    if (e.size > 0) digest(&e.sha256);
  }
  if (!in.done()) return wrong("length");
  return index;
}

// The columns up to the sizes, and no further.
std::optional<uint64_t> ShardIndex::text_bytes_of(ByteView plain) {
  ByteReader in(plain);
  (void)in.string();
  (void)in.string();
  (void)in.varint();
  (void)in.varint();
  const uint64_t count = in.varint();
  if (!in.ok() || count > in.left() / min_entry_bytes || count > max_shard_pieces) return std::nullopt;
  const ByteView kinds = in.bytes(count);
  for (uint64_t i = 0; i < count; ++i) {
    (void)in.varint();
    (void)in.string();
  }
  for (uint64_t i = 0; i < 2 * count; ++i) (void)in.varint();  // modes and times
  std::vector<uint64_t> sizes(count);
  for (uint64_t i = 0; i < count; ++i) {
    if ((kinds[i] & 3) == 0) sizes[i] = in.varint();
  }
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (kinds[i] & 128) {
      (void)in.varint();
      sizes[i] = in.varint();
    }
    if (sizes[i] > (uint64_t{1} << 62) - sum) return std::nullopt;
    sum += sizes[i];
  }
  return in.ok() ? std::optional(sum) : std::nullopt;
}

std::pair<size_t, size_t> ShardIndex::entries_in(uint64_t begin, uint64_t end) const {
  const auto ends_before = [&](const IndexEntry& e) { return e.shard_offset + e.size <= begin; };
  const auto starts_before = [&](const IndexEntry& e) { return e.shard_offset < end; };
  const auto first = std::partition_point(entries.begin(), entries.end(), ends_before);
  const auto last = std::partition_point(first, entries.end(), starts_before);
  return {first - entries.begin(), last - entries.begin()};
}

}  // namespace llmc
