// What Slurm says about the job: for reports and for the time that is left. Nothing here
// decides which rank this is.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace llmc {

// Job id, array task, restarts, nodes and the like as (name, value): SLURM_JOB_ID gives
// ("job_id", ...). Empty outside Slurm.
std::vector<std::pair<std::string, std::string>> slurm_facts();

// Until Slurm ends the job (SLURM_JOB_END_TIME, seconds since 1970; negative when past);
// nothing where that is not set.
std::optional<std::chrono::seconds> time_left(std::chrono::system_clock::time_point now);

std::string host_name();

}  // namespace llmc
