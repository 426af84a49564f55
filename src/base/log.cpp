#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace llmc::log {

void setup(int rank, const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("llmc", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(rank < 0 ? "llmc-batch: %l: %v" : "llmc-batch[" + std::to_string(rank) + "]: %l: %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace llmc::log
