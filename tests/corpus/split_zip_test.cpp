#include <archive.h>
#include <archive_entry.h>

#include "corpus/fixture.h"
#include "corpus/split.h"

namespace llmc {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

std::string write_zip(const Files& files, const char* options) {
  std::string out(4 << 20, '\0');
  size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_zip(a);
  EXPECT_EQ(archive_write_set_options(a, options), ARCHIVE_OK);
  archive_write_open_memory(a, out.data(), out.size(), &used);
  for (const auto& [name, data] : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_copy_pathname(entry, name.c_str());
    const bool dir = name.ends_with('/');
    archive_entry_set_filetype(entry, dir ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, 0755);
    if (!dir) archive_entry_set_size(entry, static_cast<int64_t>(data.size()));
    EXPECT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
    archive_write_data(a, data.data(), data.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  out.resize(used);
  return out;
}

std::string inflate_raw(const std::string& packed, size_t size) {
  z_stream s{};
  if (inflateInit2(&s, -15) != Z_OK) std::abort();
  std::string out(size, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  s.avail_in = static_cast<uInt>(packed.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&s, Z_FINISH), Z_STREAM_END);
  inflateEnd(&s);
  return out;
}

class Zip : public TreeTest {
 protected:
  Entry one(const std::string& content, size_t warnings = 0) {
    make("z.zip", content);
    auto outcome = scan({at("z.zip")});
    EXPECT_EQ(outcome.warnings.size(), warnings) << (outcome.warnings.empty() ? "" : outcome.warnings[0]);
    last_warning = outcome.warnings.empty() ? "" : outcome.warnings[0];
    return outcome.entries.at(0);
  }
  void expect_files(const std::string& zip, const Files& files) {
    const Entry entry = one(zip);
    EXPECT_EQ(entry.records_kind, RecordKind::zip);
    const auto got = records(entry);
    size_t i = 0;
    for (const auto& [name, data] : files) {
      if (name.ends_with('/')) continue;
      ASSERT_LT(i, got.size());
      EXPECT_EQ(got[i].name, name);
      const std::string stored = zip.substr(got[i].offset, got[i].length);
      ASSERT_TRUE(got[i].method == 0 || got[i].method == 8);
      EXPECT_EQ(got[i].method == 0 ? stored : inflate_raw(stored, data.size()), data) << name;
      ++i;
    }
    EXPECT_EQ(i, got.size());
  }
  void not_split(const std::string& content, const std::string& reason) {
    const Entry entry = one(content, 1);
    EXPECT_EQ(entry.records_kind, RecordKind::whole);
    EXPECT_NE(last_warning.find(reason), std::string::npos) << last_warning;
  }
  std::string last_warning;
};

const Files kFiles = {{"a.txt", "first first first first"},
                      {"dir/", ""},
                      {"dir/b", noise(5000)},
                      {"dir/empty", ""},
                      {"c", std::string(90000, 'c')}};

TEST_F(Zip, MembersAreTheirStoredBytes) {
  expect_files(write_zip(kFiles, "zip:compression=deflate"), kFiles);
  expect_files(write_zip(kFiles, "zip:compression=store"), kFiles);
}

TEST_F(Zip, PackedZipsAreWhole) {
  ScanOptions options;
  options.unpack = true;
  make("z.zip.gz", gzip(write_zip(kFiles, "zip:compression=deflate")));
  const auto outcome = scan({at("z.zip.gz")}, options);
  EXPECT_EQ(outcome.entries.at(0).name, "z.zip");
  EXPECT_EQ(outcome.entries.at(0).records_kind, RecordKind::whole);
  EXPECT_TRUE(outcome.warnings.empty());
}

// A zip made by hand, with every field to be set.
struct Made {
  std::string name = "f", data = "data";
  uint16_t method = 0, flags = 0;
  bool zip64 = false;
  int64_t move_offset = 0;
};
std::string by_hand(const std::vector<Made>& members, const std::string& comment = "", bool zip64 = false) {
  ByteWriter out, directory;
  for (const Made& m : members) {
    const uint64_t offset = out.size() + static_cast<uint64_t>(m.move_offset);
    const auto size = static_cast<uint32_t>(m.data.size());
    const auto name_size = static_cast<uint16_t>(m.name.size());
    out.u32(0x04034B50), out.u16(20), out.u16(m.flags), out.u16(m.method), out.u32(0), out.u32(0);
    out.u32(size), out.u32(size), out.u16(name_size), out.u16(5);
    out.bytes(as_bytes(m.name)), out.bytes(as_bytes("extra")), out.bytes(as_bytes(m.data));
    directory.u32(0x02014B50), directory.u16(20), directory.u16(20), directory.u16(m.flags), directory.u16(m.method);
    directory.u32(0), directory.u32(0);
    directory.u32(m.zip64 ? 0xFFFFFFFF : size), directory.u32(m.zip64 ? 0xFFFFFFFF : size);
    directory.u16(name_size), directory.u16(m.zip64 ? 33 : 0), directory.u16(3);
    directory.u16(0), directory.u16(0), directory.u32(0);
    directory.u32(m.zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(offset));
    directory.bytes(as_bytes(m.name));
    if (m.zip64) {
      directory.u16(0x7777), directory.u16(1), directory.u8(0);
      directory.u16(1), directory.u16(24), directory.u64(size), directory.u64(size), directory.u64(offset);
    }
    directory.bytes(as_bytes("com"));
  }
  const uint64_t at = out.size(), bytes = directory.size();
  out.bytes(directory.view());
  if (zip64) {
    const uint64_t end64 = out.size();
    out.u32(0x06064B50), out.u64(44), out.u16(45), out.u16(45), out.u32(0), out.u32(0);
    out.u64(members.size()), out.u64(members.size()), out.u64(bytes), out.u64(at);
    out.u32(0x07064B50), out.u32(0), out.u64(end64), out.u32(1);
  }
  out.u32(0x06054B50), out.u16(0), out.u16(0);
  out.u16(zip64 ? 0xFFFF : static_cast<uint16_t>(members.size())),
      out.u16(zip64 ? 0xFFFF : static_cast<uint16_t>(members.size()));
  out.u32(zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(bytes)), out.u32(zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(at));
  out.u16(static_cast<uint16_t>(comment.size())), out.bytes(as_bytes(comment));
  return std::string(as_text(out.view()));
}

TEST_F(Zip, Zip64AndComments) {
  const Files files = {{"a", "1"}, {"b", "22"}};
  for (const bool member64 : {false, true}) {
    for (const bool end64 : {false, true}) {
      const std::vector<Made> made = {{"a", "1", 0, 0, member64}, {"b", "22", 0, 0, member64}};
      expect_files(by_hand(made, "", end64), files);
      expect_files(by_hand(made, std::string(65535, 'x'), end64), files);
      expect_files(by_hand(made, "PK\5\6 inside the comment, PK\5\6", end64), files);
    }
  }
}

TEST_F(Zip, MethodsAreKept) {
  const auto got = records(one(by_hand({{"a", "1", 12}, {"b", "2", 93}, {"c", "3", 8, 1}, {"d", "4", 300}})));
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0].method, 12);
  EXPECT_EQ(got[1].method, 93);
  EXPECT_EQ(got[2].method, zip_opaque);  // encrypted
  EXPECT_EQ(got[3].method, zip_opaque);
}

TEST_F(Zip, DamagedAndHostileZipsAreWhole) {
  not_split(by_hand({{"a", "1"}, {"b", "2", 0, 0, false, -37}}), "overlap");
  not_split(by_hand({{"a", "1"}, {"b", "2", 0, 0, false, 5}}), "no local header");
  not_split(by_hand({{"a", "1", 0, 0, false, 1 << 20}}), "outside");
  not_split(by_hand({{"a", "1"}}) + "x", "no end record");
  const std::string zip = by_hand({{"a", noise(100)}, {"b", noise(100), 0, 0, true}}, "", true);
  not_split(zip.substr(0, 150), "no end record");
  not_split("PK\3\4" + std::string(100, 'x'), "no end record");
  // Every byte of the file in turn: never a crash, never a record outside of the file.
  for (size_t i = 4; i < zip.size(); ++i) {
    for (const int change : {1, 0x80, 0xFF}) {
      std::string bad = zip;
      bad[i] = static_cast<char>(bad[i] ^ change);
      make("bad.zip", bad);
      const auto outcome = scan({at("bad.zip")});
      ASSERT_EQ(outcome.entries.size(), 1u);
      for (const Record& record : records(outcome.entries[0])) ASSERT_LE(record.offset + record.length, bad.size());
    }
  }
}

TEST_F(Zip, PythonsZipsAreRead) {
  if (std::system("python3 -c 'import zipfile' 2>/dev/null") != 0) GTEST_SKIP() << "not run: no python3";
  const std::string script = make("make.py",
                                  "import sys, zipfile\n"
                                  "with zipfile.ZipFile(sys.argv[1], 'w') as z:\n"
                                  "    z.writestr('a', 'x' * 1000, zipfile.ZIP_DEFLATED)\n"
                                  "    z.writestr('caf\\u00e9', 'y', zipfile.ZIP_STORED)\n"
                                  "    with z.open('big', 'w', force_zip64=True) as f: f.write(b'z' * 500)\n");
  ASSERT_EQ(std::system(("python3 " + script + " " + at("p.zip")).c_str()), 0);
  expect_files(get("p.zip"), {{"a", std::string(1000, 'x')}, {"caf\xc3\xa9", "y"}, {"big", std::string(500, 'z')}});
}

}  // namespace
}  // namespace llmc
