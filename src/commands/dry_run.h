// What an archive would take: its plan, and time and size estimated from a sample that is really coded.
#pragma once

#include "commands/compute.h"
#include "plan/plan.h"

namespace llmc {

// Prints the estimate; writes nothing else. Codes on this process alone, for about 20 seconds.
Status dry_run(const Plan& plan, const ComputeOptions& options, const JobSetup& setup, std::shared_ptr<const Model> model);

}  // namespace llmc
