// A Session over any Ops: slots, positions, checks of arguments, range errors per stream.
#pragma once

#include <memory>

#include "model/forward.h"
#include "model/ops.h"

namespace llmc {

// `model` outlives the session. context: tokens a stream may hold, at most the model's.
std::unique_ptr<Session> make_forward_session(const Model& model, std::unique_ptr<Ops> ops, int streams, int context,
                                              ForwardTrace trace = {});

// Checks what make_session was asked for; 0 as context becomes the model's.
Result<int> checked_context(const Model& model, int streams, int context);

}  // namespace llmc
