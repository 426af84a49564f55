// Named points at which a test makes the program die, fail or wait.
//
// Armed by LLMC_FAULT=name:count:kill|error|delay (count: the hit, from 1, that
// acts; delay: 2 s). Costs one relaxed load when nothing is armed. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"

namespace llmc {

// OK unless this point is armed for "error" and this is the armed hit.
Status fault_point(const char* name);

// All names, sorted: the list that the crash tests loop over. A name that is hit
// but not listed aborts in debug builds.
const std::vector<std::string>& fault_names();

// A medium that fails: from now on, each time, reads that touch bytes [begin, end) of a file of this name, in whatever folder,
// fail with EIO; an empty name ends that. For a program's life: LLMC_UNREADABLE=NAME:BEGIN-END. No fault point, since one
// sector fails however often it is read. Any thread.
void make_unreadable(const std::string& name, uint64_t begin, uint64_t end);
bool is_unreadable(const std::filesystem::path& path, uint64_t begin, uint64_t size);
// Whether there is such a region at all: one relaxed load.
bool any_unreadable();

}  // namespace llmc
