#include "dispatch/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace llmc {
namespace {

constexpr size_t remembered_leases = 65536;

}  // namespace

Worker::Worker(Comm& comm, TaskQueue& queue, WorkerOptions options, std::function<Time()> clock)
    : comm_(comm), queue_(queue), options_(std::move(options)), clock_(std::move(clock)) {
  now_ = heard_ = clock_();
}

void Worker::ready(int streams) {
  ready_ = true;
  streams_ = streams;
  beat_now_ = true;
}

void Worker::fail(Status why) {
  if (failure_.ok() && !told_to_stop_) {
    failure_ = std::move(why);
    beat_now_ = true;
  }
  stop();
}

void Worker::stop() {
  if (queue_.stopped()) return;
  stopped_at_ = now_;
  queue_.stop();
}

Worker::Duration Worker::stopping_for() const { return queue_.stopped() ? now_ - stopped_at_ : Duration(0); }

Status Worker::turn(Duration wait) {
  for (bool first = true;; first = false) {
    LLMC_ASSIGN(const std::optional<Message> message, comm_.receive(first ? wait : Duration(0)));
    now_ = clock_();
    if (!message) break;
    LLMC_TRY(handle(*message));
  }
  if (now_ - heard_ >= options_.coordinator_timeout) {
    stop();
    const double s = std::chrono::duration<double>(options_.coordinator_timeout).count();
    return {Code::failure, fmt::format("rank {} has heard nothing of rank 0 for {:.0f} s", comm_.rank(), s)};
  }
  if (options_.stop()) fail({Code::interrupted, fmt::format("rank {} was interrupted", comm_.rank())});
  LLMC_TRY(send_finished());
  const bool goodbye = told_to_stop_ && !computing_;
  if (goodbye && !said_goodbye_) beat_now_ = true;  // at once
  if (!beat_now_ && now_ - beat_ < options_.heartbeat) return {};
  beat_now_ = false;
  beat_ = now_;
  if (!goodbye) {
    LLMC_TRY(send_heartbeat());
    return failure_.ok() ? Status() : send(protocol::fatal, protocol::encode(header(), failure_));
  }
  // Nobody listens after leave: what is sent then would stay behind in the Comm.
  left_ = told_to_leave_;
  if (!left_ && !said_goodbye_) LLMC_TRY(send_heartbeat());  // all tokens that were done
  said_goodbye_ = true;
  return left_ ? Status() : send(protocol::goodbye, protocol::encode(header()));
}

Status Worker::handle(const Message& message) {
  const Status unreadable(Code::corrupt, fmt::format("rank {} got a message that cannot be read", comm_.rank()));
  if (message.from != 0) return {};
  ByteReader in(message.bytes);
  protocol::Header h;
  if (!protocol::decode(in, &h)) return unreadable;
  if (h.session != options_.session) return {};
  heard_ = now_;
  switch (message.tag) {
    case protocol::lease: {
      std::vector<protocol::Lease> leases;
      if (!protocol::decode(in, &leases)) return unreadable;
      for (auto& lease : leases) {
        if (queue_.stopped() || drained_ || !seen_.insert(lease.number).second) continue;
        seen_order_.push_back(lease.number);
        if (seen_order_.size() > remembered_leases) {
          seen_.erase(seen_order_.front());
          seen_order_.pop_front();
        }
        queue_.add(lease.number, std::move(lease.task));
      }
      return {};
    }
    case protocol::forget: {
      std::vector<uint64_t> leases;
      if (!protocol::decode(in, &leases)) return unreadable;
      queue_.forget(leases);
      return {};
    }
    case protocol::drain:
      queue_.forget_waiting();
      drained_ = beat_now_ = true;
      return {};
    case protocol::ping: return {};
    case protocol::leave:
      told_to_leave_ = beat_now_ = true;
      [[fallthrough]];
    case protocol::stop:
      told_to_stop_ = true;
      stop();
      return {};
    default: return unreadable;
  }
}

// Results go before the heartbeat that no longer lists them.
Status Worker::send_finished() {
  protocol::OutcomeWriter out(header());
  for (protocol::Outcome& outcome : queue_.take_finished()) {
    if (told_to_stop_) continue;
    if (outcome.result.size() > Comm::max_message - 4096) {
      outcome.status = Status(Code::failure, "the result is larger than a message may be (1 GiB)");
      outcome.result.clear();
    }
    if (!out.empty() && out.size() + outcome.result.size() > protocol::batch_bytes) {
      LLMC_TRY(send(protocol::results, std::exchange(out, protocol::OutcomeWriter(header())).take()));
    }
    out.add(outcome);
  }
  return out.empty() ? Status() : send(protocol::results, out.take());
}

Status Worker::send_heartbeat() {
  protocol::Heartbeat heartbeat;
  heartbeat.sequence = ++sequence_;
  heartbeat.identity = options_.identity;
  heartbeat.ready = ready_;
  heartbeat.drained = drained_;
  heartbeat.wants_drain = options_.drain();
  heartbeat.streams = static_cast<uint32_t>(std::max(1, streams_));
  queue_.describe(&heartbeat);
  return send(protocol::heartbeat, protocol::encode(header(), heartbeat));
}

namespace {

// What the compute threads share with the main thread; theirs as long as they run.
struct Crew {
  TaskQueue queue;
  std::atomic<int> running{0};
  std::atomic<bool> started{false};
  std::mutex mutex;
  Status failure;  // the first; under mutex

  void fail(Status why) {
    std::lock_guard lock(mutex);
    if (failure.ok()) failure = std::move(why);
  }
  Status first_failure() {
    std::lock_guard lock(mutex);
    return failure;
  }
};

template <class F>
Status guarded(F&& call) {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return {Code::failure, "a worker failed: out of memory"};
  } catch (const std::exception& e) {
    return {Code::failure, std::string("a worker failed: ") + e.what()};
  } catch (...) {
    return {Code::failure, "a worker failed"};
  }
}

}  // namespace

Status work(Comm& comm, Processor& processor, const WorkerOptions& options) {
  const auto crew = std::make_shared<Crew>();
  Worker worker(comm, crew->queue, options, std::chrono::steady_clock::now);
  std::vector<std::thread> threads;
  // A thread needs memory too.
  const auto start = [&](auto&& body) {
    ++crew->running;
    const Status started = guarded([&] {
      threads.emplace_back(body);
      return Status();
    });
    if (started.ok()) return true;
    crew->fail(started.with("a thread cannot be started"));
    --crew->running;
    return false;
  };
  start([crew, &processor] {
    if (Status s = guarded([&] { return processor.start(); }); !s.ok()) crew->fail(std::move(s));
    crew->started = true;
    --crew->running;
  });
  bool computing = false;
  Status status;
  while (status.ok() && !worker.left()) {
    // Short, since a result that a compute thread has finished waits for the end of this.
    status = guarded([&] { return worker.turn(std::chrono::milliseconds(2)); });
    if (Status s = crew->first_failure(); !s.ok()) worker.fail(std::move(s));
    if (crew->started && !computing && !crew->queue.stopped()) {
      computing = true;
      const int count = std::max(1, processor.threads());
      crew->queue.open(count);
      for (int i = 0; i < count; ++i) {
        const bool runs = start([crew, &processor, i] {
          Status s = guarded([&] { return processor.run(crew->queue.view(i), i); });
          if (s.ok() && !crew->queue.stopped()) s = Status(Code::failure, "a compute thread ended before its work");
          if (!s.ok()) crew->fail(std::move(s));
          crew->queue.leave(i);
          --crew->running;
        });
        if (!runs) crew->queue.leave(i);
      }
      worker.ready(processor.streams());
    }
    if (crew->queue.stopped() && crew->running == 0) worker.computing_ended();
    if (status.ok() && crew->running > 0 && worker.stopping_for() >= options.stop_limit) {
      status = Status(Code::failure, fmt::format("a compute thread of rank {} does not end", comm.rank()));
    }
  }
  if (!status.ok()) {
    // They may end in time now that they are told to; those that hang are left to the end
    // of the process.
    crew->queue.stop();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (crew->running > 0 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  for (std::thread& thread : threads) {
    if (crew->running == 0) {
      thread.join();
    } else {
      thread.detach();
    }
  }
  return status;
}

}  // namespace llmc
