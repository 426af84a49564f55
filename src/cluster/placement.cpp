#include "cluster/placement.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "base/file.h"

namespace llmc {
namespace {

// Cores of a process or thread; 0: the calling thread.
std::vector<int> affinity(pid_t pid = 0) {
  // Masks of machines with more cores than a cpu_set_t holds need a larger one.
  for (int count = CPU_SETSIZE; count <= (1 << 20); count *= 2) {
    cpu_set_t* set = CPU_ALLOC(count);
    const size_t bytes = CPU_ALLOC_SIZE(count);
    CPU_ZERO_S(bytes, set);
    const bool ok = ::sched_getaffinity(pid, bytes, set) == 0;
    std::vector<int> cores;
    for (int i = 0; ok && i < count; ++i) {
      if (CPU_ISSET_S(i, bytes, set)) cores.push_back(i);
    }
    CPU_FREE(set);
    if (ok && !cores.empty()) return cores;
    if (!ok && errno != EINVAL) break;
  }
  return {};
}

bool set_affinity(const std::vector<int>& cores) {
  const int count = cores.empty() ? 1 : cores.back() + 1;
  cpu_set_t* set = CPU_ALLOC(count);
  const size_t bytes = CPU_ALLOC_SIZE(count);
  CPU_ZERO_S(bytes, set);
  for (const int core : cores) CPU_SET_S(core, bytes, set);
  const bool ok = ::sched_setaffinity(0, bytes, set) == 0;
  CPU_FREE(set);
  return ok;
}

// Open MPI binds each rank of a job of two to one core unless told otherwise, which suits
// ranks without threads. Where nobody has asked for a binding, the launcher's own cores are
// what the rank may use; empty where somebody has.
std::vector<int> launcher_cores() {
  if (!std::getenv("OMPI_COMM_WORLD_SIZE")) return {};
  for (const char* name : {"OMPI_MCA_hwloc_base_binding_policy", "OMPI_MCA_rmaps_base_mapping_policy",
                           "OMPI_MCA_rmaps_rank_file_path", "OMPI_MCA_hwloc_base_cpu_list"}) {
    if (std::getenv(name)) return {};
  }
  return affinity(::getppid());
}

// Whole CPUs of the cgroup's quota (cpu.max of cgroup v2: "max 100000" or "150000 100000"),
// rounded up; 0 where there is none. Containers see their own group as the root.
int cgroup_quota() {
  auto file = File::open_read("/sys/fs/cgroup/cpu.max");
  if (!file.ok()) return 0;
  std::string text(64, '\0');  // read() and not read_file(): such files have no size
  const auto got = file->read({reinterpret_cast<uint8_t*>(text.data()), text.size() - 1});
  if (!got.ok()) return 0;
  char* end = nullptr;
  const double quota = std::strtod(text.c_str(), &end);
  const double period = std::strtod(end, nullptr);
  if (!(quota > 0) || !(period > 0)) return 0;
  return static_cast<int>(std::min(1e6, std::ceil(quota / period)));
}

// What each rank tells the others.
struct Rank {
  std::vector<int> cores;
  std::vector<int> launcher;  // launcher_cores()
};

void put(ByteWriter& out, const std::vector<int>& cores) {
  out.varint(cores.size());
  for (const int core : cores) out.varint(static_cast<uint64_t>(core));
}

bool get(ByteReader& in, std::vector<int>* cores) {
  const uint64_t count = in.varint();
  if (!in.ok() || count > in.left()) return false;
  for (uint64_t i = 0; i < count; ++i) cores->push_back(static_cast<int>(in.varint()));
  return in.ok();
}

}  // namespace

int available_cores() {
  const int cores = std::max(1, static_cast<int>(affinity().size()));
  const int quota = cgroup_quota();
  return quota > 0 ? std::min(cores, quota) : cores;
}

std::vector<int> divide_cores(const std::vector<std::vector<int>>& cores, int quota) {
  const size_t n = cores.size();
  std::vector<int> threads(n, 1);
  const bool same = std::all_of(cores.begin(), cores.end(), [&](const auto& c) { return c == cores.front(); });
  if (n > 0 && same) {
    // One pot: the first ones get what does not divide.
    size_t all = cores.front().size();
    if (quota > 0) all = std::min<size_t>(all, static_cast<size_t>(quota));
    for (size_t i = 0; i < n; ++i) threads[i] = static_cast<int>(std::max<size_t>(1, all / n + (i < all % n)));
    return threads;
  }
  std::map<int, int> users;
  for (const auto& mask : cores) {
    for (const int core : mask) ++users[core];
  }
  // With masks of their own, a quota shrinks all alike.
  const double part = quota > 0 ? std::min(1.0, quota / static_cast<double>(users.size())) : 1;
  for (size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (const int core : cores[i]) sum += part / users[core];
    threads[i] = std::max(1, static_cast<int>(sum + 1e-9));
  }
  return threads;
}

Result<Placement> place(Comm& comm, int threads, Comm::Duration deadline) {
  const std::vector<int>& node = comm.node_ranks();
  ByteWriter mine;
  put(mine, affinity());
  put(mine, launcher_cores());
  LLMC_ASSIGN(const std::vector<Bytes> parts, comm.gather(0, mine.take(), deadline));
  ByteWriter packed;
  for (const Bytes& part : parts) packed.bytes(part);
  Bytes all = packed.take();
  LLMC_TRY(comm.broadcast(0, &all, deadline));

  std::vector<Rank> ranks(comm.size());
  ByteReader in(all);
  for (Rank& rank : ranks) {
    if (!get(in, &rank.cores) || !get(in, &rank.launcher)) {
      return Status(Code::failure, "the ranks do not agree on how they are placed");
    }
  }
  Placement p;
  p.ranks_here = static_cast<int>(node.size());
  p.local_rank = static_cast<int>(std::find(node.begin(), node.end(), comm.rank()) - node.begin());
  p.worker = comm.size() == 1 || comm.rank() != 0;
  p.workers_here = 0;
  std::vector<std::vector<int>> cores;
  std::set<int> used, free;
  for (const int rank : node) {
    if (comm.size() > 1 && rank == 0) continue;
    if (rank == comm.rank()) p.worker_index = p.workers_here;
    ++p.workers_here;
    cores.push_back(ranks[rank].cores);
    used.insert(ranks[rank].cores.begin(), ranks[rank].cores.end());
    free.insert(ranks[rank].launcher.begin(), ranks[rank].launcher.end());
  }
  // A default binding that leaves cores idle is undone, by all workers of the machine alike.
  const bool idle = free.size() > used.size() && std::includes(free.begin(), free.end(), used.begin(), used.end());
  if (p.worker && idle && set_affinity({free.begin(), free.end()})) {
    cores.assign(cores.size(), {free.begin(), free.end()});
    used = free;
  }
  p.cores = available_cores();
  const int quota = cgroup_quota();
  if (p.worker) p.threads = divide_cores(cores, quota)[p.worker_index];
  if (threads > 0) p.threads = threads;
  const int online = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  const int usable = quota > 0 ? std::min(online, quota) : online;
  if (p.worker && p.worker_index == 0 && threads == 0 && static_cast<int>(used.size()) < usable) {
    p.note = fmt::format("the workers of this machine are bound to {} of its {} cores; mpirun --bind-to none frees "
                         "the others", used.size(), usable);
  }
  return p;
}

Placement place_alone(int threads) {
  Placement p;
  p.cores = available_cores();
  p.threads = threads > 0 ? threads : p.cores;
  return p;
}

int device_of(const Placement& placement, int visible, int each) {
  const int groups = each > 0 ? visible / each : 0;
  if (groups <= 0 || !placement.worker) return -1;
  return placement.worker_index % groups * each;
}

}  // namespace llmc
