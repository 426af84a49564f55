// Decoding an archive's chunks on all ranks: what extract and verify --data share.
#pragma once

#include "archive/reader.h"
#include "commands/compute.h"
#include "commands/decode_job.h"

namespace llmc {

// What decoding this archive takes.
struct Decoding {
  JobSetup setup;
  std::shared_ptr<const Model> model;  // null: none is needed
};

// Opens the model that the archive names: before anything is written, since it may be the wrong one.
Result<Decoding> prepare_decoding(const ComputeOptions& options, ArchiveReader& archive);

// Runs a DecodeJob over the selected chunks into `sink`. *started: the workers have been told of
// the job (see cancel_job).
Status run_decoding(Context& context, const ComputeOptions& options, const std::string& verb, const Decoding& decoding,
                    ArchiveReader& archive, const Selected& selected, TextSink& sink, bool* started);

// `verify`, or with `data` `verify --data`, of an archive that was just made. In verify.cpp.
Status check_archive(Context& context, const std::string& path, bool data, const ComputeOptions& options, bool* started);

}  // namespace llmc
