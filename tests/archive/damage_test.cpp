// Damage and malice: always a Status that names the place, never a crash, never wrong text.
#include <cstdio>
#include <cstdlib>

#include "archive/format.h"
#include "archive/verify.h"
#include "fixture.h"
#include "support/limited.h"

namespace llmc::test {
namespace {

void put_u32(Bytes& bytes, size_t at, uint32_t v) {
  for (int i = 0; i < 4; ++i) bytes[at + static_cast<size_t>(i)] = static_cast<uint8_t>(v >> (8 * i));
}

// What a forger does: all checksums fit again after a change of a shard file.
void reseal(Bytes& file, bool index_too) {
  UserBlock block = *UserBlock::parse(file, file.size(), "f");
  if (index_too) block.index = sha256(ByteView(file).subspan(block.index_offset, block.index_bytes));
  block.body = sha256(ByteView(file).subspan(user_block_bytes));
  const Bytes bytes = block.serialize();
  std::copy(bytes.begin(), bytes.end(), file.begin());
}
void fix_block_crc(Bytes& file) { put_u32(file, 508, crc32c(ByteView(file).first(508))); }

// Reads and verifies; `expected` is the text. True where verify found it sound.
bool examine(const fs::path& path, const std::string& expected, const std::string& context) {
  std::string text;
  const Status status = read_text(path, &text);
  if (status.ok()) {
    EXPECT_TRUE(text == expected) << context;
  } else {
    EXPECT_TRUE(text == expected.substr(0, text.size())) << context;
    EXPECT_FALSE(status.message().empty());
  }
  auto report = verify_archive(path);
  if (!report.ok()) {
    EXPECT_TRUE(report.status().code() == Code::failure || report.status().code() == Code::missing) << context;
    return false;
  }
  EXPECT_TRUE(status.ok() || !report->sound()) << context << ": not readable and yet sound";
  return report->sound();
}

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    corpus_ = mixed_corpus(0, 512);
    set_ = mixed_corpus(4000, 512);
    LLMC_ASSERT_OK(compress(dir_ / "good.h5", corpus_));
    LLMC_ASSERT_OK(compress(dir_ / "set", set_));
    good_ = *read_file(dir_ / "good.h5");
    bad_ = dir_ / "bad.h5";
  }
  TempDir dir_;
  Corpus corpus_, set_;
  Bytes good_;
  fs::path bad_;
};

TEST_F(Damage, CutAtEvery512Bytes) {
  int cuts = 0;
  for (size_t size = 0; size < good_.size(); size += 512, ++cuts) {
    overwrite(bad_, ByteView(good_).first(size));
    EXPECT_FALSE(examine(bad_, corpus_.text, std::to_string(size)));
    EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::corrupt);
  }
  Bytes longer = good_;
  longer.push_back(0);
  overwrite(bad_, longer);
  EXPECT_FALSE(examine(bad_, corpus_.text, "longer"));
  std::printf("tally: %d cuts\n", cuts);
}

TEST_F(Damage, FlippedBits) {
  const UserBlock block = *UserBlock::parse(good_, good_.size(), "f");
  std::mt19937_64 random(4);
  const int rounds = std::getenv("LLMC_LONG") ? 8000 : 1500;
  int named = 0;
  auto shard = ShardFile::open(dir_ / "good.h5");
  for (int i = 0; i < rounds; ++i) {
    Bytes bad = good_;
    // Every byte of the block, then anywhere.
    const size_t at = i < 512 ? static_cast<size_t>(i) : random() % bad.size();
    bad[at] ^= static_cast<uint8_t>(1 << (random() % 8));
    overwrite(bad_, bad);
    ASSERT_FALSE(examine(bad_, corpus_.text, std::to_string(at))) << at;
    auto report = verify_archive(bad_);
    if (!report.ok()) continue;  // the version field: "written by a newer version" needs a CRC that fits
    ASSERT_FALSE(report->findings.empty());
    for (uint32_t c = 0; c < block.chunks; ++c) {
      const IndexChunk& chunk = shard->index().chunks[c];
      if (at < chunk.offset || at >= chunk.offset + chunk.frame_size) continue;
      // One frame is damaged: it is named with what is lost, and every other one can be read.
      ASSERT_EQ(report->findings.size(), 1u);
      ASSERT_EQ(report->findings[0].chunk, c);
      ASSERT_FALSE(report->findings[0].entries.empty());
      ++named;
      auto reader = ArchiveReader::open(bad_);
      for (uint32_t k = 0; k < block.chunks; ++k) ASSERT_EQ(reader->read_frame(0, k).ok(), k != c);
    }
  }
  EXPECT_GT(named, 500);
  std::printf("tally: %d flips, all found; %d of them named by chunk and file\n", rounds, named);
}

TEST_F(Damage, FlippedBitsInASet) {
  std::mt19937_64 random(6);
  const auto files = contents(dir_ / "set");
  for (int i = 0; i < 150; ++i) {
    for (const auto& [name, bytes] : files) {
      Bytes bad = bytes;
      bad[random() % bad.size()] ^= static_cast<uint8_t>(1 << (random() % 8));
      overwrite(dir_.path() / "set" / name, bad);
      ASSERT_FALSE(examine(dir_ / "set", set_.text, name));
      overwrite(dir_.path() / "set" / name, bytes);
    }
  }
  EXPECT_TRUE(examine(dir_ / "set", set_.text, "restored"));
}

TEST_F(Damage, SwappedFrames) {
  auto shard = ShardFile::open(dir_ / "good.h5");
  const IndexChunk a = shard->index().chunks[3], b = shard->index().chunks[5];
  ASSERT_EQ(a.frame_size, b.frame_size);
  Bytes bad = good_;
  std::swap_ranges(bad.begin() + static_cast<ptrdiff_t>(a.offset),
                   bad.begin() + static_cast<ptrdiff_t>(a.offset + a.frame_size),
                   bad.begin() + static_cast<ptrdiff_t>(b.offset));
  for (const bool sealed : {false, true}) {
    if (sealed) reseal(bad, false);
    overwrite(bad_, bad);
    EXPECT_FALSE(examine(bad_, corpus_.text, "swapped"));
    auto report = verify_archive(bad_);
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->findings.size(), 2u);
    EXPECT_EQ(report->findings[0].chunk, 3u);
    EXPECT_EQ(report->findings[1].chunk, 5u);
  }
  // A frame of another shard in its place has another seed.
  const Plan plan = set_.plan();
  auto first = ShardFile::open(dir_ / "set/shard-000000.h5");
  auto second = ShardFile::open(dir_ / "set/shard-000001.h5");
  bad = *read_file(dir_ / "set/shard-000001.h5");
  const Bytes foreign = *first->read_frame(0);
  ASSERT_EQ(foreign.size(), second->index().chunks[0].frame_size);
  std::copy(foreign.begin(), foreign.end(), bad.begin() + static_cast<ptrdiff_t>(second->index().chunks[0].offset));
  reseal(bad, false);
  overwrite(bad_, bad);
  auto report = verify_archive(bad_);
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_EQ(report->findings[0].chunk, 0u);
}

TEST_F(Damage, ExchangedShards) {
  // The same names, sizes and times, other text: only digests can tell.
  const Corpus other = mixed_corpus(4000, 512, 99);
  LLMC_ASSERT_OK(compress(dir_ / "other", other));
  ASSERT_EQ(other.plan().digest(), set_.plan().digest());
  const auto expect_refused = [&](uint32_t number, const std::string& context) {
    auto reader = ArchiveReader::open(dir_ / "set");
    EXPECT_EQ(reader->read_frame(number, 0).status().code(), Code::corrupt) << context;
    auto report = verify_archive(dir_ / "set");
    ASSERT_TRUE(report.ok());
    ASSERT_GE(report->findings.size(), 1u) << context;
    EXPECT_EQ(report->findings[0].shard, number) << context;
  };
  fs::copy_file(dir_ / "other/shard-000001.h5", dir_ / "set/shard-000001.h5", fs::copy_options::overwrite_existing);
  expect_refused(1, "of another set");
  LLMC_ASSERT_OK(compress(dir_ / "set", set_, 0, SetMode::replace));
  fs::rename(dir_ / "set/shard-000002.h5", dir_ / "x");
  fs::rename(dir_ / "set/shard-000003.h5", dir_ / "set/shard-000002.h5");
  fs::rename(dir_ / "x", dir_ / "set/shard-000003.h5");
  expect_refused(2, "two shards of one set");
  LLMC_ASSERT_OK(compress(dir_ / "set", set_, 0, SetMode::replace));
  fs::remove(dir_ / "set/shard-000002.h5");
  expect_refused(2, "missing");
  EXPECT_NE(verify_archive(dir_ / "set")->findings[0].message.find("missing"), std::string::npos);
}

TEST_F(Damage, ManifestTampering) {
  const fs::path path = dir_ / "set/manifest.json";
  const Bytes good = *read_file(path);
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    for (int bit = 0; bit < 8; ++bit) {
      bad[i] = good[i] ^ static_cast<uint8_t>(1 << bit);
      ASSERT_EQ(Manifest::parse(bad, "m").status().code(), Code::corrupt) << i << " " << bit;
    }
    ASSERT_EQ(Manifest::parse(ByteView(good).first(i), "m").status().code(), Code::corrupt) << i;
  }
  // With the checksum made to fit: every value is looked at.
  auto forged = [&](const std::string& from, const std::string& to) {
    std::string text(as_text(good));
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const size_t tail = text.rfind("  \"sha256\"");
    const std::string digest = to_hex(sha256(as_bytes(text.substr(0, tail))));
    return text.substr(0, tail) + "  \"sha256\": \"" + digest + "\"\n}\n";
  };
  const std::pair<const char*, const char*> lies[] = {
      {"\"shard-000001.h5\"", "\"../../etc/passwd\""}, {"\"shard-000001.h5\"", "\"shard-000002.h5\""},
      {"\"shard-000001.h5\"", "7"},                    {"\"chunk_bytes\": 512", "\"chunk_bytes\": 0"},
      {"\"chunk_bytes\": 512", "\"chunk_bytes\": -1"}, {"\"chunk_bytes\": 512", "\"chunk_bytes\": 1e99"},
      {"\"chunk_bytes\": 512", "\"chunk_bytes\": 99"}, {"\"text_bytes\": ", "\"text_bytes\": 1"},
      {"\"llmc-batch set\"", "\"llmc-batch sex\""},    {"\"shards\": [", "\"shards\": [3,"},
      {"\"shards\": [", "\"shards\": [[],"},           {"\"model\": {", "\"model\": {\"name\":3,\"a\":{"},
      {"\"version\": 1", "\"version\": 0"},            {"\"parameters\": \"", "\"parameters\": \"f"},
  };
  for (const auto& [from, to] : lies) {
    EXPECT_EQ(Manifest::parse(as_bytes(forged(from, to)), "m").status().code(), Code::corrupt) << from << " " << to;
  }
  EXPECT_EQ(Manifest::parse(as_bytes(forged("\"version\": 1", "\"version\": 2")), "m").status().code(), Code::failure);
  const Status newer = Manifest::parse(as_bytes(forged("\"features\": 0", "\"features\": 8")), "m").status();
  EXPECT_EQ(newer.code(), Code::failure);
  EXPECT_NE(newer.message().find("newer version"), std::string::npos);
  // What agrees with itself but not with the shards is found when they are opened, or by verify.
  overwrite(path, as_bytes(forged("\"chunk_bytes\": 512", "\"chunk_bytes\": 513")));
  EXPECT_EQ(ArchiveReader::open(dir_ / "set")->read_frame(0, 0).status().code(), Code::corrupt);
  overwrite(path, as_bytes(forged("\"tokens\": 0", "\"tokens\": 9")));
  EXPECT_FALSE(verify_archive(dir_ / "set")->sound());
  std::string deep(5'000'000, '[');
  EXPECT_EQ(Manifest::parse(as_bytes(deep), "m").status().code(), Code::corrupt);
  deep = "{\n\"a\": " + deep + "\n  \"sha256\": \"";
  const std::string hex = to_hex(sha256(as_bytes(deep.substr(0, deep.rfind("  \"sha256\"")))));
  EXPECT_EQ(Manifest::parse(as_bytes(deep + hex + "\"\n}\n"), "m").status().code(), Code::corrupt);
}

TEST_F(Damage, NewerVersions) {
  Bytes bad = good_;
  bad[8] = 2;
  fix_block_crc(bad);
  overwrite(bad_, bad);
  const Status version = ArchiveReader::open(bad_).status();
  EXPECT_EQ(version.code(), Code::failure);
  EXPECT_NE(version.message().find("newer version"), std::string::npos);
  bad = good_;
  bad[12] = 8;  // a required feature
  fix_block_crc(bad);
  overwrite(bad_, bad);
  EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::failure);
  EXPECT_EQ(verify_archive(bad_).status().code(), Code::failure);
  for (const uint8_t known : {1, 4, 5}) {  // that the coding parameters do not ask for
    bad[12] = known;
    fix_block_crc(bad);
    overwrite(bad_, bad);
    EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::corrupt);
  }
}

TEST_F(Damage, ForgedUserBlocks) {
  // Any field, any value, with a CRC that fits.
  std::mt19937_64 random(8);
  for (int i = 0; i < 3000; ++i) {
    Bytes bad = good_;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int k = 0; k < changes; ++k) {
      const size_t at = 8 + random() % 208;
      switch (random() % 4) {
        case 0: bad[at] = 0xff; break;
        case 1: bad[at] = 0; break;
        case 2: put_u32(bad, at, 0xffffffff); break;
        default: bad[at] = static_cast<uint8_t>(random());
      }
    }
    fix_block_crc(bad);
    overwrite(bad_, bad);
    std::string text;
    if (read_text(bad_, &text).ok() && ArchiveReader::open(bad_)->chunk_bytes() == 512) {
      ASSERT_TRUE(text == corpus_.text);  // what does not take part in reading may say anything
    }
    (void)verify_archive(bad_);
  }
}

TEST_F(Damage, ForgedIndexes) {
  auto shard = ShardFile::open(dir_ / "good.h5");
  const UserBlock block = shard->block();
  const Bytes plain = shard->index().serialize();
  ASSERT_EQ(plain.size(), block.index_plain_bytes);
  ASSERT_TRUE(ShardIndex::parse(plain, block, "i").ok());
  std::mt19937_64 random(10);
  int accepted = 0;
  const int rounds = 60'000;
  for (int i = 0; i < rounds; ++i) {
    Bytes bad = plain;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int k = 0; k < changes && !bad.empty(); ++k) {
      const size_t at = random() % bad.size();
      switch (random() % 5) {
        case 0: bad[at] = 0xff; break;
        case 1: bad[at] ^= static_cast<uint8_t>(1 << (random() % 8)); break;
        case 2: bad.erase(bad.begin() + static_cast<ptrdiff_t>(at)); break;
        case 3: bad.insert(bad.begin() + static_cast<ptrdiff_t>(at), static_cast<uint8_t>(random())); break;
        default: bad.resize(at);
      }
    }
    auto index = ShardIndex::parse(bad, block, "i");
    if (!index.ok()) {
      ASSERT_EQ(index.status().code(), Code::corrupt);
      continue;
    }
    ++accepted;
    // What is accepted keeps the promises of a parsed index.
    uint64_t text = 0;
    std::string before;
    for (const IndexEntry& e : index->entries) {
      ASSERT_TRUE(valid_entry_name(e.entry.name));
      ASSERT_TRUE(before.empty() || before < e.entry.name);
      before = e.entry.name;
      ASSERT_EQ(e.shard_offset, text);
      text += e.size;
      RecordReader in(e.entry.records_kind, e.entry.records);
      for (Record r; in.next(&r);) ASSERT_LE(e.records_base + r.offset + r.length, e.entry.size);
    }
    ASSERT_EQ(text, block.text_bytes);
    for (const IndexChunk& c : index->chunks) ASSERT_LE(c.offset + c.frame_size, block.file_bytes);
  }
  std::printf("tally: %d forged indexes, %d of them harmless\n", rounds, accepted);

}

// Declared limits come before memory: it grows with what really comes out, never with what a file claims.
TEST_F(Damage, HugeClaimsTakeNoMemory) {
  ASSERT_TRUE(a_gibibyte_is_too_much());
  const auto shard = ShardFile::open(dir_ / "good.h5");
  const UserBlock block = shard->block();
  const Bytes plain = shard->index().serialize();
  // Bombs: small indexes that unpack to 100 MiB, to a byte more and to a byte less than they say; and all of them where they say 1 GiB.
  for (const size_t size : {size_t{100} << 20, plain.size() + 1, plain.size() - 1}) {
    UserBlock lie = block;
    const Bytes stored = ShardIndex::pack(Bytes(size, 0));
    lie.index_bytes = stored.size();
    lie.index = sha256(stored);
    for (const uint64_t claimed : {uint64_t{plain.size()}, max_index_bytes}) {
      lie.index_plain_bytes = claimed;
      // What is within the limit may be unpacked: half as much again while the room grows.
      const size_t room = 32 + (claimed == max_index_bytes ? (size >> 20) * 5 / 2 : 0);
      EXPECT_EQ(within(room, [&] { return ShardIndex::unpack(stored, lie, "i").status().code() == Code::corrupt; }), "") << size << " " << claimed;
    }
  }
  // Counts of chunks, entries and records that only a huge file could have.
  UserBlock many = block;
  many.chunks = 0xfffffffe;
  many.text_bytes = uint64_t{many.chunks} * many.chunk_bytes;
  EXPECT_EQ(within(32, [&] { return ShardIndex::parse(plain, many, "i").status().code() == Code::corrupt; }), "") << "chunks";
  ByteWriter head;
  head.string(as_text(shard->index().parameters));
  head.string(shard->index().model_name);
  head.varint(0);
  head.varint(0);
  for (const uint64_t entries : {uint64_t{1} << 20, uint64_t{1} << 40, ~uint64_t{0}}) {
    ByteWriter out;
    out.bytes(head.view());
    out.varint(entries);
    out.bytes(Bytes(100, 0));
    EXPECT_EQ(within(32, [&] { return ShardIndex::parse(out.view(), block, "i").status().code() == Code::corrupt; }), "") << entries << " entries";
  }
  // User blocks whose lengths go beyond the file, or to all of a file that is not there.
  for (const size_t at : {64u, 72u, 80u, 216u, 224u, 264u, 272u}) {
    Bytes bad = good_;
    put_u32(bad, at, 0x3fffffff);
    fix_block_crc(bad);
    overwrite(bad_, bad);
    EXPECT_EQ(within(32, [&] { return !ArchiveReader::open(bad_).ok() && !verify_archive(bad_)->sound(); }), "") << "user block, byte " << at;
  }
  // A manifest that goes down for ever.
  const Bytes deep(5'000'000, '[');
  EXPECT_EQ(within(64, [&] { return Manifest::parse(deep, "m").status().code() == Code::corrupt; }), "");
}

TEST_F(Damage, NotAnArchive) {
  EXPECT_EQ(ArchiveReader::open(dir_ / "nothing").status().code(), Code::missing);
  EXPECT_EQ(verify_archive(dir_ / "nothing").status().code(), Code::missing);
  overwrite(bad_, {});
  EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::corrupt);
  overwrite(bad_, Bytes(4096, 0));
  EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::corrupt);
  overwrite(bad_, Bytes(4096, 'x'));
  const Status status = ArchiveReader::open(bad_).status();
  EXPECT_EQ(status.code(), Code::corrupt);
  EXPECT_NE(status.message().find("bad.h5: not an archive"), std::string::npos) << status.message();
  fs::create_directory(dir_ / "folder");
  EXPECT_EQ(ArchiveReader::open(dir_ / "folder").status().code(), Code::missing) << "empty";
  overwrite(dir_ / "folder/x", as_bytes("y"));
  EXPECT_EQ(ArchiveReader::open(dir_ / "folder").status().code(), Code::corrupt);
  EXPECT_EQ(ArchiveReader::open("/dev/null").status().code(), Code::corrupt);
  // As text-mode FTP leaves a file.
  Bytes text_mode = good_;
  text_mode.erase(text_mode.begin() + 5);
  overwrite(bad_, text_mode);
  EXPECT_EQ(ArchiveReader::open(bad_).status().code(), Code::corrupt);
}

TEST_F(Damage, HDF5MetadataIsNamedAndNotNeeded) {
  // The root group of the HDF5 file: h5py cannot open it any more, our reader does not look.
  Bytes bad = good_;
  for (size_t i = 512; i < 600; ++i) bad[i] = 0xee;
  overwrite(bad_, bad);
  std::string text;
  LLMC_ASSERT_OK(read_text(bad_, &text));
  EXPECT_TRUE(text == corpus_.text);
  auto report = verify_archive(bad_);
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_NE(report->findings[0].message.find("HDF5"), std::string::npos);
}

TEST_F(Damage, AnInterruptedCheckClaimsNoMore) {
  int calls = 0;
  auto report = verify_archive(dir_ / "good.h5", [&] { return ++calls > 6; });
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->stopped);
  EXPECT_FALSE(report->sound());
  EXPECT_LT(report->chunks, 6u);
}

}  // namespace
}  // namespace llmc::test
