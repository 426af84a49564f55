#include "torch/nccl_team.h"

#ifdef LLMC_NO_NCCL

namespace llmc {

Result<std::vector<std::unique_ptr<Collective>>> make_nccl_team(const std::vector<Device*>&) {
  return Status(Code::missing, "this build does not know NCCL, through which several GPUs of a rank exchange sums: nccl.h was not "
                               "found when it was made");
}

}  // namespace llmc

#else

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "torch/cuda_device.h"

namespace llmc {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongest = std::chrono::minutes(5);  // that a pass may take

struct Nccl {
  decltype(&ncclCommInitAll) init_all = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclGetErrorString) text = nullptr;
  std::string why;  // it cannot be used
};

const Nccl& nccl() {
  static const Nccl instance = [] {
    Nccl out;
    void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* reason = dlerror();
      out.why = std::string("NCCL, through which several GPUs of a rank exchange sums, cannot be loaded: ") + (reason ? reason : "libnccl.so.2");
      return out;
    }
    const auto find = [&](auto* function, const char* name) {
      *function = reinterpret_cast<std::remove_reference_t<decltype(*function)>>(dlsym(library, name));
      if (*function == nullptr) out.why = std::string("libnccl.so.2 has no ") + name;
    };
    find(&out.init_all, "ncclCommInitAll");
    find(&out.all_reduce, "ncclAllReduce");
    find(&out.destroy, "ncclCommDestroy");
    find(&out.abort, "ncclCommAbort");
    find(&out.async_error, "ncclCommGetAsyncError");
    find(&out.text, "ncclGetErrorString");
    return out;
  }();
  return instance;
}

// The communicators of one session.
class Team {
 public:
  explicit Team(std::vector<CudaQueue> queues) : queues_(std::move(queues)), busy_(queues_.size()) {}
  ~Team() {
    for (const ncclComm_t comm : comms_) (void)(status().ok() ? nccl().destroy(comm) : ncclSuccess);
  }
  Status start() {
    std::vector<int> devices;
    for (const CudaQueue& queue : queues_) devices.push_back(queue.index);
    comms_.resize(queues_.size());
    const ncclResult_t made = nccl().init_all(comms_.data(), static_cast<int>(devices.size()), devices.data());
    if (made == ncclSuccess) return {};
    comms_.clear();
    return {Code::failure, queues_[0].name + " and the other GPUs of this rank cannot work together (NCCL): " + nccl().text(made)};
  }

  int count() const { return static_cast<int>(queues_.size()); }
  const CudaQueue& queue(int index) const { return queues_[index]; }
  // Calls with this member's communicator, unless the team has failed: then nothing happens.
  template <class Call>
  ncclResult_t call(int index, const Call& with) {
    busy_[index] = true;
    const ncclResult_t result = failing_ ? ncclSuccess : with(comms_[index]);
    busy_[index] = false;
    return result;
  }
  Status status() const {
    const std::lock_guard lock(mutex_);
    return failed_;
  }
  // Kernels that wait for a member which will not come end with that.
  void fail(const Status& why) {
    {
      const std::lock_guard lock(mutex_);
      if (!failed_.ok()) return;
      failed_ = why.ok() ? Status(Code::failure, "a GPU of this rank has failed") : why;
    }
    failing_ = true;
    for (size_t i = 0; i < comms_.size(); ++i) {
      // An abort frees the communicator. Who is about to call with it is inside the call soon, where an abort may come.
      for (int round = 0; busy_[i] && round < 100; ++round) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      (void)nccl().abort(comms_[i]);
    }
  }

 private:
  const std::vector<CudaQueue> queues_;
  std::vector<ncclComm_t> comms_;
  std::vector<std::atomic<bool>> busy_;
  std::atomic<bool> failing_{false};
  mutable std::mutex mutex_;
  Status failed_;
};

class Member final : public Collective {
 public:
  Member(std::shared_ptr<Team> team, int index) : team_(std::move(team)), index_(index) {}
  int index() const override { return index_; }
  int count() const override { return team_->count(); }
  void all_max(uint32_t* at, size_t n) override { reduce(at, n, ncclUint32, ncclMax); }
  void all_sum(uint64_t* at, size_t n) override { reduce(at, n, ncclUint64, ncclSum); }
  void failure(const Status& why) override { team_->fail(why); }

  // Asks instead of sleeping in the driver: a GPU that has failed never comes to what the others wait for.
  Status wait() override {
    const CudaQueue& queue = team_->queue(index_);
    (void)cudaSetDevice(queue.index);
    const auto begun = Clock::now();
    for (int round = 0;; ++round) {
      if (const Status failed = team_->status(); !failed.ok()) return failed;
      const cudaError_t state = cudaStreamQuery(queue.stream);
      if (state == cudaSuccess) return {};
      if (state != cudaErrorNotReady) {
        (void)cudaGetLastError();
        team_->fail({Code::failure, queue.name + ": " + cudaGetErrorString(state)});
        continue;
      }
      (void)cudaGetLastError();
      if (round < 2000) {
        std::this_thread::yield();
        continue;
      }
      ncclResult_t error = ncclSuccess;
      const auto ask = [&](ncclComm_t comm) { return nccl().async_error(comm, &error); };
      if (team_->call(index_, ask) != ncclSuccess || (error != ncclSuccess && error != ncclInProgress)) {
        team_->fail({Code::failure, queue.name + " (NCCL): " + nccl().text(error)});
        continue;
      }
      if (Clock::now() - begun > kLongest) {
        team_->fail({Code::failure, queue.name + " waits for the other GPUs of this rank, and they give no answer"});
        continue;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  void reduce(void* at, size_t n, ncclDataType_t type, ncclRedOp_t operation) {
    if (n == 0 || !team_->status().ok()) return;
    const CudaQueue& queue = team_->queue(index_);
    (void)cudaSetDevice(queue.index);
    const ncclResult_t done =
        team_->call(index_, [&](ncclComm_t comm) { return nccl().all_reduce(at, at, n, type, operation, comm, queue.stream); });
    if (done != ncclSuccess) team_->fail({Code::failure, queue.name + " (NCCL): " + nccl().text(done)});
  }

  const std::shared_ptr<Team> team_;
  const int index_;
};

}  // namespace

Result<std::vector<std::unique_ptr<Collective>>> make_nccl_team(const std::vector<Device*>& queues) {
  if (!nccl().why.empty()) return Status(Code::missing, nccl().why);
  std::vector<CudaQueue> raw;
  for (Device* const queue : queues) raw.push_back(queue_of(*queue));
  auto team = std::make_shared<Team>(std::move(raw));
  LLMC_TRY(team->start());
  std::vector<std::unique_ptr<Collective>> members;
  for (int i = 0; i < team->count(); ++i) members.push_back(std::make_unique<Member>(team, i));
  return members;
}

}  // namespace llmc

#endif
