// Decoding an archive's chunks on all ranks: what extract and verify --data share.
#pragma once

#include "archive/reader.h"
#include "commands/compute.h"
#include "commands/decode_job.h"

namespace llmc {

// Opens the model that the archive names and runs a DecodeJob over the selected chunks into `sink`.
// *started: the workers have been told of the job (see cancel_job).
Status run_decoding(Context& context, const ComputeOptions& options, const std::string& verb, ArchiveReader& archive,
                    const Selected& selected, TextSink& sink, bool* started);

}  // namespace llmc
