// Frames alone: what is found when user block, index and HDF5's own structures are gone.
#include "archive/salvage.h"

#include <cstdio>
#include <set>

#include "archive/format.h"
#include "fixture.h"

namespace llmc::test {
namespace {

class SalvageFrames : public testing::Test {
 protected:
  void SetUp() override {
    corpus_ = mixed_corpus(0, 512);
    LLMC_ASSERT_OK(compress(dir_ / "good.h5", corpus_));
    good_ = *read_file(dir_ / "good.h5");
    auto shard = ShardFile::open(dir_ / "good.h5");
    block_ = shard->block();
    index_ = shard->index();
  }
  Salvaged search(const Bytes& bytes) {
    overwrite(dir_ / "bad.h5", bytes);
    auto found = search_frames(dir_ / "bad.h5");
    EXPECT_TRUE(found.ok()) << found.status().message();
    return found.ok() ? std::move(*found) : Salvaged();
  }
  // Every frame that was found holds the text of its chunk.
  void expect_text(const Salvaged& found, size_t frames) {
    ASSERT_EQ(found.shards.size(), 1u);
    EXPECT_EQ(found.shards[0].frames.size(), frames);
    for (const auto& [chunk, f] : found.shards[0].frames) {
      auto bytes = read_found(found, f);
      ASSERT_TRUE(bytes.ok());
      const auto text = as_text(ByteView(*bytes).subspan(frame_header_bytes));
      ASSERT_TRUE(text == std::string_view(corpus_.text).substr(chunk * 512, 512)) << chunk;
    }
  }
  TempDir dir_;
  Corpus corpus_;
  Bytes good_;
  UserBlock block_;
  ShardIndex index_;
};

TEST_F(SalvageFrames, TheSeedIsComputedBack) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    const std::string text = random_text(random(), 1 + random() % 300);
    Frame f;
    f.chunk = static_cast<uint32_t>(i);
    f.payload = as_bytes(text);
    f.text_size = static_cast<uint32_t>(text.size());
    f.text_crc = crc32c(f.payload);
    const auto seed = static_cast<uint32_t>(random());
    const Bytes bytes = make_frame(f, seed);
    ASSERT_EQ(implied_seed(bytes), seed);
    ASSERT_TRUE(parse_frame(bytes, implied_seed(bytes)).ok());
  }
}

TEST_F(SalvageFrames, ASoundFile) {
  const Salvaged found = search(good_);
  expect_text(found, block_.chunks);
  EXPECT_TRUE(found.shards[0].index && found.shards[0].block);
  EXPECT_TRUE(found.strays.empty());
  EXPECT_EQ(found.model, block_.model);
  EXPECT_EQ(found.parameters, corpus_.options.parameters);
}

TEST_F(SalvageFrames, EverythingButTheFramesIsGone) {
  // User block, HDF5's metadata, its chunk index and ours: all bytes that are no frame.
  Bytes bad(good_.size(), 0xEE);
  for (const IndexChunk& c : index_.chunks) std::copy_n(good_.begin() + static_cast<ptrdiff_t>(c.offset), c.frame_size, bad.begin() + static_cast<ptrdiff_t>(c.offset));
  const Salvaged found = search(bad);
  expect_text(found, block_.chunks);
  EXPECT_FALSE(found.shards[0].index);
  EXPECT_EQ(found.shards[0].seed, block_.seed);
  EXPECT_EQ(found.shards[0].chunk_bytes, 512u);
}

TEST_F(SalvageFrames, TheIndexIsFoundWithoutTheUserBlock) {
  Bytes bad = good_;
  std::fill(bad.begin(), bad.begin() + 512, uint8_t{0});
  const Salvaged found = search(bad);
  expect_text(found, block_.chunks);
  ASSERT_TRUE(found.shards[0].index);
  EXPECT_EQ(found.shards[0].index->entries.size(), index_.entries.size());
  EXPECT_EQ(found.shards[0].index->entries[3].entry.name, index_.entries[3].entry.name);
  // And with some frames lost as well.
  std::fill(bad.begin() + static_cast<ptrdiff_t>(index_.chunks[2].offset), bad.begin() + static_cast<ptrdiff_t>(index_.chunks[5].offset), uint8_t{1});
  const Salvaged less = search(bad);
  expect_text(less, block_.chunks - 3);
  EXPECT_TRUE(less.shards[0].index);
}

// Shards of two parts of a set that begin with the same chunk have one seed; so have a shard and a copy of it, which adds nothing.
TEST(SalvageParts, ThatShareASeedStayApart) {
  TempDir dir;
  const std::string same = random_text(7, 512);
  std::vector<Corpus> parts(4);
  for (size_t p = 0; p < parts.size(); ++p) {
    parts[p].options = options(4000, 512);
    parts[p].add_file(std::string(1, static_cast<char>('a' + p)), p < 2 ? same + random_text(100 + p, 1200 + 900 * p) : same);
    SetOptions how;
    if (p > 0) {
      const auto manifest = Manifest::load(dir / "set/manifest.json");
      how.append = AppendTo{static_cast<uint32_t>(manifest->shards.size()), manifest->content};
    }
    auto writer = SetWriter::open(dir / "set", parts[p].plan(), how);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    LLMC_ASSERT_OK(put_all(**writer, parts[p]));
    ASSERT_TRUE((*writer)->finish().ok());
  }
  fs::copy_file(dir.path() / "set" / shard_name(1), dir / "set/copy-of-1");
  const auto expect_parts = [&](const Salvaged& found, size_t count) {
    ASSERT_EQ(found.shards.size(), count);
    std::set<std::string> labels;
    for (const FoundShard& shard : found.shards) {
      labels.insert(shard.label);
      ASSERT_TRUE(shard.index) << shard.label;
      const Corpus& part = parts[shard.index->entries.at(0).entry.name[0] - 'a'];
      std::string text;
      for (const auto& [chunk, f] : shard.frames) text += as_text(ByteView(*read_found(found, f)).subspan(frame_header_bytes));
      EXPECT_TRUE(text == part.text) << shard.label;
    }
    EXPECT_EQ(labels.size(), count);
  };
  const auto found = search_frames(dir / "set");
  ASSERT_TRUE(found.ok()) << found.status().message();
  expect_parts(*found, 4);
  // Without user blocks what differs stays apart too; of what is the same bytes, one is enough.
  for (const auto& item : fs::directory_iterator(dir / "set")) {
    if (item.is_directory() || item.path().extension() == ".json") continue;
    Bytes bytes = *read_file(item.path());
    std::fill_n(bytes.begin(), std::min<size_t>(512, bytes.size()), uint8_t{0});
    overwrite(item.path(), bytes);
  }
  const auto bare = search_frames(dir / "set");
  ASSERT_TRUE(bare.ok()) << bare.status().message();
  expect_parts(*bare, 2);
}

TEST_F(SalvageFrames, MovedAndCutFiles) {
  Bytes bad(777, 3);  // something before it, and its end gone: a piece of a disk
  bad.insert(bad.end(), good_.begin(), good_.begin() + static_cast<ptrdiff_t>(index_.chunks[9].offset + 10));
  const Salvaged found = search(bad);
  expect_text(found, 9);
  EXPECT_TRUE(found.shards[0].block);
  for (size_t size = 0; size < good_.size(); size += 512) {
    const Salvaged cut = search(Bytes(good_.begin(), good_.begin() + static_cast<ptrdiff_t>(size)));
    size_t whole = 0;
    for (const IndexChunk& c : index_.chunks) whole += c.offset + c.frame_size <= size;
    size_t frames = cut.strays.size();
    for (const FoundShard& s : cut.shards) frames += s.frames.size();
    ASSERT_EQ(frames, whole) << size;
  }
}

TEST_F(SalvageFrames, DamagedFramesAreStraysAndNeverTakenForSound) {
  std::mt19937_64 random(7);
  const int rounds = std::getenv("LLMC_LONG") ? 5000 : 300;
  for (int i = 0; i < rounds; ++i) {
    Bytes bad = good_;
    const uint32_t chunk = static_cast<uint32_t>(random() % block_.chunks);
    const size_t at = index_.chunks[chunk].offset + random() % index_.chunks[chunk].frame_size;
    bad[at] ^= static_cast<uint8_t>(1 << (random() % 8));
    const Salvaged found = search(bad);
    expect_text(found, block_.chunks - 1);
    ASSERT_FALSE(found.shards[0].frames.contains(chunk)) << at;
    if (HasFatalFailure()) return;
  }
  std::printf("tally: %d flips in frames, none taken for sound\n", rounds);
}

TEST_F(SalvageFrames, SetsSpoolsAndArchivesInsideArchives) {
  const Corpus set = mixed_corpus(4000, 512);
  LLMC_ASSERT_OK(compress(dir_ / "set", set));
  auto found = search_frames(dir_ / "set");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->shards.size(), set.plan().shards().size());
  EXPECT_EQ(found->shards[2].label, "shard-000002");
  fs::remove(dir_ / "set/manifest.json");
  Bytes bad = *read_file(dir_ / "set/shard-000001.h5");
  std::fill(bad.begin(), bad.begin() + 512, uint8_t{0});
  overwrite(dir_ / "set/shard-000001.h5", bad);
  found = search_frames(dir_ / "set");
  EXPECT_EQ(found->shards.size(), set.plan().shards().size());

  // What an interrupted run has in its spool can be won back too.
  auto writer = SetWriter::open(dir_ / "unfinished", set.plan());
  ASSERT_TRUE(writer.ok());
  LLMC_ASSERT_OK((*writer)->set_seed(0, test_seed(set, set.plan(), 0)));
  for (uint32_t c = 0; c < 3; ++c) LLMC_ASSERT_OK((*writer)->put(0, c, test_frame(set, set.plan(), 0, c)));
  found = search_frames(dir_ / "unfinished");
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->shards.size(), 1u);
  EXPECT_EQ(found->shards[0].frames.size(), 3u);

  // An archive in an archive, kept as it is: the outer frames count.
  Corpus outer;
  outer.options = options(0, 1 << 20);
  outer.add_file("inner.h5", std::string(as_text(good_)));
  LLMC_ASSERT_OK(compress(dir_ / "outer.h5", outer));
  found = search_frames(dir_ / "outer.h5");
  ASSERT_TRUE(found.ok());
  ASSERT_GE(found->shards.size(), 1u);
  EXPECT_EQ(found->shards[0].index->entries[0].entry.name, "inner.h5");
  EXPECT_EQ(found->shards.size(), 1u) << "nothing twice";
}

TEST_F(SalvageFrames, NothingToFind) {
  EXPECT_TRUE(search({}).shards.empty());
  EXPECT_TRUE(search(Bytes(100'000, 0x8c)).shards.empty());
  EXPECT_EQ(search_frames(dir_ / "nowhere").status().code(), Code::missing);
  // Many headers that claim to be long: refused in time, not after its square.
  Bytes liar;
  for (int i = 0; i < 3000; ++i) {
    Frame f;
    f.text_size = 1 << 20;
    f.codec = Codec::zstd;
    const Bytes payload(500'000, 'x');
    f.payload = ByteView(payload).first(i == 0 ? payload.size() : 0);
    Bytes frame = make_frame(f, 1);
    const uint32_t length = 400'000;
    std::memcpy(frame.data() + 20, &length, 4);
    liar.insert(liar.end(), frame.begin(), frame.end());
  }
  (void)search(liar);
}

// Blocks and frames that all have one seed, none of which fit: each with each would be 10^10 steps, and to read on at every find 10^12.
TEST_F(SalvageFrames, ManyBlocksAndFramesOfOneSeed) {
  constexpr uint32_t count = 100'000;
  ByteWriter out;
  const auto frames = [&](uint32_t first) {
    for (uint32_t i = first; i < first + count; ++i) {
      Frame f;
      f.chunk = i % 2;  // each a run of its own, since the numbers fall
      const std::string text = std::to_string(i);
      f.payload = as_bytes(text);
      f.text_size = static_cast<uint32_t>(text.size());
      f.text_crc = crc32c(f.payload);
      out.bytes(make_frame(f, block_.seed));
    }
  };
  frames(0);
  UserBlock block = block_;
  block.dictionary_bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    std::memcpy(block.plan.data(), &i, sizeof i);
    out.bytes(block.serialize());
  }
  frames(count);
  overwrite(dir_ / "crafted", out.view());
  uint64_t asked = 0;
  const auto found = search_frames(dir_ / "crafted", [&] { return ++asked, false; });
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_FALSE(found->gave_up);
  size_t frames_found = found->strays.size();
  for (const FoundShard& s : found->shards) frames_found += s.frames.size();
  EXPECT_EQ(frames_found, 2 * count);
  // It can be stopped all along.
  for (const uint64_t share : {1, 30, 60, 90, 99}) {
    uint64_t left = asked * share / 100;
    EXPECT_EQ(search_frames(dir_ / "crafted", [&] { return left-- == 0; }).status().code(), Code::interrupted) << share;
  }
}

}  // namespace
}  // namespace llmc::test
