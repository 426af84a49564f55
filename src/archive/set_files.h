// What the parts of a set's writer share: names for messages, and removing what need not be there.
#pragma once

#include <filesystem>
#include <string>

#include "base/bytes.h"
#include "base/file.h"

namespace llmc {

inline std::string shown(const std::filesystem::path& path) { return printable(path.native()); }

inline Status remove_file(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  return error ? errno_status(error.value(), path) : Status();
}

}  // namespace llmc
