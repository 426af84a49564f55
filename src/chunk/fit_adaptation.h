// Fits an adaptation to a sample of text (model/adaptation.h): by maximum likelihood, a few passes of the model.
//
// The factor takes a Newton step in each pass; a token's summand grows by the logarithm of how much oftener it occurs
// than the model, as adapted so far, expects.
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
  int passes = 4;
  std::function<void(double part)> progress;  // from one thread at a time; may be empty
  std::function<bool()> stop;                 // asked now and then: Code::interrupted; may be empty
};

// Each part is read as a chunk is, on its own. Computes with the native engine. Code::failure where there is no text;
// Code::range where it drives the model out of its range.
Result<Adaptation> fit_adaptation(std::shared_ptr<const Model> model, std::span<const Bytes> parts, const FitOptions& options);

}  // namespace llmc
