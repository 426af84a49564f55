#include "comm/thread_comm.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

namespace llmc {
namespace {

using Time = ThreadWorld::Time;
using Duration = Comm::Duration;

// splitmix64 (Steele, Lea, Flood 2014), as a hash.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

double unit(uint64_t x) { return static_cast<double>(x >> 11) * 0x1p-53; }

Status bad_rank(int rank, int size) {
  return {Code::failure, "no rank " + std::to_string(rank) + " in a world of " + std::to_string(size)};
}

}  // namespace

struct ThreadWorld::State {
  struct Mailbox {
    std::mutex mutex;
    std::condition_variable changed;
    // By arrival time; equal times in the order of insertion.
    std::multimap<Time, Message> due;
    std::vector<Time> last_due;                // per sender: what a message in order may not come before
    std::vector<std::deque<Bytes>> collective;  // per sender
  };

  State(int n, CommFaults f, std::function<Time()> c) : faults(std::move(f)), clock(std::move(c)), boxes(n), all(n) {
    for (Mailbox& box : boxes) {
      box.last_due.resize(n, Time::min());
      box.collective.resize(n);
    }
    for (int i = 0; i < n; ++i) all[i] = i;
    start = now();
  }

  Time now() const { return clock ? clock() : std::chrono::steady_clock::now(); }

  bool dead(int rank, Time t) const {
    for (const auto& kill : faults.kills) {
      if (kill.rank == rank && t >= start + kill.at) return true;
    }
    return false;
  }
  // When the rank moves again; `t` itself where it is not frozen.
  Time thaw(int rank, Time t) const {
    for (bool again = true; again;) {
      again = false;
      for (const auto& f : faults.freezes) {
        if (f.rank == rank && t >= start + f.at && t < start + f.at + f.length) {
          t = start + f.at + f.length;
          again = true;
        }
      }
    }
    return t;
  }

  const CommFaults faults;
  const std::function<Time()> clock;
  Time start;
  std::vector<Mailbox> boxes;
  std::vector<int> all;
};

class ThreadComm : public Comm {
 public:
  ThreadComm(std::shared_ptr<ThreadWorld::State> world, int rank)
      : world_(std::move(world)), rank_(rank), sent_(world_->boxes.size()) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(world_->boxes.size()); }
  const std::vector<int>& node_ranks() const override { return world_->all; }

  Status send(int to, int tag, Bytes bytes) override {
    LLMC_TRY(check(to));
    if (tag < 0 || tag > max_tag) return {Code::failure, "message tag " + std::to_string(tag) + " out of range"};
    if (bytes.size() > max_message) return {Code::failure, "a message may be up to 1 GiB"};
    LLMC_TRY(alive());
    const CommFaults& f = world_->faults;
    const Time now = world_->now();
    const uint64_t pair = static_cast<uint64_t>(rank_) << 32 | static_cast<uint32_t>(to);
    uint64_t dice = mix(mix(f.seed ^ mix(pair)) + sent_[to]++);
    auto roll = [&dice](double chance) {
      dice = mix(dice);
      return unit(dice) < chance;
    };
    auto some_delay = [&dice, &f] {
      dice = mix(dice);
      return Duration(static_cast<int64_t>(unit(dice) * static_cast<double>(f.max_delay.count())));
    };
    if (world_->dead(to, now) || roll(f.drop)) return {};
    const bool twice = roll(f.duplicate);
    if (twice) post(to, tag, bytes, now, roll(f.delay), roll(f.reorder), some_delay());
    post(to, tag, std::move(bytes), now, roll(f.delay), roll(f.reorder), some_delay());
    return {};
  }

  Result<std::optional<Message>> receive(Duration wait) override {
    ThreadWorld::State::Mailbox& box = world_->boxes[rank_];
    const Time end = world_->now() + wait;
    std::unique_lock lock(box.mutex);
    for (;;) {
      if (Status s = alive(); !s.ok()) return s;
      const Time now = world_->now();
      const Time thaw = world_->thaw(rank_, now);
      if (thaw > now) {
        if (world_->clock) return std::optional<Message>();
        lock.unlock();
        std::this_thread::sleep_until(thaw);
        lock.lock();
        continue;
      }
      if (!box.due.empty() && box.due.begin()->first <= now) {
        std::optional<Message> message(std::move(box.due.begin()->second));
        box.due.erase(box.due.begin());
        return message;
      }
      if (world_->clock || now >= end) return std::optional<Message>();
      box.changed.wait_until(lock, box.due.empty() ? end : std::min(end, box.due.begin()->first));
    }
  }

  Status flush(Duration) override { return alive(); }

  Status broadcast(int root, Bytes* bytes, Duration deadline) override {
    LLMC_TRY(check(root));
    const Time end = world_->now() + deadline;
    if (rank_ != root) return take(root, bytes, end, "broadcast");
    for (int to = 0; to < size(); ++to) {
      if (to != root) give(to, *bytes);
    }
    return alive();
  }

  Result<std::vector<Bytes>> gather(int root, Bytes bytes, Duration deadline) override {
    LLMC_TRY(check(root));
    if (bytes.size() > max_message) return Status(Code::failure, "a part of a gather may be up to 1 GiB");
    LLMC_TRY(alive());
    const Time end = world_->now() + deadline;
    if (rank_ != root) {
      give(root, std::move(bytes));
      return std::vector<Bytes>();
    }
    std::vector<Bytes> parts(world_->boxes.size());
    parts[root] = std::move(bytes);
    for (int from = 0; from < size(); ++from) {
      if (from != root) LLMC_TRY(take(from, &parts[from], end, "gather"));
    }
    return parts;
  }

  Status barrier(Duration deadline) override {
    const Time end = world_->now() + deadline;
    LLMC_ASSIGN(const auto parts, gather(0, {}, deadline));
    Bytes none;
    return broadcast(0, &none, std::max(Duration(0), Duration(end - world_->now())));
  }

 private:
  Status check(int rank) const { return rank < 0 || rank >= size() ? bad_rank(rank, size()) : Status(); }
  Status alive() const {
    if (!world_->dead(rank_, world_->now())) return {};
    return {Code::failure, "rank " + std::to_string(rank_) + " was killed"};
  }

  void post(int to, int tag, Bytes bytes, Time now, bool delayed, bool reordered, Duration by) {
    ThreadWorld::State::Mailbox& box = world_->boxes[to];
    Time due = world_->thaw(rank_, now);
    if (delayed || reordered) due += by;
    {
      std::lock_guard lock(box.mutex);
      if (!reordered) due = box.last_due[rank_] = std::max(due, box.last_due[rank_]);
      box.due.emplace(due, Message{rank_, tag, std::move(bytes)});
    }
    box.changed.notify_all();
  }

  void give(int to, Bytes bytes) {
    ThreadWorld::State::Mailbox& box = world_->boxes[to];
    {
      std::lock_guard lock(box.mutex);
      box.collective[rank_].push_back(std::move(bytes));
    }
    box.changed.notify_all();
  }

  Status take(int from, Bytes* bytes, Time end, const char* what) {
    ThreadWorld::State::Mailbox& box = world_->boxes[rank_];
    std::unique_lock lock(box.mutex);
    std::deque<Bytes>& queue = box.collective[from];
    while (queue.empty()) {
      LLMC_TRY(alive());
      if (world_->now() >= end) {
        return {Code::failure, std::string(what) + ": rank " + std::to_string(from) + " did not answer in time"};
      }
      box.changed.wait_until(lock, end);
    }
    *bytes = std::move(queue.front());
    queue.pop_front();
    return {};
  }

  const std::shared_ptr<ThreadWorld::State> world_;
  const int rank_;
  std::vector<uint64_t> sent_;
};

ThreadWorld::ThreadWorld(int size, CommFaults faults, std::function<Time()> clock)
    : state_(std::make_shared<State>(size, std::move(faults), std::move(clock))) {}
ThreadWorld::~ThreadWorld() = default;

std::unique_ptr<Comm> ThreadWorld::endpoint(int rank) { return std::make_unique<ThreadComm>(state_, rank); }
bool ThreadWorld::dead(int rank) const { return state_->dead(rank, state_->now()); }
bool ThreadWorld::frozen(int rank) const {
  const Time now = state_->now();
  return state_->thaw(rank, now) > now;
}

}  // namespace llmc
