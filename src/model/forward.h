// The forward pass: from token ids to frequencies, as numbered in docs/MODEL.md, written once
// for all back ends.
#pragma once

#include <functional>

#include "model/ops.h"

namespace llmc {

// Called after each operation with what it left: its name, layer, place and number of rows.
using ForwardTrace = std::function<void(const char* op, int layer, Place place, int rows)>;

// Runs the batch that ops.begin() took. `asking`: rows that go through the head, rising;
// `symbols`: what each asks about.
void forward(const Model& model, Ops& ops, const Batch& batch, std::span<const int32_t> asking,
             std::span<const int32_t> symbols, Ask ask, const ForwardTrace& trace);

}  // namespace llmc
