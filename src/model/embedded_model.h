// The model that the program carries in itself: models/e0.safetensors, byte for byte.
#pragma once

#include <memory>

#include "base/status.h"
#include "model/model.h"

namespace llmc {

// Checked and hashed at the first call, then shared. Any thread.
Result<std::shared_ptr<const Model>> embedded_model();

}  // namespace llmc
