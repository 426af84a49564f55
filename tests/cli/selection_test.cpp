// Parts of an archive: documents, globs, records inside files, ranges, shards; and what list says.
#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class Selection : public testing::Test {
 protected:
  // One archive for all tests here: they only read it.
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    const std::string in = *dir_ / "in/";
    spill(in + "a/one.txt", cut("lcet10.txt", 9000));
    spill(in + "a/two.txt", cut("lcet10.txt", 3000));
    spill(in + "b/log.jsonl", "{\"n\":1}\n{\"n\":2, \"t\":\"second\"}\n\n{\"n\":4}");
    spill(in + "c/member.txt", "a member of an archive\n");
    spill(in + "c/other.txt", cut("peps.txt", 4000));
    ASSERT_EQ(shell("cd " + in + " && tar cf box.tar c && python3 -c \"import zipfile; z=zipfile.ZipFile('box.zip','w');"
                    "z.write('c/other.txt',compress_type=8); z.write('c/member.txt')\"").code, 0);
    ASSERT_EXIT_CODE(llmc("compress " + in + ". -o " + archive() + " --chunk 2K --documents records"), 0);
    ASSERT_EXIT_CODE(llmc("compress " + in + ". -o " + (*dir_ / "set") + " --chunk 2K --shard 4K --codec zstd"), 0);
  }
  static void TearDownTestSuite() { delete dir_; }
  static std::string archive() { return *dir_ / "a.h5"; }
  static std::string in(const std::string& name) { return slurp(*dir_ / ("in/" + name)); }
  // What `extract -o -` gives for a selection.
  static std::string get(const std::string& selection, const std::string& from = archive()) {
    const Outcome outcome = llmc("extract " + from + " -o - " + selection);
    EXPECT_EXIT_CODE(outcome, 0);
    return outcome.out;
  }
  static TempDir* dir_;
};
TempDir* Selection::dir_ = nullptr;

TEST_F(Selection, Documents) {
  EXPECT_TRUE(get("--document a/two.txt") == in("a/two.txt"));
  EXPECT_TRUE(get("--document a") == in("a/one.txt") + in("a/two.txt"));
  EXPECT_TRUE(get("--document 'a/t*'") == in("a/two.txt"));
  EXPECT_TRUE(get("--document a/two.txt --document a/one.txt") == in("a/one.txt") + in("a/two.txt"));
  EXPECT_TRUE(get("--document a/one.txt", *dir_ / "set") == in("a/one.txt"));
}

TEST_F(Selection, RecordsInsideFiles) {
  EXPECT_EQ(get("--document b/log.jsonl:2"), "{\"n\":2, \"t\":\"second\"}\n");
  EXPECT_EQ(get("--document b/log.jsonl:4"), "{\"n\":4}");
  EXPECT_EQ(get("--document box.tar/c/member.txt"), in("c/member.txt"));
  EXPECT_EQ(get("--document box.zip/c/member.txt"), in("c/member.txt"));
  EXPECT_TRUE(get("--document box.zip/c/other.txt") == in("c/other.txt")) << "a deflated member";
  const Outcome outcome = llmc("extract " + archive() + " -o " + (*dir_ / "members") + " --document 'box.*/c/*'");
  ASSERT_EXIT_CODE(outcome, 0);
  EXPECT_TRUE(slurp(*dir_ / "members/box.tar/c/other.txt") == in("c/other.txt"));
  EXPECT_TRUE(slurp(*dir_ / "members/box.zip/c/other.txt") == in("c/other.txt"));
}

TEST_F(Selection, ContainersComeBackByteForByte) {
  EXPECT_TRUE(get("--document box.tar") == in("box.tar"));
  EXPECT_TRUE(get("--document box.zip") == in("box.zip"));
}

TEST_F(Selection, Ranges) {
  const std::string all = get("");
  const std::pair<size_t, size_t> ranges[] = {{0, 1}, {2047, 2049}, {100, 100}, {5000, 9999}, {0, all.size()}, {all.size() - 1, all.size()}};
  for (const auto& [a, b] : ranges) {
    EXPECT_TRUE(get("--range " + std::to_string(a) + ":" + std::to_string(b)) == all.substr(a, b - a)) << a << ":" << b;
  }
  EXPECT_TRUE(get("--document a/two.txt --range 10:2500") == in("a/two.txt").substr(10, 2490));
  EXPECT_EXIT_CODE(llmc("extract " + archive() + " -o - --range 5:99999999"), 2);
}

TEST_F(Selection, ARangeDecodesNoMoreThanItsChunks) {
  const Outcome outcome = llmc("extract " + archive() + " -o - --range 100:200 --progress-json");
  ASSERT_EXIT_CODE(outcome, 0);
  EXPECT_NE(outcome.err.find("\"chunks_total\":1,"), std::string::npos) << outcome.err;
}

TEST_F(Selection, ShardsOfASet) {
  const std::string set = *dir_ / "set";
  std::string joined;
  for (int s = 0; fs::exists(set + "/shard-00000" + std::to_string(s) + ".h5"); ++s) joined += get("--shard " + std::to_string(s), set);
  EXPECT_TRUE(joined == get("", set));
  EXPECT_TRUE(get("--shard 1-2,0", set) == get("--shard 0", set) + get("--shard 1", set) + get("--shard 2", set));
  EXPECT_EXIT_CODE(llmc("extract " + set + " -o - --shard 999"), 2);
  // To a folder, a file that is cut over shards comes as what these hold of it.
  ASSERT_EXIT_CODE(llmc("extract " + set + " -o " + (*dir_ / "first") + " --shard 0"), 0);
  EXPECT_TRUE(slurp(*dir_ / "first/a/one.txt.bytes-0-4096") == in("a/one.txt").substr(0, 4096));
}

TEST_F(Selection, ListNamesWhatExtractTakes) {
  const Outcome list = llmc("list " + archive());
  ASSERT_EXIT_CODE(list, 0);
  for (const char* name : {"a/one.txt", "box.tar", "b/log.jsonl"}) EXPECT_NE(list.out.find(std::string("  ") + name + "\n"), std::string::npos) << list.out;
  const Outcome documents = llmc("list --documents " + archive());
  ASSERT_EXIT_CODE(documents, 0);
  for (const char* name : {"a/one.txt", "box.tar/c/member.txt", "b/log.jsonl:3"}) EXPECT_NE(documents.out.find(std::string("  ") + name + "\n"), std::string::npos) << documents.out;
  const Outcome chunks = llmc("list --chunks --json " + archive());
  ASSERT_EXIT_CODE(chunks, 0);
  EXPECT_NE(chunks.out.find("\"text_bytes\":2048"), std::string::npos);
  EXPECT_EXIT_CODE(llmc("extract " + archive() + " -o - --document nobody.txt"), 1);
}

TEST_F(Selection, NothingIsOverwrittenWithoutForce) {
  const std::string out = *dir_ / "twice";
  ASSERT_EXIT_CODE(llmc("extract " + archive() + " -o " + out + " --document a/two.txt"), 0);
  spill(out + "/a/two.txt", "mine");
  EXPECT_EXIT_CODE(llmc("extract " + archive() + " -o " + out + " --document a/two.txt"), 1);
  EXPECT_EQ(slurp(out + "/a/two.txt"), "mine");
  EXPECT_EXIT_CODE(llmc("extract " + archive() + " -o " + out + " --document a/two.txt --force"), 0);
  EXPECT_TRUE(slurp(out + "/a/two.txt") == in("a/two.txt"));
}

}  // namespace
}  // namespace llmc::test
