#include "base/fault.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <unistd.h>

namespace llmc {

const std::vector<std::string>& fault_names() {
  static const std::vector<std::string> names = {
      "archive.before_user_block",
      "archive.committed",
      "archive.frames_written",
      "archive.manifest",
      "archive.names",
      "archive.parity",
      "archive.shard_closed",
      "archive.shard_committed",
      "archive.tidy",
      "corpus.read",
      "dispatch.result",
      "file.rename",
      "file.renamed",
      "file.sync",
      "file.write",
      "plan.saved",
      "spool.append",
      "spool.created",
      "verify.mismatch",
  };
  return names;
}

namespace {

struct Armed {
  std::string name;
  long count = 0;
  enum { kill, error, delay } action = kill;
};

const Armed* armed() {
  static const Armed* const instance = []() -> const Armed* {
    const char* text = std::getenv("LLMC_FAULT");
    if (!text || !*text) return nullptr;
    const std::string spec = text;
    const size_t first = spec.find(':'), second = spec.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) return nullptr;
    static Armed a;
    a.name = spec.substr(0, first);
    a.count = std::strtol(spec.c_str() + first + 1, nullptr, 10);
    const std::string action = spec.substr(second + 1);
    a.action = action == "error" ? Armed::error : action == "delay" ? Armed::delay : Armed::kill;
    return &a;
  }();
  return instance;
}

}  // namespace

Status fault_point(const char* name) {
  assert(std::binary_search(fault_names().begin(), fault_names().end(), name));
  const Armed* a = armed();
  if (!a || a->name != name) return {};
  static std::atomic<long> hits{0};
  if (++hits != a->count) return {};
  switch (a->action) {
    case Armed::kill:
      ::kill(::getpid(), SIGKILL);
      for (;;) ::pause();
    case Armed::error: return {Code::failure, std::string("injected fault at ") + name};
    case Armed::delay: std::this_thread::sleep_for(std::chrono::seconds(2)); return {};
  }
  return {};
}

}  // namespace llmc
