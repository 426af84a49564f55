// Which device computes: the CPU or one of the GPUs that this process sees.
#pragma once

#include <string>

#include "base/status.h"
#include "cluster/placement.h"

namespace llmc {

// The number of a GPU, or -1 for the CPU. `device`: auto, cpu, cuda (the GPUs of a machine go to its workers in turn) or
// cuda:N; `engine` as in open_engine. Code::usage for other words and for a native engine on a GPU, Code::failure, with
// the reason, where a GPU is asked for and none can be used. gpus > 1: the first of so many, which then follow; auto means
// cuda, and there is no going on with fewer.
Result<int> choose_device(const std::string& device, const std::string& engine, const Placement& placement, int gpus = 1);

// The part of it that needs no device: Code::usage.
Status check_device_word(const std::string& device, const std::string& engine, int gpus = 1);

// For --version and the log: which GPUs there are, or why none is used.
std::string cuda_text();

// Whether this build's library for the device (a GPU, or the CPU) stands where it is looked for.
bool torch_library_present(bool cuda = false);

}  // namespace llmc
