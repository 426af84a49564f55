// How many threads compute, and how many chunks each works on at once, where nobody says. Neither has any influence on an
// archive's bytes.
#pragma once

namespace llmc {

class Engine;
class Model;

// Threads with a session each: one a core, or what keeps a device busy. With a device, mixing is the host's part of the
// work: then as many cores take it up as leave each session's streams room enough.
int default_sessions(const Engine& engine, bool mixing, int context, int cores);

// Each step of a batch reads the weights once and every stream's KV cache: many streams share the cost of the
// first, but push each other's caches out of the processor's. 6 to 16; weights that no cache holds anyway get 16.
// `threads`: of this rank, which share the last-level cache.
int default_streams(const Model* model, int threads);

}  // namespace llmc
