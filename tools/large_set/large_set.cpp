// Makes a set of very many shards and documents, and measures what looking a name up in it costs.
//
//   large_set make OUT [--shards N] [--documents N] [--with-text N] [--parts N]
//   large_set measure OUT [--look-ups N] [--most-blocks N] [--most-mib N]     exit 1 where more is read or kept
//
// The shard files are real ones, with the indexes that they would have; their frames are stored text, since no model
// is to be waited for. Of the documents of a shard the first --with-text hold 16 bytes each, with their SHA-256; the rest are
// empty. Names of the parts lie among each other, as after many appends. `make` goes on where it was stopped.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "archive/format.h"
#include "archive/reader.h"
#include "archive/set_names.h"
#include "archive/shard_writer.h"
#include "frame/frame.h"
#include "plan/plan.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr uint64_t text_bytes = 16;  // of a document

struct Shape {
  uint32_t shards = 50000, documents = 2000, with_text = 100, parts = 50;
};

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

// Shards of a part follow each other in name order; those of all parts are interleaved by their first letters.
std::string name_of(uint32_t part, uint32_t shard, uint32_t document) {
  char text[64];
  std::snprintf(text, sizeof text, "corpus/%04x/part-%03u/document-%07u.txt", shard, part, document);
  return text;
}

std::string text_of(uint32_t part, uint32_t shard, uint32_t document) {
  char text[64];
  std::snprintf(text, sizeof text, "%03u%06u%06u\n", part, shard, document);
  return std::string(text, text_bytes);
}

Result<Plan> plan_of(const Shape& shape, uint32_t part, uint32_t shards) {
  std::vector<Entry> entries;
  entries.reserve(uint64_t{shards} * shape.documents);
  for (uint32_t s = 0; s < shards; ++s) {
    for (uint32_t d = 0; d < shape.documents; ++d) {
      Entry e;
      e.name = name_of(part, s, d);
      e.mode = 0644;
      e.mtime_ns = 1'700'000'000'000'000'000 + d * 1'000'000;
      e.size = d < shape.with_text ? text_bytes : 0;
      entries.push_back(std::move(e));
    }
  }
  PlanOptions options;
  options.shard_bytes = shape.with_text * text_bytes;
  options.chunk_bytes = 64u << 10;
  options.parameters = {0, 0, 0, 0, 0, 0, 0, 0, 0};  // stored
  return Plan::make(std::move(entries), options);
}

Status make_shard(const Plan& plan, uint32_t part, uint32_t number, const fs::path& path) {
  std::string text;
  for (const Piece& piece : plan.pieces(number)) {
    if (piece.size > 0) text += text_of(part, number, static_cast<uint32_t>(text.size() / text_bytes));
  }
  ByteWriter seeded;  // docs/FORMAT.md, section 3
  seeded.bytes(plan.options().model);
  seeded.bytes(plan.options().parameters);
  seeded.u32(number);
  seeded.bytes(as_bytes(text));
  const Digest digest = sha256(seeded.view());
  ShardContents contents;
  contents.plan = &plan;
  contents.shard = number;
  contents.seed = ByteReader(digest).u32();
  contents.frame = [&](uint32_t chunk) -> Result<Bytes> {
    Frame f;
    f.chunk = chunk;
    f.payload = as_bytes(text);
    f.text_size = static_cast<uint32_t>(text.size());
    f.text_crc = crc32c(f.payload);
    return make_frame(f, contents.seed);
  };
  contents.digest = [&](size_t piece) {
    const Piece& p = plan.pieces()[piece];
    return sha256(as_bytes(text).subspan(p.shard_offset, p.size));
  };
  const fs::path temporary = path.native() + ".tmp";
  LLMC_TRY(write_shard(contents, temporary).status());
  std::error_code error;
  fs::rename(temporary, path, error);
  return error ? errno_status(error.value(), path) : Status();
}

Status make(const fs::path& out, const Shape& shape) {
  fs::create_directories(out);
  Manifest m;
  m.chunk_bytes = 64u << 10;
  m.shard_bytes = shape.with_text * text_bytes;
  m.parameters = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  std::vector<Digest> contents;
  const auto begun = Clock::now();
  for (uint32_t part = 0; part < shape.parts; ++part) {
    const uint32_t shards = shape.shards / shape.parts + (part < shape.shards % shape.parts);
    LLMC_ASSIGN(const Plan plan, plan_of(shape, part, shards));
    if (plan.shards().size() != shards) return {Code::failure, "the plan has " + std::to_string(plan.shards().size()) + " shards"};
    ManifestPart row;
    row.plan = plan.digest();
    row.shards = shards;
    row.entries = plan.entries().size();
    ContentDigest content;
    for (uint32_t s = 0; s < shards; ++s) {
      const auto number = static_cast<uint32_t>(m.shards.size());
      const fs::path path = out / shard_name(number);
      auto file = ShardFile::open(path);
      if (!file.ok() || file->block().plan != row.plan) {
        LLMC_TRY(make_shard(plan, part, s, path));
        file = ShardFile::open(path);
      }
      LLMC_TRY(file.status());
      ManifestShard shard;
      shard.file = shard_name(number);
      shard.bytes = file->block().file_bytes;
      LLMC_ASSIGN(const Bytes bytes, read_file(path));
      shard.sha256 = sha256(bytes);
      shard.user_block = file->block_digest();
      shard.text_bytes = file->block().text_bytes;
      shard.entries = file->index().entries.size();
      shard.chunks = file->block().chunks;
      for (const IndexEntry& e : file->index().entries) content.add(e);
      for (const IndexChunk& c : file->index().chunks) m.coded_bytes += c.frame_size;
      m.text_bytes += shard.text_bytes;
      m.chunks += shard.chunks;
      m.shards.push_back(std::move(shard));
      if (m.shards.size() % 1000 == 0) {
        std::fprintf(stderr, "%zu shards, %.0f s\n", m.shards.size(), seconds_since(begun));
      }
    }
    m.entries += row.entries;
    row.content = content.finish();
    contents.push_back(row.content);
    m.parts.push_back(row);
  }
  m.content = content_of_parts(contents);
  if (!m.settle()) return {Code::failure, "parts and shards do not agree"};
  std::printf("shards written or found: %.0f s\n", seconds_since(begun));
  const auto indexing = Clock::now();
  LLMC_ASSIGN(m.names, update_names(out, m, out));
  uint64_t bytes = 0;
  for (const ManifestNames& names : m.names) bytes += names.bytes;
  std::printf("index of names: %llu names in %zu files, %llu bytes, %.0f s\n", static_cast<unsigned long long>(m.entries),
              m.names.size(), static_cast<unsigned long long>(bytes), seconds_since(indexing));
  return write_file_atomic(out / manifest_name, as_bytes(m.serialize()));
}

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(p * static_cast<double>(sorted.size())))];
}

void print_times(const char* what, std::vector<double> seconds, double blocks) {
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-28s %zu: median %.2f ms, 99 %% %.2f ms, longest %.2f ms; %.1f blocks of the index each\n", what, seconds.size(),
              1e3 * percentile(seconds, 0.5), 1e3 * percentile(seconds, 0.99), 1e3 * seconds.back(), blocks);
}

struct Bounds {
  uint32_t look_ups = 2000;
  uint32_t blocks = 0, mib = 0;  // of the index of names for a look-up; of memory. 0: any
};

Status measure(const fs::path& out, const Bounds& bounds) {
  const uint32_t look_ups = bounds.look_ups;
  const auto begun = Clock::now();
  LLMC_ASSIGN(ArchiveReader reader, ArchiveReader::open(out));
  const double opened = seconds_since(begun);
  const Manifest& m = *reader.manifest();
  std::printf("%zu shards in %zu parts, %llu documents\nopened (manifest): %.0f ms\n", m.shards.size(), m.parts.size(),
              static_cast<unsigned long long>(m.entries), 1e3 * opened);
  std::mt19937_64 random(1);
  // What was appended since has other names.
  size_t made = m.shards.size();
  while (made > 1 && m.shards[made - 1].entries == 1) --made;
  for (const bool there : {true, false}) {
    std::vector<double> seconds;
    const uint64_t blocks = reader.name_blocks_read();
    for (uint32_t i = 0; i < look_ups; ++i) {
      const ManifestShard& row = m.shards[random() % made];
      std::string name = name_of(row.part, row.number, static_cast<uint32_t>(random() % row.entries));
      if (!there) name += "~";
      const auto asked = Clock::now();
      LLMC_ASSIGN(const auto found, reader.find(name));
      seconds.push_back(seconds_since(asked));
      if (found.has_value() != there) return {Code::failure, name + ": the wrong answer"};
      if (i == 0) std::printf("the very first%s: %.2f ms\n", there ? "" : " that is not there", 1e3 * seconds.back());
    }
    const double each = static_cast<double>(reader.name_blocks_read() - blocks) / look_ups;
    print_times(there ? "names that are there" : "names that are not", seconds, each);
    if (bounds.blocks && each > bounds.blocks) return {Code::failure, "more blocks than " + std::to_string(bounds.blocks)};
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("memory: %ld MiB at most\n", usage.ru_maxrss / 1024);
  if (bounds.mib && usage.ru_maxrss / 1024 > bounds.mib) return {Code::failure, "more memory than " + std::to_string(bounds.mib) + " MiB"};
  return {};
}

int run(int argc, char** argv) {
  Shape shape;
  Bounds bounds;
  if (argc < 3) {
    std::fprintf(stderr, "usage: large_set make OUT [--shards N] [--documents N] [--with-text N] [--parts N]\n"
                         "       large_set measure OUT [--look-ups N] [--most-blocks N] [--most-mib N]\n");
    return 2;
  }
  for (int i = 3; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    const auto value = static_cast<uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
    if (option == "--shards") shape.shards = value;
    else if (option == "--documents") shape.documents = value;
    else if (option == "--with-text") shape.with_text = value;
    else if (option == "--parts") shape.parts = value;
    else if (option == "--look-ups") bounds.look_ups = std::max(value, 1u);
    else if (option == "--most-blocks") bounds.blocks = value;
    else if (option == "--most-mib") bounds.mib = value;
    else {
      std::fprintf(stderr, "large_set: unknown option %s\n", option.c_str());
      return 2;
    }
  }
  if (shape.with_text < 1 || shape.with_text > shape.documents || shape.parts < 1 || shape.parts > shape.shards) {
    std::fprintf(stderr, "large_set: a shard needs a document with text, a part a shard\n");
    return 2;
  }
  const Status status = argv[1] == std::string("make") ? make(argv[2], shape) : measure(argv[2], bounds);
  if (!status.ok()) std::fprintf(stderr, "large_set: %s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace llmc

int main(int argc, char** argv) { return llmc::run(argc, argv); }
