// The one file that a verb writes, checked before the work that makes it.
#pragma once

#include <string>

#include "base/status.h"

namespace llmc {

// Code::failure, naming the path, where a file cannot be made there, or stands there and `force` is not given.
Status check_output_file(const std::string& path, bool force);

}  // namespace llmc
