// What every Comm must do, run by each rank of a world: the same checks for threads and for
// MPI. They use EXPECT, never ASSERT: a rank that leaves early lets the others wait.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "comm/comm.h"

namespace llmc::comm_suite {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto patience = 60s;

inline Bytes pattern(size_t size, uint64_t seed) {
  Bytes bytes(size);
  uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t i = 0; i < size; ++i) {
    if (i % 8 == 0) x = x * 6364136223846793005 + 1442695040888963407;
    bytes[i] = static_cast<uint8_t>(x >> (8 * (i % 8)));
  }
  return bytes;
}

// The next message within the patience of a test; nothing where none came.
inline std::optional<Message> next(Comm& comm) {
  auto message = comm.receive(patience);
  EXPECT_TRUE(message.ok()) << message.status().message();
  if (!message.ok()) return std::nullopt;
  EXPECT_TRUE(message->has_value()) << "rank " << comm.rank() << " waited in vain";
  return std::move(*message);
}

inline void ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }

inline void world(Comm& comm) {
  EXPECT_GE(comm.size(), 1);
  EXPECT_GE(comm.rank(), 0);
  EXPECT_LT(comm.rank(), comm.size());
  const auto& node = comm.node_ranks();
  EXPECT_TRUE(std::is_sorted(node.begin(), node.end()));
  EXPECT_EQ(std::count(node.begin(), node.end(), comm.rank()), 1);
  EXPECT_EQ(node.size(), static_cast<size_t>(comm.size()));  // tests run on one machine
  EXPECT_FALSE(comm.send(comm.size(), 1, {}).ok());
  EXPECT_FALSE(comm.send(-1, 1, {}).ok());
  EXPECT_FALSE(comm.send(0, -1, {}).ok());
  EXPECT_FALSE(comm.send(0, Comm::max_tag + 1, {}).ok());
}

// Sizes around every eager limit and 64 MiB, round the ring (with one rank: to itself).
inline void ring(Comm& comm) {
  const int to = (comm.rank() + 1) % comm.size();
  const int from = (comm.rank() + comm.size() - 1) % comm.size();
  const size_t sizes[] = {0, 1, 4095, 4096, 65535, 65536, 65537, 1 << 20, 64 << 20};
  int tag = 0;
  for (const size_t size : sizes) {
    ok(comm.send(to, tag, pattern(size, comm.rank() + size)));
    if (auto message = next(comm)) {
      EXPECT_EQ(message->from, from);
      EXPECT_EQ(message->tag, tag);
      EXPECT_TRUE(message->bytes == pattern(size, from + size)) << size;
    }
    ++tag;
  }
  ok(comm.flush(patience));
}

// Order between a pair holds although sizes are mixed, so that short messages could overtake.
inline void order(Comm& comm) {
  constexpr int count = 400;
  auto size_of = [](int i) { return i % 50 == 7 ? size_t{300000} : static_cast<size_t>(i * 37 % 5000); };
  for (int i = 0; i < count; ++i) {
    for (int to = 0; to < comm.size(); ++to) {
      if (to != comm.rank()) ok(comm.send(to, i, pattern(size_of(i), i)));
    }
  }
  std::map<int, int> seen;
  for (int i = 0; i < count * (comm.size() - 1); ++i) {
    auto message = next(comm);
    if (!message) break;
    EXPECT_EQ(message->tag, seen[message->from]++) << "from rank " << message->from;
    EXPECT_TRUE(message->bytes == pattern(size_of(message->tag), message->tag));
  }
  ok(comm.flush(patience));
  ok(comm.barrier(patience));
}

// Everybody sends to rank 0 at once, which answers each.
inline void fan_in(Comm& comm) {
  constexpr int count = 2000;
  if (comm.rank() != 0) {
    for (int i = 0; i < count; ++i) ok(comm.send(0, 5, pattern(i % 300, i)));
    ok(comm.send(0, 6, pattern(8 << 20, comm.rank())));
    const auto answer = next(comm);
    EXPECT_TRUE(answer && answer->tag == 7);
  } else {
    std::map<int, int> counts;
    int left = (count + 1) * (comm.size() - 1);
    for (; left > 0; --left) {
      auto message = next(comm);
      if (!message) break;
      if (message->tag == 6) {
        EXPECT_EQ(counts[message->from], count);
        EXPECT_TRUE(message->bytes == pattern(8 << 20, message->from));
        ok(comm.send(message->from, 7, {}));
      } else {
        EXPECT_TRUE(message->bytes == pattern(counts[message->from] % 300, counts[message->from]));
        ++counts[message->from];
      }
    }
    EXPECT_EQ(left, 0);
  }
  ok(comm.flush(patience));
  ok(comm.barrier(patience));
}

inline void collectives(Comm& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{100000}, size_t{3} << 20}) {
      Bytes bytes = comm.rank() == root ? pattern(size, root) : Bytes(17, 1);
      ok(comm.broadcast(root, &bytes, patience));
      EXPECT_TRUE(bytes == pattern(size, root));
      auto parts = comm.gather(root, pattern(size / 4 + comm.rank(), comm.rank()), patience);
      ok(parts.status());
      if (!parts.ok()) continue;
      EXPECT_EQ(parts->size(), comm.rank() == root ? static_cast<size_t>(comm.size()) : 0);
      for (size_t i = 0; i < parts->size(); ++i) EXPECT_TRUE((*parts)[i] == pattern(size / 4 + i, i));
    }
    ok(comm.barrier(patience));
  }
  Bytes none;
  EXPECT_FALSE(comm.broadcast(comm.size(), &none, patience).ok());
}

// A root that is late in receive() must not take a part of a gather for a message.
inline void early_gather(Comm& comm) {
  if (comm.rank() == 0) {
    auto message = comm.receive(50ms);
    EXPECT_TRUE(message.ok() && !message->has_value());
  }
  auto parts = comm.gather(0, pattern(1000, comm.rank()), patience);
  ok(parts.status());
  if (parts.ok() && comm.rank() == 0) {
    for (int i = 0; i < comm.size(); ++i) EXPECT_TRUE((*parts)[i] == pattern(1000, i));
  }
}

// Waiting ends at its deadline, and a rank that is not there is a Status.
inline void deadlines(Comm& comm) {
  auto nothing = comm.receive(0s);
  EXPECT_TRUE(nothing.ok() && !nothing->has_value());
  const auto begin = Clock::now();
  nothing = comm.receive(30ms);
  EXPECT_TRUE(nothing.ok() && !nothing->has_value());
  EXPECT_GE(Clock::now() - begin, 30ms);
  ok(comm.flush(0s));
  ok(comm.barrier(patience));
}

// Run last: afterwards the world has no collectives any more.
inline void absent_rank(Comm& comm) {
  ok(comm.barrier(patience));
  if (comm.size() == 1) return;
  if (comm.rank() == 0) {
    EXPECT_FALSE(comm.barrier(50ms).ok());
  } else {
    std::this_thread::sleep_for(200ms);
  }
  // Point to point goes on.
  const int to = (comm.rank() + 1) % comm.size();
  ok(comm.send(to, 9, pattern(10, comm.rank())));
  const auto message = next(comm);
  EXPECT_TRUE(message && message->tag == 9);
  ok(comm.flush(patience));
}

struct Check {
  const char* name;
  void (*run)(Comm&);
};
inline void PrintTo(const Check& check, std::ostream* out) { *out << check.name; }

inline const Check checks[] = {
    {"world", world},     {"ring", ring},           {"order", order},         {"fan_in", fan_in},
    {"collectives", collectives}, {"early_gather", early_gather}, {"deadlines", deadlines},
};

}  // namespace llmc::comm_suite
