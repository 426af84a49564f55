#include "archive/lock.h"

#include <sys/wait.h>

#include <csignal>

#include "fixture.h"

namespace llmc::test {
namespace {

std::string holder_text(const std::string& host, int64_t pid, uint64_t start, const std::string& boot) {
  return "{\"host\":\"" + host + "\",\"pid\":" + std::to_string(pid) + ",\"process_start\":" + std::to_string(start) +
         ",\"boot\":\"" + boot + "\",\"slurm_job\":\"4711\",\"since\":\"2024-01-01T00:00:00Z\"}";
}

TEST(Lock, OneHolderWhoIsNamed) {
  TempDir dir;
  auto lock = Lock::acquire(dir / "lock");
  ASSERT_TRUE(lock.ok()) << lock.status().message();
  auto holder = Lock::read(dir / "lock");
  ASSERT_TRUE(holder.ok());
  EXPECT_EQ(holder->pid, ::getpid());
  EXPECT_FALSE(Lock::is_stale(*holder));
  const Status second = Lock::acquire(dir / "lock").status();
  EXPECT_EQ(second.code(), Code::locked);
  EXPECT_NE(second.message().find("process " + std::to_string(::getpid())), std::string::npos) << second.message();
  EXPECT_EQ(Lock::acquire(dir / "lock", true).status().code(), Code::locked) << "its holder lives";
  lock->release();
  EXPECT_FALSE(fs::exists(dir / "lock"));
  EXPECT_EQ(Lock::read(dir / "lock").status().code(), Code::missing);
  EXPECT_TRUE(Lock::acquire(dir / "lock").ok());
}

TEST(Lock, AKilledHoldersLockIsTakenOver) {
  TempDir dir;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto lock = Lock::acquire(dir / "lock");
    const char done = lock.ok() ? 'y' : 'n';
    if (::write(pipe_ends[1], &done, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char done = 0;
  ASSERT_EQ(::read(pipe_ends[0], &done, 1), 1);
  ASSERT_EQ(done, 'y');
  const Status status = Lock::acquire(dir / "lock").status();
  EXPECT_EQ(status.code(), Code::locked);
  EXPECT_NE(status.message().find("process " + std::to_string(child)), std::string::npos) << status.message();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(fs::exists(dir / "lock"));
  EXPECT_TRUE(Lock::acquire(dir / "lock").ok());
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST(Lock, StaleOrNot) {
  TempDir dir;
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  LockHolder me;
  {
    auto lock = Lock::acquire(dir / "lock");
    ASSERT_TRUE(lock.ok());
    me = *Lock::read(dir / "lock");
  }
  auto write = [&](const std::string& text) { ASSERT_TRUE(write_file_atomic(dir / "lock", as_bytes(text)).ok()); };
  // Another host: nobody here can tell.
  write(holder_text("elsewhere", 1, 5, "x"));
  const Status foreign = Lock::acquire(dir / "lock").status();
  EXPECT_EQ(foreign.code(), Code::locked);
  EXPECT_NE(foreign.message().find("elsewhere"), std::string::npos);
  EXPECT_NE(foreign.message().find("4711"), std::string::npos);
  EXPECT_TRUE(Lock::acquire(dir / "lock", true).ok());
  // This host, no such process.
  write(holder_text(host, 4'000'000, 5, me.boot));
  EXPECT_TRUE(Lock::acquire(dir / "lock").ok());
  // This host, the number came round again.
  write(holder_text(host, ::getpid(), me.process_start + 1, me.boot));
  EXPECT_TRUE(Lock::acquire(dir / "lock").ok());
  // This host, before it was started anew.
  write(holder_text(host, ::getpid(), me.process_start, "another-boot"));
  EXPECT_TRUE(Lock::acquire(dir / "lock").ok());
  // This very process, without a flock (a file system that has none).
  write(holder_text(host, ::getpid(), me.process_start, me.boot));
  EXPECT_EQ(Lock::acquire(dir / "lock").status().code(), Code::locked);
  // Killed between creating and writing; and rubbish.
  for (const char* text : {"", "{", "{\"host\":3}", "[]", "{\"host\":\"\",\"pid\":-1}"}) {
    write(text);
    EXPECT_TRUE(Lock::acquire(dir / "lock").ok()) << text;
  }
}

// Slurm starts a job again only when its earlier start has ended, perhaps on another host.
TEST(Lock, AnEarlierStartOfThisSlurmJobIsGone) {
  TempDir dir;
  const auto write = [&](int restart) {
    const std::string text = "{\"host\":\"elsewhere\",\"pid\":1,\"process_start\":5,\"boot\":\"x\",\"slurm_job\":\"4711\",\"slurm_restart\":" +
                             std::to_string(restart) + ",\"since\":\"2024-01-01T00:00:00Z\"}";
    ASSERT_TRUE(write_file_atomic(dir / "lock", as_bytes(text)).ok());
  };
  const auto acquired = [&](const char* job, const char* restarts) {
    ::setenv("SLURM_JOB_ID", job, 1);
    ::setenv("SLURM_RESTART_COUNT", restarts, 1);
    const Status status = Lock::acquire(dir / "lock").status();
    ::unsetenv("SLURM_JOB_ID");
    ::unsetenv("SLURM_RESTART_COUNT");
    return status.ok();
  };
  write(1);
  EXPECT_FALSE(acquired("4711", "1")) << "two programs of one start";
  EXPECT_FALSE(acquired("4711", "0"));
  EXPECT_FALSE(acquired("4712", "2")) << "another job";
  EXPECT_FALSE(Lock::acquire(dir / "lock").ok()) << "outside Slurm";
  EXPECT_TRUE(acquired("4711", "2"));
}

TEST(Lock, ManyProcessesOneHolder) {
  TempDir dir;
  LLMC_ASSERT_OK(write_file_atomic(dir / "lock", as_bytes("")));  // stale, so that all want to take it over
  LLMC_ASSERT_OK(write_file_atomic(dir / "count", as_bytes("0")));
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int done = 0;
      for (int tries = 0; done < 20 && tries < 1'000'000; ++tries) {
        auto lock = Lock::acquire(dir / "lock");
        if (!lock.ok()) continue;
        const int count = std::stoi(std::string(as_text(*read_file(dir / "count"))));
        const std::string next = std::to_string(count + 1);
        auto file = File::create(dir / "count");
        if (!file.ok() || !file->write(as_bytes(next)).ok()) ::_exit(1);
        ++done;
      }
      ::_exit(done == 20 ? 0 : 2);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(as_text(*read_file(dir / "count")), "120");
}

TEST(Lock, OneWriterPerOutput) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  auto first = SetWriter::open(dir / "out", c.plan());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(SetWriter::open(dir / "out", c.plan()).status().code(), Code::locked);
  SetOptions replace;
  replace.mode = SetMode::replace;
  EXPECT_EQ(SetWriter::open(dir / "out", c.plan(), replace).status().code(), Code::locked);
  LLMC_ASSERT_OK(put_all(**first, c));
  EXPECT_TRUE((*first)->finish().ok());
}

}  // namespace
}  // namespace llmc::test
