#include "cuda/device_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "base/log.h"
#include "cuda/device_check.h"
#include "cuda/device_ops.h"
#include "model/forward_session.h"

namespace llmc {

namespace {

class DeviceEngine final : public Engine {
 public:
  DeviceEngine(std::unique_ptr<DeviceWeights> weights, DeviceOpener open, const DeviceEngineOptions& options)
      : weights_(std::move(weights)), open_(std::move(open)), options_(options), free_(weights_->device().free_bytes()) {}

  std::string name() const override { return "cuda, " + weights_->device().name(); }
  const Model& model() const override { return weights_->model(); }
  int good_sessions() const override { return device_sessions; }
  int good_streams(int sessions, int context) const override {
    return static_cast<int>(std::clamp<int64_t>(fitting(free_ / std::max(1, sessions), context), 1, most_device_streams));
  }

  Result<std::unique_ptr<Session>> make_session(int streams, int context) override {
    LLMC_ASSIGN(const int checked, checked_context(model(), streams, context));
    LLMC_ASSIGN(std::unique_ptr<Device> device, open_());
    const uint64_t free = device->free_bytes();
    const DeviceLimits limits = this->limits(streams, checked);
    const uint64_t each = DeviceOps::bytes_per_stream(*weights_, checked);
    const uint64_t fixed = DeviceOps::fixed_bytes(*weights_, limits);
    const std::string short_of_memory =
        fmt::format("{} has {} MB free; {} streams of {} tokens need {} MB, {} would fit (--streams)", device->name(),
                    free >> 20, streams, checked, (fixed + each * streams) >> 20, fitting(free, checked));
    if (each * streams > free) return Status(Code::failure, short_of_memory);
    try {
      auto ops = std::make_unique<DeviceOps>(*weights_, std::move(device), limits);
      log::debug("{}: session of {} streams of {} tokens, {} rows a pass, {} MB of {} free", weights_->device().name(),
                 streams, checked, limits.max_rows, (fixed + each * streams) >> 20, free >> 20);
      return make_forward_session(model(), std::move(ops), streams, checked);
    } catch (const std::bad_alloc&) {
      return Status(Code::failure, short_of_memory);
    }
  }

  Status check() {
    const Status status = [&]() -> Status {
      LLMC_ASSIGN(std::unique_ptr<Device> device, open_());
      try {
        DeviceOps ops(*weights_, std::move(device), limits(1, 8));
        LLMC_TRY(check_products(*weights_, ops));
      } catch (const std::bad_alloc&) {
        return Status(Code::failure, "no memory is left for the check");
      }
      return check_answers(*weights_, [this](int streams) { return make_session(streams, std::min(64, model().config().context)); });
    }();
    if (status.ok()) return status;
    return {status.code(), weights_->device().name() + " failed its start-up check and is not used: " + status.message()};
  }

 private:
  DeviceLimits limits(int streams, int context) const { return device_limits(model(), options_, streams, context); }
  int64_t fitting(uint64_t bytes, int context) const { return fitting_streams(*weights_, options_, bytes, context); }

  const std::unique_ptr<DeviceWeights> weights_;
  const DeviceOpener open_;
  const DeviceEngineOptions options_;
  const uint64_t free_;  // beside the weights
};

}  // namespace

DeviceLimits device_limits(const Model& model, const DeviceEngineOptions& options, int streams, int context) {
  DeviceLimits out = DeviceOps::limits(model, streams, context);
  if (options.most_rows > 0) out.max_rows = std::max(streams, options.most_rows);
  if (options.most_head_rows > 0) out.head_rows = options.most_head_rows;
  return out;
}

int64_t fitting_streams(const DeviceWeights& weights, const DeviceEngineOptions& options, uint64_t bytes, int context) {
  const int tokens = context > 0 ? context : weights.model().config().context;
  const uint64_t fixed = DeviceOps::fixed_bytes(weights, device_limits(weights.model(), options, most_device_streams, tokens));
  const uint64_t usable = bytes / 10 * 9;
  return usable < fixed ? 0 : static_cast<int64_t>((usable - fixed) / DeviceOps::bytes_per_stream(weights, tokens));
}

Result<std::unique_ptr<Engine>> make_device_engine(std::shared_ptr<const Model> model, DeviceOpener open,
                                                   const DeviceEngineOptions& options) {
  LLMC_ASSIGN(std::unique_ptr<Device> device, open());
  LLMC_ASSIGN(std::unique_ptr<DeviceWeights> weights, DeviceWeights::make(std::move(model), std::move(device)));
  auto engine = std::make_unique<DeviceEngine>(std::move(weights), std::move(open), options);
  if (options.check) LLMC_TRY(engine->check());
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace llmc
