#include "dispatch/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>

#include "base/fault.h"
#include "base/log.h"

namespace llmc {
namespace {

using std::chrono::milliseconds;

double in_seconds(Comm::Duration d) { return std::chrono::duration<double>(d).count(); }

// Messages taken in one turn at most, so that what is due is not put off for ever.
constexpr int messages_per_turn = 500;
constexpr int pulls_per_turn = 200;

}  // namespace

Coordinator::Coordinator(Comm& comm, Job& job, CoordinatorOptions options, std::function<Time()> clock)
    : comm_(comm), job_(job), options_(std::move(options)), clock_(std::move(clock)), workers_(comm.size()) {
  begun_ = last_turn_ = phase_begun_ = now_ = pinged_ = checked_ = shown_ = clock_();
  for (int rank = 0; rank < comm.size(); ++rank) {
    workers_[rank].heard = workers_[rank].life = begun_;
    workers_[rank].report.rank = rank;
    outgoing_.emplace_back(header());
  }
  to_forget_.resize(comm.size());
  if (options_.progress) options_.progress->begin(begun_);
}

void Coordinator::turn(Duration wait) {
  if (ended()) return;
  bool empty = false;
  for (int n = 0; n < messages_per_turn && !empty; ++n) {
    auto message = comm_.receive(n == 0 ? wait : Duration(0));
    now_ = clock_();
    if (!message.ok()) {
      end(message.status());
      leave();  // without a transport nobody can be waited for
      return;
    }
    empty = !message->has_value();
    if (empty) break;
    if (Status s = handle(std::move(**message)); !s.ok()) end(std::move(s));
  }
  if (phase_ == Phase::stopping) {
    wait_for_goodbyes();
  } else if (Status s = advance(empty); !s.ok()) {
    end(std::move(s));
  }
  last_turn_ = now_;
}

void Coordinator::end(Status why) {
  if (phase_ == Phase::stopping || phase_ == Phase::ended) return;
  phase_ = Phase::stopping;
  phase_begun_ = pinged_ = now_;
  status_ = std::move(why);
  if (Status s = send_all(protocol::stop); !s.ok()) log::warn("{}", s.message());
}

Status Coordinator::handle(Message message) {
  if (message.from <= 0 || message.from >= comm_.size()) return {};
  Worker& w = workers_[message.from];
  const Status unreadable(Code::corrupt, fmt::format("worker {} sent a message that cannot be read", message.from));
  ByteReader in(message.bytes);
  protocol::Header h;
  if (!protocol::decode(in, &h)) return unreadable;
  if (h.session != options_.session) return {};
  w.heard = now_;
  w.heard_of = true;
  switch (message.tag) {
    case protocol::heartbeat: {
      protocol::Heartbeat heartbeat;
      if (!protocol::decode(in, &heartbeat)) return unreadable;
      if (phase_ != Phase::stopping) return on_heartbeat(message.from, heartbeat);
      w.report.tokens = std::max(w.report.tokens, heartbeat.tokens);  // the last one has them all
      return {};
    }
    case protocol::results: {
      std::vector<protocol::Outcome> outcomes;
      if (!protocol::decode(in, &outcomes)) return unreadable;
      for (auto& outcome : outcomes) {
        if (phase_ != Phase::stopping) LLMC_TRY(on_outcome(message.from, std::move(outcome)));
      }
      return {};
    }
    case protocol::fatal: {
      Status status;
      if (!protocol::decode(in, &status)) return unreadable;
      return status.with(fmt::format("worker {}", message.from));
    }
    case protocol::goodbye:
      w.goodbye = true;
      return {};
    default: return unreadable;
  }
}

Status Coordinator::on_heartbeat(int rank, const protocol::Heartbeat& heartbeat) {
  Worker& w = workers_[rank];
  if (heartbeat.sequence <= w.sequence) return {};
  w.sequence = heartbeat.sequence;
  if (heartbeat.identity != options_.identity) {
    return {Code::failure, fmt::format("worker {} runs another program or model ({}) than rank 0 ({})", rank,
                                       heartbeat.identity, options_.identity)};
  }
  if (heartbeat.wants_drain) drain_wanted_ = true;
  if (heartbeat.ready) {
    w.ready = true;
    w.streams = std::max<uint32_t>(1, heartbeat.streams);
  }
  w.report.tokens = std::max(w.report.tokens, heartbeat.tokens);
  std::vector<bool> grew(heartbeat.life.size());
  for (size_t i = 0; i < grew.size(); ++i) grew[i] = i >= w.lives.size() || heartbeat.life[i] > w.lives[i];
  w.lives = heartbeat.life;
  const bool moved = std::find(grew.begin(), grew.end(), true) != grew.end();
  if (moved || heartbeat.held.empty()) {
    w.life = now_;
    if (w.lost) log::info("worker {} is back", rank);
    w.lost = false;
  }
  check_in(rank, heartbeat, moved, grew);
  return {};
}

// Sets the coordinator's list of the worker's leases against the worker's own.
void Coordinator::check_in(int rank, const protocol::Heartbeat& heartbeat, bool moved, const std::vector<bool>& grew) {
  Worker& w = workers_[rank];
  for (auto& [number, lease] : w.leases) lease.listed = false;
  for (const protocol::Held& held : heartbeat.held) {
    const auto at = w.leases.find(held.lease);
    if (at == w.leases.end()) {
      to_forget_[rank].push_back(held.lease);
      continue;
    }
    Lease& lease = at->second;
    const bool begun = lease.thread == 0 && held.thread > 0;
    lease.listed = true;
    lease.thread = held.thread;
    if (begun || (held.thread == 0 ? moved : grew[held.thread - 1])) lease.alive = now_;
  }
  std::vector<uint64_t> dropped;
  for (const auto& [number, lease] : w.leases) {
    if (!lease.listed && (!lease.counts || heartbeat.drained)) dropped.push_back(number);
  }
  for (const uint64_t number : dropped) lease_over(rank, number);
  w.drained = heartbeat.drained;
}

Status Coordinator::on_outcome(int rank, protocol::Outcome outcome) {
  LLMC_TRY(fault_point("dispatch.result"));
  Worker& w = workers_[rank];
  w.life = now_;
  w.lost = false;
  lease_over(rank, outcome.lease);
  const auto at = tasks_.find(outcome.id);
  if (at == tasks_.end()) {
    ++counts_.late;
    return {};
  }
  TaskState& state = at->second;
  if (!outcome.status.ok()) {
    state.why = outcome.status;
    return task_failed(rank, state);
  }
  if (!state.task.extra) {
    ++counts_.done;
    counts_.plain_bytes += state.task.size;
    counts_.payload_bytes += state.task.payload.size();
    counts_.result_bytes += outcome.result.size();
  }
  ++w.report.tasks;
  w.report.plain_bytes += state.task.size;
  task_over(outcome.id);
  return job_.finished(outcome.id, std::move(outcome.result), rank);
}

// A failure on one worker: once more elsewhere, unless it runs elsewhere already.
Status Coordinator::task_failed(int rank, TaskState& state) {
  const uint64_t id = state.task.id;
  if (!state.failed_on.insert(rank).second) return {};
  ++state.failures;
  if (!state.leases.empty()) return {};
  std::erase(again_, id);
  bool elsewhere = false;
  for (int other = 1; other < comm_.size(); ++other) elsewhere |= may_get(state, other);
  if (state.failures > 1 || !elsewhere) return give_up(id, rank, Status(state.why));
  ++counts_.retried;
  again_.push_back(id);
  return {};
}

Status Coordinator::give_up(uint64_t id, int rank, const Status& why) {
  ++counts_.failed;
  task_over(id);
  return job_.failed(id, why, rank);
}

// The worker no longer has this lease.
void Coordinator::lease_over(int rank, uint64_t number) {
  auto& leases = workers_[rank].leases;
  const auto at = leases.find(number);
  if (at == leases.end()) return;
  if (at->second.counts) {
    TaskState& state = tasks_.at(at->second.task);
    std::erase(state.leases, std::pair(rank, number));
    if (state.leases.empty()) {
      leased_bytes_ -= state.task.size;
      --counts_.running;
      again_.push_back(state.task.id);  // whoever knows better takes it out again
    }
  }
  leases.erase(at);
  if (leases.empty()) workers_[rank].report.busy_seconds += in_seconds(now_ - workers_[rank].busy);
}

// The task is done or given up: whoever else has it may drop it.
void Coordinator::task_over(uint64_t id) {
  TaskState& state = tasks_.at(id);
  if (!state.leases.empty()) {
    leased_bytes_ -= state.task.size;
    --counts_.running;
  }
  for (const auto& [rank, number] : state.leases) {
    workers_[rank].leases.at(number).counts = false;
    to_forget_[rank].push_back(number);
  }
  std::erase(again_, id);
  pulled_bytes_ -= state.task.size;
  tasks_.erase(id);
}

Status Coordinator::advance(bool inbox_empty) {
  if (options_.stop()) return {Code::interrupted, "interrupted; what was finished is kept"};
  if (comm_.size() < 2) return {Code::failure, "there is no worker: a world of one rank"};
  show();
  if (now_ - pinged_ >= options_.ping_interval) {
    pinged_ = now_;
    LLMC_TRY(send_all(phase_ == Phase::draining ? protocol::drain : protocol::ping));
  }
  // A coordinator that was away (a slow disk under the job) first hears what the workers did
  // meanwhile; but one that is always slow must not put expiry off for ever.
  const Duration long_turn = std::min<Duration>(options_.lease_timeout / 4, milliseconds(500));
  const bool was_away = !inbox_empty || now_ - last_turn_ > long_turn;
  if (!was_away || ++skipped_expiries_ > 10) {
    skipped_expiries_ = 0;
    LLMC_TRY(expire());
  }
  if (phase_ == Phase::running && (drain_wanted_ || options_.drain())) {
    phase_ = Phase::draining;
    phase_begun_ = now_;
    LLMC_TRY(send_all(protocol::drain));
  }
  if (phase_ == Phase::draining) {
    LLMC_TRY(drain());
  } else {
    LLMC_TRY(assign());
  }
  LLMC_TRY(send_leases());
  if (exhausted_ && tasks_.empty()) end({});
  return {};
}

Status Coordinator::drain() {
  const bool timely = now_ - phase_begun_ < options_.drain_limit;
  if (counts_.running && timely) return {};
  // Perhaps that was all there was to do.
  bool pulled = false;
  if (tasks_.empty()) LLMC_TRY(pull(&pulled));
  if (exhausted_ && tasks_.empty()) return {};
  return {Code::drained, counts_.running
                             ? "drained on request; some tasks did not end in time and are left for the next run"
                             : "drained on request; the rest is left for the next run"};
}

Status Coordinator::expire() {
  const Duration step = std::min<Duration>(options_.lease_timeout / 10, std::chrono::seconds(1));
  if (now_ - checked_ < step) return {};
  checked_ = now_;
  bool any = false;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    Worker& w = workers_[rank];
    const bool silent = now_ - w.heard >= options_.worker_timeout;
    const bool stalled = w.ready && now_ - w.life >= options_.worker_timeout;
    if (!w.lost && (silent || stalled)) {
      log::warn("worker {} is lost: {} for {:.0f} s", rank, silent ? "silent" : "no progress",
                in_seconds(options_.worker_timeout));
      w.lost = true;
    }
    LLMC_TRY(expire_leases(rank, w.lost));
    any |= !w.lost;
  }
  if (any) return {};
  return {Code::failure, fmt::format("no worker has answered for {:.0f} s", in_seconds(options_.worker_timeout))};
}

// Ends the leases of a worker that show no progress, or all of them.
Status Coordinator::expire_leases(int rank, bool all) {
  Worker& w = workers_[rank];
  std::vector<uint64_t> numbers;
  for (const auto& [number, lease] : w.leases) {
    if (all || (lease.counts && now_ - lease.alive >= options_.lease_timeout)) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  int expired = 0;
  for (const uint64_t number : numbers) {
    const Lease lease = w.leases.at(number);
    lease_over(rank, number);
    if (lease.listed && !all) {
      // Still on the worker: it weighs there until the worker says otherwise.
      if (w.leases.empty()) w.busy = now_;
      Lease& burden = w.leases[number];
      burden = lease;
      burden.counts = false;
    }
    to_forget_[rank].push_back(number);
    if (!lease.counts) continue;
    TaskState& state = tasks_.at(lease.task);
    ++state.expiries;
    if (lease.thread > 0 && lease.listed) ++state.stalls;
    state.expired_on.insert(rank);
    ++expired;
    // A task that makes worker after worker stand still is the task's fault; one that only
    // waited there has more patience with it.
    if (state.leases.empty() && (state.stalls >= options_.max_leases || state.expiries >= 8 * options_.max_leases)) {
      const double limit = in_seconds(options_.lease_timeout);
      const Status why(Code::failure, fmt::format("no progress for {:.0f} s, {} times", limit, state.expiries));
      LLMC_TRY(give_up(state.task.id, rank, why));
    }
  }
  if (expired) log::warn("worker {}: {} leases without progress have expired", rank, expired);
  return {};
}

// Takes one task from the job, where memory allows.
Status Coordinator::pull(bool* pulled) {
  *pulled = false;
  if (!ahead_) {
    if (exhausted_) return {};
    LLMC_ASSIGN(ahead_, job_.next());
    exhausted_ = !ahead_ && job_.ended();
    if (!ahead_) return {};
  }
  if (!tasks_.empty() && ahead_->size > options_.in_flight_bytes - std::min(options_.in_flight_bytes, pulled_bytes_)) {
    return {};
  }
  const uint64_t id = ahead_->id;
  pulled_bytes_ += ahead_->size;
  const auto [at, is_new] = tasks_.try_emplace(id);
  if (!is_new) return {Code::failure, fmt::format("the job gave task {} twice", id)};
  at->second.task = *std::exchange(ahead_, std::nullopt);
  ready_.push_back(id);
  *pulled = true;
  return {};
}

Status Coordinator::assign() {
  uint64_t known = 0, ready = 0, unready = 0;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    const Worker& w = workers_[rank];
    if (w.lost) continue;
    if (w.ready) {
      known += w.streams;
      ++ready;
    } else {
      ++unready;
    }
  }
  counts_.workers = static_cast<int>(ready);
  all_streams_ = ready ? known + unready * std::max<uint64_t>(1, known / ready) : 0;
  LLMC_TRY(assign_again());
  // One task is taken even before any worker is ready: perhaps there is none at all.
  for (int pulls = 0; pulls < pulls_per_turn;) {
    size_t at = 0;
    if (const int rank = next_ready(&at); rank > 0) {
      const uint64_t id = ready_[at];
      ready_.erase(ready_.begin() + static_cast<ptrdiff_t>(at));
      LLMC_TRY(give(id, rank));
      continue;
    }
    if (tasks_.size() >= std::max<uint64_t>(1, 2 * all_streams_)) break;
    bool pulled = false;
    LLMC_TRY(pull(&pulled));
    if (!pulled) break;
    ++pulls;
  }
  return {};
}

// Tasks that lost their lease or failed once come before new ones.
Status Coordinator::assign_again() {
  const std::vector<uint64_t> ids = again_;
  for (const uint64_t id : ids) {
    TaskState& state = tasks_.at(id);
    bool possible = false;
    for (int rank = 1; rank < comm_.size(); ++rank) possible |= may_get(state, rank);
    if (!possible && state.failures > 0) {
      std::erase(again_, id);
      LLMC_TRY(give_up(id, *state.failed_on.begin(), Status(state.why)));
      continue;
    }
    const int rank = best_worker(state, true);
    if (rank < 0) continue;
    if (state.expiries > 0) ++counts_.reissued;
    std::erase(again_, id);
    LLMC_TRY(give(id, rank));
  }
  return {};
}

// Shall another worker have the task, and is there one?
bool Coordinator::barred(const TaskState& state, int rank) const {
  if (state.task.not_on_worker != rank) return false;
  for (int other = 1; other < comm_.size(); ++other) {
    if (other != rank && !workers_[other].lost && !state.failed_on.contains(other)) return true;
  }
  return false;
}

// May this worker get a task? After a failure, only another worker.
bool Coordinator::may_get(const TaskState& state, int rank) const {
  return !workers_[rank].lost && !state.failed_on.contains(rank) && !barred(state, rank);
}

// The first task of ready_ that a worker has room for, and that worker; -1: none now. One that waits for
// a certain worker does not keep those behind it from the others.
int Coordinator::next_ready(size_t* at) const {
  constexpr size_t looked_at = 64;
  for (*at = 0; *at < std::min(ready_.size(), looked_at); ++*at) {
    const TaskState& state = tasks_.at(ready_[*at]);
    const int rank = best_worker(state, false);
    if (rank > 0 || state.task.not_on_worker == 0) return rank;
  }
  return -1;
}

// The worker with room that has least to do for its size; for a task given `again`, workers
// where it has not stalled before come first. -1: none now.
int Coordinator::best_worker(const TaskState& state, bool again) const {
  bool fresh = false;  // is there a worker where it has not stalled?
  if (again) {
    for (int rank = 1; rank < comm_.size(); ++rank) {
      fresh |= may_get(state, rank) && !state.expired_on.contains(rank);
    }
  }
  int best = -1;
  double least = 0;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    const Worker& w = workers_[rank];
    if (!w.ready || w.lost) continue;
    uint64_t room = 2 * uint64_t{w.streams};
    if (!may_get(state, rank)) continue;
    if (again) {
      if (fresh && state.expired_on.contains(rank)) continue;
    } else {
      room = std::min(room, (tasks_.size() * w.streams + all_streams_ - 1) / all_streams_);
    }
    if (w.leases.size() >= room) continue;
    const double load = static_cast<double>(w.leases.size()) / w.streams;
    if (best < 0 || load < least) {
      best = rank;
      least = load;
    }
  }
  return best;
}

Status Coordinator::give(uint64_t id, int rank) {
  TaskState& state = tasks_.at(id);
  const uint64_t number = next_lease_++;
  Worker& w = workers_[rank];
  if (w.leases.empty()) w.life = w.busy = now_;
  Lease& lease = w.leases[number];
  lease.task = id;
  lease.alive = now_;
  if (state.leases.empty()) {
    leased_bytes_ += state.task.size;
    ++counts_.running;
  }
  state.leases.emplace_back(rank, number);
  outgoing_[rank].add(number, state.task);
  if (outgoing_[rank].size() < protocol::batch_bytes) return {};
  Bytes bytes = std::exchange(outgoing_[rank], protocol::LeaseWriter(header())).take();
  return comm_.send(rank, protocol::lease, std::move(bytes));
}

Status Coordinator::send_leases() {
  for (int rank = 1; rank < comm_.size(); ++rank) {
    if (!to_forget_[rank].empty()) {
      LLMC_TRY(comm_.send(rank, protocol::forget, protocol::encode(header(), std::exchange(to_forget_[rank], {}))));
    }
    if (outgoing_[rank].empty()) continue;
    Bytes bytes = std::exchange(outgoing_[rank], protocol::LeaseWriter(header())).take();
    LLMC_TRY(comm_.send(rank, protocol::lease, std::move(bytes)));
  }
  return {};
}

Status Coordinator::send_all(int tag) {
  for (int rank = 1; rank < comm_.size(); ++rank) {
    if (!workers_[rank].goodbye) LLMC_TRY(comm_.send(rank, tag, protocol::encode(header())));
  }
  return {};
}

void Coordinator::wait_for_goodbyes() {
  bool all = true, only_lost = true;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    all &= workers_[rank].goodbye;
    only_lost &= workers_[rank].goodbye || workers_[rank].lost;
  }
  if (all) {
    clean_ = true;
    return leave();
  }
  const bool hurry = only_lost || status_.code() == Code::interrupted || options_.stop();
  if (now_ - phase_begun_ >= (hurry ? options_.stop_limit : options_.leave_limit)) return leave();
  if (now_ - pinged_ >= std::min<Duration>(options_.ping_interval, std::chrono::seconds(1))) {
    pinged_ = now_;
    if (!send_all(protocol::stop).ok()) leave();
  }
}

void Coordinator::leave() {
  phase_ = Phase::ended;
  bool sent = true;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    sent &= comm_.send(rank, protocol::leave, protocol::encode(header())).ok();
    if (!workers_[rank].goodbye) log::warn("worker {} has not ended its part", rank);
  }
  const bool gone = comm_.flush(clean_ ? options_.leave_limit : milliseconds(100)).ok();
  clean_ = clean_ && sent && gone;
  if (options_.progress) options_.progress->finish(report().counts, now_);
}

void Coordinator::show() {
  if (now_ - shown_ < milliseconds(200)) return;
  shown_ = now_;
  if (options_.progress || options_.watch) {
    const CoordinatorReport now = report();
    if (options_.progress) options_.progress->update(now.counts, now_);
    if (options_.watch) options_.watch(now);
  }
  job_.tick();
}

CoordinatorReport Coordinator::report() const {
  CoordinatorReport report;
  report.counts = counts_;
  report.clean = clean_;
  for (int rank = 1; rank < comm_.size(); ++rank) {
    const Worker& w = workers_[rank];
    report.workers.push_back(w.report);
    report.workers.back().lost = w.lost;
    if (!w.leases.empty()) report.workers.back().busy_seconds += in_seconds(now_ - w.busy);
    report.counts.tokens += w.report.tokens;
    report.counts.workers_lost += w.lost;
  }
  return report;
}

Coordinator::Duration Coordinator::oldest_lease() const {
  Duration oldest{0};
  if (phase_ == Phase::stopping || ended()) return oldest;  // nobody waits for them any more
  for (const Worker& w : workers_) {
    for (const auto& [number, lease] : w.leases) {
      if (lease.counts) oldest = std::max<Duration>(oldest, now_ - lease.alive);
    }
  }
  return oldest;
}

Status coordinate(Comm& comm, Job& job, const CoordinatorOptions& options, CoordinatorReport* report) {
  Coordinator coordinator(comm, job, options, std::chrono::steady_clock::now);
  bool thrown = false;
  while (!coordinator.ended()) {
    try {
      coordinator.turn(milliseconds(20));
    } catch (const std::exception& e) {
      const bool memory = dynamic_cast<const std::bad_alloc*>(&e);
      const Status why(Code::failure, std::string("rank 0: ") + (memory ? "out of memory" : e.what()));
      if (thrown) return why;
      thrown = true;
      coordinator.end(why);
    }
  }
  if (report) *report = coordinator.report();
  return coordinator.status();
}

}  // namespace llmc
