// append: new documents become new shards of a finished set; what is there stays, and a kill at any point loses neither.
#include <csignal>
#include <set>

#include "cli/product.h"

namespace llmc::test {
namespace {

namespace fs = std::filesystem;

class Append : public testing::Test {
 protected:
  void SetUp() override {
    spill(dir / "in/a.txt", cut("enwik6", 5000));
    spill(dir / "in/sub/b.txt", cut("fra.txt", 4000));
    fs::create_directories(dir / "in/empty");
    spill(dir / "new/c.txt", cut("code.txt", 5000));
    spill(dir / "new/sub/d.txt", cut("deu.txt", 3000));
    fs::create_symlink("c.txt", dir / "new/link");
  }
  Outcome compress(const std::string& input, const std::string& out, const std::string& more = "") {
    return llmc("compress " + input + " -o " + (dir / out) + " --chunk 1K --shard 3K -q " +
                (more.starts_with("--codec") ? "" : "--engine native ") + more);
  }
  Outcome append(const std::string& input, const std::string& out, const std::string& more = "", int ranks = 0) {
    return llmc("append " + input + " -o " + (dir / out) + " --engine native " + more, ranks);
  }
  std::string content(const std::string& set) {
    const std::string text = llmc("info " + (dir / set) + " --json").out;
    const size_t at = text.find("content_sha256");
    return at == text.npos ? text : text.substr(at + 18, 64);
  }
  const TempDir dir;
};

TEST_F(Append, GivesBackBoth) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set"), 0);
  const std::string first = slurp(dir / "set/shard-000000.h5");
  const Outcome done = append(dir / "new", "set");
  ASSERT_EXIT_CODE(done, 0);
  EXPECT_NE(done.out.find("appended 5 entries, 8000 bytes"), std::string::npos) << done.out;
  ASSERT_EXIT_CODE(shell("cat " + text_file("law.txt") + " | head -c 2000 | " + product() + " append - -o " + (dir / "set") + " -q"), 0);
  EXPECT_EQ(slurp(dir / "set/shard-000000.h5"), first);
  EXPECT_FALSE(fs::exists(dir / "set/.work"));
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "set") + " --data"), 0);
  ASSERT_EXIT_CODE(llmc("extract " + (dir / "set") + " -o " + (dir / "out") + " -q", 3), 0);
  EXPECT_EQ(shell("diff -r --no-dereference " + (dir / "in") + " " + (dir / "out/in")).code, 0);
  EXPECT_EQ(shell("diff -r --no-dereference " + (dir / "new") + " " + (dir / "out/new")).code, 0);
  EXPECT_EQ(slurp(dir / "out/stdin"), cut("law.txt", 2000));

  const std::string all = cut("enwik6", 5000) + cut("fra.txt", 4000) + cut("code.txt", 5000) + cut("deu.txt", 3000) + cut("law.txt", 2000);
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q").out, all);
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --range 8990:9010").out, all.substr(8990, 20));
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --document new/sub/d.txt").out, cut("deu.txt", 3000));
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --document new --document in/a.txt").out,
            cut("enwik6", 5000) + cut("code.txt", 5000) + cut("deu.txt", 3000));
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --document 'new/c*' --range 10:20").out, cut("code.txt", 20).substr(10));
  // Shards by their number in the set; each is an archive too.
  std::string by_shard;
  for (int s = 0; fs::exists(dir / ("set/shard-00000" + std::to_string(s) + ".h5")); ++s) {
    const std::string one = llmc("extract " + (dir / "set") + " -o - -q --shard " + std::to_string(s)).out;
    EXPECT_EQ(llmc("extract " + (dir / ("set/shard-00000" + std::to_string(s) + ".h5")) + " -o - -q").out, one);
    by_shard += one;
  }
  EXPECT_EQ(by_shard, all);
  const std::string list = llmc("list " + (dir / "set")).out;
  EXPECT_NE(list.find(" in/sub/b.txt\n"), std::string::npos) << list;
  EXPECT_NE(list.find(" new/link -> c.txt\n"), std::string::npos) << list;
  // Files that are cut over shards have no line.
  EXPECT_EXIT_CODE(shell("cd " + (dir / "out") + " && " + product() + " list --sha256 " + (dir / "set") + " | sha256sum -c --quiet"), 0);
  const std::string info = llmc("info " + (dir / "set") + " --json").out;
  EXPECT_NE(info.find("\"parts\": 3"), std::string::npos) << info;
  EXPECT_NE(info.find("\"entries\": 11"), std::string::npos) << info;
  EXPECT_NE(llmc("status " + (dir / "set")).out.find("finished"), std::string::npos);
  // Without its manifest: what frames and indexes alone give.
  ASSERT_EXIT_CODE(shell("cp -a " + (dir / "set") + " " + (dir / "hurt") + " && rm " + (dir / "hurt/manifest.json")), 0);
  EXPECT_EXIT_CODE(llmc("salvage " + (dir / "hurt") + " -o " + (dir / "salvaged")), 0);
  EXPECT_EQ(shell("diff -r --no-dereference " + (dir / "out") + " " + (dir / "salvaged")).code, 0);
  // The shards are those that a set of its own has.
  ASSERT_EXIT_CODE(compress(dir / "new", "alone"), 0);
  EXPECT_EQ(slurp(dir / "alone/shard-000000.h5"), slurp(dir / "set/shard-000004.h5"));
}

TEST_F(Append, UnderMpirunTheSameBytes) {
  ASSERT_EXIT_CODE(compress(dir / "in", "one"), 0);
  ASSERT_EXIT_CODE(shell("cp -a " + (dir / "one") + " " + (dir / "three")), 0);
  ASSERT_EXIT_CODE(append(dir / "new", "one", "-q"), 0);
  ASSERT_EXIT_CODE(append(dir / "new", "three", "-q", 3), 0);
  expect_same(dir / "one", dir / "three");
}

TEST_F(Append, NamesThatAreThereAreRefusedOrSkipped) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set", "--codec zstd"), 0);
  const std::string before = content("set");
  spill(dir / "in/sub/new.txt", "new");
  const Outcome refused = append(dir / "in", "set");
  EXPECT_EXIT_CODE(refused, 1);
  EXPECT_NE(refused.err.find("in/a.txt: the set holds this name already"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("and 1 more"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--existing skip"), std::string::npos) << refused.err;
  EXPECT_EQ(content("set"), before);
  EXPECT_FALSE(fs::exists(dir / "set/.work"));
  // What is new goes in, the rest stays as it is; what has changed since is told.
  spill(dir / "in/a.txt", "changed");
  const Outcome skipped = append(dir / "in", "set", "--existing skip");
  EXPECT_EXIT_CODE(skipped, 0);
  EXPECT_NE(skipped.out.find("appended 1 entries, 3 bytes"), std::string::npos) << skipped.out;
  EXPECT_NE(skipped.out.find("2 names are in the set already"), std::string::npos) << skipped.out;
  EXPECT_NE(skipped.err.find("1 of the 2 inputs"), std::string::npos) << skipped.err;
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --document in/a.txt").out, cut("enwik6", 5000));
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q --document in/sub/new.txt").out, "new");
  const Outcome nothing = append(dir / "in", "set", "--existing skip");
  EXPECT_EXIT_CODE(nothing, 0);
  EXPECT_NE(nothing.out.find("nothing is new"), std::string::npos) << nothing.out;
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "set")), 0);
}

// An index of names that is whole, but of another set: names that it lacks are not let in twice.
TEST_F(Append, AnIndexOfAnotherSetLetsNothingInTwice) {
  for (const std::string name : {"set", "other"}) {
    if (name == "other") shell("cd " + dir.path().string() + " && mv in in2 && mv new new2");
    ASSERT_EXIT_CODE(compress(dir / (name == "set" ? "in" : "in2"), name, "--codec zstd"), 0);
    ASSERT_EXIT_CODE(append(dir / (name == "set" ? "new" : "new2"), name, "-q"), 0);
  }
  shell("cd " + dir.path().string() + " && mv new2 new && cp other/names-*.index set/");
  ASSERT_EQ(shell("cd " + dir.path().string() + "/set && ls names-*.index | wc -l").out, "1\n");
  const Outcome twice = append(dir / "new", "set");
  EXPECT_EXIT_CODE(twice, 1);
  EXPECT_NE(twice.err.find("holds this name already"), std::string::npos) << twice.err;
}

TEST_F(Append, WhatCannotStandTogetherIsRefused) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set", "--codec zstd"), 0);
  const auto refused = [&](const std::string& name, const std::string& why) {
    const Outcome outcome = append(dir / name, "set", "--existing skip");
    EXPECT_EXIT_CODE(outcome, 1);
    EXPECT_NE(outcome.err.find(why), std::string::npos) << outcome.err;
  };
  spill(dir / "x/in/a.txt/below", "1");
  refused("x/in", "in/a.txt: the set has a file or link of this name");
  fs::remove_all(dir / "x");
  spill(dir / "x/in", "1");
  refused("x/in", "in: the set ");
  fs::remove_all(dir / "x");
  spill(dir / "x/in/sub", "1");
  refused("x/in", "in/sub: the set ");
  EXPECT_EXIT_CODE(append(dir / "new", "nowhere"), 10);
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "one.h5") + " -q --codec zstd"), 0);
  const std::string bytes = slurp(dir / "one.h5");
  const Outcome single = append(dir / "new", "one.h5");
  EXPECT_EXIT_CODE(single, 2);
  EXPECT_NE(single.err.find("never written again"), std::string::npos) << single.err;
  EXPECT_EQ(slurp(dir / "one.h5"), bytes);
  EXPECT_EXIT_CODE(append(dir / "new", "set", "--existing replace"), 2);
  EXPECT_EXIT_CODE(append("", "set"), 2);
  EXPECT_EXIT_CODE(append(dir / "new", "set", "--dry-run"), 0);
  EXPECT_FALSE(fs::exists(dir / "set/.work"));
}

// Killed at every fault point, in the windows of docs/FORMAT.md: a reader sees the old set or the new one, and the same command
// ends with the same bytes.
TEST_F(Append, KilledAtEveryFaultPoint) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set", "--codec zstd --parity 10%"), 0);
  ASSERT_EXIT_CODE(shell("cp -a " + (dir / "set") + " " + (dir / "whole")), 0);
  ASSERT_EXIT_CODE(append(dir / "new", "whole", "-q"), 0);
  const std::string old_content = content("set"), new_content = content("whole");
  std::istringstream names(llmc("faults").out);
  int kills = 0, committed = 0;
  std::set<std::string> killed_at;
  for (std::string name; names >> name;) {
    for (const int hit : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13}) {
      if (hit > 2 && !name.starts_with("file.")) continue;
      const std::string out = dir / "try";
      fs::remove_all(out);
      ASSERT_EXIT_CODE(shell("cp -a " + (dir / "set") + " " + out), 0);
      const Outcome killed = shell("LLMC_FAULT=" + name + ":" + std::to_string(hit) + ":kill " + product() + " append " + (dir / "new") +
                                   " -o " + out + " --engine native -q");
      if (killed.code != 0) {
        ++kills;
        killed_at.insert(name);
        const std::string now = content("try");
        EXPECT_TRUE(now == old_content || now == new_content) << name << hit;
        committed += now == new_content;
        if (now == old_content) {
          EXPECT_NE(llmc("status " + out).out.find(fs::exists(out + "/.work/settings") ? "append was interrupted" : ""), std::string::npos);
          EXPECT_EQ(llmc("extract " + out + " -o - -q --document in/a.txt").out, cut("enwik6", 5000)) << name << hit;
        }
      }
      ASSERT_EXIT_CODE(append(dir / "new", "try", killed.code == 0 ? "-q --resume" : "-q"), 0) << name << hit;
      EXPECT_EQ(shell("diff -r " + (dir / "whole") + " " + out).code, 0) << name << hit;
    }
  }
  EXPECT_GE(killed_at.size(), 12u);
  EXPECT_GE(committed, 1) << "the window behind the commit was not met";
  std::printf("tally: %d kills at %zu points, %d of them behind the commit\n", kills, killed_at.size(), committed);
}

TEST_F(Append, FailedAtItsOwnFaultPoints) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set", "--codec zstd"), 0);
  ASSERT_EXIT_CODE(shell("cp -a " + (dir / "set") + " " + (dir / "whole")), 0);
  ASSERT_EXIT_CODE(append(dir / "new", "whole", "-q"), 0);
  for (const char* name : {"archive.names", "archive.manifest", "file.rename", "file.sync"}) {
    const Outcome failed = shell(std::string("LLMC_FAULT=") + name + ":1:error " + product() + " append " + (dir / "new") + " -o " +
                                 (dir / "set") + " --engine native -q");
    EXPECT_EXIT_CODE(failed, 1);
    EXPECT_NE(failed.err.find("injected"), std::string::npos) << failed.err;
    EXPECT_EXIT_CODE(llmc("list " + (dir / "set")), 0);
  }
  ASSERT_EXIT_CODE(append(dir / "new", "set", "-q"), 0);
  expect_same(dir / "whole", dir / "set");
}

// The index of a set that is large from the begin is made before it is committed, too.
TEST_F(Append, ALargeSetKilledAtItsIndexGoesOn) {
  const std::string how = " --codec stored --chunk 100 --shard 100 -q";
  ASSERT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + (dir / "whole") + how), 0);
  ASSERT_TRUE(fs::exists(dir / "whole/names-000000-000089.index"));
  for (const char* action : {"kill", "error"}) {
    const std::string out = dir / (std::string("set-") + action);
    EXPECT_NE(shell("LLMC_FAULT=archive.names:1:" + std::string(action) + " " + product() + " compress " + (dir / "in") + " -o " + out + how).code, 0);
    EXPECT_EXIT_CODE(llmc("list " + out), 10);
    EXPECT_EXIT_CODE(llmc("compress " + (dir / "in") + " -o " + out + how), 0);
    expect_same(dir / "whole", out);
  }
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "whole")), 0);
  EXPECT_EQ(llmc("extract " + (dir / "whole") + " -o - -q --document in/sub/b.txt").out, cut("fra.txt", 4000));
}

TEST_F(Append, AnotherOneInBetweenIsRefusedOrGivenUp) {
  ASSERT_EXIT_CODE(compress(dir / "in", "set", "--codec zstd --bare"), 0);
  spill(dir / "third/e.txt", cut("irc.txt", 2000));
  shell("LLMC_FAULT=archive.manifest:1:kill " + product() + " append " + (dir / "new") + " -o " + (dir / "set") + " --engine native -q");
  const Outcome other = append(dir / "third", "set", "-q");
  EXPECT_EXIT_CODE(other, 1);
  EXPECT_NE(other.err.find("another append was interrupted"), std::string::npos) << other.err;
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "set")), 0) << "what was begun is no part of the set";
  EXPECT_EXIT_CODE(llmc("merge " + (dir / "set") + " -o " + (dir / "merged")), 1);
  EXPECT_EXIT_CODE(append(dir / "third", "set", "-q --force"), 0);
  EXPECT_EXIT_CODE(append(dir / "new", "set", "-q"), 0);
  EXPECT_EXIT_CODE(append(dir / "new", "set", "-q --resume"), 0);
  EXPECT_EXIT_CODE(append(dir / "new", "set", "-q"), 1);
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "set") + " --data"), 0);
  EXPECT_EQ(llmc("extract " + (dir / "set") + " -o - -q").out,
            cut("enwik6", 5000) + cut("fra.txt", 4000) + cut("irc.txt", 2000) + cut("code.txt", 5000) + cut("deu.txt", 3000));
  // Two at once are kept apart.
  const Outcome second = shell("LLMC_FAULT=dispatch.result:1:delay " + product() + " append " + text_file("law.txt") + " -o " + (dir / "set") +
                               " -q --engine native & p=$!; sleep 1; " + product() + " append " + text_file("med.txt") + " -o " + (dir / "set") +
                               " -q --engine native; code=$?; wait $p || exit 99; exit $code");
  EXPECT_TRUE(second.code == 11 || second.code == 0) << explain(second);
  EXPECT_EXIT_CODE(llmc("verify " + (dir / "set")), 0);
}

}  // namespace
}  // namespace llmc::test
