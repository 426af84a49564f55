// The committed corpora, and a little noise made of them, through every parser: without libFuzzer, in any build.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "fuzz/targets.h"

namespace llmc::fuzz {
namespace {

namespace fs = std::filesystem;

class Replay : public testing::TestWithParam<Target> {};

TEST_P(Replay, CorpusAndNeighbours) {
  const fs::path folder = fs::path(LLMC_SOURCE_DIR "/tests/fuzz/corpus") / GetParam().name;
  std::vector<Bytes> inputs = {{}};
  for (const auto& item : fs::directory_iterator(folder)) inputs.push_back(*read_file(item.path()));
  ASSERT_GE(inputs.size(), 3u) << folder;
  std::mt19937_64 random(1);
  const int rounds = std::getenv("LLMC_LONG") ? 3000 : 30;
  uint64_t runs = 0;
  for (const Bytes& input : inputs) {
    GetParam().run(input);
    ++runs;
    for (int i = 0; i < rounds && !input.empty(); ++i, ++runs) {
      Bytes near = input;
      for (int k = static_cast<int>(random() % 4); k >= 0; --k) {
        const size_t at = random() % near.size();
        switch (random() % 4) {
          case 0: near[at] = static_cast<uint8_t>(random()); break;
          case 1: near[at] ^= static_cast<uint8_t>(1 << (random() % 8)); break;
          case 2: near[at] = 0xff; break;
          default: near.resize(at + 1);
        }
      }
      GetParam().run(near);
    }
  }
  std::printf("tally: %s: %llu executions\n", GetParam().name, static_cast<unsigned long long>(runs));
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, testing::ValuesIn(targets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace llmc::fuzz
