// Files of the source tree that were compiled in (see CMakeLists.txt): documents and the reference decoder.
#pragma once

#include <vector>

#include "base/bytes.h"

namespace llmc {

struct CarriedFile {
  const char* name;
  ByteView bytes;
};

// Sorted by name; constant, any thread.
std::vector<CarriedFile> carried_files();

}  // namespace llmc
