// Which chunks a check draws: a seed and a rate decide, the same on every machine.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace llmc {

struct Sample {
  double rate = 0.01;  // 0..1
  uint32_t seed = 0;

  // A rate such as "1%", "0.5%", "all" or "none"; `option` for the message.
  static Result<double> parse_rate(const std::string& text, const std::string& option);
  // splitmix64 of seed, shard and chunk (docs/FORMAT.md): about `rate` of all chunks.
  bool picks(uint32_t shard, uint32_t chunk) const;
};

}  // namespace llmc
