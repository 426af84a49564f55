// What goes wrong costs one sentence with the path, the documented exit code, and leaves nothing behind.
#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

// One sentence on standard error that names `mention`.
void expect_error(const std::string& arguments, int code, const std::string& mention, int ranks = 0) {
  const Outcome outcome = llmc(arguments, ranks);
  EXPECT_EXIT_CODE(outcome, code) << arguments;
  EXPECT_NE(outcome.err.find("llmc-batch: "), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(mention), std::string::npos) << arguments << "\n" << outcome.err;
}

// The number of things in a folder.
size_t things(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(BadInput, MissingInput) {
  const TempDir dir;
  expect_error("compress " + (dir / "nowhere.txt") + " -o " + (dir / "a.h5"), 1, dir / "nowhere.txt");
  expect_error("compress " + (dir / "nowhere.txt") + " -o " + (dir / "set"), 1, dir / "nowhere.txt", 2);
  EXPECT_EQ(things(dir.path()), 0u);
}

TEST(BadInput, UnreadableFolder) {
  if (geteuid() == 0 && shell("command -v setpriv").code != 0) GTEST_SKIP() << "not run: no setpriv to give up root with";
  const TempDir dir;
  spill(dir / "in/fine.txt", "readable");
  spill(dir / "in/closed/secret.txt", "not readable");
  fs::permissions(dir / "in/closed", fs::perms(0));
  fs::permissions(dir.path(), fs::perms(0777));
  const std::string as_nobody = geteuid() == 0 ? "setpriv --reuid 65534 --regid 65534 --clear-groups " : "";
  const Outcome outcome = shell(as_nobody + product() + " compress " + (dir / "in") + " -o " + (dir / "a.h5"));
  fs::permissions(dir / "in/closed", fs::perms(0755));
  EXPECT_EXIT_CODE(outcome, 3);
  EXPECT_NE(outcome.err.find("in/closed"), std::string::npos) << outcome.err;
  EXPECT_EQ(llmc("extract " + (dir / "a.h5") + " -o -").out, "readable");
}

TEST(BadInput, NotAnArchive) {
  const TempDir dir;
  spill(dir / "text.h5", "this is no archive, but long enough " + std::string(1000, '.'));
  spill(dir / "empty.h5", "");
  spill(dir / "folder/note.txt", "no archive");
  for (const char* verb : {"list", "info", "verify", "verify --data"}) {
    expect_error(std::string(verb) + " " + (dir / "text.h5"), 20, "text.h5");
    expect_error(std::string(verb) + " " + (dir / "empty.h5"), 20, "empty.h5");
    expect_error(std::string(verb) + " " + (dir / "folder"), 20, "folder");
    expect_error(std::string(verb) + " " + (dir / "nowhere.h5"), 10, "nowhere.h5");
  }
  expect_error("extract " + (dir / "text.h5") + " -o " + (dir / "out"), 20, "text.h5");
  expect_error("extract " + (dir / "nowhere.h5") + " -o " + (dir / "out"), 10, "nowhere.h5", 3);
  EXPECT_FALSE(fs::exists(dir / "out"));
}

class BadArchive : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in.txt", cut("arxiv.txt", 20000));
    ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --chunk 4K"), 0);
    bytes = slurp(dir / "a.h5");
  }
  const TempDir dir;
  std::string bytes;
};

TEST_F(BadArchive, Truncated) {
  for (const size_t size : {size_t{100}, size_t{512}, bytes.size() / 2, bytes.size() - 1}) {
    spill(dir / "cut.h5", bytes.substr(0, size));
    expect_error("extract " + (dir / "cut.h5") + " -o " + (dir / "out"), 20, "cut.h5");
    expect_error("verify " + (dir / "cut.h5"), 20, "cut.h5");
    EXPECT_FALSE(fs::exists(dir / "out/in.txt"));
  }
}

TEST_F(BadArchive, OneDamagedChunkIsNamed) {
  const Outcome chunks = llmc("list --chunks --json " + (dir / "a.h5"));
  const std::string key = "\"frame_offset\":";
  size_t at = chunks.out.find(key);
  at = chunks.out.find(key, at + 1);  // the second chunk
  std::string damaged = bytes;
  damaged[std::stoul(chunks.out.substr(at + key.size())) + 50] ^= 4;
  spill(dir / "damaged.h5", damaged);
  const Outcome verify = llmc("verify " + (dir / "damaged.h5"));
  EXPECT_EXIT_CODE(verify, 20);
  EXPECT_NE(verify.out.find("chunk 1"), std::string::npos) << verify.out;
  EXPECT_NE(verify.out.find("in.txt"), std::string::npos) << verify.out;
  // The rest can be had, and the damaged file is not given out as if it were whole.
  expect_error("extract " + (dir / "damaged.h5") + " -o " + (dir / "out"), 3, "in.txt");
  EXPECT_FALSE(fs::exists(dir / "out/in.txt"));
  const Outcome rest = llmc("extract " + (dir / "damaged.h5") + " -o - --range 8192:20000");
  EXPECT_EXIT_CODE(rest, 0);
  EXPECT_TRUE(rest.out == slurp(dir / "in.txt").substr(8192));
  EXPECT_EXIT_CODE(llmc("extract " + (dir / "damaged.h5") + " -o - --range 4000:4200"), 20);
}

TEST_F(BadArchive, WrongModelIsRefusedWithBothDigests) {
  ASSERT_EXIT_CODE(llmc("model import " + quoted(LLMC_SOURCE_DIR "/models/e0-hf") + " --activations 16 -o " + (dir / "other.model")), 0);
  const std::string other = llmc("model info --json " + (dir / "other.model")).out;
  const std::string digest = other.substr(other.find("\"sha256\": \"") + 11, 64);
  expect_error("extract " + (dir / "a.h5") + " -o " + (dir / "out") + " --model " + (dir / "other.model"), 12, digest);
  expect_error("extract " + (dir / "a.h5") + " -o " + (dir / "out") + " --model " + (dir / "other.model"), 12, "with model llmc-e0", 3);
  EXPECT_FALSE(fs::exists(dir / "out/in.txt"));
  // And an archive made with it needs it.
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "b.h5") + " --model " + (dir / "other.model")), 0);
  expect_error("extract " + (dir / "b.h5") + " -o -", 12, digest);
  EXPECT_TRUE(llmc("extract " + (dir / "b.h5") + " -o - --model " + (dir / "other.model"), 2).out == slurp(dir / "in.txt"));
}

TEST_F(BadArchive, OutputThatCannotBeMade) {
  spill(dir / "a_file", "in the way");
  expect_error("extract " + (dir / "a.h5") + " -o " + (dir / "a_file/out"), 1, "a_file");
  expect_error("compress " + (dir / "in.txt") + " -o " + (dir / "nowhere/a.h5"), 1, "nowhere/a.h5");
}

TEST_F(BadArchive, FinishedArchiveIsNotReplacedWithoutForce) {
  expect_error("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --codec zstd", 1, "a.h5");
  EXPECT_TRUE(slurp(dir / "a.h5") == bytes);
  EXPECT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --chunk 4K --resume"), 0);
  EXPECT_EXIT_CODE(llmc("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --codec zstd --force"), 0);
}

TEST(BadInput, BadModelFiles) {
  const TempDir dir;
  spill(dir / "in.txt", "text");
  spill(dir / "garbage.model", noise(4000, 3));
  const std::string model = slurp(LLMC_SOURCE_DIR "/models/e0.safetensors");
  spill(dir / "short.model", model.substr(0, model.size() / 2));
  for (const char* name : {"garbage.model", "short.model", "missing.model"}) {
    expect_error("model info " + (dir / name), 12, name);
    expect_error("compress " + (dir / "in.txt") + " -o " + (dir / "a.h5") + " --model " + (dir / name), 12, name);
  }
  expect_error("model import " + (dir / "nowhere") + " -o " + (dir / "m"), 10, "nowhere");
  EXPECT_FALSE(fs::exists(dir / "a.h5"));
  EXPECT_FALSE(fs::exists(dir / "a.h5.work"));
}

TEST(BadInput, InputThatChangesWhileRead) {
  const TempDir dir;
  spill(dir / "in/a.txt", cut("code.txt", 30000));
  spill(dir / "in/b.txt", cut("wiki.txt", 30000));
  // It waits 2 s between planning and reading.
  const Outcome outcome = shell("(sleep 1; echo more >>" + (dir / "in/b.txt") + ") & LLMC_FAULT=plan.saved:1:delay " + product() +
                                " compress " + (dir / "in") + " -o " + (dir / "a.h5"));
  EXPECT_EXIT_CODE(outcome, 1);
  EXPECT_NE(outcome.err.find("b.txt"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(dir / "a.h5"));
}

TEST(BadInput, ReadOnlyFolderAndFullDisk) {
  const TempDir dir;
  spill(dir / "in.txt", noise(3 << 20, 9));
  if (geteuid() == 0 && shell("mkdir " + (dir / "small") + " && mount -t tmpfs -o size=1m none " + (dir / "small")).code == 0) {
    expect_error("compress " + (dir / "in.txt") + " --codec stored -o " + (dir / "small/a.h5"), 1, "No space left");
    EXPECT_FALSE(fs::exists(dir / "small/a.h5"));
    EXPECT_EQ(shell("umount " + (dir / "small")).code, 0);
  } else {
    GTEST_SKIP() << "not run: a tmpfs cannot be mounted here";
  }
}

}  // namespace
}  // namespace llmc::test
