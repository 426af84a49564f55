#include "dispatch/task_queue.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace llmc {
namespace {

Task task(uint64_t id) { return {id, Bytes(3, static_cast<uint8_t>(id)), 3}; }

std::vector<protocol::Held> held(const TaskQueue& queue) {
  protocol::Heartbeat h;
  queue.describe(&h);
  std::sort(h.held.begin(), h.held.end(), [](auto& a, auto& b) { return a.lease < b.lease; });
  return h.held;
}

TEST(TaskQueue, GivesToTheThreadThatHoldsLeast) {
  TaskQueue queue;
  queue.open(2);
  for (uint64_t i = 0; i < 5; ++i) queue.add(100 + i, task(i));
  Task t;
  EXPECT_TRUE(queue.view(0).next(&t, 0, false));
  EXPECT_EQ(t.id, 0u);
  EXPECT_FALSE(queue.view(0).next(&t, 1, false)) << "thread 1 holds none yet";
  EXPECT_TRUE(queue.view(1).next(&t, 0, false));
  EXPECT_TRUE(queue.view(1).next(&t, 1, false));
  EXPECT_FALSE(queue.view(1).next(&t, 2, false));
  EXPECT_TRUE(queue.view(0).next(&t, 1, false));
  // A thread that has left counts no more.
  queue.leave(1);
  EXPECT_TRUE(queue.view(0).next(&t, 2, false));
  EXPECT_FALSE(queue.view(0).next(&t, 3, false));
}

TEST(TaskQueue, FinishedTasksAreHeldUntilTaken) {
  TaskQueue queue;
  queue.open(1);
  queue.add(7, task(1));
  queue.add(8, task(2));
  Task t;
  EXPECT_TRUE(queue.view(0).next(&t, 0, false));
  queue.view(0).finished(1, Bytes{9});
  queue.view(0).finished(1, Bytes{10});  // a bug of the caller changes nothing
  queue.view(0).finished(2, Bytes{10});  // not taken
  EXPECT_EQ(held(queue).size(), 2u);
  const auto out = queue.take_finished();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].lease, 7u);
  EXPECT_EQ(out[0].result, Bytes{9});
  ASSERT_EQ(held(queue).size(), 1u);
  EXPECT_EQ(held(queue)[0].lease, 8u);
  EXPECT_EQ(held(queue)[0].thread, 0u);
}

TEST(TaskQueue, ATaskLeasedTwiceIsDoneOnceUnderTheNewerLease) {
  TaskQueue queue;
  queue.open(1);
  queue.add(7, task(1));
  Task t;
  EXPECT_TRUE(queue.view(0).next(&t, 0, false));
  queue.add(9, task(1));
  EXPECT_FALSE(queue.view(0).next(&t, 0, false));
  ASSERT_EQ(held(queue).size(), 1u);
  EXPECT_EQ(held(queue)[0].lease, 9u);
  queue.view(0).finished(1, Status(Code::failure, "no"));
  const auto out = queue.take_finished();
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].lease, 9u);
  EXPECT_EQ(out[0].status.message(), "no");
}

TEST(TaskQueue, OnlyWaitingTasksAreForgotten) {
  TaskQueue queue;
  queue.open(1);
  for (uint64_t i = 1; i <= 4; ++i) queue.add(10 + i, task(i));
  Task t;
  EXPECT_TRUE(queue.view(0).next(&t, 0, false));
  queue.forget({11, 12, 99});
  EXPECT_EQ(held(queue).size(), 3u);
  EXPECT_TRUE(queue.view(0).next(&t, 0, false));
  EXPECT_EQ(t.id, 3u);
  queue.forget_waiting();
  EXPECT_EQ(held(queue).size(), 2u);
}

TEST(TaskQueue, SignsOfLifeAreCountedPerThread) {
  TaskQueue queue;
  queue.open(2);
  queue.view(1).progress(5);
  queue.view(1).progress(6);
  protocol::Heartbeat h;
  queue.describe(&h);
  EXPECT_EQ(h.tokens, 11u);
  EXPECT_EQ(h.life, (std::vector<uint64_t>{0, 2}));
}

// Waiting threads get everything once, and stop() ends them all.
TEST(TaskQueue, ManyThreads) {
  TaskQueue queue;
  constexpr int count = 4;
  queue.open(count);
  std::vector<std::thread> threads;
  std::vector<std::vector<uint64_t>> got(count);
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      WorkQueue& view = queue.view(i);
      Task t;
      while (view.next(&t, 0, true)) {
        got[i].push_back(t.id);
        view.progress(1);
        view.finished(t.id, std::move(t.payload));
      }
      EXPECT_TRUE(view.stopped());
      queue.leave(i);
    });
  }
  for (uint64_t i = 0; i < 2000; ++i) queue.add(i + 1, task(i));
  std::set<uint64_t> done;
  while (done.size() < 2000) {
    for (const auto& out : queue.take_finished()) EXPECT_TRUE(done.insert(out.id).second);
    std::this_thread::yield();
  }
  queue.stop();
  for (auto& t : threads) t.join();
  size_t sum = 0;
  for (const auto& g : got) sum += g.size();
  EXPECT_EQ(sum, 2000u);
}

}  // namespace
}  // namespace llmc
