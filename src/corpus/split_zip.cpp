#include <algorithm>
#include <vector>

#include "corpus/split.h"

namespace llmc {

namespace {

constexpr uint32_t kLocal = 0x04034B50, kCentral = 0x02014B50, kEnd = 0x06054B50;
constexpr uint32_t kEnd64 = 0x06064B50, kLocator64 = 0x07064B50;
constexpr size_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kLocalBytes = 30;
// About ten million members.
constexpr uint64_t kMaxDirectory = uint64_t{1} << 30;

Status bad_zip(const std::string& what) { return {Code::corrupt, what}; }

struct Directory {
  uint64_t offset = 0, size = 0, count = 0;
};

// The end record is the last thing in the file but for its own comment, whose length must fit exactly.
Result<Directory> find_directory(const File& file, uint64_t size) {
  if (size < kEndBytes) return bad_zip("it is too short");
  const uint64_t tail_size = std::min<uint64_t>(size, kEndBytes + 0xFFFF);
  Bytes tail(static_cast<size_t>(tail_size));
  LLMC_TRY(file.read_at(size - tail_size, tail));
  for (size_t back = kEndBytes; back <= tail.size(); ++back) {
    const size_t at = tail.size() - back;
    ByteReader in(ByteView(tail).subspan(at));
    if (in.u32() != kEnd) continue;
    const uint16_t disk = in.u16(), directory_disk = in.u16(), here = in.u16(), count = in.u16();
    const uint32_t bytes = in.u32(), offset = in.u32();
    if (in.u16() != back - kEndBytes) continue;
    uint64_t end = size - back;
    Directory directory{offset, bytes, count};

    const bool wants64 =
        disk == 0xFFFF || here == 0xFFFF || count == 0xFFFF || bytes == 0xFFFFFFFF || offset == 0xFFFFFFFF;
    Bytes locator(kLocatorBytes);
    bool found64 = false;
    if (end >= kLocatorBytes) {
      LLMC_TRY(file.read_at(end - kLocatorBytes, locator));
      ByteReader l(locator);
      found64 = l.u32() == kLocator64;
      const uint32_t end_disk = l.u32();
      const uint64_t end64 = l.u64();
      const uint32_t disks = l.u32();
      if (found64 && wants64) {
        if (end_disk != 0 || disks > 1) return bad_zip("it is one part of several");
        if (end < kLocatorBytes + kEnd64Bytes || end64 > end - kLocatorBytes - kEnd64Bytes) {
          return bad_zip("its zip64 end record is outside of the file");
        }
        Bytes record(kEnd64Bytes);
        LLMC_TRY(file.read_at(end64, record));
        ByteReader r(record);
        if (r.u32() != kEnd64) return bad_zip("its zip64 end record is damaged");
        r.bytes(8 + 2 + 2);  // size of the record, versions
        const uint32_t disk64 = r.u32(), directory_disk64 = r.u32();
        const uint64_t here64 = r.u64();
        directory.count = r.u64();
        directory.size = r.u64();
        directory.offset = r.u64();
        if (disk64 != 0 || directory_disk64 != 0 || here64 != directory.count)
          return bad_zip("it is one part of several");
        end = end64;
      }
    }
    if (!(found64 && wants64) && (disk != 0 || directory_disk != 0 || here != count)) {
      return bad_zip("it is one part of several");
    }
    if (directory.offset > end || directory.size > end - directory.offset) {
      return bad_zip("its directory is outside of the file");
    }
    return directory;
  }
  return bad_zip("it has no end record");
}

// The zip64 extra field replaces, in this order, the values that do not fit their 32 bits.
bool apply_zip64(ByteView extra, uint64_t* plain, uint64_t* stored, uint64_t* offset) {
  if (*plain != 0xFFFFFFFF && *stored != 0xFFFFFFFF && *offset != 0xFFFFFFFF) return true;
  ByteReader in(extra);
  while (in.ok() && in.left() >= 4) {
    const uint16_t tag = in.u16();
    const ByteView field = in.bytes(in.u16());
    if (tag != 1) continue;
    ByteReader f(field);
    for (uint64_t* value : {plain, stored, offset}) {
      if (*value == 0xFFFFFFFF) *value = f.u64();
    }
    return f.ok();
  }
  return false;
}

}  // namespace

bool looks_like_zip(ByteView head) { return head.size() >= kLocalBytes && ByteReader(head).u32() == kLocal; }

Result<Records> split_zip(PlainSource& source) {
  const File& file = source.file();
  LLMC_ASSIGN(const uint64_t size, file.size());
  LLMC_ASSIGN(const Directory directory, find_directory(file, size));
  if (directory.size > kMaxDirectory) return bad_zip("its directory is larger than 1 GiB");
  Bytes packed(static_cast<size_t>(directory.size));
  LLMC_TRY(file.read_at(directory.offset, packed));

  std::vector<Record> members;
  ByteReader in(packed);
  for (uint64_t i = 0; i < directory.count; ++i) {
    if (in.u32() != kCentral) return bad_zip("its directory is damaged at member " + std::to_string(i));
    in.bytes(4);  // versions
    const uint16_t flags = in.u16(), method = in.u16();
    in.bytes(8);  // time, date, CRC-32
    uint64_t stored = in.u32(), plain = in.u32();
    const uint16_t name_size = in.u16(), extra_size = in.u16(), comment_size = in.u16();
    in.bytes(2 + 2 + 4);  // disk, attributes
    uint64_t offset = in.u32();
    const std::string_view name = as_text(in.bytes(name_size));
    const ByteView extra = in.bytes(extra_size);
    in.bytes(comment_size);
    if (!in.ok() || !apply_zip64(extra, &plain, &stored, &offset)) {
      return bad_zip("its directory is damaged at member " + std::to_string(i));
    }

    // Only the local header says where the data begins.
    if (offset > directory.offset || directory.offset - offset < kLocalBytes) {
      return bad_zip("member " + std::to_string(i) + " is outside of the file");
    }
    Bytes local(kLocalBytes);
    LLMC_TRY(file.read_at(offset, local));
    ByteReader l(local);
    const uint32_t signature = l.u32();
    l.bytes(22);
    const uint64_t header = kLocalBytes + l.u16() + uint64_t{l.u16()};
    if (signature != kLocal) return bad_zip("member " + std::to_string(i) + " has no local header");
    if (header > directory.offset - offset || stored > directory.offset - offset - header) {
      return bad_zip("member " + std::to_string(i) + " is outside of the file");
    }
    if (name.ends_with('/') && stored == 0) continue;
    const bool opaque = (flags & 1) != 0 || method >= zip_opaque;
    members.push_back({offset + header, stored, std::string(name), opaque ? zip_opaque : static_cast<uint8_t>(method)});
  }

  std::stable_sort(members.begin(), members.end(), [](const Record& a, const Record& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.length < b.length;
  });
  RecordWriter out(RecordKind::zip);
  uint64_t end = 0;
  for (const Record& member : members) {
    if (member.offset < end) return bad_zip("its members overlap");
    end = member.offset + member.length;
    out.add(member);
  }
  return out.take();
}

}  // namespace llmc
