// Real threads: one process without MPI, and worlds of several ranks with faults.
#include "dispatch/local.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "comm/thread_comm.h"
#include "dispatch/toy_job.h"

namespace llmc::toy {
namespace {

using namespace std::chrono_literals;

TEST(Local, DoesAllTasks) {
  ToyJob job(300);
  ToyProcessor processor;
  CoordinatorReport report;
  const Status s = run_local(job, processor, coordinator_options(), worker_options(), &report);
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(job.done.size(), 300u);
  EXPECT_EQ(processor.runs, 2);
  EXPECT_TRUE(report.clean);
  EXPECT_EQ(report.counts.done, 300u);
  EXPECT_EQ(report.counts.plain_bytes, report.counts.result_bytes);
  EXPECT_EQ(report.workers.size(), 1u);
}

TEST(Local, NoTasks) {
  ToyJob job(0);
  ToyProcessor processor;
  const Status s = run_local(job, processor, coordinator_options(), worker_options(), nullptr);
  EXPECT_TRUE(s.ok()) << s.message();
}

TEST(Local, AFailedTaskIsReportedAndTheRestIsDone) {
  ToyJob job(50);
  ToyProcessor processor;
  processor.outcome = [](uint64_t id) { return id == 13 ? Status(Code::range, "no") : Status(); };
  const Status s = run_local(job, processor, coordinator_options(), worker_options(), nullptr);
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_EQ(job.done.size(), 49u);
  EXPECT_TRUE(job.failed_tasks.contains(13));
}

TEST(Local, FatalFailuresEndTheJob) {
  for (int way = 0; way < 3; ++way) {
    ToyJob job(1000);
    ToyProcessor processor;
    if (way == 0) processor.start_status = Status(Code::model, "wrong model");
    if (way == 1) {
      processor.outcome = [](uint64_t id) { return id == 30 ? Status(Code::model, "wrong model") : Status(); };
    }
    if (way == 2) processor.outcome = [](uint64_t id) -> Status { throw std::runtime_error("wrong model"); };
    CoordinatorReport report;
    const Status s = run_local(job, processor, coordinator_options(), worker_options(), &report);
    EXPECT_EQ(s.code(), way == 2 ? Code::failure : Code::model);
    EXPECT_NE(s.message().find("wrong model"), std::string::npos) << s.message();
    EXPECT_TRUE(report.clean);
  }
}

TEST(Local, AnExceptionOfTheJobEndsItInOrder) {
  ToyJob job(1000);
  job.on_finished = [] { throw std::bad_alloc(); };
  ToyProcessor processor;
  const Status s = run_local(job, processor, coordinator_options(), worker_options(), nullptr);
  EXPECT_EQ(s.code(), Code::failure);
  EXPECT_NE(s.message().find("out of memory"), std::string::npos) << s.message();
}

// One exception ends the job in order; when the end itself finds no memory, the worker is still let go.
TEST(Local, ExceptionsWithoutEndDoNotHang) {
  ToyJob job(1000);
  job.on_finished = [] { throw std::bad_alloc(); };
  ToyProcessor processor;
  CoordinatorOptions options = coordinator_options();
  options.stop = []() -> bool { throw std::bad_alloc(); };
  CoordinatorReport report;
  const auto begin = std::chrono::steady_clock::now();
  const Status s = run_local(job, processor, options, worker_options(), &report);
  EXPECT_EQ(s.code(), Code::failure);
  EXPECT_NE(s.message().find("out of memory"), std::string::npos) << s.message();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 300s) << "not the worker's own patience of 900 s";
}

TEST(Local, DrainAndInterrupt) {
  for (const bool drain : {true, false}) {
    ToyJob job(100000);
    ToyProcessor processor;
    processor.per_task = 2ms;
    std::atomic<bool> flag{false};
    job.on_finished = [&] { flag = flag || job.done.size() >= 20; };
    CoordinatorOptions options = coordinator_options();
    (drain ? options.drain : options.stop) = [&] { return flag.load(); };
    CoordinatorReport report;
    const Status s = run_local(job, processor, options, worker_options(), &report);
    EXPECT_EQ(s.code(), drain ? Code::drained : Code::interrupted);
    EXPECT_GE(job.done.size(), 20u);
    EXPECT_LT(job.done.size(), 1000u);
    EXPECT_TRUE(report.clean);
  }
}

// A worker rank that is interrupted or asked to drain passes it on.
TEST(Local, AWorkersOwnSignalReachesTheCoordinator) {
  for (const bool drain : {true, false}) {
    ToyJob job(100000);
    ToyProcessor processor;
    processor.per_task = 1ms;
    std::atomic<bool> flag{false};
    job.on_finished = [&] { flag = flag || job.done.size() >= 20; };
    WorkerOptions options = worker_options();
    options.heartbeat = 5ms;
    (drain ? options.drain : options.stop) = [&] { return flag.load(); };
    const Status s = run_local(job, processor, coordinator_options(), options, nullptr);
    EXPECT_EQ(s.code(), drain ? Code::drained : Code::interrupted) << s.message();
  }
}

// A thread that does not look at stopped(): a failure after the limit, no hang.
TEST(Local, AThreadThatDoesNotEndIsAFailure) {
  class Deaf : public ToyProcessor {
    Status run(WorkQueue& queue, int) override {
      Task task;
      queue.next(&task, 0, true);
      std::this_thread::sleep_for(600ms);
      return {};
    }
  };
  ToyJob job(10);
  Deaf processor;
  CoordinatorOptions options = coordinator_options();
  options.leave_limit = 100ms;
  options.drain_limit = 20ms;
  const auto begin = std::chrono::steady_clock::now();
  options.drain = [&] { return std::chrono::steady_clock::now() - begin > 50ms; };
  WorkerOptions worker = worker_options();
  worker.stop_limit = 100ms;
  CoordinatorReport report;
  const Status s = run_local(job, processor, options, worker, &report);
  EXPECT_EQ(s.code(), Code::drained);
  EXPECT_FALSE(report.clean);
}

TEST(Threads, AWorkerWithoutACoordinatorGivesUp) {
  ThreadWorld world(2);
  const auto comm = world.endpoint(1);
  ToyProcessor processor;
  WorkerOptions options = worker_options();
  options.coordinator_timeout = 100ms;
  const Status s = work(*comm, processor, options);
  EXPECT_FALSE(s.ok());
  EXPECT_NE(s.message().find("rank 0"), std::string::npos) << s.message();
}

TEST(Local, TheProgressIsShownAndTheJobTicks) {
  ToyJob job(40);
  ToyProcessor processor;
  processor.per_task = 40ms;
  std::string shown;
  ProgressOptions p;
  p.mode = ProgressMode::json;
  p.interval = 0.1;
  p.total_tasks = 40;
  p.write = [&](std::string_view text) { shown += text; };
  Progress progress(p);
  CoordinatorOptions options = coordinator_options();
  options.progress = &progress;
  const Status s = run_local(job, processor, options, worker_options(), nullptr);
  EXPECT_TRUE(s.ok()) << s.message();
  EXPECT_GT(job.ticks, 0);
  EXPECT_EQ(shown.find("{\"message_type\":\"begin\""), 0u);
  EXPECT_NE(shown.find("\"message_type\":\"progress\""), std::string::npos);
  EXPECT_NE(shown.find("\"message_type\":\"summary\",\"verb\":\"compress\",\"chunks_done\":40,"), std::string::npos);
}

// Two jobs one after the other on the same Comm: late messages of the first do not disturb.
TEST(Threads, SessionsFollowEachOther) {
  ThreadWorld world(3);
  std::vector<std::thread> ranks;
  for (int rank = 1; rank < 3; ++rank) {
    ranks.emplace_back([&, rank] {
      const auto comm = world.endpoint(rank);
      for (uint32_t session = 0; session < 20; ++session) {
        ToyProcessor processor;
        WorkerOptions options = worker_options();
        options.session = session;
        options.heartbeat = 1ms;
        const Status s = work(*comm, processor, options);
        EXPECT_TRUE(s.ok()) << s.message();
      }
    });
  }
  const auto comm = world.endpoint(0);
  for (uint32_t session = 0; session < 20; ++session) {
    ToyJob job(20);
    CoordinatorOptions options = coordinator_options();
    options.session = session;
    CoordinatorReport report;
    const Status s = coordinate(*comm, job, options, &report);
    EXPECT_TRUE(s.ok()) << s.message();
    EXPECT_TRUE(report.clean);
    EXPECT_EQ(job.done.size(), 20u);
  }
  for (auto& t : ranks) t.join();
}

// The faults of the simulation, with real threads under them: for races, in the first place.
TEST(Threads, FaultyWorlds) {
  const int seeds = std::getenv("LLMC_LONG") ? 60 : 6;
  for (int seed = 0; seed < seeds; ++seed) {
    SCOPED_TRACE(seed);
    CommFaults faults;
    faults.seed = static_cast<uint64_t>(seed);
    faults.drop = seed % 2 ? 0.05 : 0;
    faults.duplicate = faults.reorder = 0.1;
    faults.delay = 0.2;
    faults.max_delay = 5ms;
    if (seed % 3 == 1) faults.freezes = {{1, 50ms, 300ms}};
    if (seed % 3 == 2) faults.kills = {{2, 60ms}};
    constexpr int size = 5;
    ThreadWorld world(size, faults);
    std::vector<std::thread> ranks;
    for (int rank = 1; rank < size; ++rank) {
      ranks.emplace_back([&, rank] {
        const auto comm = world.endpoint(rank);
        ToyProcessor processor;
        processor.per_task = 1ms;
        WorkerOptions options = worker_options();
        options.heartbeat = 5ms;
        options.coordinator_timeout = 1s;
        // May fail: a lost "leave" or the kill.
        if (!work(*comm, processor, options).ok()) return;
      });
    }
    ToyJob job(400);
    CoordinatorOptions options = coordinator_options();
    options.lease_timeout = 250ms;
    options.max_leases = 100;  // a loaded machine makes leases expire without a fault
    options.worker_timeout = 2s;
    options.ping_interval = 20ms;
    options.leave_limit = 500ms;
    const auto comm = world.endpoint(0);
    const Status s = coordinate(*comm, job, options, nullptr);
    EXPECT_TRUE(s.ok()) << s.message();
    EXPECT_EQ(job.done.size(), 400u);
    EXPECT_TRUE(job.failed_tasks.empty());
    for (auto& t : ranks) t.join();
  }
}

}  // namespace
}  // namespace llmc::toy
