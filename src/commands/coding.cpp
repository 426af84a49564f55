#include "commands/coding.h"

#include <cstdio>

#include "base/log.h"

namespace llmc {

void print_summary(const Plan& plan, const CompressJob::Totals& totals, const SetSummary& summary, const std::string& output,
                   bool appended) {
  const double archive = static_cast<double>(summary.file_bytes);
  const double plain = static_cast<double>(plan.text_size());
  std::string codecs;
  for (const auto& [codec, count] : totals.codecs) {
    codecs += (codecs.empty() ? "" : ", ") + std::to_string(count) + " " + codec_name(codec);
  }
  std::printf("%s: %s%zu entries, %llu bytes -> %llu bytes", output.c_str(), appended ? "appended " : "", plan.entries().size(),
              static_cast<unsigned long long>(plan.text_size()), static_cast<unsigned long long>(summary.file_bytes));
  if (plain > 0) std::printf(" (%.3f bits per byte, %.2f times smaller)", 8 * archive / plain, plain / archive);
  if (summary.companion_bytes) {
    std::printf("; beside it %llu bytes of README, documents, decoder and model", static_cast<unsigned long long>(summary.companion_bytes));
  }
  std::printf("\n%zu shard%s; chunks: %s; %llu decoded again", plan.shards().size(), plan.shards().size() == 1 ? "" : "s",
              codecs.empty() ? "none" : codecs.c_str(), static_cast<unsigned long long>(totals.checked_chunks));
  if (totals.kept_chunks) std::printf("; %llu from an earlier run", static_cast<unsigned long long>(totals.kept_chunks));
  std::printf("\n");
  if (summary.parity_bytes) std::printf("  %llu bytes of these are parity\n", static_cast<unsigned long long>(summary.parity_bytes));
  for (const auto& [who, count] : totals.checked_by) {
    std::printf("  %llu by %s\n", static_cast<unsigned long long>(count), who.c_str());
  }
  for (const std::string& line : totals.mismatches) std::printf("  %s\n", line.c_str());
}

Status code_text(Context& context, const std::string& verb, const ComputeOptions& options, const std::string& output, const JobSetup& setup,
                 std::shared_ptr<const Model> model, CompressJob& job, ShardRange shards, SetWriter& writer,
                 std::vector<std::string>* names, bool* started) {
  const Plan& plan = writer.plan();
  JobSize size{verb, 0, 0, 0, 0, false, output};
  for (uint32_t shard = shards.first; shard < shards.end; ++shard) {
    size.tasks += plan.shard_chunks(shard);
    size.bytes += plan.shards()[shard].text_size;
    for (uint32_t chunk = 0; chunk < plan.shard_chunks(shard); ++chunk) {
      if (writer.have(shard, chunk)) {
        ++size.tasks_before;
        size.bytes_before += plan.chunk_size(shard, chunk);
      }
    }
  }
  if (writer.finished()) {
    note_finished(options, setup, size);
    return {};
  }
  *started = true;
  if (context.size() <= 2) job.set_alone();
  const auto tables = [&](RunTables* out) {
    *out = job.totals().tables;
    out->remarks = job.totals().mismatches;
    out->remarks.insert(out->remarks.end(), job.totals().failures.begin(), job.totals().failures.end());
  };
  ComputeOptions compute = options;
  compute.before_abort = [&] { writer.abandon(); };
  const Status status = run_job(context, compute, setup, std::move(model), size, job, names, tables);
  LLMC_TRY(writer.sync());
  LLMC_TRY(status);
  for (const std::string& failure : job.totals().failures) log::error("{}", failure);
  if (job.totals().failures.empty()) return {};
  return {Code::partial, std::to_string(job.totals().failures.size()) + " of " + std::to_string(size.tasks) +
                             " chunks failed; the rest is kept, run the same command again"};
}

}  // namespace llmc
