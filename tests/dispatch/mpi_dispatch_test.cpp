// Runs under mpirun (tests/comm/mpi_main.cpp): a toy job over real ranks.
#include <gtest/gtest.h>

#include <unistd.h>

#include "comm/mpi_comm.h"
#include "dispatch/local.h"
#include "dispatch/toy_job.h"

namespace llmc::toy {
namespace {

using namespace std::chrono_literals;

struct Outcome {
  Status status;
  CoordinatorReport report;
};

// One job on all ranks; with a single one, as the program does it, in this process.
Outcome run(ToyJob& job, ToyProcessor& processor, const CoordinatorOptions& options, const WorkerOptions& worker) {
  auto comm = make_mpi_comm();
  EXPECT_TRUE(comm.ok());
  Outcome out;
  if ((*comm)->size() == 1) {
    out.status = run_local(job, processor, options, worker, &out.report);
  } else if ((*comm)->rank() == 0) {
    out.status = coordinate(**comm, job, options, &out.report);
  } else {
    out.status = work(**comm, processor, worker);
    out.report.clean = true;
    EXPECT_TRUE(out.status.ok()) << out.status.message();
  }
  EXPECT_TRUE(out.report.clean);
  return out;
}

bool on_root() {
  auto comm = make_mpi_comm();
  return comm.ok() && (*comm)->rank() == 0;
}

TEST(MpiDispatch, DoesAllTasksWithAnyNumberOfRanks) {
  for (const uint64_t count : {0, 1, 7, 500}) {
    ToyJob job(count);
    ToyProcessor processor;
    const Outcome out = run(job, processor, coordinator_options(), worker_options());
    if (!on_root()) continue;
    EXPECT_TRUE(out.status.ok()) << out.status.message();
    EXPECT_EQ(job.done.size(), count);
  }
}

TEST(MpiDispatch, FewTasksAreSpread) {
  ToyJob job(8);
  ToyProcessor processor;
  processor.per_task = 300ms;
  const Outcome out = run(job, processor, coordinator_options(), worker_options());
  if (!on_root()) return;
  EXPECT_EQ(job.done.size(), 8u);
  const uint64_t share = (8 + out.report.workers.size() - 1) / out.report.workers.size();
  for (const auto& w : out.report.workers) EXPECT_LE(w.tasks, share) << "worker " << w.rank;
}

TEST(MpiDispatch, AFailedTaskGoesRoundOnce) {
  ToyJob job(60);
  ToyProcessor processor;
  processor.outcome = [](uint64_t id) { return id == 11 ? Status(Code::range, "too hot") : Status(); };
  const Outcome out = run(job, processor, coordinator_options(), worker_options());
  if (!on_root()) return;
  EXPECT_TRUE(out.status.ok());
  EXPECT_EQ(job.done.size(), 59u);
  EXPECT_EQ(job.failed_tasks.size(), 1u);
  EXPECT_EQ(out.report.counts.retried, out.report.workers.size() > 1 ? 1u : 0u);
}

TEST(MpiDispatch, AFatalFailureOfAnyRankEndsAllOfThem) {
  ToyJob job(100000);
  ToyProcessor processor;
  processor.per_task = 1ms;
  processor.outcome = [](uint64_t id) { return id == 40 ? Status(Code::model, "wrong model") : Status(); };
  const Outcome out = run(job, processor, coordinator_options(), worker_options());
  if (!on_root()) return;
  EXPECT_EQ(out.status.code(), Code::model) << out.status.message();
}

TEST(MpiDispatch, Drain) {
  ToyJob job(100000);
  ToyProcessor processor;
  processor.per_task = 1ms;
  CoordinatorOptions options = coordinator_options();
  options.drain = [&] { return job.done.size() >= 20; };
  const Outcome out = run(job, processor, options, worker_options());
  if (!on_root()) return;
  EXPECT_EQ(out.status.code(), Code::drained) << out.status.message();
  EXPECT_LT(job.done.size(), 10000u);
}

}  // namespace
}  // namespace llmc::toy
