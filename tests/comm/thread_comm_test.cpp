#include "comm/thread_comm.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "comm/comm_suite.h"
#include "comm/mpi_comm.h"

namespace llmc {
namespace {

using namespace std::chrono_literals;
using comm_suite::pattern;

void on_all_ranks(ThreadWorld& world, int size, const std::function<void(Comm&)>& run) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto comm = world.endpoint(rank);
      run(*comm);
    });
  }
  for (auto& t : threads) t.join();
}

class ThreadCommSuite : public testing::TestWithParam<std::tuple<comm_suite::Check, int>> {};

TEST_P(ThreadCommSuite, Suite) {
  const auto& [check, ranks] = GetParam();
  ThreadWorld world(ranks);
  on_all_ranks(world, ranks, check.run);
}

INSTANTIATE_TEST_SUITE_P(Comm, ThreadCommSuite,
                         testing::Combine(testing::ValuesIn(comm_suite::checks), testing::Values(1, 2, 3, 5)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_np" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(ThreadComm, AbsentRankIsAStatus) {
  ThreadWorld world(3);
  on_all_ranks(world, 3, comm_suite::absent_rank);
}

// A world with a test's own clock, all ranks on one thread.
struct Simulated {
  explicit Simulated(int size, CommFaults faults) : world(size, std::move(faults), [this] { return now; }) {
    for (int i = 0; i < size; ++i) ranks.push_back(world.endpoint(i));
  }
  // Tags of what rank `r` receives right now, in order.
  std::vector<int> take(int r) {
    std::vector<int> tags;
    for (;;) {
      auto message = ranks[r]->receive(1s);
      EXPECT_TRUE(message.ok());
      if (!message.ok() || !message->has_value()) return tags;
      tags.push_back((**message).tag);
    }
  }
  ThreadWorld::Time now{};
  ThreadWorld world;
  std::vector<std::unique_ptr<Comm>> ranks;
};

std::vector<int> run_faults(const CommFaults& faults, int count) {
  Simulated sim(2, faults);
  for (int i = 0; i < count; ++i) EXPECT_TRUE(sim.ranks[0]->send(1, i, pattern(i, i)).ok());
  sim.now += 1h;
  return sim.take(1);
}

TEST(ThreadComm, FaultsRepeatWithTheSeed) {
  CommFaults faults;
  faults.drop = faults.duplicate = faults.reorder = 0.2;
  faults.max_delay = 1s;
  faults.seed = 1;
  const auto first = run_faults(faults, 200);
  EXPECT_EQ(first, run_faults(faults, 200));
  faults.seed = 2;
  EXPECT_NE(first, run_faults(faults, 200));
}

TEST(ThreadComm, DropsAndDoublesAboutAsManyAsAsked) {
  CommFaults faults;
  faults.drop = 0.25;
  const size_t left = run_faults(faults, 4000).size();
  EXPECT_GT(left, 2800u);
  EXPECT_LT(left, 3200u);
  faults.drop = 0;
  faults.duplicate = 0.25;
  const size_t doubled = run_faults(faults, 4000).size();
  EXPECT_GT(doubled, 4800u);
  EXPECT_LT(doubled, 5200u);
}

TEST(ThreadComm, DelayKeepsTheOrderAndReorderDoesNot) {
  CommFaults faults;
  faults.delay = 0.5;
  faults.max_delay = 1s;
  const auto delayed = run_faults(faults, 300);
  EXPECT_EQ(delayed.size(), 300u);
  EXPECT_TRUE(std::is_sorted(delayed.begin(), delayed.end()));
  faults.delay = 0;
  faults.reorder = 0.5;
  const auto reordered = run_faults(faults, 300);
  EXPECT_EQ(std::set<int>(reordered.begin(), reordered.end()).size(), 300u);
  EXPECT_FALSE(std::is_sorted(reordered.begin(), reordered.end()));
}

TEST(ThreadComm, DelayedMessagesWaitForTheClock) {
  CommFaults faults;
  faults.delay = 1;
  faults.max_delay = 1s;
  Simulated sim(2, faults);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(sim.ranks[0]->send(1, i, {}).ok());
  EXPECT_LT(sim.take(1).size(), 50u);
  sim.now += 1s;
  sim.take(1);
  EXPECT_TRUE(sim.ranks[0]->send(1, 50, {}).ok());
  sim.now += 1s;
  EXPECT_EQ(sim.take(1), std::vector<int>{50});
}

TEST(ThreadComm, AFrozenRankIsSilentUntilItThaws) {
  CommFaults faults;
  faults.freezes = {{1, 10s, 5s}};
  Simulated sim(3, faults);
  sim.now += 11s;
  EXPECT_TRUE(sim.world.frozen(1));
  EXPECT_TRUE(sim.ranks[0]->send(1, 1, {}).ok());
  EXPECT_TRUE(sim.ranks[1]->send(2, 2, {}).ok());
  EXPECT_TRUE(sim.ranks[0]->send(2, 3, {}).ok());
  EXPECT_TRUE(sim.take(1).empty());
  EXPECT_EQ(sim.take(2), std::vector<int>{3});
  sim.now += 4s;
  EXPECT_FALSE(sim.world.frozen(1));
  EXPECT_EQ(sim.take(1), std::vector<int>{1});
  EXPECT_EQ(sim.take(2), std::vector<int>{2});
}

TEST(ThreadComm, AKilledRankFailsAndTheOthersGoOn) {
  CommFaults faults;
  faults.kills = {{1, 10s}};
  Simulated sim(3, faults);
  EXPECT_FALSE(sim.world.dead(1));
  sim.now += 10s;
  EXPECT_TRUE(sim.world.dead(1));
  EXPECT_FALSE(sim.ranks[1]->send(0, 1, {}).ok());
  EXPECT_FALSE(sim.ranks[1]->receive(0s).ok());
  EXPECT_TRUE(sim.ranks[0]->send(1, 1, {}).ok());  // as MPI: nobody tells
  EXPECT_TRUE(sim.ranks[0]->send(2, 2, {}).ok());
  EXPECT_EQ(sim.take(2), std::vector<int>{2});
}

TEST(MpiLaunch, OnlyALauncherCounts) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) ::unsetenv(name);
  ::setenv("SLURM_PROCID", "3", 1);
  ::setenv("SLURM_NTASKS", "8", 1);
  EXPECT_FALSE(launched_by_mpi());
  ::setenv("PMIX_RANK", "0", 1);
  EXPECT_TRUE(launched_by_mpi());
  ::unsetenv("PMIX_RANK");
  ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_TRUE(launched_by_mpi());
  ::unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_FALSE(make_mpi_comm().ok());
}

}  // namespace
}  // namespace llmc
