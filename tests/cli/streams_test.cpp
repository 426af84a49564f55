// How many threads compute beside a device.
#include <gtest/gtest.h>

#include <cstdlib>

#include "commands/streams.h"
#include "model/session.h"

namespace llmc {
namespace {

// A device with room for `room` streams in all, less 100 for each session.
class FakeDevice final : public Engine {
 public:
  FakeDevice(int sessions, int room) : sessions_(sessions), room_(room) {}
  std::string name() const override { return "fake"; }
  const Model& model() const override { std::abort(); }
  int good_sessions() const override { return sessions_; }
  int good_streams(int sessions, int) const override { return room_ / sessions - 100; }
  Result<std::unique_ptr<Session>> make_session(int, int) override { return Status(Code::failure, "none"); }

 private:
  int sessions_, room_;
};

TEST(DefaultSessions, AreTheCoresOfACpu) {
  EXPECT_EQ(default_sessions(FakeDevice(0, 0), true, 512, 12), 12);
  EXPECT_EQ(default_sessions(FakeDevice(0, 0), false, 512, 1), 1);
}

TEST(DefaultSessions, OfADeviceAreMoreWhereTheHostMixes) {
  const FakeDevice large(2, 100000), middling(2, 1800), small(2, 300);
  EXPECT_EQ(default_sessions(large, false, 512, 16), 2);
  EXPECT_EQ(default_sessions(large, true, 512, 16), 8);
  EXPECT_EQ(default_sessions(large, true, 512, 5), 5);
  EXPECT_EQ(default_sessions(large, true, 512, 1), 2);
  EXPECT_EQ(default_sessions(middling, true, 512, 16), 5);  // six would have room for 200 each
  EXPECT_EQ(default_sessions(small, true, 512, 16), 2);
}

}  // namespace
}  // namespace llmc
