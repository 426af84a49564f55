// Runs under mpirun (tests/comm/mpi_main.cpp).
#include <gtest/gtest.h>

#include <cstdlib>

#include "cluster/placement.h"
#include "comm/mpi_comm.h"

namespace llmc {
namespace {

TEST(MpiPlacement, EveryRankKnowsItsPlace) {
  auto comm = make_mpi_comm();
  ASSERT_TRUE(comm.ok());
  const auto p = place(**comm, 0, std::chrono::seconds(60));
  ASSERT_TRUE(p.ok()) << p.status().message();
  const int size = (*comm)->size(), rank = (*comm)->rank();
  EXPECT_EQ(p->local_rank, rank);  // one machine
  EXPECT_EQ(p->ranks_here, size);
  EXPECT_EQ(p->workers_here, std::max(1, size - 1));
  EXPECT_EQ(p->worker, size == 1 || rank != 0);
  // With two ranks Open MPI binds each to one core by default: that is undone.
  if (size == 2 && !std::getenv("OMPI_MCA_hwloc_base_binding_policy")) {
    EXPECT_EQ(p->threads, rank == 0 ? 1 : p->cores);
    EXPECT_TRUE(rank == 0 || p->note.empty() || p->cores > 1) << p->note;
  }
  EXPECT_GE(p->threads, 1);
  EXPECT_LE(p->threads, p->cores);
}

}  // namespace
}  // namespace llmc
