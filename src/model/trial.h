// Which linears take 8-bit activations, and how keys and values are kept: what a sample text says.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "model/model.h"

namespace llmc {

// Bits of the inputs of each kind of linear, the same in all layers, and of keys and values.
struct Profile {
  int attn_in = 16, attn_out = 16, mlp_in = 16, mlp_out = 16, head = 16;
  int kv = 16;

  static Profile of(int activations, int kv) {
    return {activations, activations, activations, activations, activations, kv};
  }
  // As it stands in a model file's metadata.
  std::string json(int layers) const;
};

struct Trial {
  Profile profile;
  uint64_t sample_bytes = 0, sample_tokens = 0;
  double bits_best = 0;    // with Profile::of(16, 16)
  double bits_chosen = 0;  // with `profile`
};

// The choice of docs/MODEL.md, section 2. activations, kv: 8 or 16, or 0 where the sample decides. The model's
// own profile must be Profile::of(16, 16) (kv 8 where its context is too long for 16); it is changed on the way
// and of no use afterwards. The same on every machine. `stop` is asked now and then: Code::interrupted; both may be empty.
Result<Trial> choose_profile(std::shared_ptr<const Model> model, int activations, int kv,
                             const std::function<void(double part)>& progress, const std::function<bool()>& stop = {});

}  // namespace llmc
