// Where a shard's dictionary stands, who vouches for it, and what is said when it is lost.
#include "archive/format.h"
#include "archive/salvage.h"
#include "archive/shard_writer.h"
#include "archive/verify.h"
#include "fixture.h"

namespace llmc::test {
namespace {

// Coding parameters that ask for dictionaries: 14 bytes. Frames are made up: even chunks begin with the dictionary.
class Dictionaries : public testing::Test {
 protected:
  void SetUp() override {
    corpus_ = mixed_corpus(4000, 512);
    corpus_.options.parameters = {3, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0};
  }
  Bytes dictionary(const Plan& plan, uint32_t shard) const {
    const std::string text = random_text(shard, 900);
    const Bytes payload(200, static_cast<uint8_t>(shard));
    return make_frame({Codec::dictionary, frame_dictionary, 900, 300, crc32c(as_bytes(text)), payload}, test_seed(corpus_, plan, shard));
  }
  Bytes frame(const Plan& plan, uint32_t shard, uint32_t chunk) const {
    if (chunk % 2) return test_frame(corpus_, plan, shard, chunk);
    const ByteView text = chunk_text(corpus_, plan, shard, chunk);
    const Bytes payload(text.size() / 2, static_cast<uint8_t>(chunk));
    if (payload.empty()) return test_frame(corpus_, plan, shard, chunk);
    return make_frame({Codec::primed, chunk, static_cast<uint32_t>(text.size()), 1, crc32c(text), payload}, test_seed(corpus_, plan, shard));
  }
  // Shard 1 has none.
  Status fill(SetWriter& set, bool dictionaries = true) const {
    const Plan& plan = set.plan();
    for (uint32_t s = 0; s < plan.shards().size(); ++s) {
      if (plan.shard_chunks(s) > 0) LLMC_TRY(set.set_seed(s, test_seed(corpus_, plan, s)));
      if (dictionaries) LLMC_TRY(set.set_dictionary(s, s == 1 ? Bytes() : dictionary(plan, s)));
      for (uint32_t c = 0; c < plan.shard_chunks(s); ++c) {
        if (!set.have(s, c)) LLMC_TRY(set.put(s, c, s == 1 ? test_frame(corpus_, plan, s, c) : frame(plan, s, c)));
      }
      for (size_t p = 0; p < plan.shards()[s].pieces; ++p) {
        const size_t piece = plan.shards()[s].first_piece + p;
        if (!set.have_digest(piece)) LLMC_TRY(set.put_digest(piece, piece_digest(corpus_, plan, piece)));
      }
    }
    return {};
  }
  Status make(const fs::path& out, double parity = 0) const {
    SetOptions o;
    o.parity = parity;
    LLMC_ASSIGN(auto set, SetWriter::open(out, corpus_.plan(), o));
    LLMC_TRY(fill(*set));
    return set->finish().status();
  }
  TempDir dir_;
  Corpus corpus_;
};

TEST_F(Dictionaries, StandInTheirShards) {
  LLMC_ASSERT_OK(make(dir_ / "set"));
  auto reader = ArchiveReader::open(dir_ / "set");
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  for (uint32_t s = 0; s < reader->shards().size(); ++s) {
    auto shard = reader->shard(s);
    ASSERT_TRUE(shard.ok()) << shard.status().message();
    EXPECT_EQ((*shard)->block().features, 1u);
    EXPECT_EQ((*shard)->has_dictionary(), s != 1);
    EXPECT_TRUE(s == 1 || *(*shard)->read_dictionary() == dictionary(corpus_.plan(), s));
    LLMC_ASSERT_OK(check_hdf5_view(dir_.path() / "set" / shard_name(s)));
  }
  auto report = verify_archive(dir_ / "set");
  ASSERT_TRUE(report.ok() && report->sound());
  // The same bytes again.
  LLMC_ASSERT_OK(make(dir_ / "again"));
  EXPECT_TRUE(contents(dir_ / "set") == contents(dir_ / "again"));
  // A manifest of such a set says so; readers that do not know the bit refuse it.
  const Bytes manifest = *read_file(dir_ / "set/manifest.json");
  EXPECT_NE(as_text(manifest).find("\"features\": 1"), std::string::npos);
}

TEST_F(Dictionaries, AShardIsNotCompleteWithoutItsDictionary) {
  {
    auto set = SetWriter::open(dir_ / "set", corpus_.plan());
    ASSERT_TRUE(set.ok());
    LLMC_ASSERT_OK((*set)->set_seed(0, test_seed(corpus_, (*set)->plan(), 0)));
    EXPECT_FALSE((*set)->has_dictionary(0));
    Bytes foreign = dictionary((*set)->plan(), 2);
    EXPECT_EQ((*set)->set_dictionary(0, foreign).code(), Code::corrupt);
    EXPECT_EQ((*set)->set_dictionary(0, test_frame(corpus_, (*set)->plan(), 0, 0)).code(), Code::corrupt);
    LLMC_ASSERT_OK((*set)->set_dictionary(0, dictionary((*set)->plan(), 0)));
    EXPECT_TRUE((*set)->has_dictionary(0));
    LLMC_ASSERT_OK((*set)->sync());
    EXPECT_EQ((*set)->finish().status().code(), Code::partial);
  }
  // It is still there after the interruption.
  auto set = SetWriter::open(dir_ / "set", corpus_.plan());
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_TRUE((*set)->has_dictionary(0));
  EXPECT_TRUE(*(*set)->dictionary(0) == dictionary((*set)->plan(), 0));
  LLMC_ASSERT_OK(fill(**set));
  LLMC_ASSERT_OK((*set)->finish().status());
  LLMC_ASSERT_OK(make(dir_ / "whole"));
  EXPECT_TRUE(contents(dir_ / "set") == contents(dir_ / "whole"));
}

TEST_F(Dictionaries, WithoutThemAllFramesArePartial) {
  corpus_.options.parameters = {3, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0};
  auto set = SetWriter::open(dir_ / "set", corpus_.plan());
  ASSERT_TRUE(set.ok());
  LLMC_ASSERT_OK(fill(**set, false));
  const Status status = (*set)->finish().status();
  EXPECT_EQ(status.code(), Code::partial);
  EXPECT_NE(status.message().find("dictionar"), std::string::npos) << status.message();
}

TEST_F(Dictionaries, DamageNamesWhatDependsOnIt) {
  LLMC_ASSERT_OK(make(dir_ / "set"));
  const fs::path path = dir_.path() / "set" / shard_name(0);
  const Bytes good = *read_file(path);
  const UserBlock block = *ShardFile::read_block(path);
  for (const uint64_t at : {uint64_t{0}, uint64_t{5}, uint64_t{30}, uint64_t{block.dictionary_bytes - 1}}) {
    Bytes bad = good;
    bad[block.dictionary_offset + at] ^= 4;
    overwrite(path, bad);
    auto shard = ShardFile::open(path);
    ASSERT_TRUE(shard.ok());
    EXPECT_EQ(shard->read_dictionary().status().code(), Code::corrupt);
    EXPECT_TRUE(shard->read_frame(1).ok()) << "frames stand for themselves";
    auto report = verify_archive(dir_ / "set");
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->findings.size(), 1u);
    const std::string text = report->findings[0].describe();
    EXPECT_NE(text.find("the dictionary of shard 0"), std::string::npos) << text;
    EXPECT_NE(text.find("chunks begin with it"), std::string::npos) << text;
    EXPECT_NE(text.find("a/two.txt"), std::string::npos) << text;
  }
}

TEST_F(Dictionaries, FieldsThatCannotBeAreRefused) {
  LLMC_ASSERT_OK(make(dir_ / "set"));
  const UserBlock good = *ShardFile::read_block(dir_.path() / "set" / shard_name(0));
  const auto parsed = [&](const UserBlock& block) { return UserBlock::parse(block.serialize(), good.file_bytes, "x").ok(); };
  ASSERT_TRUE(parsed(good));
  const auto refuses = [&](auto change) {
    UserBlock block = good;
    change(block);
    EXPECT_FALSE(parsed(block));
  };
  refuses([](UserBlock& b) { b.features = 0; });
  refuses([](UserBlock& b) { b.features = 3; });
  refuses([](UserBlock& b) { b.dictionary_offset = 100; });
  refuses([](UserBlock& b) { b.dictionary_offset = b.file_bytes - 10; });
  refuses([](UserBlock& b) { b.dictionary_offset = ~uint64_t{0}; });
  refuses([](UserBlock& b) { b.dictionary_bytes = 0; });
  refuses([](UserBlock& b) { b.dictionary_bytes = 0xFFFFFFFF; });
  refuses([](UserBlock& b) { b.dictionary_text = max_dictionary_bytes + 1; });
  refuses([](UserBlock& b) { b.dictionary_text = 10; });
  refuses([](UserBlock& b) {
    b.chunk_bytes = max_primed_chunk_bytes + 1;
    b.chunks = 1;
  });
}

TEST_F(Dictionaries, AreFoundAmongRubble) {
  corpus_.options.shard_bytes = 0;
  LLMC_ASSERT_OK(make(dir_ / "good.h5"));
  const Bytes good = *read_file(dir_ / "good.h5");
  auto shard = ShardFile::open(dir_ / "good.h5");
  ASSERT_TRUE(shard.ok());
  const UserBlock block = shard->block();
  const auto search = [&](const Bytes& bytes) {
    overwrite(dir_ / "bad.h5", bytes);
    auto found = search_frames(dir_ / "bad.h5");
    EXPECT_TRUE(found.ok()) << found.status().message();
    return std::move(*found);
  };
  for (const bool blind : {false, true}) {
    Bytes bytes = good;
    if (blind) std::fill(bytes.begin(), bytes.begin() + 512, uint8_t{0});
    const Salvaged found = search(bytes);
    ASSERT_EQ(found.shards.size(), 1u);
    EXPECT_EQ(found.shards[0].frames.size(), block.chunks);
    EXPECT_EQ(found.shards[0].chunks, block.chunks);
    EXPECT_TRUE(found.shards[0].index);
    EXPECT_EQ(found.parameters, corpus_.options.parameters);
    ASSERT_TRUE(found.shards[0].dictionary);
    EXPECT_TRUE(*read_found(found, *found.shards[0].dictionary) == dictionary(corpus_.plan(), 0));
    // Without it the frames are still there.
    bytes[block.dictionary_offset + 40] ^= 1;
    const Salvaged less = search(bytes);
    ASSERT_EQ(less.shards.size(), 1u);
    EXPECT_EQ(less.shards[0].frames.size(), block.chunks);
    EXPECT_FALSE(less.shards[0].dictionary);
  }
}

}  // namespace
}  // namespace llmc::test
