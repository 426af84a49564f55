// Small corpora with known text, and archives made of them. Frames are stored ones, or carry
// made-up payloads: this folder never decodes.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "archive/reader.h"
#include "archive/set.h"
#include "base/file.h"
#include "frame/frame.h"
#include "plan/plan.h"
#include "support/process.h"

namespace llmc::test {

namespace fs = std::filesystem;

#define LLMC_ASSERT_OK(expr)                            \
  do {                                                  \
    const ::llmc::Status status_ = (expr);              \
    ASSERT_TRUE(status_.ok()) << status_.message();     \
  } while (0)

// In place and without syncs: sweeps do this thousands of times.
inline void overwrite(const fs::path& path, ByteView bytes) {
  auto file = File::open_update(path);
  ASSERT_TRUE(file.ok() && file->write_at(0, bytes).ok() && file->truncate(bytes.size()).ok());
}

// Entries with their bytes; the plan that the options give.
struct Corpus {
  std::vector<Entry> entries;
  std::string text;  // of all files, in order
  PlanOptions options;

  Plan plan() const {
    auto plan = Plan::make(entries, options);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return std::move(*plan);
  }
  void add_file(const std::string& name, const std::string& bytes) {
    Entry e;
    e.name = name;
    e.mode = 0644;
    e.mtime_ns = 1'700'000'000'000'000'000 + static_cast<int64_t>(entries.size()) * 1'234'567'891;
    e.size = bytes.size();
    entries.push_back(e);
    text += bytes;
  }
  void add(const std::string& name, Entry::Kind kind, const std::string& target = "") {
    Entry e;
    e.name = name;
    e.kind = kind;
    e.mode = kind == Entry::Kind::directory ? 0755 : 0777;
    e.target = target;
    entries.push_back(e);
  }
};

inline std::string random_text(uint64_t seed, size_t size) {
  std::mt19937_64 random(seed);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

inline PlanOptions options(uint64_t shard_bytes, uint32_t chunk_bytes) {
  PlanOptions o;
  o.shard_bytes = shard_bytes;
  o.chunk_bytes = chunk_bytes;
  o.parameters = {2, 0, 4, 0, 0, 0, 1, 0, 0};  // docs/FORMAT.md 3.1: codec range, windows of 1024 tokens, 256 of them carried
  o.model.fill(0x5a);
  o.model_name = "test model";
  return o;
}

// Several shards, a cut file, folders, links, empty files, records.
inline Corpus mixed_corpus(uint64_t shard_bytes = 4000, uint32_t chunk_bytes = 512, uint64_t seed = 1) {
  Corpus c;
  c.options = options(shard_bytes, chunk_bytes);
  c.add("a", Entry::Kind::directory);
  c.add_file("a/empty", "");
  c.add_file("a/one", "x");
  c.add_file("a/two.txt", random_text(seed, 1500));
  c.add_file("at\xff\n.bin", random_text(seed + 1, 2400));
  c.add_file("big", random_text(seed + 2, 9500));
  RecordWriter lines(RecordKind::lines);
  for (uint64_t at = 0; at < 9500; at += 95) lines.add({at, 95, "", 0});
  c.entries.back().records_kind = RecordKind::lines;
  c.entries.back().records = lines.take();
  c.add("link", Entry::Kind::symlink, "a/two.txt");
  c.add_file("t.tar", random_text(seed + 3, 700));
  RecordWriter members(RecordKind::tar);
  members.add({512, 10, "m/one", 0});
  members.add({600, 100, "m/two", 0});
  c.entries.back().records_kind = RecordKind::tar;
  c.entries.back().records = members.take();
  c.add_file("z.gz", random_text(seed + 4, 300));
  c.entries.back().unpacked = 1;
  c.entries.back().source_digest.fill(3);
  return c;
}

// What stands at `out` in the tests that break off a process: one shard in a file, several in a folder.
inline Corpus corpus_for(const fs::path& out) { return mixed_corpus(out.extension() == ".h5" ? 0 : 6000, 1024); }

// docs/FORMAT.md 3.
inline uint32_t test_seed(const Corpus& c, const Plan& plan, uint32_t shard) {
  const Shard& s = plan.shards()[shard];
  const uint64_t size = std::min<uint64_t>(s.text_size, plan.options().chunk_bytes);
  ByteWriter out;
  out.bytes(plan.options().model);
  out.bytes(plan.options().parameters);
  out.u32(shard);
  out.bytes(as_bytes(c.text).subspan(s.text_offset, size));
  const Digest digest = sha256(out.view());
  return ByteReader(digest).u32();
}

inline ByteView chunk_text(const Corpus& c, const Plan& plan, uint32_t shard, uint32_t chunk) {
  return as_bytes(c.text).subspan(plan.shards()[shard].text_offset + plan.chunk_offset(chunk),
                                  plan.chunk_size(shard, chunk));
}

inline Bytes test_frame(const Corpus& c, const Plan& plan, uint32_t shard, uint32_t chunk) {
  Frame f;
  f.chunk = chunk;
  f.payload = chunk_text(c, plan, shard, chunk);
  f.text_size = static_cast<uint32_t>(f.payload.size());
  f.text_crc = crc32c(f.payload);
  return make_frame(f, test_seed(c, plan, shard));
}

inline Digest piece_digest(const Corpus& c, const Plan& plan, size_t piece) {
  const Piece& p = plan.pieces()[piece];
  return sha256(as_bytes(c.text).subspan(plan.shards()[p.shard].text_offset + p.shard_offset, p.size));
}

// Puts what is missing, in an order that `order` decides; 0: rising.
inline Status put_all(SetWriter& set, const Corpus& c, uint64_t order = 0) {
  struct Job {
    uint32_t shard;
    uint32_t chunk;
    size_t piece;  // ~0: a chunk
  };
  const Plan& plan = set.plan();
  std::vector<Job> jobs;
  for (uint32_t s = 0; s < plan.shards().size(); ++s) {
    if (plan.shard_chunks(s) > 0) LLMC_TRY(set.set_seed(s, test_seed(c, plan, s)));
    for (uint32_t k = 0; k < plan.shard_chunks(s); ++k) jobs.push_back({s, k, ~size_t{0}});
    for (size_t p = 0; p < plan.shards()[s].pieces; ++p) jobs.push_back({s, 0, plan.shards()[s].first_piece + p});
  }
  if (order) {
    std::mt19937_64 random(order);
    std::shuffle(jobs.begin(), jobs.end(), random);
  }
  for (const Job& job : jobs) {
    if (job.piece != ~size_t{0}) {
      if (!set.have_digest(job.piece)) LLMC_TRY(set.put_digest(job.piece, piece_digest(c, plan, job.piece)));
    } else if (!set.have(job.shard, job.chunk)) {
      LLMC_TRY(set.put(job.shard, job.chunk, test_frame(c, plan, job.shard, job.chunk)));
    }
  }
  return {};
}

inline Status compress(const fs::path& out, const Corpus& c, uint64_t order = 0, SetMode mode = SetMode::create,
                       SetSummary* summary = nullptr) {
  SetOptions o;
  o.mode = mode;
  if (const char* rate = std::getenv("LLMC_TEST_PARITY")) o.parity = std::atof(rate);
  LLMC_ASSIGN(auto set, SetWriter::open(out, c.plan(), o));
  LLMC_TRY(put_all(*set, c, order));
  auto done = set->finish();
  if (done.ok() && summary) *summary = *done;
  return done.status();
}

// All files of a folder by name (or one file), with their bytes.
inline std::map<std::string, Bytes> contents(const fs::path& path) {
  std::map<std::string, Bytes> all;
  if (!fs::is_directory(path)) {
    all["."] = *read_file(path);
    if (auto parity = read_file(parity_path(path)); parity.ok()) all[".parity"] = *parity;
    return all;
  }
  for (const auto& item : fs::recursive_directory_iterator(path)) {
    if (item.is_regular_file()) all[item.path().lexically_relative(path)] = *read_file(item.path());
    else all[item.path().lexically_relative(path).string() + "/"] = {};
  }
  return all;
}

// The text of an archive of stored frames, as far as it can be read; the first failure.
inline Status read_text(const fs::path& path, std::string* text) {
  LLMC_ASSIGN(ArchiveReader reader, ArchiveReader::open(path));
  for (uint32_t s = 0; s < reader.shards().size(); ++s) {
    for (uint32_t k = 0; k < reader.shards()[s].chunks; ++k) {
      LLMC_ASSIGN(const Bytes frame, reader.read_frame(s, k));
      *text += as_text(ByteView(frame).subspan(frame_header_bytes));
    }
  }
  return {};
}

}  // namespace llmc::test
