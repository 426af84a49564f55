// check_arithmetic: is this thread, with this table, the machine that LLMC-X1 asks for?
#include "exact/examples.h"

namespace llmc {
namespace {

// Volatile, so that the processor answers and not the compiler.
volatile float smallest_normal = 0x1p-126f;
volatile float half = 0.5f;
volatile float one = 1.0f;
volatile float above_one = 0x1.000002p+0f;
volatile float minus_square = -0x1.000004p+0f;  // the rounded square of above_one
volatile float half_ulp = 0x1p-24f;

}  // namespace

Status check_arithmetic(const Kernels& kernels) {
  const volatile float denormal = smallest_normal * half;
  if (denormal == 0.0f) {
    return Status(Code::failure, "this thread flushes denormal numbers to zero; exact arithmetic needs a FloatState");
  }
  // Two ties: 1 + half an ulp goes down to even, the next float up to even.
  if (one + half_ulp != 1.0f || above_one + half_ulp != 0x1.000004p+0f) {
    return Status(Code::failure, "this thread does not round to nearest even; exact arithmetic needs a FloatState");
  }
  if (above_one * above_one + minus_square != 0.0f) {
    return Status(Code::failure, "this build fuses products into sums; build it with -ffp-contract=off");
  }
  const std::vector<exact::Example> got = exact::run_examples(kernels);
  const std::vector<exact::Example>& expected = exact::expected_examples();
  for (size_t i = 0; i < expected.size(); ++i) {
    if (got[i].hash != expected[i].hash) {
      return Status(Code::failure, std::string("kernels ") + kernels.name + " give a wrong " + got[i].operation +
                                       " on this machine; try LLMC_ISA=scalar and report the processor");
    }
  }
  return Status();
}

}  // namespace llmc
