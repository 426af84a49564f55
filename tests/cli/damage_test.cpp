// Damage of every kind through the built program: named, never passed on, and undone where there is parity.
#include <random>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

bool long_tier() { return std::getenv("LLMC_LONG") != nullptr; }

// A small set of two shards whose files share chunks, and what it was made of.
class DamagedSet : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 9; ++i) {
      const std::string name = "f" + std::to_string(i) + ".txt";
      files_[name] = cut(i % 2 ? "code.txt" : "law.txt", 700 + 450 * static_cast<size_t>(i));
      spill(dir_ / ("in/" + name), files_[name]);
    }
    make("good", "--codec zstd");
  }
  void make(const std::string& out, const std::string& options) {
    ASSERT_EXIT_CODE(shell("cd " + dir_.path().string() + " && " + product() + " compress in -o " + out + " --chunk 1K --bare -q " + (options.find("--shard") == std::string::npos ? "--shard 12K " : "") + options), 0);
  }
  void fresh() {
    fs::remove_all(dir_ / "set");
    fs::copy(dir_ / "good", dir_ / "set");
  }
  std::vector<std::string> members() const {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(dir_ / "good")) names.push_back(item.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Extracts; each file that comes out is right, each that does not is spoken of. The number of those.
  int extract_rest(const std::string& what) {
    fs::remove_all(dir_ / "out");
    const Outcome outcome = llmc("extract " + (dir_ / "set") + " -o " + (dir_ / "out"));
    int lost = 0;
    for (const auto& [name, text] : files_) {
      const std::string path = dir_ / ("out/in/" + name);
      if (!fs::exists(path)) {
        ++lost;
        // By its own name, or by that of its shard.
        EXPECT_TRUE(outcome.err.find(name) != std::string::npos || outcome.err.find("entries") != std::string::npos ||
                    outcome.code == 20 || outcome.code == 1)
            << what << "\n" << explain(outcome);
      } else {
        EXPECT_TRUE(slurp(path) == text) << what << ": " << name << " came out wrong";
      }
    }
    if (lost > 0) {
      EXPECT_NE(outcome.code, 0) << what;
    }
    return lost;
  }
  const TempDir dir_;
  std::map<std::string, std::string> files_;
};

TEST_F(DamagedSet, FlippedBits) {
  const int rounds = long_tier() ? 1000 : 12;
  std::mt19937_64 random(11);
  int lost = 0, flips = 0;
  for (int i = 0; i < rounds; ++i) {
    for (const std::string& name : members()) {
      fresh();
      std::string bytes = slurp(dir_ / ("set/" + name));
      const size_t at = random() % bytes.size();
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << (random() % 8));
      spill(dir_ / ("set/" + name), bytes);
      const std::string what = name + " byte " + std::to_string(at);
      EXPECT_EXIT_CODE(llmc("verify " + (dir_ / "set")), 20) << what;
      const int gone = extract_rest(what);
      lost += gone;
      ++flips;
      // One chunk touches a few files; a shard's index or block all of its own.
      EXPECT_LT(gone, name == "manifest.json" ? 10 : 9) << what;
      if (HasFailure()) return;
    }
  }
  std::printf("tally: %d flips: all found by verify, no wrong byte extracted, %d documents lost in all\n", flips, lost);
}

TEST_F(DamagedSet, CutAtEvery512Bytes) {
  int cuts = 0;
  for (const std::string& name : members()) {
    const std::string bytes = slurp(dir_ / ("good/" + name));
    for (size_t size = 0; size < bytes.size(); size += long_tier() ? 512 : 4096, ++cuts) {
      fresh();
      spill(dir_ / ("set/" + name), bytes.substr(0, size));
      EXPECT_EXIT_CODE(llmc("verify " + (dir_ / "set")), 20) << name << " " << size;
      extract_rest(name + " cut to " + std::to_string(size));
    }
  }
  std::printf("tally: %d cuts\n", cuts);
}

TEST_F(DamagedSet, OneShardLostCostsItsOwnDocumentsOnly) {
  fresh();
  fs::remove(dir_ / "set/shard-000000.h5");
  fs::remove_all(dir_ / "out");
  const Outcome outcome = llmc("extract " + (dir_ / "set") + " -o " + (dir_ / "out"));
  EXPECT_EXIT_CODE(outcome, 3);
  EXPECT_NE(outcome.err.find("shard-000000.h5"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("lost with it"), std::string::npos) << outcome.err;
  const int lost = extract_rest("a shard lost");
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, 9);
  // A document of another shard by its name; one that nobody can name any more.
  EXPECT_TRUE(llmc("extract " + (dir_ / "set") + " -o - --document in/f8.txt").out == files_["f8.txt"]);
  EXPECT_EXIT_CODE(llmc("extract " + (dir_ / "set") + " -o - --document in/f0.txt"), 20);
}

TEST_F(DamagedSet, SalvageNeedsNothingButFrames) {
  for (const int ranks : {0, 3}) {
    fresh();
    fs::remove(dir_ / "set/manifest.json");
    for (const std::string name : {"shard-000000.h5", "shard-000001.h5"}) {
      std::string bytes = slurp(dir_ / ("set/" + name));
      std::fill_n(bytes.begin(), 512, '\0');           // user block
      std::fill_n(bytes.begin() + 512, 100, '\xff');   // HDF5's superblock and root group
      spill(dir_ / ("set/" + name), bytes);
    }
    EXPECT_NE(llmc("extract " + (dir_ / "set") + " -o " + (dir_ / "out")).code, 0);
    const std::string out = dir_ / ("won" + std::to_string(ranks));
    const Outcome outcome = llmc("salvage " + (dir_ / "set") + " -o " + out, ranks);
    ASSERT_EXIT_CODE(outcome, 0);
    for (const auto& [name, text] : files_) EXPECT_TRUE(slurp(out + "/in/" + name) == text) << name;
    EXPECT_EQ(shell("ls -A " + out).out, "in\n") << "nothing else";
  }
}

TEST_F(DamagedSet, SalvageOfPartsOfTheTextByName) {
  fresh();
  // The indexes are gone too: text without names.
  fs::remove(dir_ / "set/manifest.json");
  const Outcome chunks = llmc("list --chunks --json " + (dir_ / "good/shard-000000.h5"));
  std::string bytes = slurp(dir_ / "set/shard-000000.h5");
  const size_t last = chunks.out.rfind("\"frame_offset\":");
  const size_t offset = std::stoul(chunks.out.substr(last + 15));
  const size_t length = std::stoul(chunks.out.substr(chunks.out.find("\"frame_bytes\":", last) + 14));
  bytes.resize(offset + length);
  std::fill_n(bytes.begin(), 512, '\0');
  spill(dir_ / "one.h5", bytes);
  const Outcome outcome = llmc("salvage " + (dir_ / "one.h5") + " -o " + (dir_ / "won"));
  EXPECT_EXIT_CODE(outcome, 3);
  std::string text;
  for (const auto& [name, file] : files_) text += file;
  const Outcome listed = shell("ls -A " + (dir_ / "won"));
  ASSERT_NE(listed.out.find("one.bytes-0-"), std::string::npos) << explain(outcome) << listed.out;
  const std::string won = slurp(dir_ / ("won/" + listed.out.substr(0, listed.out.find('\n'))));
  EXPECT_GT(won.size(), 9000u);
  EXPECT_TRUE(won == text.substr(0, won.size()));
  // One frame broken: what stands before and behind it.
  bytes[offset / 2] = static_cast<char>(bytes[offset / 2] ^ 1);
  spill(dir_ / "one.h5", bytes);
  fs::remove_all(dir_ / "won");
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "one.h5") + " -o " + (dir_ / "won")), 3);
  for (const auto& item : fs::directory_iterator(dir_ / "won")) {
    const std::string name = item.path().filename();
    if (name.find(".bytes-") == std::string::npos) continue;
    const size_t begin = std::stoul(name.substr(name.find(".bytes-") + 7));
    const std::string part = slurp(item.path());
    EXPECT_TRUE(part == text.substr(begin, part.size())) << name;
  }
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "in") + " -o " + (dir_ / "won")), 20) << "no frame in it";
  EXPECT_EXIT_CODE(llmc("salvage " + (dir_ / "nowhere") + " -o " + (dir_ / "won")), 10);
}

TEST_F(DamagedSet, SalvageWithTheModel) {
  make("modelled", "--engine native --shard 1M");
  std::string bytes = slurp(dir_ / "modelled/shard-000000.h5");
  ASSERT_GT(bytes.size(), 2000u);
  std::fill_n(bytes.begin(), 600, '\0');
  spill(dir_ / "bad.h5", bytes);
  const Outcome outcome = llmc("salvage " + (dir_ / "bad.h5") + " -o " + (dir_ / "won") + " --engine native", 3);
  ASSERT_EXIT_CODE(outcome, 0);
  for (const auto& [name, text] : files_) EXPECT_TRUE(slurp(dir_ / ("won/in/" + name)) == text) << name;
}

TEST_F(DamagedSet, RepairBringsBackTheVeryBytes) {
  make("whole", "--codec zstd --parity 10%");
  fs::rename(dir_ / "good", dir_ / "without");
  fs::rename(dir_ / "whole", dir_ / "good");
  EXPECT_EXIT_CODE(llmc("verify " + (dir_ / "good")), 0);
  const int rounds = long_tier() ? 150 : 3;
  std::mt19937_64 random(12);
  int repaired = 0;
  for (int i = 0; i < rounds; ++i) {
    for (const std::string& name : members()) {
      fresh();
      std::string bytes = slurp(dir_ / ("set/" + name));
      const size_t at = random() % bytes.size();
      if (name.ends_with(".parity") || i % 3 == 0) bytes[at] = static_cast<char>(bytes[at] ^ 1);
      else if (i % 3 == 1) bytes.erase(at, 300);
      else bytes.resize(bytes.size() - std::min<size_t>(bytes.size() - 1, 400));
      spill(dir_ / ("set/" + name), bytes);
      const Outcome verify = llmc("verify " + (dir_ / "set"));
      EXPECT_EXIT_CODE(verify, 20) << name;
      EXPECT_NE((verify.out + verify.err).find("repair"), std::string::npos) << name << explain(verify);
      const Outcome look = llmc("repair --dry-run " + (dir_ / "set"));
      EXPECT_EXIT_CODE(look, 0) << name << " " << at;
      const Outcome repair = llmc("repair " + (dir_ / "set"));
      ASSERT_EXIT_CODE(repair, 0) << name << " " << at;
      ASSERT_EQ(shell("diff -r " + (dir_ / "good") + " " + (dir_ / "set")).out, "") << name << " " << at;
      ++repaired;
    }
  }
  std::printf("tally: %d damaged files repaired to the very bytes\n", repaired);
  // Without parity, and beyond it.
  EXPECT_EXIT_CODE(llmc("repair " + (dir_ / "without")), 1);
  fresh();
  spill(dir_ / "set/shard-000000.h5", "nothing");
  EXPECT_EXIT_CODE(llmc("repair " + (dir_ / "set")), 20);
  EXPECT_EQ(slurp(dir_ / "set/shard-000000.h5"), "nothing") << "what cannot be repaired is left as it is";
}

TEST_F(DamagedSet, ASampleIsReproducibleAndHonest) {
  const Outcome first = llmc("verify " + (dir_ / "good") + " --sample 20% --seed 7");
  ASSERT_EXIT_CODE(first, 0);
  EXPECT_EQ(first.out, llmc("verify " + (dir_ / "good") + " --sample 20% --seed 7", 3).out);
  EXPECT_NE(first.out.find("(--sample 20% --seed 7)"), std::string::npos) << first.out;
  EXPECT_EQ(first.out.find("; sound"), std::string::npos) << "a sample proves nothing of the rest: " << first.out;
  EXPECT_NE(llmc("verify " + (dir_ / "good") + " --sample 0.001%").out.find("; 1 of "), std::string::npos) << "one chunk at least";
  // Interrupted: only what was decoded is claimed.
  const Outcome stopped = shell("LLMC_FAULT=dispatch.result:3:delay " + product() + " verify --data " + (dir_ / "good") +
                                " --threads 1 --streams 1 & p=$!; sleep 1; kill -INT $p; wait $p");
  if (stopped.code != 0) {
    EXPECT_EXIT_CODE(stopped, 130);
    EXPECT_NE(stopped.out.find("stopped, the rest was not checked"), std::string::npos) << stopped.out;
    EXPECT_EQ(stopped.out.find("; sound"), std::string::npos) << stopped.out;
  }
}

TEST_F(DamagedSet, ChecksumsAreThoseOfSha256sum) {
  spill(dir_ / "odd/new\nline \\ back.txt", "odd");
  spill(dir_ / "odd/empty", "");
  ASSERT_EXIT_CODE(llmc("compress " + (dir_ / "odd") + " " + (dir_ / "in") + " -o " + (dir_ / "odd.h5") + " --codec zstd -q"), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir_ / "odd.h5") + " -o " + (dir_ / "out")), 0);
  const Outcome sums = llmc("list --sha256 " + (dir_ / "odd.h5"));
  ASSERT_EXIT_CODE(sums, 0);
  spill(dir_ / "SUMS", sums.out);
  const Outcome check = shell("cd " + (dir_ / "out") + " && sha256sum -c --strict ../SUMS");
  EXPECT_EXIT_CODE(check, 0);
  EXPECT_EQ(shell("cd " + (dir_ / "out") + " && find . -type f -printf x").out.size(), 11u);
  EXPECT_EQ(static_cast<size_t>(std::count(sums.out.begin(), sums.out.end(), '\n')), 11u);
  spill(dir_ / "out/in/f3.txt", "changed");
  EXPECT_EXIT_CODE(shell("cd " + (dir_ / "out") + " && sha256sum -c --strict ../SUMS"), 1);
}

}  // namespace
}  // namespace llmc::test
