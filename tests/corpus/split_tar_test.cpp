// Our tar parser held against libarchive and the system's tar.
#include <archive.h>
#include <archive_entry.h>

#include <map>

#include "corpus/fixture.h"
#include "corpus/split.h"

namespace llmc {
namespace {

struct Member {
  std::string name, data;
  int type = AE_IFREG;
};

std::string write_tar(int format, const std::vector<Member>& members) {
  std::string out(4 << 20, '\0');
  size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format(a, format);
  archive_write_add_filter_none(a);
  archive_write_open_memory(a, out.data(), out.size(), &used);
  for (const Member& member : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_copy_pathname(entry, member.name.c_str());
    archive_entry_set_filetype(entry, static_cast<unsigned>(member.type));
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 1000000000, 123456789);
    if (member.type == AE_IFLNK) archive_entry_copy_symlink(entry, member.data.c_str());
    if (member.type == AE_IFREG) archive_entry_set_size(entry, static_cast<int64_t>(member.data.size()));
    EXPECT_GE(archive_write_header(a, entry), ARCHIVE_WARN) << member.name;  // WARN: not UTF-8
    if (member.type == AE_IFREG) archive_write_data(a, member.data.data(), member.data.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  out.resize(used);
  return out;
}

class Tar : public TreeTest {
 protected:
  Entry one(const std::string& content, size_t warnings = 0, const std::string& name = "t.tar") {
    make(name, content);
    ScanOptions options;
    options.unpack = true;
    auto outcome = scan({at(name)}, options);
    EXPECT_EQ(outcome.warnings.size(), warnings) << (outcome.warnings.empty() ? "" : outcome.warnings[0]);
    last_warning = outcome.warnings.empty() ? "" : outcome.warnings[0];
    return outcome.entries.at(0);
  }
  static std::vector<Member> members(const Entry& entry, const std::string& plain) {
    std::vector<Member> out;
    for (const Record& record : records(entry)) {
      EXPECT_LE(record.offset + record.length, plain.size());
      out.push_back({record.name, plain.substr(record.offset, record.length)});
    }
    return out;
  }
  static void expect_members(const std::vector<Member>& got, const std::vector<Member>& expected) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].name, expected[i].name);
      EXPECT_EQ(got[i].data, expected[i].data) << got[i].name;
    }
  }
  void not_split(const std::string& content, const std::string& reason) {
    const Entry entry = one(content, 1);
    EXPECT_EQ(entry.records_kind, RecordKind::whole);
    EXPECT_EQ(entry.records.count, 0u);
    EXPECT_EQ(entry.size, content.size());
    EXPECT_NE(last_warning.find(reason), std::string::npos) << last_warning;
  }
  std::string last_warning;
};

const std::vector<Member> kFiles = {
    {"a", "first"},    {"dir/", "", AE_IFDIR},     {"dir/b", noise(1000)}, {"dir/link", "b", AE_IFLNK},
    {"dir/empty", ""}, {"dir/exact", noise(1024)}, {"\xff\xfe", "x"},      {"z", noise(70000)}};

std::vector<Member> regular(const std::vector<Member>& all) {
  std::vector<Member> out;
  for (const Member& member : all) {
    if (member.type == AE_IFREG) out.push_back(member);
  }
  return out;
}

TEST_F(Tar, EveryFormatOfLibarchive) {
  for (const int format : {ARCHIVE_FORMAT_TAR_USTAR, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE,
                           ARCHIVE_FORMAT_TAR_PAX_RESTRICTED, ARCHIVE_FORMAT_TAR_GNUTAR}) {
    auto all = kFiles;
    if (format != ARCHIVE_FORMAT_TAR_USTAR) {
      all.push_back({"long/" + std::string(300, 'n') + "/file", "long name"});
    } else {
      all.push_back({"prefix/" + std::string(120, 'n') + "/file", "split name"});
    }
    // libarchive cannot write a pax header for a name that is not UTF-8 in the "C" locale.
    if (format == ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE) all.erase(all.begin() + 6);
    const std::string tar = write_tar(format, all);
    const Entry entry = one(tar);
    EXPECT_EQ(entry.records_kind, RecordKind::tar);
    EXPECT_EQ(entry.size, tar.size());
    expect_members(members(entry, tar), regular(all));
  }
}

TEST_F(Tar, PackedTarsHaveMembersToo) {
  const std::string tar = write_tar(ARCHIVE_FORMAT_TAR_PAX_RESTRICTED, kFiles);
  for (const auto& [name, content] :
       {std::pair<std::string, std::string>{"a.tar.gz", gzip(tar)}, {"b.tgz", gzip(tar)}, {"c.tar.zst", zstd(tar)}}) {
    const Entry entry = one(content, 0, name);
    EXPECT_EQ(entry.records_kind, RecordKind::tar);
    expect_members(members(entry, tar), regular(kFiles));
  }
}

TEST_F(Tar, EveryFormatOfTheSystemsTar) {
  if (std::system("tar --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "not run: no tar";
  std::map<std::string, std::string> files = {
      {"t/a", "1"}, {"t/.hidden", ""}, {"t/sub/b", noise(5000)}, {"t/caf\xc3\xa9", "x"}, {"t/\xff", "y"}};
  files["t/" + std::string(90, 'd') + "/" + std::string(60, 'f')] = "deep";
  for (const auto& [name, content] : files) make(name, content);
  std::filesystem::create_hard_link(at("t/a"), at("t/zz-hard-link"));
  std::filesystem::create_symlink("a", at("t/link"));
  for (const std::string format : {"v7", "ustar", "gnu", "oldgnu", "pax"}) {
    auto expected = files;
    const bool v7 = format == "v7";
    const std::string exclude = v7 ? " --exclude='*ddd*'" : "";
    if (v7) std::erase_if(expected, [](const auto& file) { return file.first.size() > 100; });
    ASSERT_EQ(std::system(("tar --sort=name --format=" + format + exclude + " -C " + root.string() + " -cf " +
                           at("s.tar") + " t")
                              .c_str()),
              0);
    const std::string tar = get("s.tar");
    const Entry entry = one(tar);
    EXPECT_EQ(entry.records_kind, RecordKind::tar) << format;
    std::map<std::string, std::string> got;
    for (const Member& member : members(entry, tar)) got[member.name] = member.data;
    // Pax gives bytes that are not UTF-8 as they are, so every format agrees.
    EXPECT_EQ(got, expected) << format;
  }
}

TEST_F(Tar, SparseMembersAreNotSplit) {
  if (std::system("tar --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "not run: no tar";
  make("t/sparse", "begin");
  std::filesystem::resize_file(at("t/sparse"), 1 << 20);
  std::ofstream(at("t/sparse"), std::ios::app) << "end";
  for (const char* format : {"--format=gnu", "--format=pax --sparse-version=0.0", "--format=pax --sparse-version=0.1",
                             "--format=pax --sparse-version=1.0"}) {
    ASSERT_EQ(
        std::system(("tar -S " + std::string(format) + " -C " + root.string() + " -cf " + at("s.tar") + " t").c_str()),
        0);
    const std::string tar = get("s.tar");
    if (tar.size() > 1 << 20) GTEST_SKIP() << "not run: the file system keeps no holes";
    not_split(tar, "sparse");
  }
}

TEST_F(Tar, DamagedTarsAreWhole) {
  const std::string tar =
      write_tar(ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE, {{"a", noise(3000)}, {std::string(200, 'n'), noise(3000, 2)}});
  not_split(tar.substr(0, 1500), "ends inside");
  size_t whole = 0;
  for (size_t at = 512; at < 8192; at += 61) {
    std::string bad = tar;
    bad[at] = static_cast<char>(bad[at] + 1);
    make("bad.tar", bad);
    const auto outcome = scan({this->at("bad.tar")});
    EXPECT_EQ(outcome.entries.at(0).size, bad.size());
    whole += outcome.entries[0].records_kind == RecordKind::whole;
    EXPECT_EQ(outcome.warnings.size(), outcome.entries[0].records_kind == RecordKind::whole ? 1u : 0u);
  }
  EXPECT_GT(whole, 5u);    // headers
  EXPECT_LT(whole, 100u);  // not data
}

TEST_F(Tar, CutAnywhereNeverFails) {
  const std::string tar = write_tar(ARCHIVE_FORMAT_TAR_GNUTAR, {{std::string(200, 'n'), "data"}, {"b", noise(600)}});
  for (size_t size = 0; size < 5200; size += 97) {
    make("cut.tar", tar.substr(0, size));
    const auto outcome = scan({at("cut.tar")});
    ASSERT_EQ(outcome.entries.size(), 1u);
    EXPECT_TRUE(outcome.problems.empty());
    for (const Record& record : records(outcome.entries[0])) EXPECT_LE(record.offset + record.length, size);
  }
}

// A header made by hand, with a right checksum.
std::string header(const std::string& name, const std::string& size, char type) {
  std::string block(512, '\0');
  block.replace(0, name.size(), name);
  block.replace(100, 7, "0000644");
  block.replace(124, size.size(), size);
  block[156] = type;
  block.replace(257, 8, std::string("ustar\00000", 8));
  block.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<uint8_t>(c);
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  block.replace(148, 7, digits, 7);
  return block;
}
std::string padded(std::string data) {
  data.resize((data.size() + 511) / 512 * 512);
  return data;
}
const std::string kEnd(1024, '\0');

TEST_F(Tar, OddHeaders) {
  const std::string file = header("f", "00000000004", '0') + padded("data");
  const auto split = [&](const std::string& tar) { return members(one(tar), tar); };
  expect_members(split(file + kEnd), {{"f", "data"}});
  expect_members(split(file), {{"f", "data"}});                 // no end mark
  expect_members(split(file.substr(0, 516)), {{"f", "data"}});  // nor the last padding
  expect_members(split(file + kEnd + "whatever follows"), {{"f", "data"}});
  expect_members(split(header("f", "          4 ", '7') + padded("data") + kEnd), {{"f", "data"}});
  expect_members(split(header("f", std::string("\x80\0\0\0\0\0\0\0\0\0\0\4", 12), '0') + padded("data") + kEnd),
                 {{"f", "data"}});
  expect_members(split(header("old-dir/", "00000000000", '\0') + file + kEnd), {{"f", "data"}});
  expect_members(split(header("label", "00000000000", 'V') + file + kEnd), {{"f", "data"}});
  // pax: size and path come before the header's; a global header holds for all.
  const std::string pax = "10 size=4\n13 path=a/bc\n";
  expect_members(split(header("p", "00000000027", 'x') + padded(pax) + header("f", "00000000000", '0') +
                       padded("data") + file + kEnd),
                 {{"a/bc", "data"}, {"f", "data"}});
  expect_members(split(header("p", "00000000013", 'g') + padded("11 path=gg\n") + file + kEnd), {{"gg", "data"}});
}

TEST_F(Tar, HostileHeaders) {
  const std::string file = header("f", "00000000004", '0') + padded("data");
  not_split(header("f", std::string("\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12), '0') + kEnd, "size");
  not_split(header("f", std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12), '0') + kEnd, "size");
  not_split(header("f", std::string("\x80\0\0\0\x3f\xff\xff\xff\xff\xff\xff\xff", 12), '0') + kEnd, "ends inside");
  not_split(header("f", "77777777777", 'x') + kEnd, "longer than 1 MiB");
  not_split(header("f", "00000000004", '2') + file + kEnd, "has a size");
  not_split(header("f", "00000000004", 'M') + file + kEnd, "volume");
  not_split(header("p", "00000000013", 'x') + padded("11 path=gg\n") + kEnd, "ends behind");
  for (const std::string pax : {" path=a\n", "99 path=a\n", "0 path=a\n", "8 path=a\n", "10 path=ab", "10 size=x\n",
                                "9999999999 a=b\n", "34 size=99999999999999999999999999\n", "7 path\n"}) {
    char size[12];
    std::snprintf(size, sizeof size, "%011zo", pax.size());
    const std::string tar = header("p", size, 'x') + padded(pax) + file + kEnd;
    make("h.tar", tar);
    const auto outcome = scan({at("h.tar")});
    EXPECT_EQ(outcome.entries.at(0).records_kind, RecordKind::whole) << pax;
  }
}

TEST_F(Tar, TextIsNotTar) {
  EXPECT_FALSE(looks_like_tar(as_bytes(std::string(512, 'a'))));
  EXPECT_FALSE(looks_like_tar(as_bytes(std::string(512, '\0'))));
  EXPECT_FALSE(looks_like_tar(as_bytes(std::string(512, ' '))));
  EXPECT_FALSE(looks_like_tar(as_bytes(header("f", "0", '0').substr(0, 511))));
  EXPECT_TRUE(looks_like_tar(as_bytes(header("f", "0", '0'))));
  one("", 0);
  one(std::string(10240, '\0'), 0);
}

}  // namespace
}  // namespace llmc
