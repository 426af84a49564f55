// How many workers one coordinator can feed: the real Coordinator, its messages encoded and decoded as always, with
// played workers in virtual time. What the coordinator costs is measured, not assumed: the processor time of each of
// its turns moves the virtual clock on. Transport and job have costs of their own that are given, from measurements.
//
// usage: simulate_dispatch [--workers 1,10,100] [--streams N] [--chunk-seconds S] [--rounds N] [--message-us U] [--job-us U]
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <deque>
#include <memory>
#include <queue>
#include <random>
#include <sstream>

#include "base/log.h"
#include "comm/comm.h"
#include "dispatch/coordinator.h"
#include "dispatch/protocol.h"

namespace llmc {
namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Duration = Comm::Duration;

Duration seconds(double s) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s)); }

double cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Costs {
  double message = 28e-6;  // seconds of the coordinator for a message, sent or received
  double latency = 60e-6;  // seconds on the wire
  double job = 100e-6;     // seconds of the coordinator for a chunk: reading, hashing, the spool
};

struct Setting {
  int workers = 1;
  uint32_t streams = 16;
  double chunk_seconds = 1;
  uint64_t tasks = 0;
};

// Rank 0's end of the wire and all that is behind it.
class Played : public Comm {
 public:
  Played(const Setting& setting, const Costs& costs) : setting_(setting), costs_(costs), workers_(setting.workers + 1), random_(1) {
    for (int rank = 1; rank <= setting.workers; ++rank) beat(rank, Time{});
  }
  int rank() const override { return 0; }
  int size() const override { return setting_.workers + 1; }
  const std::vector<int>& node_ranks() const override { return node_; }
  Status send(int to, int tag, Bytes bytes) override {
    spent += costs_.message;
    arrive(to, tag, bytes, now + seconds(spent + costs_.latency));
    return {};
  }
  Result<std::optional<Message>> receive(Duration) override {
    if (inbox_.empty() || inbox_.top().at > now) return std::optional<Message>();
    Message message = std::move(const_cast<Arrival&>(inbox_.top()).message);
    inbox_.pop();
    spent += costs_.message;
    return std::optional(std::move(message));
  }
  Status flush(Duration) override { return {}; }
  Status broadcast(int, Bytes*, Duration) override { return {Code::failure, "not played"}; }
  Result<std::vector<Bytes>> gather(int, Bytes, Duration) override { return Status(Code::failure, "not played"); }
  Status barrier(Duration) override { return {Code::failure, "not played"}; }

  // Of the next message that comes.
  std::optional<Time> next_arrival() const { return inbox_.empty() ? std::optional<Time>() : inbox_.top().at; }

  Time now{};
  double spent = 0;      // by this turn, in message costs
  double worked = 0;     // stream-seconds of all workers

 private:
  struct Arrival {
    Time at;
    uint64_t order;
    Message message;
    bool operator<(const Arrival& o) const { return std::pair(o.at, o.order) < std::pair(at, order); }
  };
  struct Worker {
    std::deque<std::pair<uint64_t, uint64_t>> queue;   // (lease, task), not begun
    std::vector<Time> free_at;                         // of its streams
    uint64_t sequence = 0, life = 0;
  };

  void reach(int from, int tag, Bytes bytes, Time at) { inbox_.push({at, order_++, Message{from, tag, std::move(bytes)}}); }

  void beat(int rank, Time at) {
    Worker& w = workers_[rank];
    protocol::Heartbeat heartbeat;
    heartbeat.sequence = ++w.sequence;
    heartbeat.ready = true;
    heartbeat.streams = setting_.streams;
    heartbeat.life = {++w.life};
    reach(rank, protocol::heartbeat, protocol::encode({}, heartbeat), at);
  }

  // Each lease is begun by the stream that is free first, and its result sent when it ends. A result is also a sign of
  // life, so heartbeats are left out: they would add half a message a second and worker.
  void arrive(int to, int tag, const Bytes& bytes, Time at) {
    Worker& w = workers_[to];
    if (tag == protocol::stop || tag == protocol::leave) {
      reach(to, protocol::goodbye, protocol::encode(protocol::Header{}), at);
      return;
    }
    if (tag != protocol::lease) return;
    ByteReader in(bytes);
    protocol::Header header;
    std::vector<protocol::Lease> leases;
    if (!protocol::decode(in, &header) || !protocol::decode(in, &leases)) return;
    if (w.free_at.empty()) w.free_at.assign(setting_.streams, at);
    for (const protocol::Lease& lease : leases) {
      const auto stream = std::min_element(w.free_at.begin(), w.free_at.end());
      const double takes = setting_.chunk_seconds * (0.8 + 0.4 * static_cast<double>(random_() >> 11) * 0x1p-53);
      *stream = std::max(*stream, at) + seconds(takes);
      worked += takes;
      protocol::Outcome outcome;
      outcome.lease = lease.number;
      outcome.id = lease.task.id;
      outcome.result = Bytes(16, 0);
      protocol::OutcomeWriter out{protocol::Header{}};
      out.add(outcome);
      reach(to, protocol::results, out.take(), *stream + seconds(costs_.latency));
    }
  }

  const Setting setting_;
  const Costs costs_;
  std::vector<Worker> workers_;
  std::priority_queue<Arrival> inbox_;
  uint64_t order_ = 0;
  std::mt19937_64 random_;
  const std::vector<int> node_ = {0};
};

class PlayedJob : public Job {
 public:
  PlayedJob(uint64_t tasks, Played& wire, double cost) : tasks_(tasks), wire_(wire), cost_(cost) {}
  Result<std::optional<Task>> next() override {
    if (given_ == tasks_) return std::optional<Task>();
    Task task;
    task.id = given_++;
    task.size = 1;
    task.payload = Bytes(64, 0);
    wire_.spent += cost_ / 2;
    return std::optional(std::move(task));
  }
  Status finished(uint64_t, Bytes, int) override {
    wire_.spent += cost_ / 2;
    ++finished_;
    return {};
  }
  Status failed(uint64_t, const Status& why, int) override { return why; }
  uint64_t done() const { return finished_; }

 private:
  const uint64_t tasks_;
  Played& wire_;
  const double cost_;
  uint64_t given_ = 0, finished_ = 0;
};

int play(const Setting& setting, const Costs& costs) {
  Played wire(setting, costs);
  PlayedJob job(setting.tasks, wire, costs.job);
  CoordinatorOptions options;
  options.in_flight_bytes = uint64_t{1} << 62;
  options.drain = options.stop = [] { return false; };
  options.lease_timeout = options.worker_timeout = std::chrono::hours(1000);
  options.ping_interval = std::chrono::seconds(60);
  Coordinator coordinator(wire, job, options, [&] { return wire.now; });
  double busy = 0, own = 0;
  while (!coordinator.ended() && job.done() < setting.tasks) {
    wire.spent = 0;
    const double before = cpu_seconds();
    coordinator.turn(Duration(0));
    // What the played workers took is in it too: their part of the code is small beside the coordinator's.
    const double used = cpu_seconds() - before;
    own += used;
    busy += used + wire.spent;
    wire.now += seconds(used + wire.spent);
    // Asleep until the next message, or for the 20 ms of a turn.
    if (const auto next = wire.next_arrival(); next && *next > wire.now) wire.now = std::min(*next, wire.now + std::chrono::milliseconds(20));
  }
  const double took = std::chrono::duration<double>(wire.now - Time{}).count();
  const double ideal = wire.worked / (static_cast<double>(setting.workers) * setting.streams);
  fmt::print("{:8d} {:10d} {:12.0f} {:12.1f} {:11.1f} % {:11.1f} % {:14.1f}\n", setting.workers, setting.tasks,
             static_cast<double>(setting.tasks) / took, took, 100 * ideal / took, 100 * busy / took,
             1e6 * own / static_cast<double>(setting.tasks));
  std::fflush(stdout);
  return job.done() == setting.tasks ? 0 : 1;
}

}  // namespace
}  // namespace llmc

int main(int argc, char** argv) {
  using namespace llmc;
  namespace po = boost::program_options;
  std::string workers;
  Setting setting;
  Costs costs;
  double rounds = 10, message_us = 28, job_us = 100, latency_us = 60;
  po::options_description options("simulate_dispatch");
  options.add_options()
      ("help,h", "show this text")
      ("workers", po::value(&workers)->default_value("1,10,100,1000,2000,5000,10000"), "numbers of workers to play")
      ("streams", po::value(&setting.streams)->default_value(16), "chunks that a worker has in work at once")
      ("chunk-seconds", po::value(&setting.chunk_seconds)->default_value(1), "that a stream takes for a chunk")
      ("rounds", po::value(&rounds)->default_value(10), "chunks for each stream")
      ("message-us", po::value(&message_us)->default_value(28), "microseconds of the coordinator for each message")
      ("latency-us", po::value(&latency_us)->default_value(60), "microseconds on the wire")
      ("job-us", po::value(&job_us)->default_value(100), "microseconds of the coordinator for reading and keeping a chunk");
  po::variables_map values;
  try {
    po::store(po::parse_command_line(argc, argv, options), values);
    po::notify(values);
  } catch (const po::error& e) {
    fmt::print(stderr, "simulate_dispatch: {}\n", e.what());
    return 2;
  }
  if (values.count("help")) {
    std::ostringstream text;
    text << options;
    fmt::print("{}", text.str());
    return 0;
  }
  log::setup(-1, "warn");
  costs.message = message_us * 1e-6;
  costs.latency = latency_us * 1e-6;
  costs.job = job_us * 1e-6;
  fmt::print("{} streams a worker, {} s a chunk, {} us a message, {} us a chunk for the job\n", setting.streams, setting.chunk_seconds,
             message_us, job_us);
  fmt::print("{:>8} {:>10} {:>12} {:>12} {:>13} {:>13} {:>14}\n", "workers", "chunks", "chunks/s", "seconds", "efficiency",
             "coordinator", "own us/chunk");
  int status = 0;
  std::istringstream list(workers);
  for (std::string word; std::getline(list, word, ',');) {
    setting.workers = std::max(1, std::atoi(word.c_str()));
    setting.tasks = static_cast<uint64_t>(static_cast<double>(setting.workers) * setting.streams * rounds);
    status |= play(setting, costs);
  }
  return status;
}
