#include "dispatch/simulation.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "base/log.h"

namespace llmc::sim {
namespace {

std::vector<uint64_t> tasks_by_worker(const Simulation& s) {
  std::vector<uint64_t> counts;
  for (const auto& w : s.report.workers) counts.push_back(w.tasks);
  return counts;
}

Machine machine(int threads, int streams, double speed) {
  Machine m;
  m.threads = threads;
  m.streams = streams;
  m.speed = speed;
  return m;
}

void expect_all_left(const Simulation& s) {
  EXPECT_TRUE(s.report.clean);
  for (const auto& w : s.workers) EXPECT_TRUE(w->left()) << w->why().message();
}

TEST(Dispatch, ZeroTasksEndAtOnce) {
  Simulation s;
  s.machines.assign(3, machine(1, 4, 1));
  s.run();
  EXPECT_TRUE(s.status.ok()) << s.status.message();
  EXPECT_LT(s.took, 5s);
  expect_all_left(s);
}

TEST(Dispatch, AWorldWithoutWorkersIsAStatus) {
  Simulation s;
  s.job.sizes.assign(3, 10);
  s.run();
  EXPECT_EQ(s.status.code(), Code::failure);
}

TEST(Dispatch, MoreWorkersThanTasks) {
  Simulation s;
  s.machines.assign(5, machine(2, 16, 1));
  s.job.sizes.assign(3, 10);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 3u);
  for (const uint64_t n : tasks_by_worker(s)) EXPECT_LE(n, 1u);
  expect_all_left(s);
}

TEST(Dispatch, FewTasksAreSpreadEvenly) {
  Simulation s;
  s.machines.assign(2, machine(2, 16, 1));
  s.job.sizes.assign(7, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(tasks_by_worker(s), (std::vector<uint64_t>{4, 3}));
}

TEST(Dispatch, FewTasksAreSpreadOverTheThreadsOfAWorker) {
  Simulation s;
  s.machines.assign(1, machine(4, 16, 1));
  s.job.sizes.assign(8, 100);
  s.run();
  EXPECT_EQ(s.workers[0]->most_held(), 2u);
}

TEST(Dispatch, AWorkerThatLoadsLongerStillGetsItsShare) {
  Simulation s;
  s.machines.assign(2, machine(1, 8, 1));
  s.machines[1].load_time = 5s;
  s.job.sizes.assign(8, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(tasks_by_worker(s), (std::vector<uint64_t>{4, 4}));
}

// 32 streams of the same speed: the end must not leave some of them idle for long.
TEST(Dispatch, LongJobsKeepAllStreamsBusy) {
  Simulation s;
  s.machines.assign(4, machine(2, 8, 10));
  s.job.sizes.assign(640, 100);  // 20 rounds of 10 s
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_LT(s.took, 215s);
  for (const uint64_t n : tasks_by_worker(s)) EXPECT_NEAR(static_cast<double>(n), 160, 10);
}

TEST(Dispatch, FasterWorkersDoMore) {
  Simulation s;
  s.machines = {machine(1, 8, 10), machine(1, 8, 30)};
  s.job.sizes.assign(640, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  const auto counts = tasks_by_worker(s);
  EXPECT_NEAR(static_cast<double>(counts[1]) / static_cast<double>(counts[0]), 3, 0.4);
  EXPECT_LT(s.took, 225s);  // 200 s if the parts were infinitely small
}

TEST(Dispatch, InFlightBytesAreBoundedAndShared) {
  Simulation s;
  s.machines.assign(3, machine(1, 16, 100));
  s.job.sizes.assign(60, 100);
  s.job.sizes[30] = 5000;  // larger than the bound: goes alone
  s.options.in_flight_bytes = 900;
  bool all_busy = false;
  s.each_step = [&](Coordinator& c, Duration) { all_busy |= c.leased_bytes() == 900; };
  s.run();  // checks the bound in each step
  EXPECT_TRUE(s.status.ok());
  EXPECT_TRUE(all_busy);
  EXPECT_EQ(s.job.finished_by.size(), 60u);
  for (const uint64_t n : tasks_by_worker(s)) EXPECT_GT(n, 15u);
}

TEST(Dispatch, TasksAreTakenInPlanOrderAndNotFarAhead) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(500, 100);
  s.each_step = [&](Coordinator&, Duration) {
    EXPECT_LE(s.job.next_id, s.job.finished_by.size() + 2 * 2 * 4);
  };
  s.run();
  EXPECT_TRUE(s.status.ok());
}

TEST(Dispatch, AFailureIsTriedOnceMoreElsewhere) {
  Simulation s;
  s.machines.assign(3, machine(1, 4, 10));
  s.machines[0].fails = s.machines[1].fails = [](uint64_t id) { return id % 10 == 0; };
  s.machines[2].fails = [](uint64_t id) { return id == 20; };
  s.job.sizes.assign(60, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size() + s.job.failed_by.size(), 60u);
  EXPECT_TRUE(s.job.failed_by.contains(20));
  for (const auto& [id, worker] : s.job.failed_by) EXPECT_EQ(id % 10, 0u);
  for (const auto& [id, worker] : s.job.finished_by) EXPECT_TRUE(id % 10 != 0 || worker == 3);
  EXPECT_GT(s.report.counts.retried, 0u);
}

TEST(Dispatch, AFailureIsTriedOnceMoreAndNotMore) {
  Simulation s;
  s.machines.assign(4, machine(1, 4, 10));
  for (auto& m : s.machines) m.fails = [](uint64_t id) { return id == 20; };
  s.job.sizes.assign(60, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.failed_by.size(), 1u);
  EXPECT_EQ(s.report.counts.retried, 1u);
}

TEST(Dispatch, WithOneWorkerAFailureIsReportedAtOnce) {
  Simulation s;
  s.machines.assign(1, machine(1, 4, 10));
  s.machines[0].fails = [](uint64_t id) { return id == 3; };
  s.job.sizes.assign(6, 100);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.failed_by.size(), 1u);
  EXPECT_EQ(s.report.counts.retried, 0u);
  EXPECT_EQ(s.report.counts.failed, 1u);
}

TEST(Dispatch, ASecondOpinionComesFromAnotherWorker) {
  Simulation s;
  s.machines.assign(3, machine(1, 4, 10));
  s.machines[2].fails = [](uint64_t id) { return id % 7 == 0; };
  s.job.sizes.assign(300, 100);
  // Most of them may not go to rank 1: it must get the others all the same.
  for (uint64_t id = 0; id < 300; ++id) {
    if (id % 4) s.job.not_on[id] = 1;
  }
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 300u);
  for (const auto& [id, worker] : s.job.finished_by) EXPECT_TRUE(!s.job.not_on.contains(id) || worker != 1) << id;
  for (const uint64_t n : tasks_by_worker(s)) EXPECT_GT(n, 50u);
}

TEST(Dispatch, WithoutAnotherWorkerTheSameGivesTheSecondOpinion) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(60, 100);
  for (uint64_t id = 30; id < 60; ++id) s.job.not_on[id] = 1;
  s.faults.kills = {{2, 5s}};
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 60u);
  EXPECT_EQ(s.job.finished_by[59], 1);
}

TEST(Dispatch, DoubledMessagesAreNotWorkTwice) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(100, 100);
  s.faults.duplicate = s.faults.reorder = 1;
  s.faults.max_delay = 15s;
  s.options.lease_timeout = 60s;
  s.options.worker_timeout = 100s;
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.workers[0]->computed() + s.workers[1]->computed(), 100u);
}

TEST(Dispatch, ASlowTaskKeepsItsLease) {
  Simulation s;
  s.machines.assign(2, machine(1, 2, 1));
  s.job.sizes.assign(4, 300);  // 30 lease timeouts each
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.report.counts.reissued, 0u);
  EXPECT_EQ(s.report.counts.late, 0u);
}

TEST(Dispatch, AThreadThatStandsStillLosesItsLeaseAlthoughItsNeighbourMoves) {
  Simulation s;
  s.machines.assign(2, machine(2, 4, 1));
  s.machines[0].hangs = [](uint64_t id) { return id == 0; };
  s.job.sizes.assign(40, 20);
  Duration reissued_at = Duration::max();
  s.each_step = [&](Coordinator& c, Duration now) {
    if (c.report().counts.reissued) reissued_at = std::min(reissued_at, now);
  };
  s.run();
  EXPECT_LT(reissued_at, 50s) << "not before its neighbour had no more to do";
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 40u);
  EXPECT_EQ(s.job.finished_by[0], 2);
  EXPECT_GE(s.report.counts.reissued, 1u);
}

TEST(Dispatch, AStalledTaskGoesToAnotherWorkerAlthoughItsOwnHasMoreRoom) {
  Simulation s;
  s.machines = {machine(2, 8, 10), machine(1, 2, 1)};
  s.machines[0].hangs = [](uint64_t id) { return id == 0; };
  s.job.sizes.assign(3, 30);
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by[0], 2);
  EXPECT_EQ(s.report.counts.reissued, 1u);
}

TEST(Dispatch, ManyWorkersAndTasks) {
  Simulation s;
  s.machines.assign(200, machine(2, 16, 100));
  s.job.sizes.assign(40000, 1000);
  s.dt = 500ms;
  s.options.in_flight_bytes = uint64_t{1} << 40;
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 40000u);
  EXPECT_LT(s.took, 160s);  // 125 s of work for each stream
}

TEST(Dispatch, ATaskOnWhichEveryWorkerHangsIsReported) {
  Simulation s;
  s.machines.assign(4, machine(2, 4, 10));
  for (auto& m : s.machines) m.hangs = [](uint64_t id) { return id == 5; };
  s.job.sizes.assign(40, 100);
  s.run();
  EXPECT_TRUE(s.status.ok()) << s.status.message();
  EXPECT_EQ(s.job.finished_by.size(), 39u);
  EXPECT_TRUE(s.job.failed_by.contains(5));
}

TEST(Dispatch, AKilledWorkerCostsOnlyTime) {
  Simulation s;
  s.machines.assign(3, machine(1, 4, 10));
  s.job.sizes.assign(100, 100);
  s.faults.kills = {{2, 30s}};
  s.run();
  EXPECT_TRUE(s.status.ok()) << s.status.message();
  EXPECT_EQ(s.job.finished_by.size(), 100u);
  EXPECT_FALSE(s.report.clean);
  EXPECT_TRUE(s.report.workers[1].lost);
}

TEST(Dispatch, WithoutAnyWorkerLeftTheJobEnds) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(1000, 100);
  s.faults.kills = {{1, 30s}, {2, 31s}};
  s.run();
  EXPECT_EQ(s.status.code(), Code::failure);
  EXPECT_FALSE(s.report.clean);
  EXPECT_LT(s.took, 120s);
}

TEST(Dispatch, AFrozenWorkerComesBack) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(400, 100);
  s.faults.freezes = {{1, 50s, 60s}};
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 400u);
  EXPECT_GT(s.report.counts.reissued, 0u);
  EXPECT_FALSE(s.report.workers[0].lost);
  EXPECT_GT(s.report.workers[0].tasks, 100u);
  expect_all_left(s);
}

TEST(Dispatch, AFatalFailureEndsTheJobWithItsCode) {
  Simulation s;
  s.machines.assign(3, machine(1, 4, 10));
  s.machines[1].start_failure = Status(Code::model, "model AB is not model CD");
  s.machines[1].load_time = 2s;
  s.job.sizes.assign(1000, 100);
  s.run();
  EXPECT_EQ(s.status.code(), Code::model);
  EXPECT_NE(s.status.message().find("worker 2"), std::string::npos);
  EXPECT_NE(s.status.message().find("model CD"), std::string::npos);
  EXPECT_LT(s.took, 10s);
  expect_all_left(s);
}

TEST(Dispatch, AFailureOfTheJobItselfEndsIt) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(100, 100);
  s.job.stop_with = Status(Code::failure, "disk full");
  s.run();
  EXPECT_EQ(s.status.message(), "disk full");
  expect_all_left(s);
}

TEST(Dispatch, AnotherProgramIsRefused) {
  Simulation s;
  s.machines.assign(1, machine(1, 4, 10));
  s.job.sizes.assign(10, 100);
  s.options.identity = "1.0 model a";
  s.worker_options.identity = "1.0 model b";
  s.run();
  EXPECT_FALSE(s.status.ok());
  EXPECT_NE(s.status.message().find("model b"), std::string::npos);
  expect_all_left(s);
}

TEST(Dispatch, DrainLetsRunningTasksEndAndStartsNoOther) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(400, 100);
  s.drain_at = 55s;
  s.run();
  EXPECT_EQ(s.status.code(), Code::drained);
  EXPECT_GE(s.took, 55s);
  EXPECT_LT(s.took, 64s);  // what waits in the queues is given back at once
  // Five rounds of 8, and the 8 that ran when the request came.
  EXPECT_EQ(s.job.finished_by.size(), 48u);
  expect_all_left(s);
}

TEST(Dispatch, DrainHasALimit) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 1));
  s.job.sizes.assign(400, 100000);
  s.options.drain_limit = 30s;
  s.drain_at = 20s;
  s.run();
  EXPECT_EQ(s.status.code(), Code::drained);
  EXPECT_LT(s.took, 60s);
  expect_all_left(s);
}

TEST(Dispatch, DrainAtTheVeryEndIsSuccess) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 10));
  s.job.sizes.assign(8, 100);
  s.drain_at = 5s;
  s.run();
  EXPECT_TRUE(s.status.ok());
  EXPECT_EQ(s.job.finished_by.size(), 8u);
}

TEST(Dispatch, AnInterruptEndsQuickly) {
  Simulation s;
  s.machines.assign(2, machine(1, 4, 1));
  s.job.sizes.assign(400, 100000);
  s.stop_at = 20s;
  s.run();
  EXPECT_EQ(s.status.code(), Code::interrupted);
  EXPECT_LT(s.took, 21s);
  for (const auto& w : s.workers) EXPECT_TRUE(w->left());
}

// --- many seeds ---

struct Seeded : testing::TestWithParam<int> {
  void SetUp() override { log::setup(-1, "off"); }
  void TearDown() override { log::setup(-1, "warn"); }
};

// Faults of all kinds at once. Whatever happens, every task is finished once or reported
// failed once, or the Status says why not.
TEST_P(Seeded, EveryTaskIsFinishedOnceOrReported) {
  const bool long_tier = std::getenv("LLMC_LONG") != nullptr;
  const int count = long_tier ? 20000 : 400;
  uint64_t tasks = 0, finished = 0, failed = 0, kills = 0, freezes = 0, drained = 0;
  for (int n = 0; n < count; ++n) {
    const uint64_t seed = static_cast<uint64_t>(GetParam()) * 100000 + static_cast<uint64_t>(n);
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    auto below = [&random](uint64_t bound) { return random() % bound; };
    auto chance = [&random](double p) { return static_cast<double>(random() >> 11) * 0x1p-53 < p; };

    Simulation s;
    s.dt = 50ms;
    const int workers = 1 + static_cast<int>(below(5));
    bool hangs = false, fails = false;
    for (int i = 0; i < workers; ++i) {
      const int threads = 1 + static_cast<int>(below(3)), streams = 1 + static_cast<int>(below(6));
      Machine m = machine(threads, streams, 5 + static_cast<double>(below(40)));
      m.load_time = below(8) * 1s;
      if (chance(0.15)) {
        hangs = true;
        m.hangs = [r = random()](uint64_t id) { return (id * 2654435761 + r) % 37 == 0; };
      }
      if (chance(0.2)) {
        fails = true;
        m.fails = [r = random()](uint64_t id) { return (id * 40503 + r) % 11 == 0; };
      }
      s.machines.push_back(m);
    }
    for (uint64_t i = below(120); i > 0; --i) s.job.sizes.push_back(1 + below(200));
    s.options.in_flight_bytes = chance(0.3) ? 300 + below(2000) : uint64_t{256} << 20;

    s.faults.seed = seed;
    const bool lossy = chance(0.4);
    if (lossy) {
      s.faults.drop = 0.1;
      s.faults.duplicate = 0.1;
      s.faults.reorder = 0.1;
    }
    if (chance(0.5)) s.faults.delay = 0.3;
    s.faults.max_delay = chance(0.2) ? 5s : 500ms;
    bool killed_all = true, killed_any = false;
    for (int rank = 1; rank <= workers; ++rank) {
      if (chance(0.15)) s.faults.freezes.push_back({rank, below(60) * 1s, below(50) * 1s});
      if (chance(0.1)) {
        s.faults.kills.push_back({rank, below(60) * 1s});
        killed_any = true;
      } else {
        killed_all = false;
      }
    }
    const bool drains = chance(0.15), stops = !drains && chance(0.05), fatal = !drains && !stops && chance(0.05);
    if (drains) s.drain_at = below(60) * 1s;
    if (stops) s.stop_at = below(60) * 1s;
    if (fatal) s.machines[below(workers)].fatal_at = below(60) * 1s;

    s.run();

    const size_t over = s.job.finished_by.size() + s.job.failed_by.size();
    switch (s.status.code()) {
      case Code::ok: EXPECT_EQ(over, s.job.sizes.size()); break;
      case Code::drained: EXPECT_TRUE(drains); break;
      case Code::interrupted: EXPECT_TRUE(stops); break;
      case Code::model: EXPECT_TRUE(fatal); break;
      default:
        // Only when nobody was left to work: dead, frozen for long, or hung.
        EXPECT_TRUE(killed_all || hangs || !s.faults.freezes.empty()) << s.status.message();
    }
    if (!fails && !hangs && s.faults.freezes.empty()) {
      // Losses alone never cost a task; three workers dying under one task would.
      EXPECT_TRUE(s.job.failed_by.empty() || s.faults.kills.size() >= 3);
    }
    if (!lossy && !killed_any && s.report.clean) {
      expect_all_left(s);
    }
    if (!lossy && !killed_any && !hangs && s.faults.freezes.empty() && !stops) {
      EXPECT_TRUE(s.report.clean);
    }
    if (HasFailure()) return;
    tasks += s.job.sizes.size();
    finished += s.job.finished_by.size();
    failed += s.job.failed_by.size();
    kills += s.faults.kills.size();
    freezes += s.faults.freezes.size();
    drained += s.status.code() == Code::drained;
  }
  std::printf("tally: %d seeds, %llu tasks: %llu finished once, %llu reported failed once; %llu workers killed, %llu frozen, %llu drains\n", count,
              static_cast<unsigned long long>(tasks), static_cast<unsigned long long>(finished), static_cast<unsigned long long>(failed),
              static_cast<unsigned long long>(kills), static_cast<unsigned long long>(freezes), static_cast<unsigned long long>(drained));
}

INSTANTIATE_TEST_SUITE_P(Faults, Seeded, testing::Range(0, 8));

}  // namespace
}  // namespace llmc::sim
