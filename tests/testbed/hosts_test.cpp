// mpirun over three hosts with a real network between them, and what becomes of a run when hosts and cables fail.
#include <signal.h>

#include <atomic>
#include <thread>

#include "testbed/corpus.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

const std::string script = quoted(LLMC_SOURCE_DIR "/tools/testbed/hosts.sh");

// Only h1 sees folder h1: inputs, archives and outputs lie there.
class Hosts : public testing::Test {
 protected:
  void SetUp() override {
    if (!long_tier()) GTEST_SKIP() << "not run: long test (./test.sh --all)";
    const std::string why = shell(script + " missing").out;
    if (!why.empty()) GTEST_SKIP() << "not run: no network of hosts (" << why.substr(0, why.find('\n')) << ")";
    const Outcome made = shell(script + " start " + net);
    ASSERT_EQ(made.code, 0) << made.err;
    running_ = true;
  }
  void TearDown() override {
    if (running_) shell(script + " stop " + net);
  }
  void corpus(double seconds) {
    make_corpus(home + "/in", seconds);
    make_reference(home + "/in", home + "/reference");
  }

  // On all hosts: rank 0 and a worker on h1, one worker on each of the others.
  std::string on_all_hosts(const std::string& arguments, const std::string& ranks = "2,1,1") {
    // As docs/OPERATIONS.md says it, with shorter times: mpirun notices a silent host after ten seconds.
    const std::string keepalive = "--mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 ";
    return "cd " + home + "; " + script + " mpirun " + net + " " + ranks + " " + keepalive + product() + " " + arguments;
  }
  std::string compress(const std::string& more = "") const {
    return "compress " + home + "/in -o " + home + "/set --resume " + coding + " " + more;
  }

  // Runs the job, does something in its middle, and waits for its end: at most `limit` after that.
  Outcome disturbed(const std::string& command, const std::function<void()>& disturb, std::chrono::seconds limit) {
    Outcome outcome;
    std::atomic<bool> over = false;
    std::thread job([&] {
      outcome = shell(command);
      over = true;
    });
    for (int i = 0; i < 600 && spooled() < 3000 && !over; ++i) std::this_thread::sleep_for(100ms);
    EXPECT_FALSE(over) << "was done before anything could happen to it:\n" << explain(outcome);
    disturb();
    const auto begin = Clock::now();
    while (!over && Clock::now() - begin < limit) std::this_thread::sleep_for(100ms);
    took = std::chrono::duration<double>(Clock::now() - begin).count();
    EXPECT_TRUE(over) << "still there after " << limit.count() << " s";
    if (!over) shell(script + " stop " + net + "; " + script + " start " + net);
    job.join();
    return outcome;
  }
  uintmax_t spooled() const {
    uintmax_t sum = 0;
    std::error_code error;
    for (const auto& item : fs::recursive_directory_iterator(home + "/set", error)) {
      if (item.path().filename().string().starts_with("spool-")) sum += item.file_size(error);
    }
    return sum;
  }
  void host(const std::string& verb) { EXPECT_EQ(shell(script + " " + verb).code, 0) << verb; }
  std::vector<pid_t> workers_on(const std::string& name) {
    std::vector<pid_t> found;
    std::istringstream pids(shell(script + " pids " + net + " " + name).out);
    for (pid_t pid; pids >> pid;) {
      if (slurp("/proc/" + std::to_string(pid) + "/comm") == "llmc-batch\n") found.push_back(pid);
    }
    return found;
  }
  // After whatever happened: the same command ends with the same set, on the hosts that are left.
  void expect_resumes() {
    Outcome again;
    for (int i = 0; i < 100; ++i) {
      again = shell("cd " + home + "; " + script + " run " + net + " h1 " + product() + " " + compress());
      if (again.code != 11) break;
      std::this_thread::sleep_for(100ms);
    }
    EXPECT_EXIT_CODE(again, 0);
    expect_same(home + "/reference", home + "/set");
  }

  const TempDir dir;
  const std::string net = dir / "net", home = dir / "net/h1";
  double took = 0;

 private:
  bool running_ = false;
};

TEST_F(Hosts, CompressAndExtractWithoutASharedFileSystem) {
  corpus(10);
  EXPECT_EXIT_CODE(shell(on_all_hosts(compress())), 0);
  expect_same(home + "/reference", home + "/set");
  EXPECT_EXIT_CODE(shell(on_all_hosts("extract " + home + "/set -o " + home + "/out")), 0);
  expect_same(home + "/in", home + "/out/in");
  EXPECT_EXIT_CODE(shell(on_all_hosts("verify " + home + "/set --data")), 0);
}

TEST_F(Hosts, UnevenRanksGiveTheSameSet) {
  corpus(4);
  for (const char* ranks : {"1,2,3", "3,1,1", "1,1,0"}) {
    fs::remove_all(home + "/set");
    EXPECT_EXIT_CODE(shell(on_all_hosts(compress(), ranks)), 0);
    expect_same(home + "/reference", home + "/set");
  }
}

TEST_F(Hosts, ASlowNetworkCostsOnlyTime) {
  corpus(10);
  host("slow " + net + " h3 tbf rate 400kbit burst 8kb latency 4s");
  EXPECT_EXIT_CODE(shell(on_all_hosts(compress())), 0);
  expect_same(home + "/reference", home + "/set");
}

TEST_F(Hosts, ALossyNetworkCostsOnlyTime) {
  corpus(10);
  const Outcome bad = shell(script + " slow " + net + " h3 netem delay 100ms loss 2%");
  if (bad.code == 77) GTEST_SKIP() << "not run: this kernel cannot lose packets (no netem)";
  EXPECT_EXIT_CODE(bad, 0);
  EXPECT_EXIT_CODE(shell(on_all_hosts(compress())), 0);
  expect_same(home + "/reference", home + "/set");
}

// A worker that stands still loses its chunks to others after --lease, and comes back later as if nothing had been.
TEST_F(Hosts, AFrozenWorkerLosesItsChunksAndComesBack) {
  corpus(90);  // still at work when the worker is back
  const Outcome run = disturbed(on_all_hosts(compress("--lease 5")), [&] {
    const auto frozen = workers_on("h3");
    ASSERT_EQ(frozen.size(), 1u);
    ::kill(frozen[0], SIGSTOP);
    std::this_thread::sleep_for(12s);
    ::kill(frozen[0], SIGCONT);
  }, 300s);
  EXPECT_EXIT_CODE(run, 0);
  EXPECT_NE(run.err.find("reissued"), std::string::npos) << run.err;
  expect_same(home + "/reference", home + "/set");
}

// One that stands still for ever: the others finish the archive and it is committed; then the job is ended, as MPI cannot end
// in order. What is run again by rote finds it done.
TEST_F(Hosts, AWorkerFrozenForEverDoesNotKeepTheArchiveBack) {
  corpus(25);
  std::vector<pid_t> frozen;
  const Outcome run = disturbed(on_all_hosts(compress("--lease 5")), [&] {
    frozen = workers_on("h3");
    ASSERT_EQ(frozen.size(), 1u);
    ::kill(frozen[0], SIGSTOP);
  }, 300s);
  EXPECT_EXIT_CODE(run, 137);
  EXPECT_NE(run.err.find("worker 3 is lost"), std::string::npos) << run.err;
  for (const pid_t pid : frozen) ::kill(pid, SIGKILL);
  expect_same(home + "/reference", home + "/set");
  expect_resumes();
}

TEST_F(Hosts, AKilledWorkerEndsTheJobAtOnce) {
  corpus(25);
  const Outcome run = disturbed(on_all_hosts(compress()), [&] {
    for (const pid_t pid : workers_on("h2")) ::kill(pid, SIGKILL);
  }, 60s);
  EXPECT_GT(run.code, 128);
  expect_resumes();
}

TEST_F(Hosts, AHostWithoutPowerEndsTheJobInTime) {
  corpus(25);
  const Outcome run = disturbed(on_all_hosts(compress("--lease 5")), [&] { host("kill " + net + " h3"); }, 180s);
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("lost"), std::string::npos) << run.err;
  expect_resumes();
}

TEST_F(Hosts, ACutCableEndsTheJobInTime) {
  corpus(25);
  const Outcome run = disturbed(on_all_hosts(compress("--lease 5")), [&] { host("cut " + net + " h2"); }, 180s);
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("lost"), std::string::npos) << run.err;
  host("heal " + net + " h2");
  expect_resumes();
}

// Shorter than the lease and than what mpirun's last probes take (6 s here): nobody notices.
TEST_F(Hosts, ACableThatComesBackCostsOnlyTime) {
  corpus(45);
  const Outcome run = disturbed(on_all_hosts(compress("--lease 60")), [&] {
    host("cut " + net + " h2");
    std::this_thread::sleep_for(3s);
    host("heal " + net + " h2");
  }, 300s);
  EXPECT_EXIT_CODE(run, 0);
  expect_same(home + "/reference", home + "/set");
}

}  // namespace
}  // namespace llmc::test
