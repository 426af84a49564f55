#include "coder/range_coder.h"

namespace llmc {

void RangeEncoder::carry() {
  // The coded number is below 1, so a byte below 0xFF always stands before the run.
  size_t i = out_.size();
  while (i > 0 && ++out_[--i] == 0) {
  }
}

Bytes RangeEncoder::finish() {
  add(bottom - 1);
  shift();
  while (!out_.empty() && out_.back() == 0) out_.pop_back();
  return std::move(out_);
}

}  // namespace llmc
