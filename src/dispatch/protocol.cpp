#include "dispatch/protocol.h"

namespace llmc::protocol {
namespace {

ByteWriter begin(Header header) {
  ByteWriter out;
  out.varint(header.session);
  return out;
}

void put(ByteWriter& out, const Status& status) {
  out.u8(static_cast<uint8_t>(status.code()));
  out.string(status.message());
}

bool get(ByteReader& in, Status* status) {
  const uint8_t code = in.u8();
  const std::string_view message = in.string();
  if (!in.ok() || code > static_cast<uint8_t>(Code::range)) return false;
  *status = Status(static_cast<Code>(code), std::string(message));
  return true;
}

}  // namespace

Bytes encode(Header header) { return begin(header).take(); }

Bytes encode(Header header, const Heartbeat& h) {
  ByteWriter out = begin(header);
  out.varint(h.sequence);
  out.string(h.identity);
  out.u8(static_cast<uint8_t>(h.ready | h.drained << 1 | h.wants_drain << 2));
  out.varint(h.streams);
  out.varint(h.tokens);
  out.varint(h.life.size());
  for (const uint64_t life : h.life) out.varint(life);
  out.varint(h.held.size());
  for (const Held& held : h.held) {
    out.varint(held.lease);
    out.varint(held.thread);
  }
  return out.take();
}

bool decode(ByteReader& in, Heartbeat* h) {
  h->sequence = in.varint();
  h->identity = in.string();
  const uint8_t flags = in.u8();
  h->ready = flags & 1;
  h->drained = flags & 2;
  h->wants_drain = flags & 4;
  const uint64_t streams = in.varint();
  h->tokens = in.varint();
  const uint64_t threads = in.varint();
  if (!in.ok() || flags > 7 || streams > 1'000'000 || threads > in.left()) return false;
  h->streams = static_cast<uint32_t>(streams);
  h->life.resize(threads);
  for (uint64_t& life : h->life) life = in.varint();
  const uint64_t count = in.varint();
  if (!in.ok() || count > in.left() / 2) return false;
  h->held.resize(count);
  for (Held& held : h->held) {
    held.lease = in.varint();
    const uint64_t thread = in.varint();
    if (thread > threads) return false;
    held.thread = static_cast<uint32_t>(thread);
  }
  return in.done();
}

Bytes encode(Header header, const Status& status) {
  ByteWriter out = begin(header);
  put(out, status);
  return out.take();
}

bool decode(ByteReader& in, Status* status) { return get(in, status) && in.done() && !status->ok(); }

Bytes encode(Header header, const std::vector<uint64_t>& leases) {
  ByteWriter out = begin(header);
  for (const uint64_t lease : leases) out.varint(lease);
  return out.take();
}

bool decode(ByteReader& in, std::vector<uint64_t>* leases) {
  leases->clear();
  while (in.left()) leases->push_back(in.varint());
  return in.ok();
}

LeaseWriter::LeaseWriter(Header header) : out_(begin(header)) {}

void LeaseWriter::add(uint64_t number, const Task& task) {
  empty_ = false;
  out_.varint(number);
  out_.u64(task.id);
  out_.varint(task.size);
  out_.string(as_text(task.payload));
}

bool decode(ByteReader& in, std::vector<Lease>* leases) {
  leases->clear();
  while (in.left()) {
    Lease lease;
    lease.number = in.varint();
    lease.task.id = in.u64();
    lease.task.size = in.varint();
    const ByteView payload = in.bytes(in.varint());
    if (!in.ok()) return false;
    lease.task.payload.assign(payload.begin(), payload.end());
    leases->push_back(std::move(lease));
  }
  return in.ok();
}

OutcomeWriter::OutcomeWriter(Header header) : out_(begin(header)) {}

void OutcomeWriter::add(const Outcome& outcome) {
  empty_ = false;
  out_.varint(outcome.lease);
  out_.u64(outcome.id);
  put(out_, outcome.status);
  out_.string(as_text(outcome.result));
}

bool decode(ByteReader& in, std::vector<Outcome>* outcomes) {
  outcomes->clear();
  while (in.left()) {
    Outcome outcome;
    outcome.lease = in.varint();
    outcome.id = in.u64();
    if (!get(in, &outcome.status)) return false;
    const ByteView result = in.bytes(in.varint());
    if (!in.ok()) return false;
    outcome.result.assign(result.begin(), result.end());
    outcomes->push_back(std::move(outcome));
  }
  return in.ok();
}

bool decode(ByteReader& in, Header* header) {
  const uint64_t session = in.varint();
  header->session = static_cast<uint32_t>(session);
  return in.ok() && session == header->session;
}

}  // namespace llmc::protocol
