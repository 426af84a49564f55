#include "commands/streams.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "model/model.h"
#include "model/session.h"

namespace llmc {

int default_sessions(const Engine& engine, bool mixing, int context, int cores) {
  constexpr int most = 8, enough_streams = 256;
  int sessions = engine.good_sessions();
  if (sessions == 0) return cores;
  while (mixing && sessions < std::min(cores, most) && engine.good_streams(sessions + 1, context) >= enough_streams) ++sessions;
  return sessions;
}

int default_streams(const Model* model, int threads) {
  constexpr int64_t least = 6, most = 16;
  if (!model) return most;
  const ModelConfig& c = model->config();
  const int64_t last_level = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const int64_t weights = static_cast<int64_t>(model->parameters());
  const int64_t stream = int64_t{c.layers} * c.context * 2 * c.kv_width() * (c.kv_bits / 8);
  if (last_level <= 0 || weights > last_level) return most;
  // Half of what is left: activations, tables and other programs want room too.
  return static_cast<int>(std::clamp((last_level - weights) / (2 * std::max(threads, 1) * stream), least, most));
}

}  // namespace llmc
