#include "dispatch/protocol.h"

#include <gtest/gtest.h>

#include <random>

namespace llmc::protocol {
namespace {

template <class T, class F>
bool parse(const Bytes& bytes, T* out, F decode_body) {
  ByteReader in(bytes);
  Header h;
  return decode(in, &h) && decode_body(in, out);
}

Heartbeat sample() {
  Heartbeat h;
  h.sequence = 300;
  h.identity = "1.0 model";
  h.ready = h.wants_drain = true;
  h.streams = 64;
  h.tokens = 1'000'000'007;
  h.life = {5, 0, 1'000'000};
  h.held = {{1, 0}, {2, 3}, {1u << 30, 1}};
  return h;
}

Bytes sample_leases() {
  LeaseWriter out({7});
  out.add(9, {1234567890123, Bytes{1, 2, 3}, 99});
  out.add(10, {5, {}, 0});
  return out.take();
}

Bytes sample_outcomes() {
  OutcomeWriter out({7});
  out.add({9, 1234567890123, {}, Bytes{4, 5}});
  out.add({10, 5, Status(Code::range, "too hot"), {}});
  return out.take();
}

TEST(Protocol, MessagesComeBack) {
  Heartbeat h;
  const Bytes beat = encode(Header{7}, sample());
  ASSERT_TRUE(parse(beat, &h, [](auto& in, auto* o) { return decode(in, o); }));
  EXPECT_EQ(h.sequence, 300u);
  EXPECT_EQ(h.identity, "1.0 model");
  EXPECT_TRUE(h.ready && h.wants_drain && !h.drained);
  EXPECT_EQ(h.life, (std::vector<uint64_t>{5, 0, 1'000'000}));
  ASSERT_EQ(h.held.size(), 3u);
  EXPECT_EQ(h.held[1].thread, 3u);

  std::vector<Lease> leases;
  ASSERT_TRUE(parse(sample_leases(), &leases, [](auto& in, auto* o) { return decode(in, o); }));
  ASSERT_EQ(leases.size(), 2u);
  EXPECT_EQ(leases[0].number, 9u);
  EXPECT_EQ(leases[0].task.id, 1234567890123u);
  EXPECT_EQ(leases[0].task.payload, (Bytes{1, 2, 3}));
  EXPECT_EQ(leases[0].task.size, 99u);

  std::vector<Outcome> outcomes;
  ASSERT_TRUE(parse(sample_outcomes(), &outcomes, [](auto& in, auto* o) { return decode(in, o); }));
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes[0].result, (Bytes{4, 5}));
  EXPECT_EQ(outcomes[1].status.code(), Code::range);
  EXPECT_EQ(outcomes[1].status.message(), "too hot");

  Status why;
  ASSERT_TRUE(parse(encode(Header{7}, Status(Code::model, "no")), &why,
                    [](auto& in, auto* o) { return decode(in, o); }));
  EXPECT_EQ(why.code(), Code::model);
  std::vector<uint64_t> numbers;
  ASSERT_TRUE(parse(encode(Header{7}, std::vector<uint64_t>{3, 1u << 20}), &numbers,
                    [](auto& in, auto* o) { return decode(in, o); }));
  EXPECT_EQ(numbers, (std::vector<uint64_t>{3, 1u << 20}));
}

// Cuts and random bytes: an answer, and no memory for counts that the bytes cannot hold.
TEST(Protocol, DamagedMessagesAreRefusedOrHarmless) {
  const std::vector<Bytes> samples = {encode(Header{7}, sample()), sample_leases(), sample_outcomes()};
  auto try_all = [](const Bytes& bytes) {
    Heartbeat h;
    std::vector<Lease> leases;
    std::vector<Outcome> outcomes;
    Status why;
    auto any = [](auto& in, auto* o) { return decode(in, o); };
    return int(parse(bytes, &h, any)) + int(parse(bytes, &leases, any)) + int(parse(bytes, &outcomes, any)) +
           int(parse(bytes, &why, any));
  };
  Heartbeat h;
  for (size_t cut = 0; cut < samples[0].size(); ++cut) {
    EXPECT_FALSE(parse(Bytes(samples[0].begin(), samples[0].begin() + cut), &h,
                       [](auto& in, auto* o) { return decode(in, o); })) << cut;
  }
  std::mt19937 random(1);
  for (int n = 0; n < 20000; ++n) {
    Bytes bytes = samples[n % samples.size()];
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    bytes.resize(1 + random() % bytes.size());
    try_all(bytes);
  }
}

}  // namespace
}  // namespace llmc::protocol
