// A set that was appended to: its parts are sets of their own, nothing that was there is written again, names are found, and
// what stands in the way is told.
#include "archive/fixture.h"

#include "archive/format.h"
#include "archive/repair_archive.h"
#include "archive/set_names.h"
#include "archive/verify.h"

namespace llmc::test {
namespace {

// Names that begin with `prefix`: several shards, a cut file, a folder, a link.
Corpus more(const std::string& prefix, uint64_t seed, uint64_t shard_bytes = 4000) {
  Corpus c;
  c.options = options(shard_bytes, 512);
  c.add(prefix, Entry::Kind::directory);
  c.add_file(prefix + "/a", random_text(seed, 700));
  c.add_file(prefix + "/big", random_text(seed + 1, 9000));
  c.add(prefix + "/link", Entry::Kind::symlink, "a");
  c.add_file(prefix + "/z", random_text(seed + 2, 300));
  return c;
}

AppendTo end_of(const fs::path& set) {
  const auto manifest = Manifest::load(set / "manifest.json");
  return {static_cast<uint32_t>(manifest->shards.size()), manifest->content};
}

Result<std::unique_ptr<SetWriter>> open_append(const fs::path& set, const Corpus& c, SetMode mode = SetMode::create) {
  SetOptions o;
  o.mode = mode;
  o.append = end_of(set);
  o.parity = Manifest::load(set / "manifest.json")->parity;
  return SetWriter::open(set, c.plan(), o);
}

Status append(const fs::path& set, const Corpus& c, uint64_t order = 0, SetMode mode = SetMode::create) {
  LLMC_ASSIGN(auto writer, open_append(set, c, mode));
  LLMC_TRY(put_all(*writer, c, order));
  return writer->finish().status();
}

Status compress_with_parity(const fs::path& set, const Corpus& c) {
  SetOptions o;
  o.parity = 0.2;
  LLMC_ASSIGN(auto writer, SetWriter::open(set, c.plan(), o));
  LLMC_TRY(put_all(*writer, c));
  return writer->finish().status();
}

void expect_sound(const fs::path& set) {
  const auto report = verify_archive(set);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_TRUE(report->sound()) << report->findings.at(0).describe();
}

// Each name of `c` is found with its attributes; what is not there is not.
void expect_names(const fs::path& set, const std::vector<const Corpus*>& all) {
  auto reader = ArchiveReader::open(set);
  ASSERT_TRUE(reader.ok());
  for (const Corpus* c : all) {
    for (const Entry& e : c->entries) {
      const auto found = reader->find(e.name);
      ASSERT_TRUE(found.ok()) << found.status().message();
      ASSERT_TRUE(*found) << e.name;
      const auto shard = reader->shard((*found)->shard);
      const IndexEntry& there = (*shard)->index().entries[(*found)->entry];
      EXPECT_EQ(there.entry.name, e.name);
      EXPECT_EQ(there.entry.size, e.size);
      EXPECT_EQ(there.offset, 0u);
      const auto absent = reader->find(e.name + "\x01");
      EXPECT_TRUE(absent.ok() && !*absent) << e.name;
    }
  }
}

TEST(Append, PartsAreTheSetsThatTheyWouldBeAlone) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50), third = more("b", 70);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  const auto before = contents(dir / "set");
  LLMC_ASSERT_OK(append(dir / "set", second, 3));
  LLMC_ASSERT_OK(append(dir / "set", third));
  expect_sound(dir / "set");
  LLMC_ASSERT_OK(compress(dir / "2", second));
  LLMC_ASSERT_OK(compress(dir / "3", third));
  auto all = contents(dir / "set");
  EXPECT_FALSE(all.contains(".work/"));
  size_t number = 0;
  for (const char* part : {"set", "2", "3"}) {
    const auto alone = part == std::string("set") ? before : contents(dir / part);
    for (uint32_t s = 0; alone.contains(shard_name(s)); ++s, ++number) {
      EXPECT_TRUE(alone.at(shard_name(s)) == all.at(shard_name(static_cast<uint32_t>(number)))) << part << " " << s;
    }
  }
  std::string text;
  LLMC_ASSERT_OK(read_text(dir / "set", &text));
  EXPECT_TRUE(text == first.text + second.text + third.text);

  auto reader = ArchiveReader::open(dir / "set");
  const Manifest& m = *reader->manifest();
  ASSERT_EQ(m.parts.size(), 3u);
  EXPECT_EQ(m.shards.size(), number);
  EXPECT_EQ(m.parts[1].content, Manifest::load(dir / "2/manifest.json")->content);
  EXPECT_EQ(m.parts[2].plan, third.plan().digest());
  EXPECT_EQ(m.entries, first.entries.size() + second.entries.size() + third.entries.size());
  EXPECT_EQ(m.content, content_of_parts({m.parts[0].content, m.parts[1].content, m.parts[2].content}));
  EXPECT_EQ(*reader->content_digest(), m.content);
  EXPECT_EQ(m.serialize(), as_text(all.at("manifest.json")));
  expect_names(dir / "set", {&first, &second, &third});
  // A range over the seam, and a shard alone.
  const auto spans = reader->spans(first.text.size() - 10, first.text.size() + 10);
  ASSERT_EQ(spans->size(), 2u);
  EXPECT_EQ((*spans)[1].shard, m.parts[1].first_shard);
  EXPECT_EQ(ArchiveReader::open(dir / "set/shard-000005.h5")->shards().size(), 1u);
}

TEST(Append, BytesDoNotDependOnTheOrderOfArrival) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  std::map<std::string, Bytes> expected;
  for (uint64_t order = 0; order <= 4; ++order) {
    const fs::path set = dir / std::to_string(order);
    LLMC_ASSERT_OK(compress(set, first, order));
    LLMC_ASSERT_OK(append(set, second, order));
    if (order == 0) expected = contents(set);
    EXPECT_TRUE(contents(set) == expected) << order;
  }
}

// Many small ones: few indexes, each name found by them, and found without them.
TEST(Append, IndexesOfNamesStayFew) {
  TempDir dir;
  std::vector<Corpus> all;
  std::vector<const Corpus*> pointers;
  all.push_back(mixed_corpus());
  LLMC_ASSERT_OK(compress(dir / "set", all[0]));
  for (int i = 0; i < 40; ++i) {
    Corpus c;
    c.options = options(4000, 512);
    for (int k = 0; k <= i % 7; ++k) c.add_file("day" + std::to_string(i * 37 % 40) + "/" + std::to_string(k), random_text(i, 60));
    std::sort(c.entries.begin(), c.entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    all.push_back(c);
    LLMC_ASSERT_OK(append(dir / "set", all.back()));
  }
  for (const Corpus& c : all) pointers.push_back(&c);
  expect_sound(dir / "set");
  expect_names(dir / "set", pointers);
  const auto manifest = Manifest::load(dir / "set/manifest.json");
  EXPECT_EQ(manifest->parts.size(), 41u);
  EXPECT_LE(manifest->names.size(), 6u);
  EXPECT_EQ(manifest->names.back().end, manifest->shards.size());
  size_t files = 0;
  for (const auto& [name, bytes] : contents(dir / "set")) files += is_names_name(name);
  EXPECT_EQ(files, manifest->names.size());

  // Gone or damaged: said, slower, the same answers; made anew to the byte.
  const auto sound = contents(dir / "set");
  const auto name = [&](size_t i) { return dir.path() / "set" / names_name(manifest->names[i].first, manifest->names[i].end); };
  Bytes bytes = *read_file(name(0));
  bytes[bytes.size() / 2] ^= 1;
  overwrite(name(0), bytes);
  if (manifest->names.size() > 1) fs::remove(name(1));
  expect_names(dir / "set", pointers);
  const auto report = verify_archive(dir / "set");
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->findings.size(), std::min<size_t>(2, manifest->names.size()));
  const auto repaired = repair_archive(dir / "set", false);
  ASSERT_TRUE(repaired.ok()) << repaired.status().message();
  EXPECT_TRUE(contents(dir / "set") == sound);
  expect_sound(dir / "set");
}

// Of more than 64 shards: an index without an append, by which a look-up opens one shard.
TEST(Append, ALargeSetHasAnIndexFromTheBegin) {
  TempDir dir;
  Corpus small, large;
  small.options = large.options = options(100, 100);
  for (int i = 100; i < 170; ++i) {
    large.add_file("f" + std::to_string(i), random_text(i, 100));
    if (i < 164) small.add_file("f" + std::to_string(i), random_text(i, 100));
  }
  LLMC_ASSERT_OK(compress(dir / "small", small));
  EXPECT_TRUE(Manifest::load(dir / "small/manifest.json")->names.empty());
  LLMC_ASSERT_OK(compress(dir / "large", large, 2));
  const auto manifest = Manifest::load(dir / "large/manifest.json");
  ASSERT_EQ(manifest->names.size(), 1u);
  EXPECT_EQ(manifest->names[0].names, 70u);
  EXPECT_EQ(manifest->parts.size(), 1u);
  expect_sound(dir / "large");
  expect_names(dir / "large", {&large});
  expect_names(dir / "small", {&small});
  // By one that has none, as made by an earlier version: the shards are bisected, and an append makes it.
  Manifest older = *manifest;
  older.names.clear();
  overwrite(dir / "large/manifest.json", as_bytes(older.serialize()));
  fs::remove(dir.path() / "large" / names_name(0, 70));
  expect_sound(dir / "large");
  expect_names(dir / "large", {&large});
  Corpus more;
  more.options = large.options;
  more.add_file("g", "x");
  LLMC_ASSERT_OK(append(dir / "large", more));
  EXPECT_EQ(Manifest::load(dir / "large/manifest.json")->names.back().end, 71u);
  expect_sound(dir / "large");
  expect_names(dir / "large", {&large, &more});
}

// An index whose checksums fit, with the names of another set: told by verify, and never believed.
TEST(Append, AnIndexOfOtherNamesIsFound) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  LLMC_ASSERT_OK(append(dir / "set", second));
  auto manifest = *Manifest::load(dir / "set/manifest.json");
  ASSERT_EQ(manifest.names.size(), 1u);
  auto writer = NameIndexWriter::create(dir.path() / "set" / names_name(0, manifest.names[0].end), 0, manifest.names[0].end);
  LLMC_ASSERT_OK(writer->add({"a", 1, 0}));
  const NameIndexFacts facts = *writer->finish();
  manifest.names[0].names = facts.names;
  manifest.names[0].bytes = facts.bytes;
  manifest.names[0].sha256 = facts.sha256;
  overwrite(dir / "set/manifest.json", as_bytes(manifest.serialize()));
  EXPECT_FALSE(verify_archive(dir / "set")->sound());
  auto reader = ArchiveReader::open(dir / "set");
  EXPECT_EQ(reader->find("a").status().code(), Code::corrupt);
}

TEST(Append, InterruptedItGoesOnAndTheSetIsWholeMeanwhile) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  LLMC_ASSERT_OK(compress(dir / "expected", first));
  LLMC_ASSERT_OK(append(dir / "expected", second));
  {
    auto writer = open_append(dir / "set", second);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    for (uint32_t s = 0; s < 1; ++s) LLMC_ASSERT_OK((*writer)->set_seed(s, test_seed(second, (*writer)->plan(), s)));
    LLMC_ASSERT_OK((*writer)->put(0, 0, test_frame(second, (*writer)->plan(), 0, 0)));
    (*writer)->abandon();
  }
  expect_sound(dir / "set");
  std::string text;
  LLMC_ASSERT_OK(read_text(dir / "set", &text));
  EXPECT_TRUE(text == first.text);
  // Another one is refused, and what it would take is said.
  const Status other = append(dir / "set", more("n", 90));
  EXPECT_EQ(other.code(), Code::failure);
  EXPECT_NE(other.message().find("--force"), std::string::npos) << other.message();
  // compress --resume of the first inputs finds the set finished and leaves the append alone.
  SetOptions resume;
  resume.mode = SetMode::resume;
  auto finished = SetWriter::open(dir / "set", first.plan(), resume);
  ASSERT_TRUE(finished.ok()) << finished.status().message();
  EXPECT_TRUE((*finished)->finished());
  ASSERT_TRUE(SetWriter::saved_settings(dir / "set").ok());
  LLMC_ASSERT_OK(append(dir / "set", second));
  EXPECT_TRUE(contents(dir / "set") == contents(dir / "expected"));
}

TEST(Append, GivenUpItLeavesNothing) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50), third = more("n", 90);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  LLMC_ASSERT_OK(compress(dir / "expected", first));
  LLMC_ASSERT_OK(append(dir / "expected", third));
  {
    auto writer = open_append(dir / "set", second);
    LLMC_ASSERT_OK(put_all(**writer, second));  // all shards are in their places, the manifest is not
    (*writer)->abandon();
  }
  EXPECT_TRUE(fs::exists(dir.path() / "set" / shard_name(end_of(dir / "set").first_shard)));
  expect_sound(dir / "set");
  LLMC_ASSERT_OK(append(dir / "set", third, 0, SetMode::replace));
  EXPECT_TRUE(contents(dir / "set") == contents(dir / "expected"));
}

// The one before, told once more that it is done, leaves the work of the one that has begun since.
TEST(Append, AFinishedOneDoesNotTouchTheWorkOfTheNext) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50), third = more("n", 90);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  SetOptions repeated;
  repeated.mode = SetMode::resume;
  repeated.append = end_of(dir / "set");
  LLMC_ASSERT_OK(append(dir / "set", second));
  {
    auto writer = open_append(dir / "set", third);
    LLMC_ASSERT_OK(put_all(**writer, third));
    (*writer)->abandon();
  }
  const auto before = contents(dir / "set");
  {
    auto again = SetWriter::open(dir / "set", second.plan(), repeated);
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_TRUE((*again)->finished());
  }
  EXPECT_TRUE(contents(dir / "set") == before);
  LLMC_ASSERT_OK(append(dir / "set", third));
  expect_sound(dir / "set");
}

// Killed with the manifest's parity in its place already, and given up: repair must not bring the manifest that never was.
TEST(Append, GivenUpItsParityGoesToo) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  LLMC_ASSERT_OK(compress_with_parity(dir / "set", first));
  const auto sound = contents(dir / "set");
  LLMC_ASSERT_OK(append(dir / "set", second));
  const Bytes parity = *read_file(dir / "set/manifest.json.parity");
  for (const auto& [name, bytes] : contents(dir / "set")) fs::remove(dir.path() / "set" / name);
  for (const auto& [name, bytes] : sound) overwrite(dir.path() / "set" / name, bytes);
  {
    auto writer = open_append(dir / "set", second);
    LLMC_ASSERT_OK(put_all(**writer, second));
    (*writer)->abandon();
  }
  overwrite(dir / "set/manifest.json.parity", parity);
  const uint32_t last = Manifest::load(dir / "set/manifest.json")->shards.size() + 1;
  fs::remove(dir.path() / "set" / shard_name(last));  // its parity was placed, the shard itself not yet
  {
    auto writer = open_append(dir / "set", more("n", 90), SetMode::replace);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    LLMC_ASSERT_OK((*writer)->discard_if_empty());
  }
  EXPECT_TRUE(contents(dir / "set") == sound);
  expect_sound(dir / "set");
}

// Nothing can be done for its shards, and repair must not say that all is well because the indexes of names are.
TEST(Append, WithoutParityRepairTellsOfDamagedShards) {
  TempDir dir;
  LLMC_ASSERT_OK(compress(dir / "set", mixed_corpus()));
  LLMC_ASSERT_OK(append(dir / "set", more("m", 50)));
  const auto whole = repair_archive(dir / "set", false);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_TRUE(whole->lost.empty());
  Bytes bytes = *read_file(dir.path() / "set" / shard_name(1));
  bytes[bytes.size() / 2] ^= 1;
  overwrite(dir.path() / "set" / shard_name(1), bytes);
  const auto report = repair_archive(dir / "set", false);
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->lost.size(), 1u);
  EXPECT_NE(report->lost[0].find(shard_name(1)), std::string::npos) << report->lost[0];
  // Nor where the manifest itself is what is damaged: then it has no parity, and nothing to make indexes from.
  Bytes manifest = *read_file(dir / "set/manifest.json");
  manifest[100] ^= 1;
  overwrite(dir / "set/manifest.json", manifest);
  EXPECT_EQ(repair_archive(dir / "set", false).status().code(), Code::failure);
}

TEST(Append, WhatIsNotTheSetsIsNotReplaced) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  LLMC_ASSERT_OK(compress(dir / "set", first));
  const fs::path stranger = dir.path() / "set" / shard_name(end_of(dir / "set").first_shard);
  overwrite(stranger, as_bytes("not to be lost"));
  for (const SetMode mode : {SetMode::create, SetMode::replace}) {
    const Status refused = append(dir / "set", second, 0, mode);
    EXPECT_EQ(refused.code(), Code::failure);
    EXPECT_NE(refused.message().find("move it away"), std::string::npos) << refused.message();
    EXPECT_EQ(as_text(*read_file(stranger)), "not to be lost");
  }
  fs::remove(stranger);
  // Another model, codec or size; or the set has changed since it was looked at.
  Corpus other = more("m", 50);
  other.options.chunk_bytes = 256;
  EXPECT_EQ(append(dir / "set", other).code(), Code::usage);
  other = more("m", 50);
  other.options.model.fill(1);
  EXPECT_EQ(append(dir / "set", other).code(), Code::usage);
  SetOptions stale;
  stale.append = end_of(dir / "set");
  LLMC_ASSERT_OK(append(dir / "set", second));
  EXPECT_EQ(SetWriter::open(dir / "set", more("q", 1).plan(), stale).status().code(), Code::failure);
  // What was committed already is success.
  auto again = SetWriter::open(dir / "set", second.plan(), stale);
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_TRUE((*again)->finished());
  EXPECT_FALSE(fs::exists(dir / "set/.work"));
  // A whole new set in its place takes the indexes of names away too.
  LLMC_ASSERT_OK(compress(dir / "set", first, 0, SetMode::replace));
  LLMC_ASSERT_OK(compress(dir / "alone", first));
  EXPECT_TRUE(contents(dir / "set") == contents(dir / "alone"));
}

TEST(Append, WithParity) {
  TempDir dir;
  const Corpus first = mixed_corpus(), second = more("m", 50);
  LLMC_ASSERT_OK(compress_with_parity(dir / "set", first));
  LLMC_ASSERT_OK(append(dir / "set", second));
  expect_sound(dir / "set");
  const auto sound = contents(dir / "set");
  for (const char* name : {"shard-000001.h5", "shard-000006.h5", "manifest.json"}) {
    Bytes bytes = sound.at(name);
    bytes[bytes.size() / 2] ^= 0x40;
    overwrite(dir.path() / "set" / name, bytes);
  }
  ASSERT_TRUE(repair_archive(dir / "set", false).ok());
  EXPECT_TRUE(contents(dir / "set") == sound);
}

// Forged lists of parts: whatever they say, a sentence and no wrong byte.
TEST(Append, WrongPartsAreRefused) {
  TempDir dir;
  LLMC_ASSERT_OK(compress(dir / "set", mixed_corpus()));
  LLMC_ASSERT_OK(append(dir / "set", more("m", 50)));
  const Manifest sound = *Manifest::load(dir / "set/manifest.json");
  const auto refused = [&](const std::function<void(Manifest&)>& change) {
    Manifest m = sound;
    change(m);
    return Manifest::parse(as_bytes(m.serialize()), "m").status().code() == Code::corrupt;
  };
  EXPECT_FALSE(refused([](Manifest&) {}));
  EXPECT_TRUE(refused([](Manifest& m) { ++m.parts[0].shards; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.parts[1].shards = 0; }));
  EXPECT_TRUE(refused([](Manifest& m) { ++m.parts[0].entries; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.parts[1].content[3] ^= 1; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.parts.push_back(m.parts[1]); }));
  EXPECT_TRUE(refused([](Manifest& m) { m.names[0].first = 1; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.names[0].end += 1; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.names.push_back(m.names[0]); }));
  // The border moved, sums in order: the shards say that they are not what it speaks of.
  Manifest moved = sound;
  ++moved.parts[0].shards;
  --moved.parts[1].shards;
  overwrite(dir / "set/manifest.json", as_bytes(moved.serialize()));
  EXPECT_FALSE(verify_archive(dir / "set")->sound());
  auto reader = ArchiveReader::open(dir / "set");
  EXPECT_EQ(reader->shard(moved.parts[0].shards - 1).status().code(), Code::corrupt);
}

}  // namespace
}  // namespace llmc::test
