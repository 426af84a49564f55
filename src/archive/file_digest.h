// SHA-256 of a whole file, and the question that all long readings of this folder ask.
#pragma once

#include <functional>

#include "base/checksum.h"
#include "base/file.h"

namespace llmc {

// Asked now and then; true ends what is going on, with Code::interrupted unless something else is said. May be empty.
using StopRequest = std::function<bool()>;

// Code::corrupt where the medium does not give all of it. Memory: 1 MiB.
Result<Digest> file_digest(const File& file, const StopRequest& stop = {});

}  // namespace llmc
