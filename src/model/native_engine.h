// The engine that needs nothing but this CPU: the exact kernels over plain memory.
#pragma once

#include <memory>
#include <string_view>

#include "model/forward_session.h"
#include "model/model.h"

namespace llmc {

// isa: a name of exact/kernels.h's available_isas(); "": LLMC_ISA, or else the fastest here. Checks the
// arithmetic of the calling thread (make_session() does so for its own). The engine shares the model.
Result<std::unique_ptr<Engine>> make_native_engine(std::shared_ptr<const Model> model, std::string_view isa = "");

}  // namespace llmc
