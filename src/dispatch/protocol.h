// The messages between coordinator (rank 0) and workers: what stands in them, and parsers
// that believe nothing.
//
//   worker -> coordinator            coordinator -> worker
//   heartbeat  I live, I hold these  lease   do these
//   results    these are done        forget  drop these if you have not begun
//   fatal      the job cannot go on  drain   drop all that you have not begun
//   goodbye    my threads have ended ping    I live
//                                    stop    no more comes, give up what you hold
//                                    leave   everybody has said goodbye
//
// A worker is driven by what it is sent and asks for nothing: results and heartbeats tell
// the coordinator how much it can take. Everything but leave is repeated or harmless to
// lose, to double and to reorder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "dispatch/job.h"

namespace llmc::protocol {

enum Tag : int {
  heartbeat = 1, results = 2, fatal = 3, goodbye = 4,
  lease = 16, forget = 17, drain = 18, ping = 19, stop = 20, leave = 21,
};

// Messages of another session are late ones of an earlier job on the same Comm.
struct Header {
  uint32_t session = 0;
};

struct Held {
  uint64_t lease = 0;
  uint32_t thread = 0;  // 0: waits in the queue; else 1 + the compute thread that took it
};

struct Heartbeat {
  uint64_t sequence = 0;  // rising, from 1
  std::string identity;   // of program and model: must be the coordinator's
  bool ready = false;     // start() is done; `streams` holds
  bool drained = false;   // heard drain: what is not in `held` will not be done
  bool wants_drain = false;
  uint32_t streams = 0;
  uint64_t tokens = 0;
  std::vector<uint64_t> life;  // per compute thread: grows with each sign of progress
  std::vector<Held> held;
};

struct Lease {
  uint64_t number = 0;  // never used twice in a session
  Task task;
};

struct Outcome {
  uint64_t lease = 0;
  uint64_t id = 0;
  Status status;
  Bytes result;  // where status is ok
};

Bytes encode(Header header);  // drain, ping, stop, goodbye, leave
Bytes encode(Header header, const Heartbeat& heartbeat);
Bytes encode(Header header, const Status& status);             // fatal
Bytes encode(Header header, const std::vector<uint64_t>& leases);  // forget

// Several in one message, as long as it stays short; larger ones go alone.
constexpr size_t batch_bytes = size_t{4} << 20;
class LeaseWriter {
 public:
  explicit LeaseWriter(Header header);
  void add(uint64_t number, const Task& task);
  size_t size() const { return out_.size(); }
  bool empty() const { return empty_; }
  Bytes take() { return out_.take(); }

 private:
  ByteWriter out_;
  bool empty_ = true;
};
class OutcomeWriter {
 public:
  explicit OutcomeWriter(Header header);
  void add(const Outcome& outcome);
  size_t size() const { return out_.size(); }
  bool empty() const { return empty_; }
  Bytes take() { return out_.take(); }

 private:
  ByteWriter out_;
  bool empty_ = true;
};

// False where the bytes are not such a message.
bool decode(ByteReader& in, Header* header);  // first, of every message
bool decode(ByteReader& in, Heartbeat* heartbeat);
bool decode(ByteReader& in, Status* status);
bool decode(ByteReader& in, std::vector<uint64_t>* leases);
bool decode(ByteReader& in, std::vector<Lease>* leases);
bool decode(ByteReader& in, std::vector<Outcome>* outcomes);

}  // namespace llmc::protocol
