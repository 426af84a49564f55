// What NCCL is to GPUs, for emulated ones: members on threads of one process.
#pragma once

#include <memory>
#include <vector>

#include "model/collective.h"

namespace llmc::test {

// Members 0 .. count - 1, each for one thread. One that fails lets the others go.
std::vector<std::unique_ptr<Collective>> make_team(int count);

}  // namespace llmc::test
