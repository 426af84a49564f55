// Indexes of names: what is written is found and nothing else, look-ups read few blocks, damage is told and never answers.
#include "archive/fixture.h"

#include "archive/name_index.h"
#include "archive/set_names.h"

namespace llmc::test {
namespace {

// Sorted, without repeats; some share long beginnings, some are very long.
std::vector<NamedPlace> places(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<NamedPlace> all;
  std::string name;
  for (size_t i = 0; i < count; ++i) {
    name = "corpus/" + std::to_string(random() % 100) + "/" + std::to_string(random() % (count * 4));
    if (random() % 997 == 0) name += std::string(random() % 4000, 'x');
    if (random() % 50 == 0) name += "\xff/\xfe";
    all.push_back({name, 0, 0});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  all.erase(std::unique(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name == b.name; }), all.end());
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].shard = 7 + static_cast<uint32_t>(i * 100 / all.size());
    all[i].entry = static_cast<uint32_t>(random() % 4096);
  }
  return all;
}

NameIndexFacts write(const fs::path& path, const std::vector<NamedPlace>& all) {
  auto writer = NameIndexWriter::create(path, 7, 100);
  for (const NamedPlace& place : all) {
    const Status added = writer->add(place);
    EXPECT_TRUE(added.ok()) << added.message();
  }
  return *writer->finish();
}

// All of them in order, and then the end, however often it is asked for.
void expect_streamed(NameIndex& index, const std::vector<NamedPlace>& all) {
  NameIndexStream stream(index);
  for (const NamedPlace& place : all) {
    const auto next = stream.next();
    ASSERT_TRUE(next.ok() && *next);
    ASSERT_EQ((*next)->name, place.name);
  }
  EXPECT_EQ(*stream.next(), nullptr);
  EXPECT_EQ(*stream.next(), nullptr);
}

TEST(NameIndex, FindsEveryNameAndNoOther) {
  TempDir dir;
  for (const size_t count : {size_t{0}, size_t{1}, size_t{40}, size_t{60000}}) {
    const auto all = places(count, count + 1);
    const NameIndexFacts facts = write(dir / "a", all);
    EXPECT_EQ(facts.names, all.size());
    EXPECT_EQ(facts.bytes, fs::file_size(dir / "a"));
    EXPECT_EQ(facts.sha256, sha256(*read_file(dir / "a")));
    auto index = NameIndex::open(dir / "a", 7, 100);
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_EQ(index->names(), all.size());
    for (size_t i = 0; i < all.size(); i += 1 + count / 3000) {
      const auto found = index->find(all[i].name);
      ASSERT_TRUE(found.ok() && *found) << all[i].name;
      EXPECT_EQ((*found)->shard, all[i].shard);
      EXPECT_EQ((*found)->entry, all[i].entry);
      EXPECT_FALSE(*index->find(all[i].name + "\x01"));
      EXPECT_FALSE(*index->find(all[i].name.substr(0, all[i].name.size() - 1) + "\x01"));
    }
    EXPECT_FALSE(*index->find(""));
    EXPECT_FALSE(*index->find("\xff"));
    expect_streamed(*index, all);
  }
}

TEST(NameIndex, SeeksForward) {
  TempDir dir;
  const auto all = places(30000, 5);
  write(dir / "a", all);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    auto index = NameIndex::open(dir / "a", 7, 100);
    NameIndexStream stream(*index);
    std::mt19937_64 random(seed);
    size_t at = 0;  // the first that the stream may give
    while (at < all.size()) {
      std::string wanted = all[std::min<size_t>(at + random() % (seed * 100), all.size() - 1)].name;
      if (random() % 2) wanted += "\x01";
      const auto expected = std::partition_point(all.begin(), all.end(), [&](const auto& p) { return p.name < wanted; });
      const auto got = stream.seek(wanted);
      ASSERT_TRUE(got.ok());
      if (expected == all.end()) {
        EXPECT_EQ(*got, nullptr);
        break;
      }
      ASSERT_TRUE(*got);
      ASSERT_EQ((*got)->name, expected->name);
      at = static_cast<size_t>(expected - all.begin()) + 1;
      if (random() % 3 == 0 && at < all.size()) {
        ASSERT_EQ((*stream.next())->name, all[at].name);
        ++at;
      }
    }
  }
}

TEST(NameIndex, ALookUpReadsFewBlocks) {
  TempDir dir;
  const auto all = places(200000, 3);
  write(dir / "a", all);
  auto index = NameIndex::open(dir / "a", 7, 100);
  const uint64_t root = index->blocks_read();
  EXPECT_EQ(root, 1u);
  for (size_t i = 0; i < all.size(); i += 20011) {
    const uint64_t before = index->blocks_read();
    EXPECT_TRUE(*index->find(all[all.size() - 1 - i].name));
    EXPECT_LE(index->blocks_read() - before, 2u);
  }
  EXPECT_LT(index->bytes(), all.size() * 12);
}

// As deep as millions of the longest names would make it: whatever is written is read.
TEST(NameIndex, ADeepTreeIsRead) {
  TempDir dir;
  for (const uint32_t levels : {8u, 9u, 13u}) {
    std::vector<NamedPlace> all;
    for (uint32_t i = 0; i < 1u << levels; ++i) {
      char digits[9];
      std::snprintf(digits, sizeof digits, "%04x", i);
      all.push_back({digits + std::string(20, 'x'), 7, i});
    }
    auto writer = NameIndexWriter::create(dir / "a", 7, 100, 45);  // two of these names make a block
    for (const NamedPlace& place : all) ASSERT_TRUE(writer->add(place).ok());
    ASSERT_TRUE(writer->finish().ok());
    auto index = NameIndex::open(dir / "a", 7, 100);
    ASSERT_TRUE(index.ok()) << levels << ": " << index.status().message();
    EXPECT_TRUE(*index->find(all.back().name));
    EXPECT_EQ(index->blocks_read(), levels);
    for (size_t i = 0; i < all.size(); i += 101) {
      const auto found = index->find(all[i].name);
      ASSERT_TRUE(found.ok() && *found) << all[i].name;
      EXPECT_EQ((*found)->entry, all[i].entry);
    }
    expect_streamed(*index, all);
  }
}

TEST(NameIndex, NamesMustRiseAndLieInTheShards) {
  TempDir dir;
  auto writer = NameIndexWriter::create(dir / "a", 3, 2);
  EXPECT_EQ(writer->add({std::string(4096, 'a'), 3, 0}).code(), Code::corrupt);  // longer than readers take
  EXPECT_TRUE(writer->add({"b", 3, 0}).ok());
  EXPECT_EQ(writer->add({"b", 3, 1}).code(), Code::corrupt);
  EXPECT_EQ(writer->add({"a", 3, 1}).code(), Code::corrupt);
  EXPECT_EQ(writer->add({"c", 2, 0}).code(), Code::corrupt);
  EXPECT_EQ(writer->add({"c", 5, 0}).code(), Code::corrupt);
  EXPECT_TRUE(writer->add({"c", 4, 0}).ok());
}

// Any byte changed, any length: a right answer or damage, and no memory that the file does not pay for.
TEST(NameIndex, DamageIsToldAndNeverAnswers) {
  TempDir dir;
  const auto all = places(8000, 9);
  write(dir / "a", all);
  const Bytes sound = *read_file(dir / "a");
  EXPECT_EQ(NameIndex::open(dir / "a", 7, 99).status().code(), Code::corrupt);
  EXPECT_EQ(NameIndex::open(dir / "a", 8, 100).status().code(), Code::corrupt);
  EXPECT_EQ(NameIndex::open(dir / "none", 7, 100).status().code(), Code::missing);
  const bool longer = std::getenv("LLMC_LONG") != nullptr;
  std::mt19937_64 random(4);
  int told = 0, rounds = longer ? 20000 : 800;
  for (int i = 0; i < rounds; ++i) {
    Bytes bytes = sound;
    if (i % 8 == 7) {
      bytes.resize(random() % sound.size());
    } else {
      bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1u << random() % 8);
    }
    overwrite(dir / "b", bytes);
    auto index = NameIndex::open(dir / "b", 7, 100);
    bool corrupt = !index.ok();
    for (size_t k = 0; index.ok() && k < all.size(); k += 97) {
      const auto found = index->find(all[k].name);
      corrupt |= !found.ok();
      if (!found.ok()) continue;
      ASSERT_TRUE(*found) << "a name was lost without a word";
      ASSERT_EQ((*found)->shard, all[k].shard);
      ASSERT_EQ((*found)->entry, all[k].entry);
    }
    told += corrupt;
  }
  EXPECT_GE(told, rounds * 9 / 10);
  std::printf("tally: %d of %d damaged indexes were told by look-ups\n", told, rounds);
}

}  // namespace
}  // namespace llmc::test
