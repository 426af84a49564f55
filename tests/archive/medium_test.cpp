// A medium that fails: reads of a region end with EIO each time. Checks go on, name what is lost, and give the rest; what has
// parity comes back. And errors of reading that are no damage are not taken for it.
#include "archive/format.h"
#include "archive/repair_archive.h"
#include "archive/salvage.h"
#include "archive/scan_window.h"
#include "archive/set_names.h"
#include "archive/verify.h"
#include "base/fault.h"
#include "fixture.h"

namespace llmc::test {
namespace {

struct Unreadable {
  Unreadable(const std::string& name, uint64_t begin, uint64_t end) { make_unreadable(name, begin, end); }
  ~Unreadable() { make_unreadable("", 0, 0); }
};

Status compress_with(const fs::path& out, const Corpus& c, double parity, const std::optional<AppendTo>& append = {}) {
  SetOptions o;
  o.parity = parity;
  o.append = append;
  LLMC_ASSIGN(auto set, SetWriter::open(out, c.plan(), o));
  LLMC_TRY(put_all(*set, c));
  return set->finish().status();
}

class Medium : public testing::Test {
 protected:
  // Two parts, so that there is an index of names.
  void make(double parity) {
    set_ = mixed_corpus(9000, 512);
    LLMC_ASSERT_OK(compress_with(dir_ / "set", set_, parity));
    Corpus more;
    more.options = set_.options;
    more.add_file("zz", random_text(77, 9000));
    const auto manifest = Manifest::load(dir_ / "set/manifest.json");
    LLMC_ASSERT_OK(compress_with(dir_ / "set", more, parity, AppendTo{static_cast<uint32_t>(manifest->shards.size()), manifest->content}));
    text_ = set_.text + more.text;
    const auto report = verify_archive(dir_ / "set");
    ASSERT_TRUE(report.ok() && report->sound());
  }
  const TempDir dir_;
  Corpus set_;
  std::string text_;
};

TEST_F(Medium, VerifyGoesOnAndNamesShardChunkAndDocuments) {
  make(0);
  const auto shard = ShardFile::open(dir_ / "set/shard-000001.h5");
  ASSERT_TRUE(shard.ok());
  const IndexChunk chunk = shard->index().chunks[6];
  const Unreadable bad("shard-000001.h5", chunk.offset + 40, chunk.offset + 41);
  const auto report = verify_archive(dir_ / "set");
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->findings.size(), 2u);
  EXPECT_EQ(report->unreadable, std::min<uint64_t>(4096, shard->block().file_bytes - chunk.offset / 4096 * 4096));
  const std::string first = report->findings[0].describe(), second = report->findings[1].describe();
  EXPECT_NE(first.find("bytes cannot be read from the medium"), std::string::npos) << first;
  EXPECT_EQ(report->findings[1].shard, 1u);
  EXPECT_EQ(report->findings[1].chunk, 6u);
  EXPECT_NE(second.find("cannot be read from the medium at byte " + std::to_string(chunk.offset)), std::string::npos) << second;
  ASSERT_FALSE(report->findings[1].entries.empty());
  EXPECT_EQ(report->findings[1].entries[0], "big");
  uint64_t chunks = 0;
  const auto manifest = Manifest::load(dir_ / "set/manifest.json");
  for (const ManifestShard& row : manifest->shards) chunks += row.chunks;
  EXPECT_EQ(report->chunks, chunks) << "all were looked at";
}

// Wherever it is: found, the chunks elsewhere can be read, and salvage has them too.
TEST_F(Medium, EveryRegionOfEveryFile) {
  make(0);
  const auto files = contents(dir_ / "set");
  int regions = 0;
  for (const auto& [name, bytes] : files) {
    for (uint64_t at = 0; at < bytes.size(); at += name.ends_with(".h5") ? 700 : 300, ++regions) {
      const Unreadable bad(name, at, at + 10);
      const std::string what = name + " " + std::to_string(at);
      const auto report = verify_archive(dir_ / "set");
      ASSERT_TRUE(report.ok()) << what << report.status().message();
      ASSERT_FALSE(report->sound()) << what;
      std::string all;
      for (const Finding& f : report->findings) all += f.describe() + "\n";
      ASSERT_NE(all.find("read from the medium"), std::string::npos) << what << all;
      if (!name.ends_with(".h5")) continue;
      auto reader = ArchiveReader::open(dir_ / "set");
      ASSERT_TRUE(reader.ok()) << what;
      size_t lost = 0, lost_sectors = 0, frames = 0;
      const uint64_t sector = at / 4096 * 4096;
      for (uint32_t s = 0; s < reader->shards().size(); ++s) {
        make_unreadable("", 0, 0);
        const auto shard = reader->shard(s);
        make_unreadable(name, at, at + 10);
        for (uint32_t c = 0; c < reader->shards()[s].chunks; ++c, ++frames) {
          lost += !(*shard)->read_frame(c).ok();
          const IndexChunk& chunk = (*shard)->index().chunks[c];
          lost_sectors += shard_name(s) == name && chunk.offset < sector + 4096 && sector < chunk.offset + chunk.frame_size;
        }
      }
      ASSERT_LE(lost, 2u) << what;
      const auto found = search_frames(dir_ / "set");
      ASSERT_TRUE(found.ok()) << what;
      ASSERT_EQ(found->unreadable, std::min<uint64_t>(4096, bytes.size() - sector)) << what << ": each byte counts once";
      size_t won = 0;
      for (const FoundShard& f : found->shards) won += f.frames.size();
      ASSERT_EQ(won + lost_sectors, frames) << what;
    }
  }
  std::printf("tally: %d regions, all found and named\n", regions);
}

TEST_F(Medium, WhatHasParityComesBack) {
  make(0.4);
  const auto good = contents(dir_ / "set");
  for (const std::string name : {"shard-000001.h5", "shard-000000.h5.parity"}) {
    {
      const Unreadable bad(name, 600, 700);
      const auto report = verify_archive(dir_ / "set");
      ASSERT_TRUE(report.ok() && !report->sound()) << name;
      const auto repair = repair_archive(dir_ / "set", false);
      ASSERT_TRUE(repair.ok()) << name << repair.status().message();
      EXPECT_EQ(repair->repaired.size(), 1u) << name;
      // The new file has the old one's name, and would be unreadable too.
    }
    EXPECT_TRUE(contents(dir_ / "set") == good) << name;
  }
  // A file of one sector is lost with it: that is said, and the others are looked at.
  const Unreadable bad("manifest.json", 600, 700);
  const auto report = repair_archive(dir_ / "set", false);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->lost.size(), 1u);
  EXPECT_NE(report->lost[0].find("manifest.json"), std::string::npos) << report->lost[0];
  EXPECT_EQ(report->sound, static_cast<size_t>(std::count_if(good.begin(), good.end(), [](const auto& file) { return file.first.ends_with(".h5"); })));
}

// Zeros that were not read look right, but cannot be copied from there.
TEST_F(Medium, ZerosThatCannotBeReadAreRestored) {
  Bytes zeros(40'000, 0);
  zeros[0] = 1;
  overwrite(dir_ / "file", zeros);
  ASSERT_TRUE(write_parity(dir_ / "file", 0.3, dir_ / "parity").ok());
  const Unreadable bad("file", 20'000, 20'010);
  const auto report = repair_file(dir_ / "file", dir_ / "parity", dir_ / "out");
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->damaged, 8u) << "a sector of blocks of 512 bytes";
  EXPECT_TRUE(*read_file(dir_ / "out") == zeros);
}

TEST_F(Medium, RepairTellsDamageFromErrors) {
  make(0);
  {
    const Unreadable bad("shard-000001.h5", 3000, 3010);
    const auto report = repair_archive(dir_ / "set", true);
    ASSERT_TRUE(report.ok()) << report.status().message();
    ASSERT_EQ(report->lost.size(), 1u);
    EXPECT_NE(report->lost[0].find("cannot be read from the medium"), std::string::npos) << report->lost[0];
  }
  // A loop of links is an error of the system's, and says nothing about the bytes.
  fs::rename(dir_ / "set/shard-000001.h5", dir_ / "aside");
  fs::create_symlink("shard-000001.h5", dir_ / "set/shard-000001.h5");
  const auto looked = repair_archive(dir_ / "set", true);
  EXPECT_EQ(looked.status().code(), Code::failure);
  EXPECT_NE(looked.status().message().find("shard-000001.h5: Too many levels"), std::string::npos) << looked.status().message();
  fs::remove(dir_ / "set/shard-000001.h5");
  const auto gone = repair_archive(dir_ / "set", true);
  ASSERT_TRUE(gone.ok());
  EXPECT_EQ(gone->lost.size(), 1u) << "what is missing is";
  // Parity that cannot be opened is not parity that is useless.
  fs::rename(dir_ / "aside", dir_ / "set/shard-000001.h5");
  fs::create_symlink("manifest.json.parity", dir_ / "set/manifest.json.parity");
  EXPECT_EQ(verify_archive(dir_ / "set").status().code(), Code::ok) << "no manifest speaks of it, and there is no such file";
}

// At each reading of any size: the first request ends it, and all stands as it was.
TEST_F(Medium, RepairAndVerifyCanBeStoppedAllAlong) {
  for (const double parity : {0.0, 0.4}) {
    make(parity);
    const auto manifest = Manifest::load(dir_ / "set/manifest.json");
    const std::string names = names_name(manifest->names.at(0).first, manifest->names[0].end);
    for (const std::string& name : {std::string("shard-000001.h5"), names}) {
      Bytes bytes = *read_file(dir_ / ("set/" + name));
      bytes[bytes.size() / 2] ^= 1;
      overwrite(dir_ / ("set/" + name), bytes);
    }
    const auto damaged = contents(dir_ / "set");
    for (const bool dry_run : {true, false}) {
      bool more = true;
      int asked = 0;
      for (int at = 0; more; ++at) {
        ASSERT_LT(at, 2000);
        int left = at;
        const auto report = repair_archive(dir_ / "set", dry_run, [&] { return left-- <= 0; });
        ASSERT_TRUE(report.ok()) << at << report.status().message();
        more = report->stopped;
        if (more) ++asked;
        EXPECT_FALSE(fs::exists(dir_ / "set/shard-000001.h5.repaired")) << at;
        const bool same = contents(dir_ / "set") == damaged;
        EXPECT_TRUE(same || (!dry_run && !report->repaired.empty())) << at;
        if (!same && more) {
          for (const auto& [name, bytes] : damaged) overwrite(dir_ / ("set/" + name), bytes);
        }
      }
      EXPECT_GE(asked, 5) << "each shard, and the index of names";
    }
    int asked = 0;
    ASSERT_TRUE(verify_archive(dir_ / "set", [&] { return ++asked, false; }).ok());
    for (int at = 0; at < asked; ++at) {
      int left = at;
      const auto report = verify_archive(dir_ / "set", [&] { return left-- <= 0; });
      ASSERT_TRUE(report.ok() && report->stopped) << at;
    }
    fs::remove_all(dir_ / "set");
  }
}

TEST_F(Medium, AWindowAsksForABadSectorOnce) {
  overwrite(dir_ / "file", Bytes(20'000, 7));
  const auto file = File::open_read(dir_ / "file");
  const Unreadable bad("file", 5000, 9000);  // in two sectors
  ScanWindow window(*file, 20'000);
  for (int i = 0; i < 3; ++i) {
    for (const uint64_t at : {0, 4999, 9001, 12'288, 19'999}) (void)window.at(at, 20'000);
  }
  EXPECT_EQ(window.gaps(), (std::map<uint64_t, uint64_t>{{4096, 12'288}}));
  EXPECT_EQ(window.unreadable(), 8192u);
  EXPECT_EQ(window.at(4095, 2)[0], 7);
  EXPECT_EQ(window.at(4095, 2)[1], 0);
  EXPECT_EQ(window.at(12'288, 1)[0], 7);
  EXPECT_EQ(window.find(4096, "\x07"), 12'288u);
}

}  // namespace
}  // namespace llmc::test
