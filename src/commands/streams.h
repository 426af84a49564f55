// How many chunks a compute thread works on at once where nobody says.
#pragma once

namespace llmc {

class Model;

// Each step of a batch reads the weights once and every stream's KV cache: many streams share the cost of the
// first, but push each other's caches out of the processor's. 6 to 16; weights that no cache holds anyway get 16.
// `threads`: of this rank, which share the last-level cache. Has no influence on any archive's bytes.
int default_streams(const Model* model, int threads);

}  // namespace llmc
