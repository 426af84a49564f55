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
