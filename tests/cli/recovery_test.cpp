// The recovery procedure of docs/OPERATIONS.md, line by line.
#include <regex>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

struct Step {
  std::string command;
  std::vector<int> codes;
};

std::vector<Step> documented_steps() {
  const std::string text = slurp(LLMC_SOURCE_DIR "/docs/OPERATIONS.md");
  const size_t begin = text.find("## Recovery"), end = text.find("\n## ", begin + 1);
  std::istringstream lines(text.substr(begin, end - begin));
  std::vector<Step> steps;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("```") != std::string::npos) {
      inside = !inside;
      continue;
    }
    if (!inside) continue;
    Step step;
    const size_t comment = line.find("# exit ");
    EXPECT_NE(comment, std::string::npos) << line;
    step.command = line.substr(0, comment);
    const std::string codes = line.substr(comment);
    static const std::regex number("[0-9]+");
    for (std::sregex_iterator it(codes.begin(), codes.end(), number), none; it != none; ++it) step.codes.push_back(std::stoi(it->str()));
    steps.push_back(std::move(step));
  }
  return steps;
}

class Recovery : public testing::Test {
 protected:
  void make(const std::string& options) {
    for (int i = 0; i < 6; ++i) spill(dir_ / ("corpus/f" + std::to_string(i)), cut("docs.txt", 3000 + 900 * static_cast<size_t>(i)));
    ASSERT_EXIT_CODE(in_dir("llmc-batch compress corpus -o corpus.set --codec zstd --chunk 1K --shard 12K -q " + options), 0);
  }
  Outcome in_dir(const std::string& command) {
    return shell("cd " + dir_.path().string() + " && PATH=" + quoted(LLMC_BINARY_DIR) + ":$PATH && " + command);
  }
  // The content digest: of names, metadata and bytes, whatever the set is coded and cut with.
  std::string content(const std::string& set) {
    const std::string info = in_dir("llmc-batch info --json " + set).out;
    const size_t at = info.find("\"content_sha256\": \"");
    return at == std::string::npos ? set + ": none" : info.substr(at, 90);
  }
  // The exit codes of all steps.
  std::vector<int> run() {
    std::vector<int> codes;
    for (const Step& step : documented_steps()) {
      const Outcome outcome = in_dir(step.command);
      EXPECT_TRUE(std::find(step.codes.begin(), step.codes.end(), outcome.code) != step.codes.end()) << step.command << explain(outcome);
      codes.push_back(outcome.code);
    }
    return codes;
  }
  const TempDir dir_;
};

TEST_F(Recovery, WithParity) {
  make("--parity 5%");
  damage(dir_ / "corpus.set/shard-000000.h5", 1500, 40);
  damage(dir_ / "corpus.set/manifest.json", 30, 3);
  const std::vector<int> codes = run();
  EXPECT_EQ(codes, (std::vector<int>{0, 0, 20, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(content("new.set"), content("copy.set")) << "the new set holds what the old one held";
  EXPECT_EQ(in_dir("diff -r corpus rescued/corpus && diff -r corpus salvaged/corpus").code, 0);
  EXPECT_EXIT_CODE(in_dir("llmc-batch verify --data copy.set"), 0);
}

TEST_F(Recovery, WithoutParity) {
  make("");
  const std::string chunks = in_dir("llmc-batch list --chunks --json corpus.set").out;
  const size_t second = chunks.find("\"frame_offset\":", chunks.find("\"frame_offset\":") + 1);
  damage(dir_ / "corpus.set/shard-000000.h5", std::stoul(chunks.substr(second + 15)) + 40, 40);
  const std::vector<int> codes = run();
  EXPECT_EQ(codes, (std::vector<int>{0, 0, 20, 1, 3, 3, 0, 0, 1, 0}));
  int rescued = 0;
  for (int i = 0; i < 6; ++i) {
    const std::string name = "corpus/f" + std::to_string(i);
    if (!fs::exists(dir_ / ("rescued/" + name))) continue;
    ++rescued;
    EXPECT_TRUE(slurp(dir_ / ("rescued/" + name)) == slurp(dir_ / name));
  }
  EXPECT_GE(rescued, 4);
  EXPECT_NE(in_dir("ls salvaged/corpus").out.find(".bytes-"), std::string::npos);
}

TEST_F(Recovery, WithNothingLeftButFrames) {
  make("");
  for (const char* shard : {"corpus.set/shard-000000.h5", "corpus.set/shard-000001.h5"}) damage(dir_ / shard, 0, 700);
  fs::remove(dir_ / "corpus.set/manifest.json");
  const std::vector<int> codes = run();
  EXPECT_EQ(codes[5], 0) << "salvage brings back all";
  EXPECT_EQ(in_dir("diff -r corpus salvaged/corpus && diff -r corpus rescued/corpus").code, 0);
  EXPECT_EXIT_CODE(in_dir("llmc-batch extract new.set -o again && diff -r corpus again/corpus"), 0);
}

}  // namespace
}  // namespace llmc::test
