#include "cuda/parallel_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <new>

#include "cuda/device_check.h"
#include "cuda/parallel_ops.h"
#include "model/forward_session.h"

namespace llmc {

namespace {

// What the operations of a session use and do not own.
struct Shared {
  std::shared_ptr<std::mutex> turn;  // of all sessions of the engine
  std::vector<float> logits;
  std::vector<std::unique_ptr<Collective>> collectives;
};

class ParallelEngine final : public Engine {
 public:
  ParallelEngine(std::vector<std::unique_ptr<DeviceWeights>> weights, std::vector<DeviceOpener> open, CollectiveMaker collectives,
                 const DeviceEngineOptions& options)
      : weights_(std::move(weights)), open_(std::move(open)), collectives_(std::move(collectives)), options_(options) {
    for (const auto& share : weights_) free_ = std::min(free_, share->device().free_bytes());
  }

  std::string name() const override {
    std::string names;
    for (const auto& share : weights_) names += (names.empty() ? "cuda, " : " + ") + share->device().name();
    return names;
  }
  const Model& model() const override { return weights_[0]->model(); }
  int good_sessions() const override { return device_sessions; }
  int good_streams(int sessions, int context) const override {
    return static_cast<int>(std::clamp<int64_t>(fitting(free_ / std::max(1, sessions), context), 1, most_device_streams));
  }

  Result<std::unique_ptr<Session>> make_session(int streams, int context) override {
    LLMC_ASSIGN(const int checked, checked_context(model(), streams, context));
    const DeviceLimits limits = this->limits(streams, checked);
    std::vector<std::unique_ptr<Device>> queues;
    std::vector<Device*> pointers;
    for (const DeviceOpener& open : open_) {
      LLMC_ASSIGN(std::unique_ptr<Device> queue, open());
      pointers.push_back(queue.get());
      queues.push_back(std::move(queue));
    }
    auto shared = std::make_shared<Shared>();
    shared->turn = turn_;
    std::string place = queues[0]->name();
    try {
      shared->logits.resize(static_cast<size_t>(limits.head_rows) * model().config().vocab);
      LLMC_ASSIGN(shared->collectives, collectives_(pointers));
      std::vector<std::unique_ptr<DeviceOps>> parts;
      for (size_t i = 0; i < queues.size(); ++i) {
        place = queues[i]->name();
        parts.push_back(std::make_unique<DeviceOps>(*weights_[i], std::move(queues[i]), limits, shared->collectives[i].get(),
                                                    shared->logits.data()));
      }
      return make_forward_session(model(), std::make_unique<ParallelOps>(std::move(parts), shared, turn_.get()), streams,
                                  checked);
    } catch (const std::bad_alloc&) {
      return Status(Code::failure, fmt::format("{} has no memory for a session of {} streams of {} tokens; {} would fit (--streams)", place,
                                               streams, checked, fitting(free_, checked)));
    }
  }

  Status check() {
    const Status status =
        check_answers(*weights_[0], [this](int streams) { return make_session(streams, std::min(64, model().config().context)); });
    if (status.ok()) return status;
    return {status.code(), name() + " failed their start-up check and are not used: " + status.message()};
  }

 private:
  DeviceLimits limits(int streams, int context) const { return device_limits(model(), options_, streams, context); }
  int64_t fitting(uint64_t bytes, int context) const { return fitting_streams(*weights_[0], options_, bytes, context); }

  const std::vector<std::unique_ptr<DeviceWeights>> weights_;
  const std::vector<DeviceOpener> open_;
  const CollectiveMaker collectives_;
  const DeviceEngineOptions options_;
  const std::shared_ptr<std::mutex> turn_ = std::make_shared<std::mutex>();
  uint64_t free_ = ~uint64_t{0};  // beside the weights, of the GPU that has least
};

}  // namespace

Result<std::unique_ptr<Engine>> make_parallel_engine(std::shared_ptr<const Model> model, std::vector<DeviceOpener> open,
                                                     CollectiveMaker collectives, const DeviceEngineOptions& options) {
  std::vector<std::unique_ptr<DeviceWeights>> weights;
  for (size_t i = 0; i < open.size(); ++i) {
    LLMC_ASSIGN(std::unique_ptr<Device> device, open[i]());
    const ModelShare shard{static_cast<int>(i), static_cast<int>(open.size())};
    LLMC_ASSIGN(std::unique_ptr<DeviceWeights> share, DeviceWeights::make(model, std::move(device), shard));
    weights.push_back(std::move(share));
  }
  auto engine = std::make_unique<ParallelEngine>(std::move(weights), std::move(open), std::move(collectives), options);
  if (options.check) LLMC_TRY(engine->check());
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace llmc
