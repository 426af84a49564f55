#include "cluster/slurm.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>

namespace llmc {

std::vector<std::pair<std::string, std::string>> slurm_facts() {
  static const char* const names[] = {
      "JOB_ID",        "JOB_NAME",     "JOB_PARTITION", "JOB_NODELIST",    "JOB_NUM_NODES", "NTASKS",
      "ARRAY_JOB_ID",  "ARRAY_TASK_ID", "RESTART_COUNT", "CLUSTER_NAME",
  };
  std::vector<std::pair<std::string, std::string>> facts;
  if (!std::getenv("SLURM_JOB_ID")) return facts;
  for (const std::string name : names) {
    const char* value = std::getenv(("SLURM_" + name).c_str());
    if (!value || !*value) continue;
    std::string key = name;
    std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
    facts.emplace_back(key, value);
  }
  return facts;
}

std::optional<std::chrono::seconds> time_left(std::chrono::system_clock::time_point now) {
  const char* text = std::getenv("SLURM_JOB_END_TIME");
  if (!text || !*text) return std::nullopt;
  const std::string_view digits(text);
  int64_t end = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), end);
  // Slurm writes 0 or a far number for jobs without a limit.
  if (error != std::errc() || rest != digits.data() + digits.size() || end <= 0 || end >= int64_t{1} << 32) {
    return std::nullopt;
  }
  const std::chrono::system_clock::time_point at{std::chrono::seconds(end)};
  return std::chrono::floor<std::chrono::seconds>(at - now);
}

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "?";
  return name;
}

}  // namespace llmc
