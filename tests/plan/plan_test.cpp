#include "plan/plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/file.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

Entry file(const std::string& name, uint64_t size) {
  Entry e;
  e.name = name;
  e.size = size;
  e.mode = 0644;
  e.mtime_ns = 1'700'000'000'123'456'789;
  return e;
}

Entry other(const std::string& name, Entry::Kind kind, const std::string& target = "") {
  Entry e;
  e.name = name;
  e.kind = kind;
  e.mode = 0755;
  e.target = target;
  return e;
}

PlanOptions options(uint64_t shard, uint32_t chunk) {
  PlanOptions o;
  o.shard_bytes = shard;
  o.chunk_bytes = chunk;
  o.parameters = {1, 2, 3};
  o.model.fill(7);
  o.model_name = "tiny";
  return o;
}

Plan make(std::vector<Entry> entries, PlanOptions o) {
  auto plan = Plan::make(std::move(entries), std::move(o));
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return std::move(*plan);
}

// What must hold for every plan: pieces tile entries and shards, chunks tile shards.
void check_tiling(const Plan& plan) {
  uint64_t text = 0, chunks = 0;
  size_t piece = 0;
  std::vector<uint64_t> covered(plan.entries().size(), 0), records(plan.entries().size(), 0), packed(covered);
  ASSERT_FALSE(plan.shards().empty());
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    const Shard& shard = plan.shards()[s];
    ASSERT_EQ(shard.text_offset, text);
    ASSERT_EQ(shard.first_piece, piece);
    uint64_t at = 0;
    for (const Piece& p : plan.pieces(s)) {
      ASSERT_EQ(p.shard, s);
      ASSERT_EQ(p.shard_offset, at);
      ASSERT_EQ(p.offset, covered[p.entry]);
      ASSERT_EQ(p.first_record, records[p.entry]);
      ASSERT_EQ(p.packed_begin, packed[p.entry]);
      covered[p.entry] += p.size;
      records[p.entry] += p.record_count;
      packed[p.entry] = p.packed_end;
      at += p.size;
      ++piece;
    }
    ASSERT_EQ(at, shard.text_size);
    if (plan.options().shard_bytes) {
      ASSERT_LE(shard.text_size, plan.options().shard_bytes);
    }
    uint64_t sum = 0;
    for (uint32_t c = 0; c < plan.shard_chunks(s); ++c) {
      ASSERT_EQ(plan.chunk_offset(c), sum);
      ASSERT_GT(plan.chunk_size(s, c), 0u);
      sum += plan.chunk_size(s, c);
    }
    ASSERT_EQ(sum, shard.text_size);
    chunks += plan.shard_chunks(s);
    text += shard.text_size;
  }
  ASSERT_EQ(piece, plan.pieces().size());
  ASSERT_EQ(text, plan.text_size());
  ASSERT_EQ(chunks, plan.chunks());
  for (size_t i = 0; i < plan.entries().size(); ++i) {
    ASSERT_EQ(covered[i], plan.entries()[i].size);
    ASSERT_EQ(records[i], plan.entries()[i].records.count);
    ASSERT_EQ(packed[i], plan.entries()[i].records.packed.size());
  }
}

TEST(Plan, ShardsCloseAtEntryBorders) {
  // 60 and 30 share the first shard; 20 does not fit; 250 is cut in 100, 100, 50; 50 fits behind.
  const Plan plan = make({file("a", 60), file("b", 30), file("c", 20), file("d", 250), file("e", 50), file("f", 1)},
                         options(100, 32));
  check_tiling(plan);
  std::vector<uint64_t> sizes;
  for (const Shard& s : plan.shards()) sizes.push_back(s.text_size);
  EXPECT_EQ(sizes, (std::vector<uint64_t>{90, 20, 100, 100, 100, 1}));
  EXPECT_EQ(plan.shard_chunks(0), 3u);
  EXPECT_EQ(plan.chunk_size(0, 2), 26u);
  EXPECT_EQ(plan.shard_of(0), 0u);
  EXPECT_EQ(plan.shard_of(89), 0u);
  EXPECT_EQ(plan.shard_of(90), 1u);
  EXPECT_EQ(plan.shard_of(410), 5u);
  const auto touched = plan.pieces_in(0, 59, 61);
  ASSERT_EQ(touched.size(), 2u);
  EXPECT_EQ(touched[1].entry, 1u);
  EXPECT_EQ(plan.pieces_in(0, 60, 61).size(), 1u);
  EXPECT_EQ(plan.pieces_in(0, 60, 60).size(), 0u);
}

TEST(Plan, ExactFit) {
  const Plan plan = make({file("a", 100), file("b", 200), file("c", 0), file("d", 100)}, options(100, 100));
  check_tiling(plan);
  EXPECT_EQ(plan.shards().size(), 4u);
  EXPECT_EQ(plan.shards()[2].pieces, 2u) << "an empty file stays where the text before it ended";
}

TEST(Plan, EmptyInputs) {
  const Plan none = make({}, options(100, 10));
  check_tiling(none);
  EXPECT_EQ(none.shards().size(), 1u);
  EXPECT_EQ(none.chunks(), 0u);
  const Plan empty = make({other("d", Entry::Kind::directory), file("d/e", 0), other("l", Entry::Kind::symlink, "d/e")},
                          options(100, 10));
  check_tiling(empty);
  EXPECT_EQ(empty.shards().size(), 1u);
  EXPECT_EQ(empty.pieces().size(), 3u);
}

TEST(Plan, OneShardHoweverLarge) {
  const Plan plan = make({file("a", uint64_t{1} << 45), file("b", 5)}, options(0, 1 << 20));
  EXPECT_EQ(plan.shards().size(), 1u);
  EXPECT_EQ(plan.text_size(), (uint64_t{1} << 45) + 5);
  EXPECT_EQ(Plan::make({file("a", uint64_t{1} << 45)}, options(0, 1)).status().code(), Code::usage);
}

TEST(Plan, RandomPlansTile) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Entry> entries;
    const int n = static_cast<int>(random() % 30);
    for (int i = 0; i < n; ++i) {
      Entry e = file("f" + std::to_string(1000 + i), random() % 3 ? random() % 50 : random() % 2000);
      if (random() % 2) {
        e.records_kind = random() % 2 ? RecordKind::tar : RecordKind::lines;
        RecordWriter writer(e.records_kind);
        uint64_t at = 0;
        while (at < e.size) {
          Record r;
          r.offset = at + (e.records_kind == RecordKind::tar ? random() % 20 : 0);
          if (r.offset > e.size) break;
          r.length = std::min<uint64_t>(random() % 90, e.size - r.offset);
          if (e.records_kind == RecordKind::tar) r.name = "member" + std::to_string(at);
          writer.add(r);
          at = r.offset + std::max<uint64_t>(r.length, e.records_kind == RecordKind::tar ? 0 : 1);
          if (e.records_kind == RecordKind::lines && r.length == 0) break;
        }
        e.records = writer.take();
      }
      entries.push_back(e);
    }
    const Plan plan = make(entries, options(1 + random() % 300, static_cast<uint32_t>(1 + random() % 64)));
    check_tiling(plan);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(Plan, RecordsOfACutEntryFollowTheirPieces) {
  Entry e = file("log", 25);
  e.records_kind = RecordKind::lines;
  RecordWriter writer(RecordKind::lines);
  for (uint64_t at = 0; at < 25; at += 5) writer.add({at, 5, "", 0});
  e.records = writer.take();
  const Plan plan = make({e}, options(12, 4));
  ASSERT_EQ(plan.pieces().size(), 3u);
  // Lines start at 0 5 10 | 15 20 | none; the one at 10 reaches into the second piece.
  EXPECT_EQ(plan.pieces()[0].record_count, 3u);
  EXPECT_EQ(plan.pieces()[1].record_count, 2u);
  EXPECT_EQ(plan.pieces()[1].first_record, 3u);
  EXPECT_EQ(plan.pieces()[1].records_base, 15u);
  EXPECT_EQ(plan.pieces()[2].record_count, 0u);
  EXPECT_EQ(plan.pieces()[2].first_record, 5u);
}

TEST(Plan, RefusesWhatAnArchiveMayNotCarry) {
  auto code = [](std::vector<Entry> entries, PlanOptions o = options(100, 10)) {
    return Plan::make(std::move(entries), std::move(o)).status().code();
  };
  for (const char* name : {"", "/etc/passwd", "a/../b", "..", ".", "a//b", "a/", "./a"}) {
    EXPECT_EQ(code({file(name, 1)}), Code::usage) << name;
  }
  EXPECT_EQ(code({file(std::string("a\0b", 3), 1)}), Code::usage);
  EXPECT_EQ(code({file("\xff\xfe ..", 1), file("\xff\xfe x", 1)}), Code::ok) << "any bytes but NUL are a name";
  EXPECT_EQ(code({file("b", 1), file("a", 1)}), Code::usage);
  EXPECT_EQ(code({file("a", 1), file("a", 1)}), Code::usage);
  EXPECT_EQ(code({other("a", Entry::Kind::symlink)}), Code::usage);
  EXPECT_EQ(code({other("a", Entry::Kind::directory, "t")}), Code::usage);
  EXPECT_EQ(code({other("a", Entry::Kind::symlink, "/tmp"), file("a/b", 1)}), Code::usage) << "a link as a parent";
  EXPECT_EQ(code({file("a", 1), file("a!", 1), file("a/b/c", 1)}), Code::usage) << "a file as a parent";
  EXPECT_EQ(code({other("a", Entry::Kind::directory), file("a!", 1), file("a/b/c", 1)}), Code::ok);
  Entry folder = other("a", Entry::Kind::directory);
  folder.size = 1;
  EXPECT_EQ(code({folder}), Code::usage);
  EXPECT_EQ(code({file("a", 1)}, options(100, 0)), Code::usage);
  EXPECT_EQ(code({file("a", 1)}, options(100, (1u << 30) + 1)), Code::usage);
  EXPECT_EQ(code({file("a", 2'000'000)}, options(1, 1)), Code::usage) << "too many shards";
  Entry records = file("a", 10);
  records.records_kind = RecordKind::lines;
  records.records.count = 1;
  records.records.packed = {11};
  EXPECT_EQ(code({records}), Code::usage) << "a record beyond the end of its file";
  records.records.packed = {10, 0};
  EXPECT_EQ(code({records}), Code::usage) << "bytes after the last record";
}

TEST(Plan, DigestCoversAllThatDecidesTheArchive) {
  std::vector<Entry> base = {file("a", 10), other("b", Entry::Kind::symlink, "a")};
  base[0].records_kind = RecordKind::lines;
  base[0].records = {2, {4, 6}};
  const Digest digest = make(base, options(100, 10)).digest();
  std::vector<std::pair<std::vector<Entry>, PlanOptions>> variants;
  auto vary = [&](auto change) {
    auto entries = base;
    auto o = options(100, 10);
    change(entries, o);
    variants.emplace_back(entries, o);
  };
  vary([](auto& e, auto&) { e[0].name = "A"; });
  vary([](auto& e, auto&) { e[0].mode = 0600; });
  vary([](auto& e, auto&) { e[0].mtime_ns += 1; });
  vary([](auto& e, auto&) { e[0].records.packed = {5, 5}; });
  vary([](auto& e, auto&) { e[0].unpacked = 1; });
  vary([](auto& e, auto&) { e[1].target = "c"; });
  vary([](auto& e, auto&) { e.pop_back(); });
  vary([](auto&, auto& o) { o.shard_bytes = 99; });
  vary([](auto&, auto& o) { o.chunk_bytes = 11; });
  vary([](auto&, auto& o) { o.parameters = {1, 2}; });
  vary([](auto&, auto& o) { o.model[31] ^= 1; });
  vary([](auto&, auto& o) { o.model_name = "other"; });
  for (size_t i = 0; i < variants.size(); ++i) {
    const Plan changed = make(variants[i].first, variants[i].second);
    EXPECT_NE(changed.digest(), digest) << "variant " << i;
    EXPECT_FALSE(changed.check_same_as(make(base, options(100, 10))).ok()) << "variant " << i;
  }
  auto elsewhere = base;
  elsewhere[0].source = "/another/folder/a";
  EXPECT_EQ(make(elsewhere, options(100, 10)).digest(), digest);
}

TEST(Plan, SavedPlanComesBack) {
  std::vector<Entry> entries = {other("d", Entry::Kind::directory), file("d/a", 300),
                                other("z", Entry::Kind::symlink, "d")};
  entries[1].source = "/x/d/a";
  entries[1].source_size = 300;
  entries[1].source_mtime_ns = -5;
  entries[1].source_inode = 77;
  entries[1].unpacked = 2;
  entries[1].source_digest.fill(9);
  const Plan plan = make(entries, options(100, 10));
  const fs::path path = fs::temp_directory_path() / ("llmc-plan-" + std::to_string(::getpid()));
  ASSERT_TRUE(plan.save(path).ok());
  auto loaded = Plan::load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->serialize(), plan.serialize());
  EXPECT_EQ(loaded->digest(), plan.digest());
  EXPECT_EQ(loaded->entries()[1].source, "/x/d/a");
  EXPECT_EQ(loaded->entries()[1].source_mtime_ns, -5);
  EXPECT_TRUE(plan.check_same_as(*loaded).ok());
  entries[1].source_inode = 78;
  const Status changed = make(entries, options(100, 10)).check_same_as(*loaded);
  EXPECT_EQ(changed.code(), Code::failure);
  EXPECT_NE(changed.message().find("d/a"), std::string::npos) << changed.message();
  fs::remove(path);
  EXPECT_EQ(Plan::load(path).status().code(), Code::missing);
}

TEST(Plan, DamagedPlanIsRefused) {
  const Plan plan = make({file("a", 300), file("b", 10)}, options(100, 10));
  const Bytes good = plan.serialize();
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 1 << (i % 8);
    ASSERT_EQ(Plan::parse(bad, "p").status().code(), Code::corrupt) << i;
    ASSERT_EQ(Plan::parse(ByteView(good).first(i), "p").status().code(), Code::corrupt) << i;
  }
  // A valid checksum over hostile counts costs no memory.
  ByteWriter out;
  out.bytes(as_bytes("LLMCPLN1"));
  ByteWriter body;
  body.bytes(as_bytes("llmc-batch plan 1\n"));
  body.varint(100);
  body.varint(10);
  body.varint(0);
  body.bytes(Digest{});
  body.varint(0);
  body.varint(uint64_t{1} << 60);
  out.u64(body.size());
  out.bytes(body.view());
  out.bytes(Digest(sha256(out.view())));
  EXPECT_EQ(Plan::parse(out.view(), "p").status().code(), Code::corrupt);
}

TEST(Plan, ChangedSourcesAreNamed) {
  const fs::path path = fs::temp_directory_path() / ("llmc-source-" + std::to_string(::getpid()));
  ASSERT_TRUE(write_file_atomic(path, as_bytes("hello")).ok());
  Entry e = file("hello", 5);
  e.source = path;
  e.source_size = 5;
  const auto time = std::chrono::file_clock::to_sys(fs::last_write_time(path)).time_since_epoch();
  e.source_mtime_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  EXPECT_TRUE(check_source(e).ok()) << check_source(e).message();
  e.source_inode = 1;
  EXPECT_NE(check_source(e).message().find("inode"), std::string::npos);
  e.source_inode = 0;
  fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  EXPECT_NE(check_source(e).message().find(path.string()), std::string::npos);
  ASSERT_TRUE(write_file_atomic(path, as_bytes("hello world")).ok());
  EXPECT_NE(check_source(e).message().find("size"), std::string::npos);
  fs::remove(path);
  EXPECT_EQ(check_source(e).code(), Code::missing);
}

TEST(Plan, HundredThousandsOfEntries) {
  std::vector<Entry> entries;
  for (int i = 0; i < 300'000; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "dir%03d/file%06d.txt", i / 1000, i);
    entries.push_back(file(name, 1000));
  }
  const auto begin = std::chrono::steady_clock::now();
  const Plan plan = make(std::move(entries), options(1 << 20, 1 << 16));
  const Bytes bytes = plan.serialize();
  auto again = Plan::parse(bytes, "p");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->digest(), plan.digest());
  check_tiling(plan);
  std::printf("300,000 entries: %zu shards, %zu bytes of plan, made, saved and read in %.2f s\n", plan.shards().size(),
              bytes.size(), seconds);
}

}  // namespace
}  // namespace llmc
