#include "commands/archive_job.h"

namespace llmc {

Result<Decoding> prepare_decoding(const ComputeOptions& options, ArchiveReader& archive) {
  Decoding decoding;
  LLMC_ASSIGN(decoding.setup.parameters, CodecParameters::parse(archive.parameters()));
  decoding.setup.model = archive.model();
  decoding.setup.model_name = archive.model_name();
  if (decoding.setup.needs_model()) {
    LLMC_ASSIGN(decoding.model, open_model_for(options.model, archive.model(), archive.model_name()));
    LLMC_ASSIGN(decoding.setup.adaptation, archive.adaptation());
  }
  return decoding;
}

Status run_decoding(Context& context, const ComputeOptions& options, const std::string& verb, const Decoding& decoding,
                    ArchiveReader& archive, const Selected& selected, TextSink& sink, bool* started) {
  const JobSize size{verb, selected.chunk_count, selected.chunk_bytes, 0, 0, true, archive.path().string()};
  if (selected.chunks.empty()) {
    note_finished(options, decoding.setup, size);
    return {};
  }
  DecodeJob job(archive, selected.chunks, sink);
  *started = true;
  return run_job(context, options, decoding.setup, decoding.model, size, job);
}

}  // namespace llmc
