// The parsers that meet bytes of strangers, one function each. What a function gives is of no interest:
// it must come back, in bounded memory, without undefined behaviour. LLVM's libFuzzer drives them in the preset
// "fuzz"; everywhere else the committed corpora are replayed (replay_test.cpp).
#pragma once

#include <vector>

#include "base/bytes.h"

namespace llmc::fuzz {

struct Target {
  const char* name;  // corpora stand in corpus/NAME
  void (*run)(ByteView);
};
const std::vector<Target>& targets();

}  // namespace llmc::fuzz
