#include "archive/companion.h"

#include <algorithm>

#include "archive/file_digest.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view readme_name = "README.txt";
constexpr std::string_view folder_name = "decoder";
constexpr std::string_view readme_begins = "This folder is an archive made by llmc-batch";

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

// A README.txt of the user's own is not to be replaced.
bool is_our_readme(const fs::path& path) {
  auto file = File::open_read(path);
  if (!file.ok()) return false;
  const auto size = file->size();
  Bytes begin(readme_begins.size());
  return size.ok() && *size >= begin.size() && file->read_at(0, begin).ok() && as_text(begin) == readme_begins;
}

}  // namespace

bool is_companion_name(std::string_view name) {
  if (name == readme_name) return true;
  if (name.substr(0, folder_name.size() + 1) != "decoder/") return false;
  const std::string_view file = name.substr(folder_name.size() + 1);
  return !file.empty() && file.size() <= 200 && file.front() != '.' && std::all_of(file.begin(), file.end(), plain);
}

bool is_companion_path(const fs::path& path) {
  if (path.filename() == readme_name) return is_our_readme(path);
  return path.filename() == folder_name && fs::is_directory(path);
}

Result<std::vector<ManifestCompanion>> write_companions(const fs::path& set, const std::vector<Companion>& companions) {
  std::vector<ManifestCompanion> rows;
  std::error_code error;
  for (const Companion& companion : companions) {
    const fs::path path = set / companion.name;
    if (companion.name == readme_name && fs::exists(path, error) && !is_our_readme(path)) {
      return Status(Code::failure, printable(path.native()) + ": stands in the way and is not ours; --bare leaves it alone");
    }
    fs::create_directory(path.parent_path(), error);
    if (error) return errno_status(error.value(), path.parent_path());
    const fs::path temporary = path.native() + ".tmp";
    LLMC_ASSIGN(File file, File::create(temporary));
    LLMC_TRY(file.write(companion.bytes));
    LLMC_TRY(file.sync());
    LLMC_TRY(file.close());
    fs::rename(temporary, path, error);
    if (error) return errno_status(error.value(), path);
    rows.push_back({companion.name, companion.bytes.size(), sha256(companion.bytes)});
  }
  if (fs::exists(set / folder_name, error)) LLMC_TRY(sync_directory(set / folder_name));
  LLMC_TRY(sync_directory(set));
  return rows;
}

Status remove_companions(const fs::path& set, const std::vector<ManifestCompanion>& companions) {
  std::error_code error;
  for (const ManifestCompanion& row : companions) {
    const fs::path path = set / row.file;
    if (row.file == readme_name && !is_our_readme(path)) continue;
    fs::remove(path, error);
    if (error) return errno_status(error.value(), path);
  }
  fs::remove(set / folder_name, error);  // where it is empty now
  return {};
}

Result<std::vector<std::string>> check_companions(const fs::path& set, const std::vector<ManifestCompanion>& companions) {
  std::vector<std::string> wrong;
  for (const ManifestCompanion& row : companions) {
    auto file = File::open_read(set / row.file);
    if (!file.ok()) {
      if (file.status().code() != Code::missing) return file.status();
      wrong.push_back(row.file + ": is missing");
      continue;
    }
    LLMC_ASSIGN(const uint64_t size, file->size());
    const auto digest = size == row.bytes ? file_digest(*file) : Result<Digest>(Digest{});
    if (digest.status().code() == Code::corrupt) {
      wrong.push_back(row.file + ": cannot be read from the medium");
      continue;
    }
    LLMC_TRY(digest.status());
    if (*digest != row.sha256) wrong.push_back(row.file + ": has changed (SHA-256)");
  }
  return wrong;
}

}  // namespace llmc
