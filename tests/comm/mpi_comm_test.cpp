// Runs under mpirun (mpi_main.cpp): the suite of every Comm, over MPI.
#include "comm/mpi_comm.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "comm/comm_suite.h"

namespace llmc {
namespace {

class MpiComm : public testing::TestWithParam<comm_suite::Check> {};

TEST_P(MpiComm, Suite) {
  auto comm = make_mpi_comm();
  ASSERT_TRUE(comm.ok()) << comm.status().message();
  GetParam().run(**comm);
}

INSTANTIATE_TEST_SUITE_P(Comm, MpiComm, testing::ValuesIn(comm_suite::checks),
                         [](const auto& info) { return std::string(info.param.name); });

// A large message waits for its receiver, and flush() says for whom.
TEST(MpiFlush, NamesTheRankThatDoesNotReceive) {
  using namespace std::chrono_literals;
  auto made = make_mpi_comm();
  ASSERT_TRUE(made.ok());
  Comm& comm = **made;
  comm_suite::ok(comm.barrier(comm_suite::patience));
  if (comm.size() > 1 && comm.rank() == 0) {
    comm_suite::ok(comm.send(1, 3, comm_suite::pattern(8 << 20, 3)));
    const Status s = comm.flush(20ms);
    EXPECT_NE(s.message().find("rank 1"), std::string::npos) << s.message();
    comm_suite::ok(comm.send(1, 4, {}));
    // Still there, and complete once somebody takes it.
    comm_suite::ok(comm.flush(comm_suite::patience));
  } else if (comm.rank() == 1) {
    std::this_thread::sleep_for(300ms);
    const auto message = comm_suite::next(comm);
    EXPECT_TRUE(message && message->bytes == comm_suite::pattern(8 << 20, 3));
    const auto second = comm_suite::next(comm);
    EXPECT_TRUE(second && second->tag == 4);
  }
  comm_suite::ok(comm.barrier(comm_suite::patience));
}

TEST(MpiSession, KnowsItsLauncher) {
  EXPECT_TRUE(launched_by_mpi());
  EXPECT_FALSE(MpiSession::start().ok());  // main() did
}

TEST(MpiWorldLast, AbsentRankIsAStatus) {
  auto comm = make_mpi_comm();
  ASSERT_TRUE(comm.ok()) << comm.status().message();
  comm_suite::absent_rank(**comm);
}

}  // namespace
}  // namespace llmc
