// libFuzzer's entry: LLMC_FUZZ_TARGET says which of the parsers this program is.
#include <cstdlib>
#include <cstring>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const llmc::fuzz::Target* const target = [] {
    for (const auto& t : llmc::fuzz::targets()) {
      if (std::strcmp(t.name, LLMC_FUZZ_TARGET) == 0) return &t;
    }
    std::abort();
  }();
  target->run({data, size});
  return 0;
}
