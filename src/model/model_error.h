// The error of everything that is wrong with a model, checkpoint or tokenizer. Internal to src/model.
#pragma once

#include <string>
#include <utility>

#include "base/status.h"

namespace llmc {

inline Status bad(std::string message) { return {Code::model, std::move(message)}; }

}  // namespace llmc
