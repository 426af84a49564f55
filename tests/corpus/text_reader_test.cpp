#include "corpus/text_reader.h"

#include "corpus/fixture.h"

namespace llmc {
namespace {

class Text : public TreeTest {
 protected:
  static std::string all(const std::vector<Entry>& entries, size_t step) {
    TextReader reader(entries);
    std::string out;
    while (reader.position() < reader.size()) {
      std::string part(std::min<uint64_t>(step, reader.size() - reader.position()), '\0');
      const Status status = reader.read({reinterpret_cast<uint8_t*>(part.data()), part.size()});
      EXPECT_TRUE(status.ok()) << status.message();
      if (!status.ok()) break;
      out += part;
    }
    return out;
  }
  static Status read_all(const std::vector<Entry>& entries) {
    TextReader reader(entries);
    Bytes out(reader.size());
    return reader.read(out);
  }
  ScanOutcome packed(const std::string& dir) {
    ScanOptions options;
    options.unpack = true;
    return scan({at(dir)}, options);
  }
};

TEST_F(Text, CrossesFilesInEntryOrder) {
  make("t/b", "second ");
  make("t/a/x", "first ");
  make("t/c", "");
  make("t/d.gz", gzip("third ") + gzip("fourth "));
  make("t/e.zst", zstd("fifth"));
  make("t/zero", "");
  std::filesystem::create_symlink("b", at("t/link"));
  const auto outcome = packed("t");
  const std::string expected = "first second third fourth fifth";
  EXPECT_EQ(outcome.text_size, expected.size());
  for (const size_t step : {1, 2, 3, 7, 100}) EXPECT_EQ(all(outcome.entries, step), expected);
}

TEST_F(Text, SkipsForwardAndBack) {
  std::string expected;
  for (int i = 0; i < 6; ++i) {
    const std::string text = noise(100000, static_cast<unsigned>(i));
    const std::string name = "t/" + std::to_string(i);
    make(i % 3 == 0   ? name
         : i % 3 == 1 ? name + ".gz"
                      : name + ".zst",
         i % 3 == 0   ? text
         : i % 3 == 1 ? gzip(text)
                      : zstd(text));
    expected += text;
  }
  const auto outcome = packed("t");
  TextReader reader(outcome.entries);
  ASSERT_EQ(reader.size(), expected.size());
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) {
    const size_t from = i % 10 == 0 ? 100000 * (random() % 7) : random() % (expected.size() + 1);
    const size_t n = std::min<size_t>(random() % 150000, expected.size() - from);
    ASSERT_TRUE(reader.skip_to(from).ok());
    std::string out(n, '\0');
    const Status status = reader.read({reinterpret_cast<uint8_t*>(out.data()), n});
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(out, expected.substr(from, n));
  }
  EXPECT_FALSE(reader.skip_to(expected.size() + 1).ok());
  ASSERT_TRUE(reader.skip_to(expected.size()).ok());
  EXPECT_TRUE(reader.read({}).ok());
  uint8_t byte;
  EXPECT_FALSE(reader.read({&byte, 1}).ok());
}

TEST_F(Text, ChangesAfterPlanningAreNamed) {
  const auto changed = [&](auto change, const char* word) {
    const std::string path = make("t/f", "0123456789");
    set_mtime(path, 1000000000000000000);
    const auto outcome = scan({at("t")});
    change(path);
    const Status status = read_all(outcome.entries);
    EXPECT_EQ(status.code(), Code::failure);
    EXPECT_NE(status.message().find(path), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
    std::filesystem::remove(path);
  };
  changed([](const std::string& p) { std::filesystem::resize_file(p, 5); }, "changed while being read");
  changed([](const std::string& p) { std::filesystem::resize_file(p, 50); }, "changed while being read");
  changed([](const std::string& p) { set_mtime(p, 1000000000000000001); }, "changed while being read");
  changed([](const std::string& p) { std::filesystem::remove(p); }, "vanished");
  changed(
      [](const std::string& p) {
        std::filesystem::copy_file(p, p + ".new");
        set_mtime(p + ".new", 1000000000000000000);
        std::filesystem::rename(p + ".new", p);
      },
      "another file has its name");
  changed(
      [](const std::string& p) {
        std::filesystem::remove(p);
        ::mkfifo(p.c_str(), 0644);
      },
      "not a regular file");
}

TEST_F(Text, ChangesInTheMiddleAreFoundAtTheEnd) {
  const std::string path = make("t/f", std::string(100, 'a'));
  const auto outcome = scan({at("t")});
  TextReader reader(outcome.entries);
  Bytes half(50);
  ASSERT_TRUE(reader.read(half).ok());
  std::ofstream(path, std::ios::app) << "more";
  const Status status = reader.read(half);
  EXPECT_NE(status.message().find("changed while being read"), std::string::npos) << status.message();
}

TEST_F(Text, AnEmptyFileThatGrewIsFound) {
  make("t/a", "text");
  const std::string path = make("t/b", "");
  const auto outcome = scan({at("t")});
  std::ofstream(path) << "not empty any more";
  EXPECT_NE(read_all(outcome.entries).message().find(path), std::string::npos);
}

TEST_F(Text, PackedFilesThatDoNotMatchTheirPlanAreFound) {
  make("t/a.gz", gzip(noise(100000)));
  auto outcome = packed("t");
  ASSERT_EQ(outcome.entries.at(1).unpacked, 1);
  for (const int64_t wrong : {-1, +1}) {
    auto entries = outcome.entries;
    entries[1].size += static_cast<uint64_t>(wrong);
    EXPECT_NE(read_all(entries).message().find("changed while being read"), std::string::npos);
  }
  EXPECT_TRUE(read_all(outcome.entries).ok());
}

TEST_F(Text, AnIoErrorNamesThePath) {
  // Reading this process's memory at 0 is EIO, as from a bad disk.
  struct stat st = info("/proc/self/mem");
  if (!S_ISREG(st.st_mode)) GTEST_SKIP() << "not run: no /proc";
  Entry entry;
  entry.name = "mem";
  entry.source = "/proc/self/mem";
  entry.size = 10;
  entry.source_size = static_cast<uint64_t>(st.st_size);
  entry.source_mtime_ns = st.st_mtim.tv_sec * int64_t{1000000000} + st.st_mtim.tv_nsec;
  entry.source_inode = st.st_ino;
  const Status status = read_all({entry});
  EXPECT_EQ(status.message(), "/proc/self/mem: Input/output error");
}

}  // namespace
}  // namespace llmc
