// Fits an adaptation to a sample of text (model/adaptation.h): the likeliest one, with a prior that keeps it small, in a few
// passes of the model. Each pass is a Newton step, of the factor by its curvature, of a token's summand by how often the
// model, as adapted so far, expects it, which bounds the curvature.
#pragma once

#include <functional>
#include <span>

#include "base/bytes.h"
#include "base/status.h"
#include "model/adaptation.h"

namespace llmc {

struct FitOptions {
  uint32_t window = 0, carry = 0;  // as the text will be coded: carry < window <= the model's context
  int threads = 1;
  int passes = 5;
  std::function<void(double part)> progress;  // from one thread at a time; may be empty
  std::function<bool()> stop;                 // asked now and then: Code::interrupted; may be empty
};

// Each part is read as a chunk is, on its own. Computes with the native engine. Code::failure where there is no text;
// Code::range where it drives the model out of its range.
Result<Adaptation> fit_adaptation(std::shared_ptr<const Model> model, std::span<const Bytes> parts, const FitOptions& options);

}  // namespace llmc
