// Which model file an archive is read with, where nobody names one.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "archive/reader.h"
#include "model/model.h"

namespace llmc {

// The model of the digest that the archive names: the embedded one, the copy inside the set, or one among the files and
// folders of LLMC_MODEL_PATH (":" between them). With `path`: that one, which must have the digest. Code::model
// otherwise. Any thread.
Result<std::shared_ptr<const Model>> find_model(const std::string& path, const ArchiveReader& archive);

}  // namespace llmc
