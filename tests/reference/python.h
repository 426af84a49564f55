// The Python that runs tools/reference, where there is one.
#pragma once

#include <cstdlib>
#include <string>

#include "support/process.h"

namespace llmc::test {

inline std::string repository(const std::string& path) { return std::string(LLMC_SOURCE_DIR) + "/" + path; }

// A command line's beginning, or "" where that Python lacks a module.
inline std::string python_with(const std::string& modules) {
  const char* from_environment = std::getenv("LLMC_PYTHON");
  const std::string configured = from_environment ? from_environment : LLMC_PYTHON;
  const std::string python = configured.empty() ? "python3" : configured;
  return shell(quoted(python) + " -c 'import " + modules + "'").code == 0 ? quoted(python) + " -B" : "";
}

}  // namespace llmc::test
