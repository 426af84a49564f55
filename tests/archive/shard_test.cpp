// What an archive holds, that its bytes are always the same, and how many they are.
#include <cstdio>
#include <chrono>

#include "archive/format.h"
#include "archive/verify.h"
#include "fixture.h"

namespace llmc::test {
namespace {

TEST(Archive, SetComesBack) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  const Plan plan = c.plan();
  ASSERT_GE(plan.shards().size(), 4u);
  SetSummary summary;
  LLMC_ASSERT_OK(compress(dir / "out", c, 0, SetMode::create, &summary));
  EXPECT_FALSE(fs::exists(dir / "out/.work"));
  EXPECT_EQ(summary.text_bytes, c.text.size());

  std::string text;
  LLMC_ASSERT_OK(read_text(dir / "out", &text));
  EXPECT_TRUE(text == c.text);

  auto reader = ArchiveReader::open(dir / "out");
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(reader->model(), c.options.model);
  EXPECT_EQ(reader->model_name(), "test model");
  EXPECT_EQ(reader->parameters(), c.options.parameters);
  size_t piece = 0;
  uint64_t records = 0;
  for (uint32_t s = 0; s < reader->shards().size(); ++s) {
    auto shard = reader->shard(s);
    ASSERT_TRUE(shard.ok()) << shard.status().message();
    for (const IndexEntry& e : (*shard)->index().entries) {
      const Piece& p = plan.pieces()[piece];
      const Entry& from = c.entries[p.entry];
      EXPECT_EQ(e.entry.name, from.name);
      EXPECT_EQ(e.entry.kind, from.kind);
      EXPECT_EQ(e.entry.mode, from.mode);
      EXPECT_EQ(e.entry.mtime_ns, from.mtime_ns);
      EXPECT_EQ(e.entry.target, from.target);
      EXPECT_EQ(e.entry.size, from.size);
      EXPECT_EQ(e.entry.unpacked, from.unpacked);
      EXPECT_EQ(e.entry.source_digest, from.source_digest);
      EXPECT_EQ(e.entry.records_kind, from.records_kind);
      EXPECT_EQ(e.offset, p.offset);
      EXPECT_EQ(e.size, p.size);
      EXPECT_EQ(e.shard_offset, p.shard_offset);
      EXPECT_EQ(e.first_record, p.first_record);
      EXPECT_TRUE(e.size == 0 || e.sha256 == piece_digest(c, plan, piece)) << e.entry.name;
      RecordReader in(e.entry.records_kind, e.entry.records);
      for (Record r; in.next(&r); ++records) {
        EXPECT_TRUE(from.name != "big" || e.records_base + r.offset == records * 95) << records;
      }
      ++piece;
    }
    LLMC_ASSERT_OK(check_hdf5_view((*shard)->file().path()));
  }
  EXPECT_EQ(piece, plan.pieces().size());
  EXPECT_EQ(records, 102u);
  EXPECT_EQ(*reader->content_digest(), reader->manifest()->content);
  EXPECT_EQ(summary.content, reader->manifest()->content);
  auto report = verify_archive(dir / "out");
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->sound()) << report->findings.at(0).describe();
  EXPECT_EQ(report->chunks, plan.chunks());
}

TEST(Archive, OneFile) {
  TempDir dir;
  const Corpus c = mixed_corpus(0);
  SetSummary summary;
  LLMC_ASSERT_OK(compress(dir / "x.h5", c, 3, SetMode::create, &summary));
  EXPECT_FALSE(fs::exists(dir / "x.h5.work"));
  std::string text;
  LLMC_ASSERT_OK(read_text(dir / "x.h5", &text));
  EXPECT_TRUE(text == c.text);
  LLMC_ASSERT_OK(check_hdf5_view(dir / "x.h5"));
  EXPECT_TRUE(verify_archive(dir / "x.h5")->sound());
  EXPECT_EQ(*ArchiveReader::open(dir / "x.h5")->content_digest(), summary.content);
  // More than one shard does not fit into one file.
  EXPECT_EQ(SetWriter::open(dir / "y.h5", mixed_corpus().plan()).status().code(), Code::usage);
}

TEST(Archive, AShardOfASetIsAnArchive) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  const Plan plan = c.plan();
  LLMC_ASSERT_OK(compress(dir / "out", c));
  std::string text;
  LLMC_ASSERT_OK(read_text(dir / "out/shard-000002.h5", &text));
  EXPECT_TRUE(text == c.text.substr(plan.shards()[2].text_offset, plan.shards()[2].text_size));
  EXPECT_EQ(ArchiveReader::open(dir / "out/shard-000002.h5")->shards()[0].number, 2u);
}

TEST(Archive, BytesDoNotDependOnTheOrderOfArrival) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  LLMC_ASSERT_OK(compress(dir / "a", c));
  const auto expected = contents(dir / "a");
  for (uint64_t order = 1; order <= 8; ++order) {
    const fs::path out = dir / std::to_string(order);
    LLMC_ASSERT_OK(compress(out, c, order));
    ASSERT_TRUE(contents(out) == expected) << order;
  }
}

TEST(Archive, NamesAndRanges) {
  TempDir dir;
  const Corpus c = mixed_corpus();
  const Plan plan = c.plan();
  LLMC_ASSERT_OK(compress(dir / "out", c));
  auto opened = ArchiveReader::open(dir / "out");
  ASSERT_TRUE(opened.ok());
  ArchiveReader& reader = *opened;
  for (const Entry& e : c.entries) {
    auto found = reader.find(e.name);
    ASSERT_TRUE(found.ok() && *found) << e.name;
    auto shard = reader.shard((*found)->shard);
    EXPECT_EQ((*shard)->index().entries[(*found)->entry].entry.name, e.name);
    EXPECT_EQ((*shard)->index().entries[(*found)->entry].offset, 0u);
  }
  for (const char* name : {"", "A", "a/", "a/three", "big2", "zzz"}) {
    auto found = reader.find(name);
    ASSERT_TRUE(found.ok());
    EXPECT_FALSE(*found) << name;
  }
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const uint64_t begin = random() % (c.text.size() + 1), end = begin + random() % (c.text.size() + 1 - begin);
    auto spans = reader.spans(begin, end);
    ASSERT_TRUE(spans.ok());
    std::string text;
    for (const auto& span : *spans) {
      std::string part;
      for (uint32_t k = span.first_chunk; k <= span.last_chunk; ++k) {
        auto frame = reader.read_frame(span.shard, k);
        ASSERT_TRUE(frame.ok());
        part += as_text(ByteView(*frame).subspan(frame_header_bytes));
      }
      text += part.substr(span.begin - plan.chunk_offset(span.first_chunk), span.end - span.begin);
    }
    ASSERT_TRUE(text == c.text.substr(begin, end - begin));
  }
  EXPECT_EQ(reader.spans(0, c.text.size() + 1).status().code(), Code::usage);
  EXPECT_EQ(reader.spans(2, 1).status().code(), Code::usage);
  EXPECT_EQ(reader.read_frame(0, 99).status().code(), Code::usage);
  EXPECT_EQ(reader.read_frame(99, 0).status().code(), Code::usage);
}

TEST(Archive, EmptyArchives) {
  TempDir dir;
  Corpus nothing, folders;
  nothing.options = folders.options = options(100, 10);
  folders.add("d", Entry::Kind::directory);
  folders.add_file("d/empty", "");
  folders.add("l", Entry::Kind::symlink, "nowhere");
  for (const auto& [corpus, entries] : {std::pair(&nothing, 0), std::pair(&folders, 3)}) {
    for (const std::string name : {"set", "one.h5"}) {
      const fs::path out = dir / (std::to_string(entries) + name);
      LLMC_ASSERT_OK(compress(out, *corpus));
      auto reader = ArchiveReader::open(out);
      ASSERT_TRUE(reader.ok()) << reader.status().message();
      EXPECT_EQ(reader->text_bytes(), 0u);
      EXPECT_EQ(reader->chunks(), 0u);
      ASSERT_EQ(reader->shards().size(), 1u);
      EXPECT_EQ((*reader->shard(0))->index().entries.size(), static_cast<size_t>(entries));
      EXPECT_TRUE(reader->spans(0, 0)->empty());
      EXPECT_EQ((*reader->find("l")).has_value(), entries == 3);
      EXPECT_TRUE(verify_archive(out)->sound());
      LLMC_ASSERT_OK(check_hdf5_view(reader->shards()[0].path));
      std::printf("%d entries without text, %s: %ju bytes a shard\n", entries, name.c_str(),
                  static_cast<uintmax_t>(fs::file_size(reader->shards()[0].path)));
    }
  }
}

// Frames as a coder would make them: a payload of a quarter of the text, tokens, a codec.
Status compress_coded(const fs::path& out, const Corpus& c, SetSummary* summary) {
  LLMC_ASSIGN(auto set, SetWriter::open(out, c.plan()));
  const Plan& plan = set->plan();
  std::mt19937_64 random(7);
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    if (plan.shard_chunks(s)) LLMC_TRY(set->set_seed(s, test_seed(c, plan, s)));
    for (uint32_t k = 0; k < plan.shard_chunks(s); ++k) {
      const ByteView text = chunk_text(c, plan, s, k);
      Bytes payload(text.size() / 4 + random() % (text.size() / 8 + 1));
      for (auto& b : payload) b = static_cast<uint8_t>(random());
      Frame f;
      f.codec = Codec::range;
      f.chunk = k;
      f.text_size = static_cast<uint32_t>(text.size());
      f.tokens = 1 + static_cast<uint32_t>(text.size() / 4 + random() % (text.size() / 16 + 1));
      f.text_crc = crc32c(text);
      f.payload = payload;
      if (payload.size() >= text.size()) f.payload = f.payload.first(0);
      LLMC_TRY(set->put(s, k, make_frame(f, test_seed(c, plan, s))));
    }
    for (size_t p = 0; p < plan.shards()[s].pieces; ++p) {
      const size_t piece = plan.shards()[s].first_piece + p;
      LLMC_TRY(set->put_digest(piece, piece_digest(c, plan, piece)));
    }
  }
  LLMC_ASSIGN(*summary, set->finish());
  return {};
}

struct Overhead {
  uint64_t bytes = 0, budget = 0;
};
Overhead overhead(const Corpus& c, const SetSummary& s) {
  // Payloads are what a coder makes; everything else counts, frame headers too.
  Overhead o;
  o.bytes = s.file_bytes - (s.coded_bytes - s.chunks * frame_header_bytes);
  o.budget = 2048 * s.shards + 64 * s.chunks;
  for (const Entry& e : c.entries) {
    o.budget += e.name.size() + e.target.size() + (e.kind == Entry::Kind::file ? 48 : 16);
  }
  return o;
}

TEST(Archive, StaysWithinItsBudget) {
  TempDir dir;
  Corpus novel, cut, many;
  novel.options = options(0, 65536);
  novel.add_file("novel.txt", random_text(1, 1'000'000));
  cut.options = options(1 << 20, 4096);
  cut.add_file("log", random_text(2, 5'000'000));
  many.options = options(0, 65536);
  std::mt19937_64 random(9);
  for (int i = 0; i < 10'000; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "corpus/part-%02d/document-%05d.txt", i / 500, i);
    many.add_file(name, random_text(random(), 200 + random() % 1800));
    many.entries.back().mtime_ns = static_cast<int64_t>(1'600'000'000'000'000'000 + random() % 100'000'000'000'000'000);
  }
  for (const auto& [corpus, name] :
       {std::pair(&novel, "novel.h5"), std::pair(&cut, "cut.h5"), std::pair(&many, "many.h5")}) {
    Corpus c = *corpus;
    const bool set = c.options.shard_bytes != 0;
    const fs::path out = dir / (set ? "cut" : name);
    SetSummary s;
    const auto begin = std::chrono::steady_clock::now();
    LLMC_ASSERT_OK(compress_coded(out, c, &s));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const Overhead o = overhead(c, s);
    std::printf("%-9s %6zu entries %5ju chunks: %8ju bytes of %ju beside payloads, budget %ju (%.2f s)\n", name,
                c.entries.size(), static_cast<uintmax_t>(s.chunks), static_cast<uintmax_t>(o.bytes),
                static_cast<uintmax_t>(s.file_bytes), static_cast<uintmax_t>(o.budget), seconds);
    EXPECT_LE(o.bytes, o.budget);
    EXPECT_TRUE(verify_archive(out)->sound());
  }
}

}  // namespace
}  // namespace llmc::test
