#include "chunk/token_engine.h"

#include "model/model.h"

namespace llmc {
namespace {

class ModelTokenEngine final : public TokenEngine {
 public:
  explicit ModelTokenEngine(Engine* engine) : engine_(engine) {}
  const Tokenizer& tokenizer() const override { return engine_->model().tokenizer(); }
  Symbol start() const override { return engine_->model().config().start; }
  Digest adaptation() const override { return engine_->model().adaptation(); }
  int context() const override { return engine_->model().config().context; }
  Result<std::unique_ptr<Session>> make_session(int streams) const override { return engine_->make_session(streams); }

 private:
  Engine* engine_;
};

}  // namespace

std::unique_ptr<TokenEngine> make_token_engine(Engine* engine) {
  return engine ? std::make_unique<ModelTokenEngine>(engine) : nullptr;
}

}  // namespace llmc
