#include "cluster/placement.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <thread>

#include "cluster/slurm.h"
#include "comm/thread_comm.h"

namespace llmc {
namespace {

using namespace std::chrono_literals;

std::vector<int> cores(int from, int to) {
  std::vector<int> list;
  for (int i = from; i < to; ++i) list.push_back(i);
  return list;
}

TEST(Placement, SharedCoresAreDivided) {
  EXPECT_EQ(divide_cores({cores(0, 16)}, 0), (std::vector<int>{16}));
  EXPECT_EQ(divide_cores({cores(0, 16), cores(0, 16)}, 0), (std::vector<int>{8, 8}));
  EXPECT_EQ(divide_cores({cores(0, 8), cores(0, 8), cores(0, 8)}, 0), (std::vector<int>{3, 3, 2}));
  EXPECT_EQ(divide_cores({cores(0, 2), cores(0, 2), cores(0, 2)}, 0), (std::vector<int>{1, 1, 1}));
  EXPECT_TRUE(divide_cores({}, 0).empty());
}

TEST(Placement, BoundCoresAreTheRanksOwn) {
  EXPECT_EQ(divide_cores({cores(0, 4), cores(4, 12)}, 0), (std::vector<int>{4, 8}));
  EXPECT_EQ(divide_cores({cores(0, 1), cores(1, 2)}, 0), (std::vector<int>{1, 1}));
  // Two on one socket, one on the other.
  EXPECT_EQ(divide_cores({cores(0, 8), cores(0, 8), cores(8, 16)}, 0), (std::vector<int>{4, 4, 8}));
}

TEST(Placement, AQuotaLimits) {
  EXPECT_EQ(divide_cores({cores(0, 16)}, 4), (std::vector<int>{4}));
  EXPECT_EQ(divide_cores({cores(0, 16), cores(0, 16)}, 5), (std::vector<int>{3, 2}));
  EXPECT_EQ(divide_cores({cores(0, 8), cores(8, 16)}, 8), (std::vector<int>{4, 4}));
  EXPECT_EQ(divide_cores({cores(0, 8)}, 100), (std::vector<int>{8}));
}

TEST(Placement, TheCoordinatorIsNotCounted) {
  constexpr int size = 4;
  ThreadWorld world(size);
  std::vector<std::thread> threads;
  std::vector<Placement> placed(size);
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      const auto comm = world.endpoint(rank);
      const auto p = place(*comm, 0, 60s);
      ASSERT_TRUE(p.ok()) << p.status().message();
      placed[rank] = *p;
    });
  }
  for (auto& t : threads) t.join();
  int sum = 0;
  for (int rank = 0; rank < size; ++rank) {
    const Placement& p = placed[rank];
    EXPECT_EQ(p.local_rank, rank);
    EXPECT_EQ(p.ranks_here, size);
    EXPECT_EQ(p.workers_here, size - 1);
    EXPECT_EQ(p.worker, rank != 0);
    if (!p.worker) continue;
    EXPECT_EQ(p.worker_index, rank - 1);
    sum += p.threads;
  }
  EXPECT_EQ(sum, std::max(size - 1, available_cores()));
}

TEST(Placement, OneRankWorksItself) {
  ThreadWorld world(1);
  const auto comm = world.endpoint(0);
  const auto p = place(*comm, 0, 10s);
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p->worker);
  EXPECT_EQ(p->threads, available_cores());
  const auto fixed = place(*comm, 7, 10s);
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ(fixed->threads, 7);
  EXPECT_EQ(place_alone(0).threads, available_cores());
  EXPECT_EQ(place_alone(3).threads, 3);
}

TEST(Placement, FollowsTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (!CPU_ISSET(i, &before)) continue;
      CPU_SET(i, &one);
      break;
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(available_cores(), 1);
  }).join();
}

TEST(Placement, DevicesInTurn) {
  Placement p;
  p.worker_index = 5;
  EXPECT_EQ(device_of(p, 4), 1);
  EXPECT_EQ(device_of(p, 1), 0);
  EXPECT_EQ(device_of(p, 0), -1);
  // Several each: groups that follow each other; what fills none is left alone.
  EXPECT_EQ(device_of(p, 8, 2), 2);
  EXPECT_EQ(device_of(p, 7, 2), 4);
  EXPECT_EQ(device_of(p, 4, 4), 0);
  EXPECT_EQ(device_of(p, 3, 4), -1);
  EXPECT_EQ(device_of(p, 4, 0), -1);
  for (const int visible : {4, 6, 9}) {
    std::vector<int> taken;
    for (p.worker_index = 0; p.worker_index < visible / 2; ++p.worker_index) taken.push_back(device_of(p, visible, 2));
    for (size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i], static_cast<int>(2 * i)) << visible;
  }
  p.worker_index = 5;
  p.worker = false;
  EXPECT_EQ(device_of(p, 4), -1);
}

TEST(Slurm, FactsAreOnlyForTheReport) {
  ::unsetenv("SLURM_JOB_ID");
  ::setenv("SLURM_PROCID", "5", 1);
  EXPECT_TRUE(slurm_facts().empty());
  ::setenv("SLURM_JOB_ID", "4711", 1);
  ::setenv("SLURM_RESTART_COUNT", "1", 1);
  const auto facts = slurm_facts();
  EXPECT_EQ(facts.front(), std::pair(std::string("job_id"), std::string("4711")));
  EXPECT_EQ(std::count(facts.begin(), facts.end(), std::pair(std::string("restart_count"), std::string("1"))), 1);
  for (const auto& [name, value] : facts) EXPECT_NE(name, "procid");
  ::unsetenv("SLURM_JOB_ID");
}

TEST(Slurm, TimeLeft) {
  const auto now = std::chrono::system_clock::time_point(1'700'000'000s);
  ::unsetenv("SLURM_JOB_END_TIME");
  EXPECT_FALSE(time_left(now).has_value());
  ::setenv("SLURM_JOB_END_TIME", "1700000600", 1);
  EXPECT_EQ(time_left(now), 600s);
  EXPECT_EQ(time_left(now + 700s), -100s);
  for (const char* bad : {"", "soon", "0", "-5", "17000006x", "99999999999999999999"}) {
    ::setenv("SLURM_JOB_END_TIME", bad, 1);
    EXPECT_FALSE(time_left(now).has_value()) << bad;
  }
  ::unsetenv("SLURM_JOB_END_TIME");
  EXPECT_FALSE(host_name().empty());
}

}  // namespace
}  // namespace llmc
