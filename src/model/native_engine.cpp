#include "model/native_engine.h"

#include <fmt/format.h>

#include <new>

#include "model/host_ops.h"

namespace llmc {

namespace {

class NativeEngine final : public Engine {
 public:
  NativeEngine(std::shared_ptr<const Model> model, const Kernels& kernels)
      : weights_(std::move(model), kernels, std::make_unique<PlainMemory>()) {}

  std::string name() const override { return fmt::format("native {}", weights_.kernels().name); }
  const Model& model() const override { return weights_.model(); }

  Result<std::unique_ptr<Session>> make_session(int streams, int context) override {
    LLMC_ASSIGN(const int checked, checked_context(model(), streams, context));
    LLMC_TRY(check_arithmetic(weights_.kernels()));
    try {
      auto ops = std::make_unique<HostOps>(weights_, streams, checked, std::make_unique<PlainMemory>());
      return make_forward_session(model(), std::move(ops), streams, checked);
    } catch (const std::bad_alloc&) {
      return Status(Code::failure, fmt::format("there is no memory for a session of {} streams", streams));
    }
  }

 private:
  const HostWeights weights_;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_native_engine(std::shared_ptr<const Model> model, std::string_view isa) {
  LLMC_ASSIGN(const Kernels* const kernels, select_kernels(isa));
  LLMC_TRY(check_arithmetic(*kernels));
  return std::unique_ptr<Engine>(std::make_unique<NativeEngine>(std::move(model), *kernels));
}

}  // namespace llmc
