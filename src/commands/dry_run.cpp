#include "commands/dry_run.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/checksum.h"
#include "cluster/placement.h"
#include "commands/chunk_work.h"
#include "corpus/text_reader.h"
#include "dispatch/progress.h"

namespace llmc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t largest_piece = 16u << 10;
constexpr auto budget = std::chrono::seconds(20);

// Pieces from the beginnings of chunks all over the text, as many as the time allows.
class SampleJob : public Job {
 public:
  SampleJob(const Plan& plan, uint32_t piece_bytes) : plan_(plan), piece_bytes_(piece_bytes), reader_(plan.entries()) {}

  Result<std::optional<Task>> next() override {
    if (given_ == 0) begun_ = Clock::now();
    if (given_ == plan_.chunks() || given_ == most_pieces || Clock::now() - begun_ > budget) {
      over_ = true;
      return std::optional<Task>();
    }
    // A step that has no divisor in common with the number of chunks visits each of them once.
    const uint64_t chunks = plan_.chunks();
    uint64_t step = std::max<uint64_t>(1, chunks * 618 / 1000);
    while (std::gcd(step, chunks) != 1) ++step;
    place_ = (place_ + step) % chunks;
    uint32_t shard = 0;
    uint64_t chunk = place_;
    while (chunk >= plan_.shard_chunks(shard)) chunk -= plan_.shard_chunks(shard++);
    ChunkTask task;
    task.chunk = static_cast<uint32_t>(chunk);
    task.size = std::min(piece_bytes_, plan_.chunk_size(shard, task.chunk));
    task.bytes.resize(task.size);
    LLMC_TRY(reader_.skip_to(plan_.shards()[shard].text_offset + plan_.chunk_offset(task.chunk)));
    LLMC_TRY(reader_.read(task.bytes));
    Task out;
    out.id = given_++;
    out.size = task.size;
    out.payload = pack_task(task);
    sizes_.push_back(task.size);
    return std::optional(std::move(out));
  }
  bool ended() const override { return over_; }
  Status finished(uint64_t id, Bytes frame, int) override {
    ++pieces;
    text_bytes += sizes_[id];
    coded_bytes += frame.size();
    seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
    return {};
  }
  Status failed(uint64_t, const Status& why, int) override { return why; }

  uint64_t pieces = 0, text_bytes = 0, coded_bytes = 0;
  double seconds = 0;

 private:
  static constexpr uint64_t most_pieces = 4096;
  const Plan& plan_;
  const uint32_t piece_bytes_;
  TextReader reader_;
  Clock::time_point begun_{};
  uint64_t given_ = 0, place_ = 0;
  std::vector<uint32_t> sizes_;
  bool over_ = false;
};

// Beside the frames; docs/FORMAT.md has the parts.
double index_bytes(const Plan& plan) {
  double bytes = 2048.0 * static_cast<double>(plan.shards().size()) + 32.0 * static_cast<double>(plan.chunks());
  for (const Entry& entry : plan.entries()) {
    bytes += 48 + static_cast<double>(entry.name.size()) / 3 + static_cast<double>(entry.records.packed.size()) / 2;
  }
  return bytes;
}

}  // namespace

Status dry_run(const Plan& plan, const ComputeOptions& options, const JobSetup& setup, std::shared_ptr<const Model> model) {
  uint64_t files = 0, folders = 0, links = 0, records = 0;
  for (const Entry& entry : plan.entries()) {
    files += entry.kind == Entry::Kind::file;
    folders += entry.kind == Entry::Kind::directory;
    links += entry.kind == Entry::Kind::symlink;
    records += entry.records.count;
  }
  const auto text = static_cast<double>(plan.text_size());
  std::printf("inputs:  %llu files, %llu folders, %llu links", static_cast<unsigned long long>(files),
              static_cast<unsigned long long>(folders), static_cast<unsigned long long>(links));
  if (records) std::printf("; %llu documents in them", static_cast<unsigned long long>(records));
  std::printf("\ntext:    %llu bytes (%s) in %zu shards, %llu chunks\n", static_cast<unsigned long long>(plan.text_size()),
              human_bytes(text).c_str(), plan.shards().size(), static_cast<unsigned long long>(plan.chunks()));
  if (plan.chunks() == 0) return {};

  // A piece of a large model takes as long as a larger one of a small model.
  const uint64_t weights = model ? std::max<uint64_t>(1, model->parameters()) : 1;
  const auto piece = static_cast<uint32_t>(std::clamp<uint64_t>(uint64_t{largest_piece} * 8'000'000 / weights, 1024, largest_piece));
  SampleJob job(plan, piece);
  Context alone;
  alone.placement = place_alone(options.threads);
  ComputeOptions quiet = options;
  quiet.quiet = true;
  quiet.progress_json = false;
  LLMC_TRY(run_job(alone, quiet, setup, std::move(model), JobSize{"sample", 0, 0, 0, 0, false, ""}, job));
  if (job.text_bytes == 0) return {Code::failure, "the sample could not be coded"};
  const auto sampled = static_cast<double>(job.text_bytes);
  const double ratio = static_cast<double>(job.coded_bytes) / sampled;
  const double rate = sampled / std::max(job.seconds, 1e-3);
  const double archive = text * ratio + index_bytes(plan);
  std::printf("sample:  %llu pieces of up to %u bytes from all over the text: %.2f bits per byte\n",
              static_cast<unsigned long long>(job.pieces), piece, 8 * ratio);
  std::printf("archive: about %s (%.2f times smaller)%s\n", human_bytes(archive).c_str(), text / archive,
              setup.parameters.dictionary > 0 ? ", less what dictionaries gain" : "");
  std::printf("time:    about %s at %s/s, on this machine alone with %d threads\n", human_time(text / rate).c_str(),
              human_bytes(rate).c_str(), alone.placement.threads);
  return {};
}

}  // namespace llmc
