#include "emulated_team.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace llmc::test {
namespace {

// The emulated devices have no queue: what they hold is there when an operation is called.
class Team {
 public:
  explicit Team(int count) : count_(count), at_(count) {}

  class Member final : public Collective {
   public:
    Member(std::shared_ptr<Team> team, int index) : team_(std::move(team)), index_(index) {}
    int index() const override { return index_; }
    int count() const override { return team_->count_; }
    void all_max(uint32_t* at, size_t n) override {
      team_->all(index_, at, n, [](uint32_t a, uint32_t b) { return std::max(a, b); });
    }
    void all_sum(uint64_t* at, size_t n) override {
      team_->all(index_, at, n, [](uint64_t a, uint64_t b) { return a + b; });
    }
    Status wait() override {
      const std::lock_guard lock(team_->mutex_);
      return team_->failed_;
    }
    void failure(const Status& why) override {
      const std::lock_guard lock(team_->mutex_);
      if (team_->failed_.ok()) team_->failed_ = why;
      team_->changed_.notify_all();
    }

   private:
    const std::shared_ptr<Team> team_;
    const int index_;
  };

 private:
  // Until all have come, or one has failed.
  bool meet() {
    std::unique_lock lock(mutex_);
    if (!failed_.ok()) return false;
    const uint64_t turn = turn_;
    if (++arrived_ == count_) {
      arrived_ = 0;
      ++turn_;
      changed_.notify_all();
      return true;
    }
    changed_.wait(lock, [&] { return turn_ != turn || !failed_.ok(); });
    return turn_ != turn;
  }
  template <class T, class Join>
  void all(int index, T* at, size_t n, const Join& join) {
    at_[index] = at;
    if (!meet()) return;
    std::vector<T> joined(static_cast<const T*>(at_[0]), static_cast<const T*>(at_[0]) + n);
    for (int other = 1; other < count_; ++other) {
      const T* theirs = static_cast<const T*>(at_[other]);
      for (size_t i = 0; i < n; ++i) joined[i] = join(joined[i], theirs[i]);
    }
    if (!meet()) return;
    std::copy(joined.begin(), joined.end(), at);
    (void)meet();
  }

  const int count_;
  std::vector<const void*> at_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  uint64_t turn_ = 0;
  Status failed_;
};

}  // namespace

std::vector<std::unique_ptr<Collective>> make_team(int count) {
  auto team = std::make_shared<Team>(count);
  std::vector<std::unique_ptr<Collective>> members;
  for (int i = 0; i < count; ++i) members.push_back(std::make_unique<Team::Member>(team, i));
  return members;
}

}  // namespace llmc::test
