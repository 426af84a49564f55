// A set explains itself: what stands in it beside the shards is enough to read it.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "python.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

std::string product() { return quoted(LLMC_BINARY_DIR "/llmc-batch"); }

Outcome compress(const std::string& input, const std::string& output, const std::string& options = "") {
  return shell(product() + " compress " + quoted(input) + " -o " + quoted(output) + " --quiet " + options);
}

// Every file below a folder, by its name there.
std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& item : fs::recursive_directory_iterator(folder)) {
    if (item.is_regular_file()) files[item.path().lexically_relative(folder)] = slurp(item.path());
  }
  return files;
}

std::string text() { return slurp(repository("tests/data/text/alice29.txt")).substr(4000, 900); }

TEST(Companions, PythonDecodesASetFromTheFilesInIt) {
  const std::string python = python_with("numpy, zstandard");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with numpy, zstandard";
  TempDir dir;
  spill(dir.path() / "in/a.txt", text());
  spill(dir.path() / "in/b/c.txt", "Some more words, to be found again.\n");
  ASSERT_EQ(compress(dir / "in", dir / "first", "--with-model").code, 0);
  // Elsewhere, so that nothing outside of it can help.
  fs::create_directory(dir.path() / "far");
  fs::rename(dir.path() / "first", dir.path() / "far/set");
  const Outcome outcome = shell("cd " + quoted(dir / "far/set") + " && env -u PYTHONPATH " + python +
                                " -I -c 'import sys; sys.path.insert(0, \"decoder\"); import decode; decode.main()' "
                                ". --files ../out");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::map<std::string, std::string> wanted = {{"in/a.txt", text()},
                                                     {"in/b/c.txt", "Some more words, to be found again.\n"}};
  EXPECT_TRUE(files_of(dir / "far/out") == wanted);
  const std::string readme = slurp(dir / "far/set/README.txt");
  EXPECT_EQ(readme.rfind("This folder is an archive made by llmc-batch", 0), 0u);
  EXPECT_NE(readme.find("decoder/model.safetensors"), std::string::npos);
  EXPECT_TRUE(slurp(dir / "far/set/decoder/model.safetensors") == slurp(repository("models/e0.safetensors")));
  for (const char* name : {"FORMAT", "NUMERICS", "MODEL", "MIX"}) {
    const std::string file = std::string(name) + ".md";
    EXPECT_TRUE(slurp(dir / ("far/set/decoder/" + file)) == slurp(repository("docs/" + file))) << file;
  }
  for (const auto& item : fs::directory_iterator(repository("tools/reference"))) {
    const std::string name = item.path().filename();
    if (item.path().extension() != ".py" || name == "frequencies.py") continue;
    EXPECT_TRUE(slurp(dir / ("far/set/decoder/" + name)) == slurp(item.path())) << name;
  }
  EXPECT_EQ(shell(product() + " verify " + quoted(dir / "far/set")).code, 0);
}

TEST(Companions, AreLeftOutWhereTheyDoNotBelong) {
  TempDir dir;
  spill(dir.path() / "in.txt", text());
  ASSERT_EQ(compress(dir / "in.txt", dir / "usual").code, 0);
  EXPECT_FALSE(fs::exists(dir.path() / "usual/decoder/model.safetensors"));  // larger than the set
  // Then its digest and name, so that it can be found again.
  const std::string readme = slurp(dir / "usual/README.txt");
  const std::string model = repository("models/e0.safetensors");
  const std::string digest = shell("sha256sum < " + quoted(model)).out.substr(0, 64);
  const std::string name = nlohmann::json::parse(slurp(dir / "usual/manifest.json"))["model"]["name"];
  ASSERT_FALSE(name.empty());
  EXPECT_NE(readme.find("larger than the archive"), std::string::npos) << readme;
  EXPECT_NE(readme.find("\n  " + name + ", SHA-256 " + digest + ",\n  licence: "), std::string::npos) << readme;
  EXPECT_NE(readme.find("It is not here, because with " + std::to_string(fs::file_size(model)) + " bytes"), std::string::npos) << readme;
  EXPECT_NE(readme.find("WITHOUT THIS VERY FILE THE TEXT IS LOST"), std::string::npos) << readme;
  EXPECT_TRUE(fs::exists(dir.path() / "usual/decoder/decode.py"));

  ASSERT_EQ(compress(dir / "in.txt", dir / "bare", "--bare").code, 0);
  EXPECT_EQ(files_of(dir / "bare").size(), 2u);
  EXPECT_EQ(slurp(dir / "bare/manifest.json").find("companions"), std::string::npos);
  EXPECT_EQ(slurp(dir / "bare/shard-000000.h5"), slurp(dir / "usual/shard-000000.h5"));

  ASSERT_EQ(compress(dir / "in.txt", dir / "none", "--codec zstd").code, 0);
  EXPECT_NE(slurp(dir / "none/README.txt").find("None was used"), std::string::npos);

  EXPECT_EQ(compress(dir / "in.txt", dir / "x.h5", "--with-model").code, 2);
  EXPECT_EQ(compress(dir / "in.txt", dir / "x", "--with-model --bare").code, 2);
}

TEST(Companions, AreReplacedWithTheSetAndTheUsersOwnFilesAreNot) {
  TempDir dir;
  spill(dir.path() / "in.txt", text());
  ASSERT_EQ(compress(dir / "in.txt", dir / "set", "--with-model").code, 0);
  const auto first = files_of(dir / "set");
  spill(dir.path() / "set/decoder/notes.mine", "mine");
  ASSERT_EQ(compress(dir / "in.txt", dir / "set", "--force --bare").code, 0);
  EXPECT_EQ(files_of(dir / "set").size(), 3u);
  EXPECT_EQ(slurp(dir / "set/decoder/notes.mine"), "mine");
  fs::remove_all(dir.path() / "set/decoder");
  ASSERT_EQ(compress(dir / "in.txt", dir / "set", "--force --with-model").code, 0);
  EXPECT_TRUE(files_of(dir / "set") == first);  // the same bytes again
  spill(dir.path() / "set/README.txt", "My own notes.");
  EXPECT_EQ(compress(dir / "in.txt", dir / "set", "--force").code, 1);
  EXPECT_EQ(slurp(dir / "set/README.txt"), "My own notes.");
}

TEST(Companions, VerifyFindsChangesAndExtractDoesNotMind) {
  TempDir dir;
  spill(dir.path() / "in.txt", text());
  ASSERT_EQ(compress(dir / "in.txt", dir / "set").code, 0);
  const std::string whole = slurp(dir / "set/decoder/FORMAT.md");
  std::string changed = whole;
  changed[100] ^= 1;
  spill(dir.path() / "set/decoder/FORMAT.md", changed);
  fs::remove(dir.path() / "set/README.txt");
  const Outcome verified = shell(product() + " verify " + quoted(dir / "set"));
  EXPECT_EQ(verified.code, 20);
  EXPECT_NE(verified.out.find("decoder/FORMAT.md: has changed"), std::string::npos) << verified.out;
  EXPECT_NE(verified.out.find("README.txt: is missing"), std::string::npos) << verified.out;
  EXPECT_EQ(shell(product() + " extract " + quoted(dir / "set") + " -o - --quiet").out, text());
}

}  // namespace
}  // namespace llmc::test
