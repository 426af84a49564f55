// What fits a model to one kind of text: a factor for its logits and a summand for each token's, learned from a
// sample (docs/MODEL.md, section 6).
//
// An adaptation is a file of some kilobytes, made for one model file. Archives that were coded with one carry it and
// name it by its SHA-256. Applied, it gives a model whose head has other scales and a bias: any engine computes that,
// at the same speed and as exactly as before.
#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/status.h"
#include "model/model.h"

namespace llmc {

inline constexpr size_t max_adaptation_bytes = size_t{1} << 20;

struct Adaptation {
  static constexpr float least_factor = 0.25f, greatest_factor = 4.0f;
  static constexpr float bias_step = 0x1p-4f;  // natural units of a logit, in which `bias` counts

  Digest model{};            // the file that it was made for
  float factor = 1;          // of all logits: the inverse of a temperature
  std::vector<int8_t> bias;  // of each real id, -127 to 127

  // Stable bytes: the adaptation's identity is their SHA-256.
  Bytes serialize() const;
  // Code::corrupt where these bytes are none, or damaged; Code::failure for one of a later version. Memory: their
  // own length and half a megabyte, whatever they claim.
  static Result<Adaptation> parse(ByteView bytes);
};

// The adapted model: it shares the base's bytes, keeps its digest, and its adaptation() is `digest`. Code::model where the
// adaptation was made for another model.
Result<std::shared_ptr<const Model>> adapt_model(std::shared_ptr<const Model> base, const Adaptation& adaptation, const Digest& digest);
// The same from an adaptation's bytes.
Result<std::shared_ptr<const Model>> adapt_model(std::shared_ptr<const Model> base, ByteView bytes);

}  // namespace llmc
