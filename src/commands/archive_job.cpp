#include "commands/archive_job.h"

namespace llmc {

Status run_decoding(Context& context, const ComputeOptions& options, const std::string& verb, ArchiveReader& archive,
                    const Selected& selected, TextSink& sink, bool* started) {
  if (selected.chunks.empty()) return {};
  JobSetup setup;
  LLMC_ASSIGN(setup.parameters, CodecParameters::parse(archive.parameters()));
  setup.model = archive.model();
  setup.model_name = archive.model_name();
  std::shared_ptr<const Model> model;
  if (setup.needs_model()) {
    LLMC_ASSIGN(model, open_model_for(options.model, setup.model, setup.model_name));
  }
  DecodeJob job(archive, selected.chunks, sink);
  const JobSize size{verb, selected.chunk_count, selected.chunk_bytes, 0, 0, true};
  *started = true;
  return run_job(context, options, setup, std::move(model), size, job);
}

}  // namespace llmc
