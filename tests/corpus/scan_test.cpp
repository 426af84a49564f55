#include "corpus/scan.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <clocale>

#include "corpus/fixture.h"

namespace llmc {
namespace {

using Names = std::vector<std::string>;
using Scan = TreeTest;

TEST_F(Scan, EntriesAreSortedByTheBytesOfTheirNames) {
  for (const char* name : {"t/b", "t/a/z", "t/a-b", "t/B", "t/\xc3\xa9", "t/\xff\xfe", "t/.hidden", "t/new\nline"})
    make(name, "x");
  std::filesystem::create_directories(at("t/empty"));
  const Names expected = {"t",   "t/.hidden", "t/B",         "t/a",        "t/a-b",     "t/a/z",
                          "t/b", "t/empty",   "t/new\nline", "t/\xc3\xa9", "t/\xff\xfe"};
  EXPECT_EQ(names(scan({at("t")})), expected);
  EXPECT_EQ(names(scan({at("t/")})), expected);
  EXPECT_EQ(names(scan({at("t///")})), expected);
  // No locale changes it.
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* locale : {"C.UTF-8", "en_US.UTF-8", "tr_TR.UTF-8"}) {
    if (!std::setlocale(LC_ALL, locale)) continue;  // not installed
    EXPECT_EQ(names(scan({at("t")})), expected) << locale;
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST_F(Scan, NamesAreRelativeToTheInputsParent) {
  make("x/y/f", "1");
  EXPECT_EQ(names(scan({at("x/y/f")})), Names({"f"}));
  EXPECT_EQ(names(scan({at("x/y"), at("x/y/f")})), Names({"f", "y", "y/f"}));
  EXPECT_EQ(names(scan({at("x/.")})), Names({"y", "y/f"}));
  EXPECT_EQ(names(scan({at("x/y/..")})), Names({"y", "y/f"}));
  EXPECT_EQ(names(scan({at("x/./y/")})), Names({"y", "y/f"}));
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(at("x/y"));
  const auto here = names(scan({"."})), above = names(scan({".."})), plain = names(scan({"f"}));
  std::filesystem::current_path(before);
  EXPECT_EQ(here, Names({"f"}));
  EXPECT_EQ(above, Names({"y", "y/f"}));
  EXPECT_EQ(plain, Names({"f"}));
}

TEST_F(Scan, MetadataIsRecorded) {
  const std::string path = make("d/f", "hello");
  ::chmod(path.c_str(), 04751);
  set_mtime(path, 1234567890123456789);
  ::chmod(at("d").c_str(), 0711);
  set_mtime(at("d"), 987654321000000001);
  const auto outcome = scan({at("d")});
  ASSERT_EQ(outcome.entries.size(), 2u);
  const Entry &d = outcome.entries[0], &f = outcome.entries[1];
  EXPECT_EQ(d.kind, Entry::Kind::directory);
  EXPECT_EQ(d.mode, 0711u);
  EXPECT_EQ(d.mtime_ns, 987654321000000001);
  EXPECT_EQ(f.kind, Entry::Kind::file);
  EXPECT_EQ(f.mode, 04751u);
  EXPECT_EQ(f.mtime_ns, 1234567890123456789);
  EXPECT_EQ(f.source_mtime_ns, f.mtime_ns);
  EXPECT_EQ(f.size, 5u);
  EXPECT_EQ(f.source_size, 5u);
  EXPECT_EQ(f.source_inode, info(path).st_ino);
  EXPECT_EQ(f.source, path);
  EXPECT_EQ(f.unpacked, 0);
  EXPECT_EQ(f.records_kind, RecordKind::whole);
  EXPECT_EQ(outcome.text_size, 5u);
}

TEST_F(Scan, LinksAreEntriesAndNotFollowed) {
  make("t/dir/f", "1");
  std::filesystem::create_symlink("dir", at("t/link"));
  std::filesystem::create_symlink("/nowhere/at/all", at("t/dangling"));
  const std::string longest(3000, 'x');
  std::filesystem::create_symlink(longest, at("t/long"));
  std::filesystem::create_symlink("..", at("t/dir/loop"));
  const auto outcome = scan({at("t")});
  EXPECT_EQ(names(outcome), Names({"t", "t/dangling", "t/dir", "t/dir/f", "t/dir/loop", "t/link", "t/long"}));
  EXPECT_EQ(outcome.entries[1].kind, Entry::Kind::symlink);
  EXPECT_EQ(outcome.entries[1].target, "/nowhere/at/all");
  EXPECT_EQ(outcome.entries[6].target, longest);
  EXPECT_EQ(outcome.text_size, 1u);
  // As an input: the link itself; with a slash behind it, the folder.
  EXPECT_EQ(scan({at("t/link")}).entries[0].kind, Entry::Kind::symlink);
  EXPECT_EQ(names(scan({at("t/link/")})), Names({"link", "link/f", "link/loop"}));
}

TEST_F(Scan, CollidingNamesAreRefusedWithBothSources) {
  const std::string a = make("a/same", "1"), b = make("b/same", "2");
  const auto outcome = scan_inputs({a, b}, {});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.status().code(), Code::usage);
  EXPECT_NE(outcome.status().message().find(a), std::string::npos);
  EXPECT_NE(outcome.status().message().find(b), std::string::npos);
  EXPECT_EQ(scan_inputs({a, a}, {}).status().code(), Code::usage);

  ScanOptions unpack;
  unpack.unpack = true;
  make("c/f", "1");
  make("c/f.gz", gzip("2"));
  EXPECT_TRUE(scan_inputs({at("c")}, {}).ok());
  EXPECT_EQ(scan_inputs({at("c")}, unpack).status().code(), Code::usage);
}

TEST_F(Scan, MissingInputIsNamed) {
  make("there", "1");
  const auto outcome = scan_inputs({at("there"), at("not there")}, {});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.status().code(), Code::missing);
  EXPECT_NE(outcome.status().message().find("not there"), std::string::npos);
  EXPECT_FALSE(scan_inputs({at("there/")}, {}).ok());
  EXPECT_EQ(scan_inputs({}, {}).status().code(), Code::usage);
  EXPECT_EQ(scan_inputs({""}, {}).status().code(), Code::usage);
}

TEST_F(Scan, SpecialFilesAreLeftOutWithAWarning) {
  make("t/f", "1");
  ASSERT_EQ(::mkfifo(at("t/fifo").c_str(), 0644), 0);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(at("t/sock").size(), sizeof address.sun_path);
  at("t/sock").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const auto outcome = scan({at("t")});
  ::close(fd);
  EXPECT_EQ(names(outcome), Names({"t", "t/f"}));
  ASSERT_EQ(outcome.warnings.size(), 2u);
  EXPECT_NE(outcome.warnings[0].find("t/fifo"), std::string::npos);
  EXPECT_TRUE(outcome.problems.empty());
  EXPECT_EQ(scan_inputs({at("t/fifo")}, {}).status().code(), Code::usage);
}

TEST_F(Scan, UnreadableItemsAreProblemsAndTheRestGoesOn) {
  make("t/closed/f", "1");
  make("t/open/f", "2");
  make("t/secret", "3");
  ::chmod(at("t/closed").c_str(), 0);
  ::chmod(at("t/secret").c_str(), 0);
  EXPECT_TRUE(as_nobody([&] {
    const auto outcome = scan_inputs({at("t")}, {});
    return outcome.ok() && names(*outcome) == Names({"t", "t/closed", "t/open", "t/open/f"}) &&
           outcome->problems.size() == 2 &&
           outcome->problems[0].find("t/closed: Permission denied") != std::string::npos &&
           outcome->problems[1].find("t/secret: Permission denied") != std::string::npos && outcome->text_size == 1;
  }));
}

TEST_F(Scan, IncludeAndExclude) {
  for (const char* name : {"t/a.txt", "t/a.o", "t/sub/b.txt", "t/sub/deep/c.o", "t/.git/config"}) make(name, "x");
  ScanOptions exclude;
  exclude.exclude = {"*.o", ".git"};
  EXPECT_EQ(names(scan({at("t")}, exclude)), Names({"t", "t/a.txt", "t/sub", "t/sub/b.txt", "t/sub/deep"}));
  ScanOptions include;
  include.include = {"*.o"};
  EXPECT_EQ(names(scan({at("t")}, include)), Names({"t", "t/a.o", "t/sub", "t/sub/deep", "t/sub/deep/c.o"}));
  include.include = {"sub"};
  include.exclude = {"deep"};
  EXPECT_EQ(names(scan({at("t")}, include)), Names({"t", "t/sub", "t/sub/b.txt"}));
}

TEST_F(Scan, FilesOfTheRunItselfAreLeftOut) {
  make("t/f", "1");
  make("t/out.h5", "2");
  ScanOptions options;
  options.skip = {at("t/out.h5"), at("t/not yet there")};
  const auto outcome = scan({at("t")}, options);
  EXPECT_EQ(names(outcome), Names({"t", "t/f"}));
  EXPECT_EQ(outcome.warnings.size(), 1u);
}

TEST_F(Scan, EmptyInputs) {
  std::filesystem::create_directories(at("nothing"));
  EXPECT_EQ(names(scan({at("nothing")})), Names({"nothing"}));
  EXPECT_TRUE(scan({at("nothing/.")}).entries.empty());
  make("zero", "");
  const auto outcome = scan({at("zero")});
  EXPECT_EQ(outcome.entries.at(0).size, 0u);
}

class ScanStdin : public TreeTest {
 protected:
  ScanOptions options(const std::string& content) {
    const std::string path = make("in", content);
    ScanOptions o;
    o.stdin_copy = at("out.stdin");
    o.stdin_descriptor = fd_ = ::open(path.c_str(), O_RDONLY);
    return o;
  }
  ~ScanStdin() override {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd_ = -1;
};

TEST_F(ScanStdin, BecomesAnEntryThatIsKept) {
  auto o = options("from a pipe\n");
  const auto outcome = scan({"-"}, o);
  ASSERT_EQ(names(outcome), Names({"stdin"}));
  EXPECT_EQ(outcome.entries[0].source, at("out.stdin"));
  EXPECT_EQ(outcome.entries[0].size, 12u);
  EXPECT_EQ(outcome.entries[0].mtime_ns, 0);  // the same bytes give the same archive
  EXPECT_EQ(outcome.entries[0].source_mtime_ns,
            info(at("out.stdin")).st_mtim.tv_sec * 1000000000 + info(at("out.stdin")).st_mtim.tv_nsec);
  EXPECT_EQ(get("out.stdin"), "from a pipe\n");
  EXPECT_FALSE(std::filesystem::exists(at("out.stdin.tmp")));
  // Resumed: the descriptor is at its end, the copy counts.
  o.reuse_stdin_copy = true;
  EXPECT_EQ(scan({"-"}, o).entries.at(0).size, 12u);
  o.reuse_stdin_copy = false;
  EXPECT_EQ(scan({"-"}, o).entries.at(0).size, 0u);
}

TEST_F(ScanStdin, CollidesAndIsRefusedLikeAnyOther) {
  auto o = options("x");
  make("stdin", "y");
  const auto outcome = scan_inputs({"-", at("stdin")}, o);
  ASSERT_EQ(outcome.status().code(), Code::usage);
  EXPECT_NE(outcome.status().message().find("standard input"), std::string::npos);
  EXPECT_EQ(scan_inputs({"-"}, {}).status().code(), Code::usage);
  o.stdin_copy = at("no such folder/copy");
  EXPECT_FALSE(scan_inputs({"-"}, o).ok());
}

TEST_F(ScanStdin, IsUnpackedByItsMagic) {
  auto o = options(gzip("packed"));
  o.unpack = true;
  const auto outcome = scan({"-"}, o);
  EXPECT_EQ(outcome.entries.at(0).name, "stdin");
  EXPECT_EQ(outcome.entries.at(0).unpacked, 1);
  EXPECT_EQ(outcome.entries.at(0).size, 6u);
}

class ScanUnpack : public TreeTest {
 protected:
  // The one entry of a file with this content.
  Entry one(const std::string& name, const std::string& content, size_t warnings = 0) {
    ScanOptions options;
    options.unpack = true;
    make(name, content);
    auto outcome = scan({at(name)}, options);
    EXPECT_EQ(outcome.warnings.size(), warnings) << name;
    EXPECT_EQ(outcome.entries.size(), 1u);
    return outcome.entries.empty() ? Entry() : outcome.entries[0];
  }
};

TEST_F(ScanUnpack, GzipAndZstdBecomePlain) {
  const std::string text = noise(300000);
  const Entry gz = one("a.txt.gz", gzip(text));
  EXPECT_EQ(gz.name, "a.txt");
  EXPECT_EQ(gz.unpacked, 1);
  EXPECT_EQ(gz.size, text.size());
  EXPECT_EQ(gz.source_size, gzip(text).size());
  EXPECT_EQ(gz.source_digest, sha256(as_bytes(gzip(text))));
  const Entry zst = one("a.txt.ZST", zstd(text));
  EXPECT_EQ(zst.name, "a.txt");
  EXPECT_EQ(zst.unpacked, 2);
  EXPECT_EQ(zst.size, text.size());
  EXPECT_EQ(zst.source_digest, sha256(as_bytes(zstd(text))));
  EXPECT_EQ(one("b.tgz", gzip("x")).name, "b.tar");
  EXPECT_EQ(one("empty.gz", gzip("")).size, 0u);
  EXPECT_EQ(one("empty.zst", zstd("")).size, 0u);
}

TEST_F(ScanUnpack, ManyMembersAreOneText) {
  std::string gz, zst;
  for (int i = 0; i < 100; ++i) {
    gz += gzip(std::string(static_cast<size_t>(i), 'a'));
    zst += zstd(std::string(static_cast<size_t>(i), 'a'));
  }
  EXPECT_EQ(one("a.gz", gz).size, 4950u);
  EXPECT_EQ(one("b.gz", gz + std::string(1000, '\0')).size, 4950u);  // tape padding
  EXPECT_EQ(one("c.zst", zst).size, 4950u);
  const std::string skippable("\x50\x2a\x4d\x18\x04\0\0\0note", 12);
  EXPECT_EQ(one("d.zst", skippable + zst).size, 4950u);
  // Members whose borders fall on the borders of blocks that are read.
  const std::string big = gzip(noise(131072 - 23 - 40));
  for (size_t cut = 0; cut < 80; ++cut) {
    const std::string member = gzip(noise(131072 - 100 + cut));
    EXPECT_EQ(one("e.gz", member + gzip("tail")).size, 131072 - 100 + cut + 4);
  }
}

TEST_F(ScanUnpack, WhatCannotBeUnpackedStaysAsItIs) {
  const std::string text = noise(200000), gz = gzip(text), zst = zstd(text);
  const auto stays = [&](const std::string& name, const std::string& content, size_t warnings) {
    const Entry entry = one(name, content, warnings);
    EXPECT_EQ(entry.name, name);
    EXPECT_EQ(entry.unpacked, 0) << name;
    EXPECT_EQ(entry.size, content.size());
  };
  stays("cut.gz", gz.substr(0, gz.size() / 2), 1);
  stays("cut-trailer.gz", gz.substr(0, gz.size() - 1), 1);
  stays("cut-header.gz", gz.substr(0, 5), 1);
  std::string bad = gz;
  bad[bad.size() - 6] ^= 1;
  stays("crc.gz", bad, 1);
  stays("behind.gz", gz + "bytes that gzip -d would drop", 1);
  stays("behind-padding.gz", gz + std::string(9, '\0') + "x", 1);
  stays("second-cut.gz", gz + gz.substr(0, 100), 1);
  stays("cut.zst", zst.substr(0, zst.size() - 1), 1);
  stays("cut-half.zst", zst.substr(0, zst.size() / 2), 1);
  bad = zst;
  bad[bad.size() - 1] ^= 1;
  stays("checksum.zst", bad, 1);
  stays("behind.zst", zst + "more", 1);
  stays("not.gz", "plain text", 0);
  stays("zero.gz", "", 0);
  stays(".gz", gz, 0);
  stays("no-ending", gz, 0);
}

TEST_F(ScanUnpack, OnlyWhenAsked) {
  make("a.gz", gzip("x"));
  EXPECT_EQ(scan({at("a.gz")}).entries.at(0).name, "a.gz");
}

TEST_F(Scan, EveryLineIsARecord) {
  ScanOptions lines;
  lines.rule = DocumentRule::lines;
  const std::string big(3 << 20, 'b');
  make("t/a", "one\n\ntwo\r\nlast");
  make("t/b", big + "\n" + big);
  make("t/c", "");
  make("t/d", "\n");
  const auto outcome = scan({at("t")}, lines);
  const auto lengths = [&](size_t i) {
    std::vector<uint64_t> out;
    uint64_t end = 0;
    for (const Record& record : records(outcome.entries[i])) {
      EXPECT_EQ(record.offset, end);
      end += record.length;
      out.push_back(record.length);
    }
    EXPECT_EQ(end, outcome.entries[i].size);
    return out;
  };
  EXPECT_EQ(outcome.entries.at(1).records_kind, RecordKind::lines);
  EXPECT_EQ(lengths(1), (std::vector<uint64_t>{4, 1, 5, 4}));
  EXPECT_EQ(lengths(2), (std::vector<uint64_t>{big.size() + 1, big.size()}));
  EXPECT_TRUE(lengths(3).empty());
  EXPECT_EQ(lengths(4), (std::vector<uint64_t>{1}));
}

TEST_F(Scan, RecordsOfJsonlFiles) {
  ScanOptions options;
  options.rule = DocumentRule::records;
  options.unpack = true;
  make("t/a.jsonl", "{}\n{}\n");
  make("t/b.ndjson.gz", gzip("{}\n{}"));
  make("t/c.txt", "{}\n{}\n");
  const auto outcome = scan({at("t")}, options);
  EXPECT_EQ(names(outcome), Names({"t", "t/a.jsonl", "t/b.ndjson", "t/c.txt"}));
  EXPECT_EQ(outcome.entries[1].records_kind, RecordKind::jsonl);
  EXPECT_EQ(records(outcome.entries[1]).size(), 2u);
  EXPECT_EQ(outcome.entries[2].records_kind, RecordKind::jsonl);
  EXPECT_EQ(records(outcome.entries[2]).at(1).length, 2u);
  EXPECT_EQ(outcome.entries[3].records_kind, RecordKind::whole);
  // The rule `files` leaves them whole.
  EXPECT_EQ(scan({at("t/a.jsonl")}).entries.at(0).records_kind, RecordKind::whole);
}

}  // namespace
}  // namespace llmc
