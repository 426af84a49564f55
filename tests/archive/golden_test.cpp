// Archives that others made or read: those of earlier versions, and Python with h5py.
#include <cstdio>
#include <cstdlib>

#include "archive/repair_archive.h"
#include "archive/verify.h"
#include "fixture.h"

namespace llmc::test {
namespace {

std::string python_with(const std::string& modules) {
  const char* from_environment = std::getenv("LLMC_PYTHON");
  const std::string python = from_environment ? from_environment : LLMC_PYTHON;
  const std::string probe = python + " -c 'import " + modules + "' 2> /dev/null";
  return python.empty() || std::system(probe.c_str()) != 0 ? "" : python;
}

constexpr const char* golden_content_set = "11c6d8980b4d21b1dde9f10d38e7d8a4ff758d3a7497557fc8e4971a5874b275";
constexpr const char* golden_content_appended = "c61ce127458b8fb5770e3d24b76787e7fc122f0d2d087c37233875e9db272c52";
constexpr const char* golden_content_file = "279ce84a4e3e565ef756431ffa9f2e7513c1666cc0004dfa4ea885b8a666c9b4";

// Committed under data/; never changes. LLMC_WRITE_GOLDEN=DIR writes it anew, for a new version.
Corpus golden_corpus(uint64_t shard_bytes) {
  Corpus c;
  c.options = options(shard_bytes, 256);
  c.options.parameters = {1, 0, 0, 0, 0, 0, 0, 0, 0};  // zstd, and no model: every reader can decode it
  c.options.model = {};
  c.options.model_name.clear();
  c.add("folder", Entry::Kind::directory);
  c.add_file("folder/empty", "");
  c.add_file("folder/names \xc3\xa9\xff\n", std::string("A short file.\r\n") + '\0' + " With a NUL.");
  c.add_file("lines.txt", random_text(5, 900));
  RecordWriter lines(RecordKind::lines);
  for (uint64_t at = 0; at < 900; at += 60) lines.add({at, 60, "", 0});
  c.entries.back().records_kind = RecordKind::lines;
  c.entries.back().records = lines.take();
  c.add("link", Entry::Kind::symlink, "folder/empty");
  c.add_file("packed.gz", random_text(6, 100));
  c.entries.back().unpacked = 1;
  c.entries.back().source_digest.fill(9);
  c.entries.back().mtime_ns = -1;
  c.add_file("t.tar", random_text(7, 120));
  RecordWriter members(RecordKind::tar);
  members.add({10, 20, "m/one", 0});
  members.add({50, 60, "m/two", 0});
  c.entries.back().records_kind = RecordKind::tar;
  c.entries.back().records = members.take();
  return c;
}

TEST(Golden, Version1) {
  const fs::path data = fs::path(LLMC_SOURCE_DIR) / "tests/archive/data";
  if (const char* folder = std::getenv("LLMC_WRITE_GOLDEN")) {
    LLMC_ASSERT_OK(compress(fs::path(folder) / "version1", golden_corpus(500)));
    LLMC_ASSERT_OK(compress(fs::path(folder) / "version1.h5", golden_corpus(0)));
  }
  for (const std::string name : {"version1", "version1.h5"}) {
    const Corpus c = golden_corpus(name == "version1" ? 500 : 0);
    std::string text;
    LLMC_ASSERT_OK(read_text(data / name, &text));
    EXPECT_TRUE(text == c.text) << name;
    auto report = verify_archive(data / name);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->sound()) << report->findings.at(0).describe();
    auto reader = ArchiveReader::open(data / name);
    EXPECT_EQ(to_hex(*reader->content_digest()), name == "version1" ? golden_content_set : golden_content_file);
    for (const Entry& e : c.entries) {
      auto found = reader->find(e.name);
      ASSERT_TRUE(found.ok() && *found) << e.name;
      const Entry& there = (*reader->shard((*found)->shard))->index().entries[(*found)->entry].entry;
      EXPECT_EQ(there.mtime_ns, e.mtime_ns);
      EXPECT_EQ(there.size, e.size);
      EXPECT_EQ(there.target, e.target);
    }
    // The bytes are those of the same libhdf5 and libzstd; with others they may differ, and be as good.
    TempDir dir;
    LLMC_ASSERT_OK(compress(dir / name, c));
    if (!(contents(dir / name) == contents(data / name))) {
      std::printf("%s: written anew it differs from the committed one; expected only with another libhdf5 or libzstd\n",
                  name.c_str());
      auto anew = ArchiveReader::open(dir / name);
      EXPECT_EQ(*anew->content_digest(), *reader->content_digest());
    }
  }
}

// A set that was appended to, with an index of names and parity: data/make_appended.sh made it with the program (and
// tests/cli/round_trip_test.cpp reads its text).
TEST(Golden, AppendedWithNamesAndParity) {
  const fs::path data = fs::path(LLMC_SOURCE_DIR) / "tests/archive/data/version1-appended";
  auto report = verify_archive(data);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(report->sound()) << report->findings.at(0).describe();
  EXPECT_EQ(report->parity_files, 5u);
  auto reader = ArchiveReader::open(data);
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->parts(), 2u);
  EXPECT_EQ(to_hex(*reader->content_digest()), golden_content_appended);
  ASSERT_EQ(reader->manifest()->names.size(), 1u);
  for (const auto& [name, shard, size] : {std::tuple("in/a.txt", 0u, 492u), std::tuple("in/folder/b.txt", 1u, 404u), std::tuple("new/c.txt", 2u, 670u),
                                          std::tuple("new/folder/names \xc3\xa9\xff\n", 3u, 28u), std::tuple("new/link", 3u, 0u)}) {
    auto found = reader->find(name);
    ASSERT_TRUE(found.ok() && *found) << name;
    EXPECT_EQ((*found)->shard, shard) << name;
    EXPECT_EQ((*reader->shard(shard))->index().entries[(*found)->entry].entry.size, size) << name;
    EXPECT_EQ(reader->name_blocks_read(), 1u) << "by the index of names, all of which is one block";
  }
  EXPECT_FALSE(*reader->find("in/b.txt"));
  // Each file comes back from what the others hold.
  TempDir dir;
  const auto expected = contents(data);
  for (const auto& [name, bytes] : expected) {
    fs::remove_all(dir / "set");
    fs::copy(data, dir / "set");
    Bytes bad = bytes;
    for (size_t i = bad.size() / 2; i < bad.size() / 2 + 100 && i < bad.size(); ++i) bad[i] ^= 0x55;
    overwrite(dir.path() / "set" / name, bad);
    auto repair = repair_archive(dir / "set", false);
    ASSERT_TRUE(repair.ok()) << name << ": " << repair.status().message();
    EXPECT_TRUE(repair->lost.empty()) << name << ": " << repair->lost.at(0);
    EXPECT_TRUE(contents(dir / "set") == expected) << name;
  }
}

// It says what the set holds, and nothing of how it was made.
TEST(Golden, TheContentDigestIsOfTheContentAlone) {
  TempDir dir;
  int number = 0;
  const auto content = [&](const Corpus& c, Digest* plan) {
    const fs::path out = dir / std::to_string(number++);
    EXPECT_TRUE(compress(out, c).ok());
    auto reader = ArchiveReader::open(out);
    *plan = reader->manifest()->parts.front().plan;
    EXPECT_EQ(*reader->content_digest(), reader->manifest()->content);
    return to_hex(reader->manifest()->content);
  };
  Digest plan, other_plan;
  const Corpus c = mixed_corpus();
  const std::string expected = content(c, &plan);
  Corpus other = c;
  other.options.model.fill(1);
  other.options.model_name = "another";
  other.options.parameters[0] = 3;
  other.options.chunk_bytes = 100;
  EXPECT_EQ(content(other, &other_plan), expected);
  EXPECT_NE(other_plan, plan);
  // What is archived, it depends on.
  for (int change = 0; change < 4; ++change) {
    other = c;
    Entry& entry = other.entries[3];
    if (change == 0) other.text[100] ^= 1;
    if (change == 1) entry.name += "x";
    if (change == 2) entry.mode ^= 1;
    if (change == 3) entry.mtime_ns += 1;
    EXPECT_NE(content(other, &other_plan), expected) << change;
  }
}

TEST(Golden, H5pyOpensIt) {
  const std::string python = python_with("h5py");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with h5py";
  TempDir dir;
  const Corpus c = mixed_corpus(0);
  LLMC_ASSERT_OK(compress(dir / "x.h5", c));
  const auto shard = ShardFile::open(dir / "x.h5");
  ASSERT_TRUE(shard.ok());
  LLMC_ASSERT_OK(write_file_atomic(dir / "t.py", as_bytes(R"(
import sys, hashlib, h5py
path, size, chunk, index = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
f = h5py.File(path, 'r')
assert sorted(f) == ['index', 'text'], sorted(f)
assert f['text'].shape == (size,) and f['text'].chunks == (chunk,), (f['text'].shape, f['text'].chunks)
assert f['text'].dtype == 'u1' and f.userblock_size == 512
assert hashlib.sha256(f['index'][:].tobytes()).hexdigest() == index
mask, frame = f['text'].id.read_direct_chunk((chunk,))
assert mask == 0 and frame[:4] == b'\x8cLCF', (mask, frame[:4])
assert list(f['text']._filters) == ['51773']
try:
    f['text'][0:1]
except OSError:
    pass
else:
    raise SystemExit('read without a plugin')
print('h5py', h5py.version.version, 'HDF5', h5py.version.hdf5_version)
)")));
  const std::string command = python + " " + (dir / "t.py") + " " + (dir / "x.h5") + " " +
                              std::to_string(c.text.size()) + " 512 " + to_hex(shard->block().index);
  EXPECT_EQ(std::system(("HDF5_PLUGIN_PATH=" + dir.path().string() + " " + command).c_str()), 0) << command;
}

// The program in docs/FORMAT.md, as it stands there.
TEST(Golden, RecoveryByHand) {
  const std::string python = python_with("h5py, zstandard");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with h5py and zstandard";
  const std::string document(as_text(*read_file(fs::path(LLMC_SOURCE_DIR) / "docs/FORMAT.md")));
  const size_t begin = document.find("```python\n");
  ASSERT_NE(begin, std::string::npos);
  const size_t end = document.find("```", begin + 10);
  TempDir dir;
  overwrite(dir / "recover.py", as_bytes(document.substr(begin + 10, end - begin - 10)));
  const Corpus c = mixed_corpus(0);
  LLMC_ASSERT_OK(compress(dir / "x.h5", c));
  const std::string command = python + " " + (dir / "recover.py") + " " + (dir / "x.h5") + " " +
                              (dir / "out") + " > " + (dir / "log");
  ASSERT_EQ(std::system(("HDF5_PLUGIN_PATH=" + dir.path().string() + " " + command).c_str()), 0) << command;
  size_t at = 0;
  for (const Entry& e : c.entries) {
    const fs::path path = dir.path() / "out" / e.name;
    if (e.kind == Entry::Kind::directory) {
      EXPECT_TRUE(fs::is_directory(path));
    } else if (e.kind == Entry::Kind::symlink) {
      EXPECT_EQ(fs::read_symlink(path), e.target);
    } else {
      EXPECT_TRUE(as_text(*read_file(path)) == c.text.substr(at, e.size)) << e.name;
      at += e.size;
    }
  }
}

}  // namespace
}  // namespace llmc::test
