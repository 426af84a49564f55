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

struct Region {
  std::string name;
  uint64_t begin = 0, end = 0;
};

// Never freed: another thread may read it.
std::atomic<const Region*>& unreadable() {
  static std::atomic<const Region*> region = []() -> const Region* {
    const char* const text = std::getenv("LLMC_UNREADABLE");
    const std::string spec = text ? text : "";
    const size_t dash = spec.rfind('-'), colon = spec.rfind(':', dash);
    if (dash == std::string::npos || colon == std::string::npos) return nullptr;
    return new Region{spec.substr(0, colon), std::strtoull(spec.c_str() + colon + 1, nullptr, 10), std::strtoull(spec.c_str() + dash + 1, nullptr, 10)};
  }();
  return region;
}

}  // namespace

void make_unreadable(const std::string& name, uint64_t begin, uint64_t end) {
  unreadable().store(name.empty() ? nullptr : new Region{name, begin, end});
}

bool any_unreadable() { return unreadable().load(std::memory_order_relaxed) != nullptr; }

bool is_unreadable(const std::filesystem::path& path, uint64_t begin, uint64_t size) {
  const Region* const region = unreadable().load();
  return region && begin < region->end && region->begin < begin + size && path.filename() == region->name;
}

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
