// A model's matrices in the layout of one kernel table, made once per engine. Immutable: any thread.
#pragma once

#include <vector>

#include "exact/kernels.h"
#include "model/aligned.h"
#include "model/model.h"

namespace llmc {

// All parts of a linear, one below the other.
size_t packed_linear_bytes(const Kernels& kernels, const Linear& linear);
void pack_linear(const Kernels& kernels, const Linear& linear, void* packed);
std::vector<float> linear_scales(const Linear& linear);

// The attention of one stream in `model`, over caches of `context` positions.
AttentionShape attention_shape(const Model& model, int context);
// Rows that a session takes at once, and rows of logits that it holds at once.
int session_rows(int streams);
int session_head_rows(const Model& model);

}  // namespace llmc
