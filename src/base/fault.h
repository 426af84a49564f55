// Named points at which a test makes the program die, fail or wait.
//
// Armed by LLMC_FAULT=name:count:kill|error|delay (count: the hit, from 1, that
// acts; delay: 2 s). Costs one relaxed load when nothing is armed. Any thread.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace llmc {

// OK unless this point is armed for "error" and this is the armed hit.
Status fault_point(const char* name);

// All names, sorted: the list that the crash tests loop over. A name that is hit
// but not listed aborts in debug builds.
const std::vector<std::string>& fault_names();

}  // namespace llmc
