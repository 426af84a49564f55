// What salvage makes of more than one archive: two versions of one, copies that are damaged in other places.
#include <set>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

// An older and a newer version that begin with the same chunk, so that their shards have the same seeds.
class TwoVersions : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir_ / "in/a.txt", cut("docs.txt", 30000));
    spill(dir_ / "in/b.txt", cut("law.txt", 4000));
    spill(dir_ / "in/c.txt", cut("code.txt", 3000));
    spill(dir_ / "in/empty", "");
    spill(dir_ / "in/kind/x.txt", cut("irc.txt", 900));
    fs::create_symlink("a.txt", dir_ / "in/link");
    ASSERT_EXIT_CODE(shell("find " + (dir_ / "in") + " -exec touch -h -d @1600000000 {} +"), 0);
    pack("older");
    spill(dir_ / "in/b.txt", cut("med.txt", 4000));  // of the same size
    fs::remove(dir_ / "in/c.txt");
    spill(dir_ / "in/d.txt", cut("fra.txt", 5000));
    fs::remove_all(dir_ / "in/kind");
    spill(dir_ / "in/kind", cut("deu.txt", 700));  // was a folder
    fs::remove(dir_ / "in/link");
    fs::create_symlink("b.txt", dir_ / "in/link");
    ASSERT_EXIT_CODE(shell("touch -h -d @1700000000 " + (dir_ / "in/*")), 0);
    pack("newer");
    ASSERT_EQ(number_at(dir_ / "found/older/shard-000000.h5", 56, 4), number_at(dir_ / "found/newer/shard-000000.h5", 56, 4));
  }
  void pack(const std::string& name) {
    ASSERT_EXIT_CODE(shell("mkdir -p " + (dir_ / "found") + " && cd " + dir_.path().string() + " && " + product() + " compress in -o found/" + name +
                           " --codec zstd --chunk 1K --shard 12K --bare -q"), 0);
  }
  Outcome salvage(const std::string& options = "", int ranks = 0) {
    return llmc("salvage " + (dir_ / "found") + " -o " + (dir_ / "won") + " " + options, ranks);
  }
  // The files below won/in, with the digits of versions left out.
  std::multiset<std::string> won() const {
    std::multiset<std::string> names;
    for (const auto& item : fs::recursive_directory_iterator(dir_ / "won")) {
      if (item.is_directory() && !item.is_symlink()) continue;
      std::string name = item.path().lexically_relative(dir_.path() / "won");
      if (const size_t at = name.find(".version-"); at != std::string::npos) name.erase(at + 9, 8);
      names.insert(name);
    }
    return names;
  }
  // The one file whose name begins so.
  std::string other_version(const std::string& name) const {
    for (const auto& item : fs::directory_iterator(dir_ / "won/in")) {
      if (item.path().filename().string().starts_with(name + ".version-")) return item.path();
    }
    ADD_FAILURE() << name << ": no other version";
    return "/dev/null";
  }
  void expect_all_of_both() {
    EXPECT_EQ(won(), (std::multiset<std::string>{"in/a.txt", "in/b.txt", "in/b.txt.version-", "in/c.txt", "in/d.txt", "in/empty", "in/kind.version-",
                                                 "in/kind/x.txt", "in/link", "in/link.version-"}));
    EXPECT_TRUE(slurp(dir_ / "won/in/a.txt") == cut("docs.txt", 30000));
    EXPECT_TRUE(slurp(dir_ / "won/in/b.txt") == cut("med.txt", 4000)) << "the newer one keeps its name";
    EXPECT_TRUE(slurp(other_version("b.txt")) == cut("law.txt", 4000));
    EXPECT_TRUE(slurp(dir_ / "won/in/c.txt") == cut("code.txt", 3000));
    EXPECT_TRUE(slurp(dir_ / "won/in/d.txt") == cut("fra.txt", 5000));
    EXPECT_TRUE(slurp(dir_ / "won/in/kind/x.txt") == cut("irc.txt", 900));
    EXPECT_TRUE(slurp(other_version("kind")) == cut("deu.txt", 700)) << "a folder has things below it";
    EXPECT_EQ(fs::read_symlink(dir_ / "won/in/link"), "b.txt");
    EXPECT_EQ(fs::read_symlink(other_version("link")), "a.txt");
  }
  const TempDir dir_;
};

TEST_F(TwoVersions, OfAnArchiveInOneFolderBothComeBack) {
  for (const int ranks : {0, 3}) {
    const Outcome outcome = salvage("", ranks);
    EXPECT_EXIT_CODE(outcome, 0);
    EXPECT_NE(outcome.out.find("3 of them in another version than the newest"), std::string::npos) << explain(outcome);
    expect_all_of_both();
    // What it writes itself is not in its own way, with --force either.
    EXPECT_EXIT_CODE(salvage("--force", ranks), 0);
    expect_all_of_both();
    EXPECT_EXIT_CODE(salvage("", ranks), 1) << "what stands there already is the user's";
    fs::remove_all(dir_ / "won");
  }
}

// A file that both versions have is whole as long as each of its chunks is sound in one of them.
TEST_F(TwoVersions, HelpEachOtherOut) {
  const auto spoil = [&](const std::string& version, int nth) {
    const std::string shard = dir_ / ("found/" + version + "/shard-000001.h5");
    const std::string chunks = llmc("list --chunks --json " + shard).out;
    size_t at = 0;
    for (int i = 0; i <= nth; ++i) at = chunks.find("\"frame_offset\":", at + 1);
    damage(shard, std::stoul(chunks.substr(at + 15)) + 50 + static_cast<size_t>(nth));
  };
  spoil("older", 2);
  spoil("newer", 5);
  const Outcome outcome = salvage();
  EXPECT_EXIT_CODE(outcome, 3);
  EXPECT_NE(outcome.out.find("2 chunks are missing"), std::string::npos) << explain(outcome);
  EXPECT_TRUE(slurp(dir_ / "won/in/a.txt") == cut("docs.txt", 30000)) << explain(outcome);
  // Where both are damaged in the same place, what is left comes once.
  fs::remove_all(dir_ / "won");
  spoil("older", 5);
  EXPECT_EXIT_CODE(salvage(), 3);
  std::string text;
  for (const auto& item : fs::directory_iterator(dir_ / "won/in")) {
    const std::string name = item.path().filename();
    if (!name.starts_with("a.txt")) continue;
    ASSERT_TRUE(name.starts_with("a.txt.bytes-")) << name;
    const std::string part = slurp(item.path());
    EXPECT_TRUE(part == cut("docs.txt", 30000).substr(std::stoul(name.substr(12)), part.size())) << name;
    text += part;
  }
  EXPECT_EQ(text.size(), 30000u - 1024);
}

// Without user blocks nothing says which shards belong together, but for what stands in the indexes.
TEST_F(TwoVersions, WithoutUserBlocks) {
  for (const auto& item : fs::recursive_directory_iterator(dir_ / "found")) {
    const std::string name = item.path().filename();
    if (name == "manifest.json") fs::remove(item.path());
    if (!name.starts_with("shard-")) continue;
    std::string bytes = slurp(item.path());
    std::fill_n(bytes.begin(), 512, '\0');
    spill(item.path(), bytes);
  }
  const Outcome outcome = salvage();
  EXPECT_NE(outcome.code, 1) << explain(outcome);
  EXPECT_TRUE(slurp(dir_ / "won/in/a.txt") == cut("docs.txt", 30000)) << explain(outcome);
  EXPECT_TRUE(slurp(dir_ / "won/in/b.txt") == cut("med.txt", 4000)) << explain(outcome);
  EXPECT_TRUE(slurp(dir_ / "won/in/d.txt") == cut("fra.txt", 5000)) << explain(outcome);
}

// Names that salvage would give itself may be archived ones.
TEST(SalvageNames, AreNotThoseOfOtherFiles) {
  const TempDir dir;
  const std::string longest(250, 'n');
  spill(dir / "in/a", cut("docs.txt", 3000));
  spill(dir / "in/a.bytes-0-1024", "an archived file");
  spill(dir / ("in/" + longest), cut("law.txt", 3000));
  ASSERT_EXIT_CODE(shell("cd " + dir.path().string() + " && " + product() + " compress in -o found.h5 --codec stored --chunk 1K --bare -q"), 0);
  std::string bytes = slurp(dir / "found.h5");
  for (const char* text : {"docs.txt", "law.txt"}) {
    const size_t at = bytes.find(cut(text, 3000).substr(1100, 200));
    ASSERT_NE(at, std::string::npos);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
  }
  spill(dir / "found.h5", bytes);
  EXPECT_EXIT_CODE(llmc("salvage " + (dir / "found.h5") + " -o " + (dir / "won")), 3);
  EXPECT_EQ(slurp(dir / "won/in/a.bytes-0-1024"), "an archived file");
  std::string text;
  int parts = 0;
  for (const auto& item : fs::directory_iterator(dir / "won/in")) text += slurp(item.path()), ++parts;
  EXPECT_EQ(parts, 5) << "two of each and one whole: " << shell("ls " + (dir / "won/in")).out;
  EXPECT_NE(text.find(cut("docs.txt", 1024)), std::string::npos);
  EXPECT_NE(text.find(cut("law.txt", 1000)), std::string::npos);
}

}  // namespace
}  // namespace llmc::test
