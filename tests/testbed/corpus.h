// What the tests of this folder compress: text enough to be interrupted in the middle, whatever the machine.
#pragma once

#include <algorithm>
#include <chrono>

#include "cli/product.h"

namespace llmc::test {

inline bool long_tier() { return std::getenv("LLMC_LONG") != nullptr; }

// Bytes of text that one compute thread codes in a second here and now.
inline double coding_speed() {
  static const double speed = [] {
    const TempDir dir;
    spill(dir / "in", cut("enwik6", 24000));
    const auto time = [&](const std::string& file) {
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_EQ(llmc("compress " + (dir / "in") + " -o " + (dir / file) + " --threads 1 --streams 4 --chunk 2K --verify none -q").code, 0);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    return 24000 / std::min(time("a.h5"), time("b.h5"));
  }();
  return speed;
}

// A folder of texts that keep one thread busy for about so long; between 30 KB and 6 MB.
inline void make_corpus(const std::string& folder, double seconds) {
  static const char* const names[] = {"enwik6", "alice29.txt", "deu.txt", "code.txt", "wiki.txt", "fra.txt", "law.txt"};
  auto left = static_cast<size_t>(std::clamp(seconds * coding_speed(), 3e4, 6e6));
  for (int i = 0; left > 0; ++i) {
    const std::string text = cut(names[i % 7], std::min<size_t>(left, 60000));
    spill(folder + "/" + std::to_string(100 + i) + "-" + names[i % 7], text);
    left -= text.size();
  }
  std::filesystem::create_directories(folder + "/empty");
}

// As the templates and tests code it: slowly, on one thread a rank, in many small chunks and shards.
inline const std::string coding = "--chunk 4K --shard 128K --threads 1 --streams 4 --engine native --verify none --progress 1";

// The set that an undisturbed run makes.
inline void make_reference(const std::string& corpus, const std::string& out) {
  const Outcome made = llmc("compress " + corpus + " -o " + out + " --chunk 4K --shard 128K --engine native --verify none -q");
  ASSERT_EQ(made.code, 0) << made.err;
}

}  // namespace llmc::test
