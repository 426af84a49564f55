#include "commands/output_file.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/bytes.h"
#include "base/file.h"

namespace llmc {

namespace fs = std::filesystem;

Status check_output_file(const std::string& path, bool force) {
  std::error_code error;
  // It is written as PATH.tmp and renamed.
  for (const std::string& name : {path, path + ".tmp"}) {
    if (!fs::status_known(fs::status(name, error))) return errno_status(error.value(), name);
  }
  const fs::file_status found = fs::status(path, error);
  if (fs::is_directory(found)) return {Code::failure, printable(path) + ": is a folder"};
  if (fs::exists(found) && !force) return {Code::failure, printable(path) + ": exists already; --force replaces it"};
  const fs::path folder = fs::path(path).parent_path();
  if (::access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) != 0) {
    return {Code::failure, "cannot write there: " + errno_status(errno, folder.empty() ? fs::path(".") : folder).message()};
  }
  return {};
}

}  // namespace llmc
