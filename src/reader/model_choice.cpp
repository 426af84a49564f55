#include "reader/model_choice.h"

#include <cstdlib>
#include <vector>

#include "base/file.h"
#include "model/embedded_model.h"

namespace llmc {

namespace {

namespace fs = std::filesystem;

// Of the file of this digest, or null: its bytes are hashed before anything else looks at them.
std::shared_ptr<const Model> model_at(const fs::path& path, const Digest& digest) {
  std::error_code error;
  std::vector<fs::path> files;
  if (fs::is_directory(path, error)) {
    for (const auto& item : fs::directory_iterator(path, error)) files.push_back(item.path());
  } else {
    files.push_back(path);
  }
  for (const fs::path& file : files) {
    if (!fs::is_regular_file(file, error)) continue;
    const auto bytes = read_file(file);
    if (!bytes.ok() || sha256(*bytes) != digest) continue;
    auto model = Model::load(file);
    if (model.ok() && (*model)->digest() == digest) return *model;
  }
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<const Model>> find_model(const std::string& path, const ArchiveReader& archive) {
  const Digest& digest = archive.model();
  const std::string wanted =
      "the archive was made with model " + printable(archive.model_name()) + " (sha256 " + to_hex(digest) + ")";
  if (!path.empty()) {
    auto model = Model::load(path);
    if (!model.ok() && model.status().code() == Code::missing) return Status(Code::model, model.status().message());
    if (!model.ok() || (*model)->digest() == digest) return model;
    return Status(Code::model, wanted + ", but " + printable(path) + " is " + (*model)->name() + " (sha256 " +
                                   to_hex((*model)->digest()) + ")");
  }
  auto embedded = embedded_model();
  if (embedded.ok() && (*embedded)->digest() == digest) return embedded;
  if (archive.is_set()) {
    if (auto model = model_at(archive.path() / "decoder" / "model.safetensors", digest)) return model;
  }
  const char* variable = std::getenv("LLMC_MODEL_PATH");
  const std::string paths = variable ? variable : "";
  for (size_t at = 0; at < paths.size();) {
    const size_t end = std::min(paths.find(':', at), paths.size());
    if (end > at) {
      if (auto model = model_at(paths.substr(at, end - at), digest)) return model;
    }
    at = end + 1;
  }
  return Status(Code::model, wanted + ", which is not at hand; name its file, or let LLMC_MODEL_PATH name its folder");
}

}  // namespace llmc
