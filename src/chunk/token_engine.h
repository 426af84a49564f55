// What this folder needs of an engine and its model: so little that tests can supply it
// without a model file. One per process; any thread.
#pragma once

#include <memory>

#include "base/checksum.h"
#include "base/status.h"
#include "model/session.h"
#include "tokens/tokenizer.h"

namespace llmc {

class TokenEngine {
 public:
  virtual ~TokenEngine() = default;
  virtual const Tokenizer& tokenizer() const = 0;
  // Fed at position 0 of every window.
  virtual Symbol start() const = 0;
  // SHA-256 of what its model is adapted with; zeros: nothing.
  virtual Digest adaptation() const { return {}; }
  // Tokens that a stream may hold.
  virtual int context() const = 0;
  virtual Result<std::unique_ptr<Session>> make_session(int streams) const = 0;
};

// The real thing; `engine` must outlive it. Null for a null engine.
std::unique_ptr<TokenEngine> make_token_engine(Engine* engine);

}  // namespace llmc
