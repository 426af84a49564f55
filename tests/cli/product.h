// The built program and small corpora, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "support/process.h"

namespace llmc::test {

// Lets mpirun start as root and with more ranks than cores, wherever the test is started from.
inline const bool mpi_allowed = [] {
  for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe",
                           "OMPI_MCA_mpi_yield_when_idle"}) {
    setenv(name, "1", 1);
  }
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
  setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 1);
  return true;
}();

inline std::string product() { return quoted(LLMC_BINARY_DIR "/llmc-batch"); }
inline std::string text_file(const std::string& name) { return std::string(LLMC_SOURCE_DIR "/tests/data/text/") + name; }

// `ranks` 0: the program alone, without mpirun.
inline Outcome llmc(const std::string& arguments, int ranks = 0) {
  const std::string mpi = ranks ? "mpirun --oversubscribe -n " + std::to_string(ranks) + " " : "";
  return shell(mpi + product() + " " + arguments);
}

inline std::string explain(const Outcome& outcome) {
  return "exit " + std::to_string(outcome.code) + "\n" + outcome.out + outcome.err;
}

#define EXPECT_EXIT_CODE(outcome, expected) EXPECT_EQ((outcome).code, expected) << ::llmc::test::explain(outcome)
#define ASSERT_EXIT_CODE(outcome, expected) ASSERT_EQ((outcome).code, expected) << ::llmc::test::explain(outcome)

// The first `bytes` of a committed text.
inline std::string cut(const std::string& name, size_t bytes) { return slurp(text_file(name)).substr(0, bytes); }

// Bytes that follow from the seed alone.
inline std::string noise(size_t bytes, uint64_t seed) {
  std::string out(bytes, '\0');
  for (char& c : out) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    c = static_cast<char>(seed >> 56);
  }
  return out;
}

// Two files, or all that is in two folders.
inline void expect_same(const std::string& a, const std::string& b) {
  const Outcome diff = shell("diff -r " + quoted(a) + " " + quoted(b));
  EXPECT_EQ(diff.code, 0) << diff.out << diff.err;
}

// A little-endian number of a file.
inline uint64_t number_at(const std::string& file, size_t at, size_t bytes) {
  const std::string all = slurp(file);
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<uint8_t>(all.at(at + i));
  return value;
}

// Bytes of a file become others.
inline void damage(const std::string& file, size_t at, size_t bytes = 4) {
  std::string all = slurp(file);
  for (size_t i = 0; i < bytes; ++i) all.at(at + i) = static_cast<char>(all[at + i] ^ 0x21);
  spill(file, all);
}

}  // namespace llmc::test
