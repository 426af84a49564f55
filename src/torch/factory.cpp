// The one door of libllmc_torch.so: see "the border between the two sides" in model/torch_loader.h.
#include <ATen/Parallel.h>

#include <new>

#include "model/forward_session.h"
#include "model/torch_loader.h"
#include "torch/torch_ops.h"

namespace llmc {

namespace {

class TorchEngine final : public Engine {
 public:
  TorchEngine(std::shared_ptr<const Model> model, const Kernels& kernels)
      : weights_(std::move(model), kernels, std::make_unique<TorchMemory>()), embedding_(weights_.model()) {}

  std::string name() const override { return std::string("torch cpu ") + weights_.kernels().name; }
  const Model& model() const override { return weights_.model(); }

  Result<std::unique_ptr<Session>> make_session(int streams, int context) override {
    LLMC_ASSIGN(const int checked, checked_context(model(), streams, context));
    LLMC_TRY(check_arithmetic(weights_.kernels()));
    try {
      auto ops = std::make_unique<TorchOps>(weights_, embedding_, streams, checked, std::make_unique<TorchMemory>());
      return make_forward_session(model(), std::move(ops), streams, checked);
    } catch (const std::bad_alloc&) {
      return Status(Code::failure, "there is no memory for a session of " + std::to_string(streams) + " streams");
    } catch (const std::exception& error) {
      return Status(Code::failure, std::string("libtorch: ") + error.what());
    }
  }

 private:
  const HostWeights weights_;
  const TorchEmbedding embedding_;
};

Result<std::unique_ptr<Engine>> make(const TorchRequest& request) {
  if (!request.fits()) {
    return Status(Code::failure, "libllmc_torch.so belongs to another build of llmc-batch; rebuild both together");
  }
  // A session is one thread's; sessions are what runs in parallel.
  at::set_num_threads(1);
  LLMC_ASSIGN(const Kernels* const kernels, select_kernels(request.isa));
  LLMC_TRY(check_arithmetic(*kernels));
  return std::unique_ptr<Engine>(std::make_unique<TorchEngine>(request.model, *kernels));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void llmc_torch_engine(const TorchRequest* request,
                                                                         Result<std::unique_ptr<Engine>>* out) {
  try {
    *out = make(*request);
  } catch (const std::exception& error) {
    *out = Status(Code::failure, std::string("libtorch: ") + error.what());
  }
}

}  // namespace llmc
