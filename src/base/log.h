// One logger for the process, to standard error: [time] [rank] level message.
// Any thread. Formatting is fmt's.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace llmc::log {

// `rank` < 0: no MPI, nothing is printed in its place. Level names are spdlog's
// (trace, debug, info, warn, error, off). Call once, before other threads exist.
void setup(int rank, const std::string& level);

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

}  // namespace llmc::log
