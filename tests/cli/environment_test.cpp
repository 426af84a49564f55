// The same input gives the same archive for whoever makes it, wherever and whenever.
#include <unistd.h>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class Environment : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in/a.txt", cut("enwik6", 9000));
    spill(dir / "in/b/c.txt", cut("fra.txt", 5000));
    ASSERT_EXIT_CODE(llmc(arguments(dir / "here")), 0);
    fs::permissions(dir.path(), fs::perms(0755));
  }
  std::string arguments(const std::string& out) const {
    return "compress " + (dir / "in") + " -q -o " + out + " --chunk 2K --shard 6K --engine native --parity 5% --verify 50%";
  }
  const TempDir dir;
};

TEST_F(Environment, AnotherDayZoneAndLanguage) {
  const std::string words = "TZ=Asia/Tokyo LC_ALL=tr_TR.UTF-8 LANG=tr_TR.UTF-8 COLUMNS=40 ";
  ASSERT_EXIT_CODE(shell(words + product() + " " + arguments(dir / "there")), 0);
  expect_same(dir / "here", dir / "there");
  if (shell("command -v faketime").code != 0) GTEST_SKIP() << "not run: no faketime";
  // The clock alone: files keep their times, and timeouts go by the steady clock.
  ASSERT_EXIT_CODE(shell("NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1 faketime '2037-12-31 23:59:58' " + product() + " " + arguments(dir / "then")), 0);
  expect_same(dir / "here", dir / "then");
}

TEST_F(Environment, AnotherUser) {
  const std::string as = "setpriv --reuid=65534 --regid=65534 --clear-groups env -i HOME=/ PATH=$PATH ";
  if (::geteuid() != 0 || shell(as + "test -x " + product()).code != 0) GTEST_SKIP() << "not run: only root can be another user";
  fs::create_directory(dir / "theirs");
  ASSERT_EQ(::chown((dir / "theirs").c_str(), 65534, 65534), 0);
  ASSERT_EXIT_CODE(shell("umask 077; cd " + (dir / "theirs") + "; " + as + product() + " " + arguments(dir / "theirs/set")), 0);
  expect_same(dir / "here", dir / "theirs/set");
}

}  // namespace
}  // namespace llmc::test
