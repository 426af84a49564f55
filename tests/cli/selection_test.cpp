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

// The last line of --progress-json: what went to the workers and what they decoded.
uint64_t last_count(const std::string& lines, const std::string& name) {
  const size_t at = lines.rfind("\"" + name + "\":");
  EXPECT_NE(at, std::string::npos) << name << "\n" << lines;
  return at == std::string::npos ? 0 : std::stoull(lines.substr(at + name.size() + 3));
}

TEST_F(Selection, ARangeEndsWithItsLastByte) {
  const TempDir dir;
  const std::string text = cut("lcet10.txt", 24000);
  spill(dir / "in.txt", text);
  for (const std::string codec : {"mix", "range", "rank", "zstd"}) {
    const std::string archive = dir / (codec + ".h5");
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + archive + " -q --chunk 8K --codec " + codec), 0);
    std::vector<uint64_t> frames, tokens;
    std::istringstream rows(llmc("list --chunks --json " + archive).out);
    for (std::string row; std::getline(rows, row);) {
      if (row.find("\"frame_bytes\":") == std::string::npos) continue;
      frames.push_back(last_count(row, "frame_bytes"));
      tokens.push_back(last_count(row, "tokens"));
    }
    ASSERT_EQ(frames.size(), 3u);
    const bool modelled = tokens[0] > 0;
    const auto check = [&](uint64_t a, uint64_t b, uint64_t read, uint64_t least, uint64_t most) {
      const std::string range = std::to_string(a) + ":" + std::to_string(b);
      const Outcome outcome = llmc("extract " + archive + " -o - --progress-json --range " + range);
      ASSERT_EXIT_CODE(outcome, 0);
      EXPECT_TRUE(outcome.out == text.substr(a, b - a)) << codec << " " << range;
      EXPECT_EQ(last_count(outcome.err, "bytes_done"), b - a / 8192 * 8192) << codec << " " << range;
      // Each frame travels behind 23 bytes that say what is to be done with it.
      const uint64_t coded = last_count(outcome.err, "coded_bytes");
      EXPECT_GE(coded, read) << codec << " " << range;
      EXPECT_LE(coded, read + 3 * 23) << codec << " " << range;
      const uint64_t decoded = last_count(outcome.err, "tokens");
      EXPECT_GE(decoded, modelled ? least : 0) << codec << " " << range;
      EXPECT_LE(decoded, modelled ? most : 0) << codec << " " << range;
    };
    check(0, 100, frames[0], 1, 100);
    check(8192, 8292, frames[1], 1, 100);
    check(8192 + 4000, 8192 + 4100, frames[1], tokens[1] / 3, tokens[1] * 2 / 3);
    check(8000, 8200, frames[0] + frames[1], tokens[0], tokens[0] + 8);
    check(0, 24000, frames[0] + frames[1] + frames[2], tokens[0] + tokens[1] + tokens[2], tokens[0] + tokens[1] + tokens[2]);
  }
}

// A document that ends inside a chunk, and records: no chunk further, and no token behind their end.
TEST_F(Selection, ADocumentReadsNoMoreThanItsChunks) {
  const TempDir dir;
  spill(dir / "in/a", cut("med.txt", 3000));
  spill(dir / "in/b", cut("law.txt", 9000));
  spill(dir / "in/c", cut("irc.txt", 9000));
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "s.set") + " -q --chunk 4K --shard 13K --codec range"), 0);
  const Outcome b = llmc("extract " + (dir / "s.set") + " -o - --progress-json --document in/b");
  ASSERT_EXIT_CODE(b, 0);
  EXPECT_TRUE(b.out == cut("law.txt", 9000));
  EXPECT_EQ(last_count(b.err, "chunks_total"), 3u);
  EXPECT_EQ(last_count(b.err, "bytes_done"), 12000u) << "from the begin of the chunk that it begins in";
  const Outcome a = llmc("extract " + (dir / "s.set") + " -o " + (dir / "out") + " --progress-json --document in/a");
  ASSERT_EXIT_CODE(a, 0);
  EXPECT_TRUE(slurp(dir / "out/in/a") == cut("med.txt", 3000));
  EXPECT_EQ(last_count(a.err, "chunks_total"), 1u);
  EXPECT_EQ(last_count(a.err, "bytes_done"), 3000u);
  // One behind the other, and one apart.
  const Outcome two = llmc("extract " + (dir / "s.set") + " -o - --progress-json --document in/a --document in/c");
  EXPECT_TRUE(two.out == cut("med.txt", 3000) + cut("irc.txt", 9000));
  EXPECT_EQ(last_count(two.err, "chunks_total"), 1u + 3u);
}

TEST_F(Selection, InfoSaysHowLongAChunkTakes) {
  const Outcome info = llmc("info " + archive());
  ASSERT_EXIT_CODE(info, 0);
  EXPECT_NE(info.out.find("seconds_per_chunk"), std::string::npos) << info.out;
  EXPECT_NE(info.out.find("native"), std::string::npos) << info.out;
  EXPECT_EQ(llmc("info --json " + archive()).out.find("seconds_per_chunk"), std::string::npos) << "it costs time: on request only";
  const Outcome json = llmc("info --json --measure " + archive());
  ASSERT_EXIT_CODE(json, 0);
  const size_t at = json.out.find("\"seconds_per_chunk\": ");
  ASSERT_NE(at, std::string::npos) << json.out;
  EXPECT_GT(std::stod(json.out.substr(at + 21)), 0);
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

// A file that is cut over shards has no SHA-256 of its own: it is named, with the command that gives it.
TEST_F(Selection, ChecksumsOfWholeFilesAndOfCutOnes) {
  const std::string path = "PATH=" LLMC_BINARY_DIR ":$PATH; cd " + (*dir_ / "in") + "; ";
  const Outcome sums = llmc("list --sha256 " + (*dir_ / "set") + " >" + (*dir_ / "sums"));
  EXPECT_EXIT_CODE(sums, 3);
  EXPECT_EXIT_CODE(shell(path + "sha256sum -c --quiet ../sums"), 0);
  const std::string listed = slurp(*dir_ / "sums");
  int whole = 0, cut = 0;
  for (const char* name : {"a/one.txt", "a/two.txt", "b/log.jsonl", "box.tar", "box.zip", "c/member.txt", "c/other.txt"}) {
    const size_t told = sums.err.find(std::string(name) + ": lies in several shards");
    EXPECT_NE(listed.find(std::string("  ") + name + "\n") != std::string::npos, told != std::string::npos) << name << " is in one of both";
    if (told == std::string::npos) {
      ++whole;
      continue;
    }
    ++cut;
    const size_t from = sums.err.find("llmc-batch extract", told);
    const std::string command = sums.err.substr(from, sums.err.find('\n', from) - from);
    EXPECT_EQ(shell(path + command).out, shell(path + "sha256sum <" + name).out) << command;
  }
  EXPECT_GE(whole, 3);
  EXPECT_GE(cut, 2);
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
