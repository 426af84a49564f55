// Killed, failed or refused at every point: what a reader sees then, and that the next run ends
// with the very bytes of an undisturbed one.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "archive/format.h"
#include "archive/verify.h"
#include "base/fault.h"
#include "fixture.h"

namespace llmc::test {
namespace {

// Compresses in a process of its own, since a fault is armed for the life of one.
pid_t start_child(const fs::path& out, const std::string& fault) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::setenv("LLMC_FAULT", fault.c_str(), 1);
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, 1);
  ::dup2(null, 2);
  ::execl(LLMC_RESUME_CHILD, "resume_child", out.c_str(), nullptr);
  ::_exit(99);
}

// What stands there is a whole archive, or none at all in the eyes of a reader.
void check_state(const fs::path& out, const std::string& context) {
  auto report = verify_archive(out);
  if (report.ok()) {
    EXPECT_TRUE(report->sound()) << context << ": " << report->findings.at(0).describe();
    std::string text;
    EXPECT_TRUE(read_text(out, &text).ok()) << context;
    EXPECT_TRUE(text == corpus_for(out).text) << context;
  } else {
    EXPECT_EQ(report.status().code(), Code::missing) << context << ": " << report.status().message();
  }
  // Shards under their own names are whole as well.
  std::error_code none;
  for (const auto& item : fs::directory_iterator(out, none)) {
    if (item.path().extension() != ".h5") continue;
    EXPECT_TRUE(verify_archive(item.path())->sound()) << context;
  }
}

void resume_and_compare(const fs::path& out, SetMode mode, const std::map<std::string, Bytes>& expected,
                        const std::string& context) {
  const Status status = compress(out, corpus_for(out), 11, mode);
  ASSERT_TRUE(status.ok()) << context << ": " << status.message();
  ASSERT_TRUE(contents(out) == expected) << context;
  EXPECT_FALSE(fs::exists(SetPaths(out).work)) << context;
}

TEST(Resume, AtEveryFaultPoint) {
  TempDir dir;
  ::setenv("LLMC_TEST_PARITY", "0.3", 1);
  struct Unset {
    ~Unset() { ::unsetenv("LLMC_TEST_PARITY"); }
  } const unset;
  int kills = 0, errors = 0;
  for (const std::string layout : {"set", "one.h5"}) {
    LLMC_ASSERT_OK(compress(dir / layout, corpus_for(layout)));
    const auto expected = contents(dir / layout);
    for (const std::string& name : fault_names()) {
      for (const char* hit : {":1:kill", ":2:kill", ":1:error", ":2:error"}) {
        const fs::path out = dir / ("f-" + layout);
        const std::string context = layout + " " + name + hit;
        int status = 0;
        ::waitpid(start_child(out, name + hit), &status, 0);
        if (WIFSIGNALED(status)) {
          ASSERT_EQ(WTERMSIG(status), SIGKILL) << context;
          ++kills;
        } else {
          ASSERT_LE(WEXITSTATUS(status), 1) << context;
          if (WEXITSTATUS(status) == 1) ++errors;
        }
        check_state(out, context);
        // A plain repeat goes on as well, unless the archive was committed before the kill.
        const bool finished = ArchiveReader::open(out).ok();
        resume_and_compare(out, finished ? SetMode::resume : SetMode::create, expected, context);
        if (HasFatalFailure()) return;
        fs::remove_all(out);
        fs::remove_all(parity_path(out));
        fs::remove_all(SetPaths(out).work);
      }
    }
  }
  std::printf("tally: %d kills and %d errors at fault points, each resumed to identical bytes\n", kills, errors);
  EXPECT_GE(kills, 30);
  EXPECT_GE(errors, 25);
}

TEST(Resume, KilledAtRandomTimesUntilDone) {
  TempDir dir;
  LLMC_ASSERT_OK(compress(dir / "set", corpus_for("set")));
  const auto expected = contents(dir / "set");
  // How long a run takes that nobody disturbs: the kills are spread over that.
  auto length = std::chrono::microseconds::max();
  for (const std::string name : {"measured1", "measured2", "measured3"}) {
    const auto begin = std::chrono::steady_clock::now();
    int status = 0;
    ::waitpid(start_child(dir / name, ""), &status, 0);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    length = std::min(length, std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin));
  }
  std::mt19937_64 random(3);
  // Most of a run is its start: rounds until enough kills have met work.
  const int rounds = 8, enough = 3, most_rounds = 100;
  int kills = 0, in_progress = 0;
  for (int round = 0; round < rounds || (in_progress < enough && round < most_rounds); ++round) {
    const fs::path out = dir / std::to_string(round);
    for (int run = 0; run < 4; ++run) {
      const pid_t child = start_child(out, "");
      std::this_thread::sleep_for(std::chrono::microseconds(random() % static_cast<uint64_t>(length.count())));
      ::kill(child, SIGKILL);
      int status = 0;
      ::waitpid(child, &status, 0);
      if (WIFSIGNALED(status)) ++kills;
      const bool spool = fs::exists(out / ".work/spool-000000") && fs::file_size(out / ".work/spool-000000") > 48;  // more than its header
      if (WIFSIGNALED(status) && !fs::exists(out / manifest_name) && (spool || fs::exists(out / shard_name(0)))) ++in_progress;
      check_state(out, std::to_string(round));
      if (!WIFSIGNALED(status)) break;
    }
    resume_and_compare(out, SetMode::resume, expected, std::to_string(round));
  }
  std::printf("tally: %d random kills, %d of them with frames in the spool or shards and no manifest\n", kills, in_progress);
  EXPECT_GE(kills, rounds);
  EXPECT_GE(in_progress, enough);
}

// Takes the first of two runs to a certain point and leaves it there.
void begin(const fs::path& out, const Corpus& c, uint32_t shards, uint32_t chunks_of_next) {
  auto set = SetWriter::open(out, c.plan());
  ASSERT_TRUE(set.ok()) << set.status().message();
  const Plan& plan = (*set)->plan();
  for (uint32_t s = 0; s <= shards; ++s) {
    LLMC_ASSERT_OK((*set)->set_seed(s, test_seed(c, plan, s)));
    for (uint32_t k = 0; k < (s < shards ? plan.shard_chunks(s) : chunks_of_next); ++k) {
      LLMC_ASSERT_OK((*set)->put(s, k, test_frame(c, plan, s, k)));
    }
    for (size_t p = 0; s < shards && p < plan.shards()[s].pieces; ++p) {
      const size_t piece = plan.shards()[s].first_piece + p;
      LLMC_ASSERT_OK((*set)->put_digest(piece, piece_digest(c, plan, piece)));
    }
  }
}

TEST(Resume, KnowsWhatIsThere) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  begin(dir / "out", c, 2, 3);
  EXPECT_TRUE(fs::exists(dir / "out/shard-000001.h5"));
  EXPECT_EQ(ArchiveReader::open(dir / "out").status().code(), Code::missing);
  EXPECT_NE(ArchiveReader::open(dir / "out").status().message().find("--resume"), std::string::npos);
  EXPECT_EQ(SetWriter::saved_plan(dir / "out")->digest(), c.plan().digest());
  auto set = SetWriter::open(dir / "out", c.plan());
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_TRUE((*set)->resumed());
  EXPECT_TRUE((*set)->committed(1));
  EXPECT_FALSE((*set)->committed(2));
  EXPECT_TRUE((*set)->have(0, 0));
  EXPECT_TRUE((*set)->have(2, 2));
  EXPECT_FALSE((*set)->have(2, 3));
  EXPECT_TRUE((*set)->have_digest(0));
  EXPECT_EQ((*set)->seed(0), test_seed(c, c.plan(), 0));
  EXPECT_EQ((*set)->seed(2), test_seed(c, c.plan(), 2));
  EXPECT_EQ((*set)->seed(3), std::nullopt);
  const Status unfinished = (*set)->finish().status();
  EXPECT_EQ(unfinished.code(), Code::partial);
  EXPECT_NE(unfinished.message().find("chunk 3 of shard 2"), std::string::npos) << unfinished.message();
}

TEST(Resume, RefusesWhatHasChanged) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  begin(dir / "out", c, 1, 1);
  auto refused = [&](const Corpus& changed, Code code, const std::string& word) {
    const Status status = SetWriter::open(dir / "out", changed.plan()).status();
    EXPECT_EQ(status.code(), code);
    EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
  };
  Corpus changed = c;
  changed.options.model[0] ^= 1;
  refused(changed, Code::model, to_hex(changed.options.model));
  changed = c;
  changed.options.chunk_bytes = 1024;
  refused(changed, Code::failure, "chunk size");
  changed = c;
  changed.entries[3].mtime_ns += 1;
  refused(changed, Code::failure, "a/two.txt");
  changed = c;
  changed.entries[3].source_inode = 5;
  refused(changed, Code::failure, "inode");

  auto set = SetWriter::open(dir / "out", c.plan());
  ASSERT_TRUE(set.ok());
  const Plan plan = c.plan();
  // The text of a chunk whose frame is here from before; of a committed shard, and of what is still to come, nothing is said.
  const Plan known = c.plan();
  EXPECT_TRUE((*set)->check_text(1, 0, crc32c(chunk_text(c, known, 1, 0))).ok());
  const Status other = (*set)->check_text(1, 0, 1);
  EXPECT_EQ(other.code(), Code::failure);
  EXPECT_NE(other.message().find("has changed since"), std::string::npos) << other.message();
  EXPECT_TRUE((*set)->check_text(0, 0, 1).ok());
  EXPECT_TRUE((*set)->check_text(1, 1, 1).ok());
  EXPECT_EQ((*set)->set_seed(0, 1).code(), Code::failure) << "of a committed shard";
  EXPECT_EQ((*set)->set_seed(1, 1).code(), Code::failure) << "of one in the spool";
  EXPECT_TRUE((*set)->set_seed(1, test_seed(c, plan, 1)).ok());
  const size_t piece = plan.shards()[1].first_piece;
  LLMC_ASSERT_OK((*set)->put_digest(piece, piece_digest(c, plan, piece)));
  EXPECT_EQ((*set)->put_digest(piece, Digest{}).code(), Code::failure);

  // Frames that are not what they should be.
  Bytes frame = test_frame(c, plan, 1, 1);
  EXPECT_EQ((*set)->put(1, 2, frame).code(), Code::corrupt);
  frame.back() ^= 1;
  EXPECT_EQ((*set)->put(1, 1, frame).code(), Code::corrupt);
  EXPECT_EQ((*set)->put(1, 1, test_frame(c, plan, 0, 1)).code(), Code::corrupt) << "another shard's seed";
  EXPECT_EQ((*set)->put(99, 1, frame).code(), Code::corrupt);
  EXPECT_EQ((*set)->put(2, 0, test_frame(c, plan, 2, 0)).code(), Code::failure) << "before its seed";
  LLMC_ASSERT_OK(put_all(**set, c));
  EXPECT_TRUE((*set)->finish().ok());
}

TEST(Resume, FinishedArchives) {
  TempDir dir;
  for (const std::string layout : {"set", "one.h5"}) {
    const fs::path out = dir / layout;
    const Corpus c = corpus_for(layout);
    SetSummary summary;
    LLMC_ASSERT_OK(compress(out, c, 0, SetMode::create, &summary));
    const auto expected = contents(out);
    EXPECT_EQ(compress(out, c).code(), Code::failure) << "no silent overwriting";
    EXPECT_FALSE(fs::exists(SetPaths(out).work));
    SetOptions resume;
    resume.mode = SetMode::resume;
    {
      auto set = SetWriter::open(out, c.plan(), resume);
      ASSERT_TRUE(set.ok()) << set.status().message();
      EXPECT_TRUE((*set)->finished());
      EXPECT_TRUE((*set)->have(0, 0));
      auto again = (*set)->finish();
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(again->content, summary.content);
      EXPECT_EQ(again->file_bytes, summary.file_bytes);
      EXPECT_EQ(again->coded_bytes, summary.coded_bytes);
      EXPECT_EQ(again->chunks, summary.chunks);
    }
    Corpus other = c;
    other.entries[1].mode = 0600;
    EXPECT_EQ(SetWriter::open(out, other.plan(), resume).status().code(), Code::failure);
    EXPECT_TRUE(contents(out) == expected);
    EXPECT_FALSE(fs::exists(SetPaths(out).work));
    LLMC_ASSERT_OK(compress(out, other, 0, SetMode::replace));
    EXPECT_NE(contents(out), expected);
    LLMC_ASSERT_OK(compress(out, c, 0, SetMode::replace));
    EXPECT_TRUE(contents(out) == expected);
  }
}

TEST(Resume, TouchesNothingOfOthers) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  fs::create_directory(dir / "mine");
  LLMC_ASSERT_OK(write_file_atomic(dir / "mine/thesis.txt", as_bytes("text")));
  const auto before = contents(dir / "mine");
  const Status status = compress(dir / "mine", c);
  EXPECT_EQ(status.code(), Code::failure);
  EXPECT_NE(status.message().find("thesis.txt"), std::string::npos) << status.message();
  EXPECT_TRUE(contents(dir / "mine") == before);
  EXPECT_EQ(compress(dir / "mine", c, 0, SetMode::replace).code(), Code::failure);
  EXPECT_TRUE(contents(dir / "mine") == before);
  LLMC_ASSERT_OK(write_file_atomic(dir / "x.h5", as_bytes("a file of somebody")));
  EXPECT_EQ(compress(dir / "x.h5", mixed_corpus(0)).code(), Code::failure);
  fs::create_directory(dir / "folder.h5");
  EXPECT_EQ(compress(dir / "folder.h5", mixed_corpus(0)).code(), Code::failure);
  EXPECT_EQ(compress(dir / "x.h5/out", c).code(), Code::failure);
  EXPECT_NE(compress(dir / "none/such/out", c).code(), Code::ok);
  EXPECT_FALSE(fs::exists(dir / "none"));
}

// --force checks everything before it removes anything: a refusal leaves a whole archive.
TEST(Resume, ReplacingRefusesBeforeItRemoves) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  Corpus other = c;
  other.entries[1].mode = 0600;
  const auto refused = [&](const std::string& name, const std::string& bytes) {
    const fs::path out = dir / "set";
    fs::remove_all(out);
    LLMC_ASSERT_OK(compress(out, c));
    LLMC_ASSERT_OK(write_file_atomic(out / name, as_bytes(bytes)));
    const auto before = contents(out);
    const Status status = compress(out, other, 0, SetMode::replace);
    EXPECT_EQ(status.code(), Code::failure) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
    EXPECT_TRUE(contents(out) == before) << name;
  };
  refused("thesis.txt", "text");
  refused("README.txt", "of the user's own");
  refused("manifest.json", "{\"name\": \"a web page\"}");
  // Somebody else's shards, in a folder that was never ours.
  fs::create_directory(dir / "theirs");
  LLMC_ASSERT_OK(write_file_atomic(dir / "theirs/shard-000000.h5", as_bytes("\x89HDF\r\n\x1a\n and so on")));
  const auto before = contents(dir / "theirs");
  EXPECT_EQ(compress(dir / "theirs", c, 0, SetMode::replace).code(), Code::failure);
  EXPECT_TRUE(contents(dir / "theirs") == before);
  // Our own is replaced however damaged it is.
  fs::remove_all(dir / "set");
  LLMC_ASSERT_OK(compress(dir / "set", c));
  const auto whole = contents(dir / "set");
  fs::resize_file(dir / "set/shard-000001.h5", 700);
  fs::resize_file(dir / "set/manifest.json", 100);
  LLMC_ASSERT_OK(compress(dir / "set", c, 0, SetMode::replace));
  EXPECT_TRUE(contents(dir / "set") == whole);
}

TEST(Resume, GivingUpLeavesNoTrace) {
  TempDir dir;
  for (const std::string layout : {"set", "one.h5"}) {
    auto set = SetWriter::open(dir / layout, corpus_for(layout).plan());
    ASSERT_TRUE(set.ok());
    LLMC_ASSERT_OK((*set)->discard_if_empty());
    EXPECT_TRUE(fs::is_empty(dir.path()));
  }
}

TEST(Resume, ADamagedShardIsMadeAgain) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  LLMC_ASSERT_OK(compress(dir / "good", c));
  begin(dir / "out", c, 2, 0);
  fs::resize_file(dir / "out/shard-000001.h5", 700);
  LLMC_ASSERT_OK(compress(dir / "out", c));
  EXPECT_TRUE(contents(dir / "out") == contents(dir / "good"));
}

TEST(Resume, FullDisk) {
  TempDir dir;
  const fs::path disk = dir / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "not run: this user may not mount a tmpfs";
  }
  int refusals = 0;
  for (const std::string layout : {"set", "one.h5"}) {
    Corpus c = mixed_corpus(layout == "set" ? 30'000 : 0, 4096);
    c.add_file("zz", random_text(77, 100'000));
    LLMC_ASSERT_OK(compress(dir / layout, c));
    const auto expected = contents(dir / layout);
    // From one page on up to enough; each run goes on where the one before found no room.
    bool done = false;
    for (int kib = 8; !done && kib < 2048; kib += 8) {
      const std::string size = "size=" + std::to_string(kib) + "k";
      ASSERT_EQ(::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, size.c_str()), 0);
      const Status status = compress(disk / layout, c, 0, SetMode::resume);
      done = status.ok();
      if (done) break;
      ++refusals;
      EXPECT_EQ(status.code(), Code::failure);
      EXPECT_NE(status.message().find("No space left"), std::string::npos) << kib << ": " << status.message();
      EXPECT_EQ(ArchiveReader::open(disk / layout).status().code(), Code::missing) << kib;
    }
    EXPECT_TRUE(done);
    EXPECT_TRUE(contents(disk / layout) == expected) << layout;
    fs::remove_all(disk / layout);
  }
  ::umount(disk.c_str());
  std::printf("tally: %d times no space left\n", refusals);
}

}  // namespace
}  // namespace llmc::test
