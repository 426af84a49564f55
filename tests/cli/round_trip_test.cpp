// Any bytes in, the same bytes out; the archive does not depend on ranks, threads or batch.
#include <random>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

// A tree with everything that a file system may hold, in about 150 KB.
void make_tree(const std::string& root) {
  spill(root + "/prose/alice.txt", cut("alice29.txt", 50000));
  spill(root + "/prose/umlaut \xc3\xa4.txt", "Gr\xc3\xbc\xc3\x9f" "e\r\n\r\n");
  spill(root + "/code/a.c", cut("code.txt", 30000));
  spill(root + "/noise.bin", noise(20000, 1));
  spill(root + "/empty", "");
  spill(root + "/one", "x");
  spill(root + "/special", "<|endoftext|><|im_start|>\0\xff\xfe<0x0A>");
  spill(root + "/odd\nname\xff", "the name has a newline and a byte that is no UTF-8");
  fs::create_directories(root + "/hollow/inner");
  fs::create_symlink("prose/alice.txt", root + "/link");
  fs::permissions(root + "/one", fs::perms(0600));
  fs::last_write_time(root + "/one", fs::file_time_type(std::chrono::seconds(-1000000000)));
}

// Bytes, kinds, modes and times of two trees.
std::string differences(const std::string& a, const std::string& b) {
  const std::string facts = " -printf '%P\\0%y %m %s %T@ %l\\n' | LC_ALL=C sort -z";
  const Outcome found = shell("diff -r --no-dereference " + a + " " + b + "; find " + a + facts + " >/tmp/facts.$$; find " + b + facts +
               " | cmp - /tmp/facts.$$; rm -f /tmp/facts.$$");
  return found.out + found.err;
}

TEST(RoundTrip, ATreeIsTheSameForEveryNumberOfRanks) {
  const TempDir dir;
  make_tree(dir / "in/tree");
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in/tree") + " -o " + (dir / "alone.h5")), 0);
  const std::string alone = slurp(dir / "alone.h5");
  ASSERT_GT(alone.size(), 1000u);
  // Extracted by another number of ranks than compressed, more ranks than chunks among them.
  const int compress_ranks[] = {1, 2, 3, 5}, extract_ranks[] = {2, 0, 5, 3};
  for (int i = 0; i < 4; ++i) {
    const std::string archive = dir / ("r" + std::to_string(i) + ".h5"), out = dir / ("out" + std::to_string(i));
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "in/tree") + " -o " + archive + " --threads 1", compress_ranks[i]), 0);
    EXPECT_TRUE(slurp(archive) == alone) << compress_ranks[i] << " ranks make another archive";
    ASSERT_EXIT_CODE(llmc("extract " + archive + " -o " + out, extract_ranks[i]), 0);
    EXPECT_EQ(differences(dir / "in/tree", out + "/tree"), "");
  }
}

TEST(RoundTrip, OneRankWithTheModelFileIsEnough) {
  const TempDir dir;
  spill(dir / "in.txt", cut("wiki.txt", 20000));
  const std::string model = quoted(LLMC_SOURCE_DIR "/models/e0.safetensors");
  const std::string verb = "compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --chunk 8K --threads 1 --model ";
  const auto job = [&](const std::string& more) {  // rank 0 has the model file, ranks 1 and 2 have none
    const std::string part = product() + " " + verb;
    return shell("mpirun --oversubscribe -n 1 " + part + model + more + " : -n 2 " + part + (dir / "none") + more);
  };
  const Outcome without = job("");
  EXPECT_EXIT_CODE(without, 12);
  EXPECT_NE(without.err.find("rank 1"), std::string::npos) << without.err;
  ASSERT_EXIT_CODE(job(" --weights-from mpi"), 0);
  const std::string sent = slurp(dir / "a.h5");
  ASSERT_EXIT_CODE(llmc(verb + model + " --force"), 0);
  EXPECT_TRUE(slurp(dir / "a.h5") == sent);
}

TEST(RoundTrip, ThreadsStreamsAndEngineDoNotShow) {
  const TempDir dir;
  spill(dir / "in.txt", cut("wiki.txt", 60000));
  std::string first;
  for (const char* how : {"--threads 1 --streams 1", "--threads 3 --streams 2", "--threads 2 --streams 64", "--engine native"}) {
    fs::remove(dir / "a.h5");
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --chunk 8K --verify none " + how), 0);
    if (first.empty()) first = slurp(dir / "a.h5");
    EXPECT_TRUE(slurp(dir / "a.h5") == first) << how;
    const Outcome out = llmc("extract " + (dir / "a.h5") + " -o - " + how);
    ASSERT_EXIT_CODE(out, 0);
    EXPECT_TRUE(out.out == slurp(dir / "in.txt")) << how;
  }
}

TEST(RoundTrip, EveryCodec) {
  const TempDir dir;
  spill(dir / "in.txt", cut("law.txt", 40000) + noise(3000, 5));
  for (const char* codec : {"mix", "range", "rank", "zstd", "stored"}) {
    const std::string archive = dir / (std::string(codec) + ".h5");
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + archive + " --chunk 20K --verify all --codec " + codec), 0);
    EXPECT_TRUE(llmc("extract " + archive + " -o -", 2).out == slurp(dir / "in.txt")) << codec;
  }
}

TEST(RoundTrip, SetOfShards) {
  const TempDir dir;
  for (int i = 0; i < 6; ++i) spill(dir / ("in/f" + std::to_string(i)), cut("docs.txt", 5000 + 4000 * i));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "set") + " --shard 16K --chunk 4K", 3), 0);
  EXPECT_TRUE(fs::exists(dir / "set/manifest.json"));
  EXPECT_FALSE(fs::exists(dir / "set/.work"));
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out")), 0);
  EXPECT_EQ(differences(dir / "in", dir / "out/in"), "");
  ASSERT_EXIT_CODE(llmc("verify --data " + (dir / "set"), 2), 0);
  // One shard is an archive of its own.
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set/shard-000000.h5") + " -o -"), 0);
}

TEST(RoundTrip, NothingAtAll) {
  const TempDir dir;
  fs::create_directories(dir / "in");
  spill(dir / "zero", "");
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "a.h5"), 3), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "a.h5") + " -o " + (dir / "out"), 2), 0);
  EXPECT_TRUE(fs::is_directory(dir / "out/in"));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "zero") + " -o " + (dir / "b")), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "b") + " -o " + (dir / "out")), 0);
  EXPECT_EQ(fs::file_size(dir / "out/zero"), 0u);
  ASSERT_EXIT_CODE(llmc("verify --data " + (dir / "a.h5")), 0);
  EXPECT_EQ(llmc("extract " + (dir / "a.h5") + " -o -").out, "");
}

TEST(RoundTrip, StandardInputAndOutput) {
  const TempDir dir;
  const std::string text = cut("irc.txt", 30000);
  spill(dir / "in", text);
  ASSERT_EXIT_CODE(shell(product() + " compress - -o " + (dir / "a.h5") + " <" + (dir / "in")), 0);
  EXPECT_FALSE(fs::exists(dir / "a.h5.stdin"));
  EXPECT_TRUE(llmc("extract " + (dir / "a.h5") + " -o -").out == text);
  EXPECT_TRUE(llmc("extract --document stdin " + (dir / "a.h5") + " -o -").out == text);
}

TEST(RoundTrip, RandomBytesGrowByLittle) {
  const TempDir dir;
  spill(dir / "noise", noise(200000, 77));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "noise") + " -o " + (dir / "a.h5")), 0);
  EXPECT_LE(fs::file_size(dir / "a.h5"), 200000u + 200 + 2048);
  EXPECT_TRUE(llmc("extract " + (dir / "a.h5") + " -o -").out == slurp(dir / "noise"));
}

// Documents that texts are not made of: runs, cuts inside characters, all bytes, control codes, special tokens.
std::string hostile_document(std::mt19937_64& random) {
  static const char* const pieces[] = {"<|endoftext|>", "\r\n", "\xf0\x9f\x93\x9a", "\xe2\x82", "\xff", "\xc0\x80",
                                       "\xed\xa0\x80", "  ", "\t", "1234567890", "'s", " don't", "\xcc\x81", "\xe2\x80\x8b",
                                       "\xef\xbb\xbf", "{\"a\":[", "</p>", "aaaaaaaaaaaaaaaa", "Zo\xc3\xab", "\x1b[2J"};
  std::string text;
  const size_t parts = random() % 12;
  for (size_t i = 0; i < parts; ++i) {
    switch (random() % 4) {
      case 0: text += pieces[random() % std::size(pieces)]; break;
      case 1: text += std::string(random() % 40, static_cast<char>(random())); break;
      case 2: text += noise(random() % 60, random()); break;
      default: text.push_back('\0'); text += pieces[random() % std::size(pieces)];
    }
  }
  return text;
}

// Committed archives of version 1 (tests/archive/golden_test.cpp says what is in them), through the whole program.
TEST(RoundTrip, GoldenArchives) {
  const TempDir dir;
  for (const std::string name : {"version1", "version1.h5"}) {
    const std::string golden = quoted(std::string(LLMC_SOURCE_DIR "/tests/archive/data/") + name);
    EXPECT_EXIT_CODE(llmc("verify --data " + golden), 0);
    ASSERT_EXIT_CODE(llmc("extract " + golden + " -o " + (dir / name)), 0);
  }
  // The set's files are cut over shards and have no SHA-256 of their own.
  ASSERT_EXIT_CODE(llmc("list --sha256 " + quoted(LLMC_SOURCE_DIR "/tests/archive/data/version1.h5") + " >" + (dir / "sums")), 0);
  EXPECT_EXIT_CODE(shell("cd " + (dir / "version1") + " && sha256sum -c --quiet ../sums"), 0);
  EXPECT_EQ(shell("diff -r --no-dereference " + (dir / "version1") + " " + (dir / "version1.h5")).code, 0);
}

// The committed set that was appended to, with an index of names and parity (tests/archive/data/make_appended.sh made it).
TEST(RoundTrip, GoldenAppendedSet) {
  const TempDir dir;
  const auto numbers = [](int from, int step, int to) {
    std::string text;
    for (int n = from; step > 0 ? n <= to : n >= to; n += step) text += std::to_string(n) + "\n";
    return text;
  };
  const std::string odd = "folder/names \xc3\xa9\xff\n";
  spill(dir / "in/a.txt", numbers(1, 1, 150));
  spill(dir / "in/folder/b.txt", numbers(900, -1, 800));
  spill(dir / "in/folder/empty", "");
  spill(dir / "new/c.txt", numbers(2000, 3, 2400));
  spill(dir / ("new/" + odd), std::string("A short file.\r\n") + '\0' + " With a NUL.");
  fs::create_symlink("c.txt", dir / "new/link");
  const std::string golden = LLMC_SOURCE_DIR "/tests/archive/data/version1-appended", set = dir / "set", out = dir / "out";
  const auto expect_all = [&](const std::string& what, const std::string& extra = "") {
    EXPECT_EXIT_CODE(llmc("verify --data " + set), 0) << what;
    fs::remove_all(out);
    ASSERT_EXIT_CODE(llmc("extract " + set + " -o " + out), 0) << what;
    EXPECT_EQ(shell("cd " + dir.path().string() + " && diff -r --no-dereference in out/in && diff -r --no-dereference new out/new && ls out").out, "in\n" + extra + "new\n") << what;
  };
  const auto fresh = [&] {
    fs::remove_all(set);
    fs::copy(golden, set);
  };
  fresh();
  expect_all("as it is");
  EXPECT_EQ(llmc("extract " + set + " -o - --document new/" + quoted(odd)).out, slurp(dir / ("new/" + odd)));
  EXPECT_EQ(llmc("extract " + set + " -o - --document new/c.txt --range 490:510").out, slurp(dir / "new/c.txt").substr(490, 20)) << "cut over two shards";
  EXPECT_NE(llmc("list " + set).out.find("2023-11-14 22:13:20  new/c.txt\n"), std::string::npos);
  // Damage to each file is found, and undone to the very bytes.
  int repaired = 0;
  for (const auto& item : fs::directory_iterator(golden)) {
    const std::string name = item.path().filename(), bytes = slurp(item.path());
    std::string flipped = bytes, gap = bytes;
    for (size_t i = bytes.size() / 2; i < bytes.size() / 2 + 60; ++i) flipped[i] = static_cast<char>(flipped[i] ^ 0x55);
    gap.erase(bytes.size() / 3, 40);
    for (const std::string& bad : {flipped, gap, bytes.substr(0, bytes.size() - 100)}) {
      fresh();
      spill(set + "/" + name, bad);
      EXPECT_EXIT_CODE(llmc("verify " + set), 20) << name;
      EXPECT_EXIT_CODE(llmc("repair --dry-run " + set), 0) << name;
      ASSERT_EXIT_CODE(llmc("repair " + set), 0) << name;
      expect_same(golden, set);
      ++repaired;
    }
    if (!name.ends_with(".index")) continue;
    fresh();
    fs::remove(set + "/" + name);
    EXPECT_EXIT_CODE(llmc("verify " + set), 20) << name;
    EXPECT_EQ(llmc("extract " + set + " -o - --document new/c.txt").out, slurp(dir / "new/c.txt")) << "without " << name;
    ASSERT_EXIT_CODE(llmc("repair " + set), 0) << name;
    expect_same(golden, set);
  }
  EXPECT_EQ(repaired, 3 * 11);
  // Today's program adds to it, and touches no shard of it.
  fresh();
  spill(dir / "more/d.txt", numbers(7, 7, 700));
  ASSERT_EXIT_CODE(llmc("append " + (dir / "more") + " -o " + set + " -q"), 0);
  expect_all("appended to", "more\n");
  EXPECT_EQ(slurp(out + "/more/d.txt"), slurp(dir / "more/d.txt"));
  for (const char* shard : {"0", "1", "2", "3"}) {
    const std::string name = std::string("/shard-00000") + shard + ".h5";
    EXPECT_TRUE(slurp(set + name) == slurp(golden + name)) << name;
  }
}

TEST(RoundTrip, HostileDocuments) {
  const TempDir dir;
  std::mt19937_64 random(20260101);
  const bool longer = std::getenv("LLMC_LONG") != nullptr;
  const int archives = longer ? 20 : 2, documents = longer ? 500 : 200, alone = longer ? 200 : 5;
  for (int a = 0; a < archives; ++a) {
    const std::string in = dir / ("in" + std::to_string(a));
    for (int d = 0; d < documents; ++d) spill(in + "/d" + std::to_string(d), hostile_document(random));
    const std::string archive = dir / ("a" + std::to_string(a) + ".h5"), out = dir / ("out" + std::to_string(a));
    const char* codec = a % 4 == 3 ? " --codec rank" : "";
    ASSERT_EXIT_CODE(llmc("compress " + in + " -o " + archive + " --chunk 4K" + codec, a % 2 ? 2 : 0), 0);
    ASSERT_EXIT_CODE(llmc("extract " + archive + " -o " + out, a % 2 ? 0 : 3), 0);
    EXPECT_EQ(shell("diff -r " + in + " " + out + "/in" + std::to_string(a)).code, 0);
  }
  for (int d = 0; d < alone; ++d) {
    spill(dir / "one", hostile_document(random));
    fs::remove(dir / "one.h5");
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "one") + " -o " + (dir / "one.h5")), 0);
    EXPECT_TRUE(llmc("extract " + (dir / "one.h5") + " -o -").out == slurp(dir / "one")) << d;
  }
}

// Every file of a folder of texts, one archive for all: LLMC_EVAL=DIR, in the long tier.
TEST(RoundTrip, FolderOfTexts) {
  const char* folder = std::getenv("LLMC_EVAL");
  if (!folder || !std::getenv("LLMC_LONG")) GTEST_SKIP() << "not run: needs LLMC_LONG=1 and LLMC_EVAL=DIR";
  const TempDir dir;
  ASSERT_EXIT_CODE(llmc("compress " + quoted(std::string(folder) + "/.") + " -o " + (dir / "a.h5"), 3), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "a.h5") + " -o " + (dir / "out"), 2), 0);
  EXPECT_EQ(shell("diff -r " + quoted(folder) + " " + (dir / "out")).code, 0);
}

}  // namespace
}  // namespace llmc::test
