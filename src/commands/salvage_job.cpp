#include "commands/salvage_job.h"

#include <algorithm>

#include "commands/chunk_work.h"
#include "commands/salvage_versions.h"

namespace llmc {

namespace fs = std::filesystem;

SalvageJob::SalvageJob(const Salvaged& salvaged, const fs::path& folder, bool with_model) : salvaged_(salvaged), folder_(folder) {
  const auto want = [&](size_t shard, uint32_t number, const FoundFrame& frame) {
    if (frame.codec != Codec::stored && frame.codec != Codec::zstd && !with_model) {
      failures_.push_back(printable(salvaged.files[frame.file].native()) + ": the frame at " + std::to_string(frame.offset) +
                          " needs a model");
      return;
    }
    queue_.push_back({shard, number, &frame});
    text_bytes_ += frame.text_size;
  };
  for (size_t s = 0; s < salvaged.shards.size(); ++s) {
    const FoundShard& shard = salvaged.shards[s];
    size_t orphans = 0;
    for (const auto& [chunk, frame] : shard.frames) {
      if (frame.codec == Codec::primed && !shard.dictionary) {
        ++orphans;
      } else {
        want(s, chunk, frame);
      }
    }
    if (orphans > 0) {
      failures_.push_back(printable(shard.label) + ": its dictionary is lost, and with it the text of " + std::to_string(orphans) +
                          " chunks that begin with it");
    }
  }
  uint64_t offset = 0;
  for (size_t i = 0; i < salvaged.strays.size(); ++i) {
    want(salvaged.shards.size(), static_cast<uint32_t>(i), salvaged.strays[i]);
    stray_offsets_.push_back(offset);
    offset += salvaged.strays[i].text_size;
  }
  won_.resize(salvaged.shards.size() + 1);
}

fs::path SalvageJob::text_path(size_t shard) const { return folder_ / (".salvaged-text-" + std::to_string(shard)); }

uint64_t SalvageJob::text_offset(const Wanted& wanted) const {
  if (wanted.shard == salvaged_.shards.size()) return stray_offsets_[wanted.number];
  return uint64_t{wanted.number} * salvaged_.shards[wanted.shard].chunk_bytes;
}

Result<std::optional<Task>> SalvageJob::next() {
  while (next_ < queue_.size()) {
    const Wanted& wanted = queue_[next_++];
    const FoundFrame& frame = *wanted.frame;
    auto bytes = read_found(salvaged_, frame);
    if (!bytes.ok()) {
      failures_.push_back(bytes.status().message());
      continue;
    }
    ChunkTask work;
    if (frame.codec == Codec::primed && wanted.shard < salvaged_.shards.size()) {
      auto dictionary = dictionary_of(wanted.shard);
      if (!dictionary.ok()) {
        failures_.push_back(dictionary.status().message());
        continue;
      }
      work.dictionary = std::move(*dictionary);
    }
    work.kind = ChunkTask::Kind::decode;
    work.chunk = frame.chunk;
    work.seed = frame.seed;
    work.size = frame.text_size;
    work.bytes = std::move(*bytes);
    Task task;
    task.id = next_ - 1;
    task.size = frame.text_size;
    task.payload = pack_task(work);
    return std::optional(std::move(task));
  }
  return std::optional<Task>();
}

Result<Bytes> SalvageJob::dictionary_of(size_t shard) {
  if (!dictionary_ || dictionary_->first != shard) {
    LLMC_ASSIGN(Bytes bytes, read_found(salvaged_, *salvaged_.shards[shard].dictionary));
    dictionary_ = {shard, std::move(bytes)};
  }
  return dictionary_->second;
}

Status SalvageJob::finished(uint64_t id, Bytes text, int) {
  const Wanted& wanted = queue_[id];
  if (text.size() != wanted.frame->text_size) return {Code::failure, "a worker returned a text of another length"};
  LLMC_ASSIGN(File file, File::open_update(text_path(wanted.shard)));
  LLMC_TRY(file.write_at(text_offset(wanted), text));
  won_[wanted.shard].insert(wanted.number);
  return {};
}

Status SalvageJob::failed(uint64_t id, const Status& why, int) {
  const FoundFrame& frame = *queue_[id].frame;
  failures_.push_back(printable(salvaged_.files[frame.file].native()) + ": the frame at " + std::to_string(frame.offset) + ": " +
                      why.message());
  return {};
}

namespace {

class Writer {
 public:
  Writer(const Salvaged& salvaged, const SalvageJob& job, OutputTree& tree) : salvaged_(salvaged), job_(job), tree_(tree) {}

  Result<SalvageOutcome> run() {
    texts_.resize(salvaged_.shards.size() + 1);
    for (size_t s = 0; s <= salvaged_.shards.size(); ++s) {
      if (job_.won()[s].empty()) continue;
      LLMC_ASSIGN(texts_[s], File::open_read(job_.text_path(s)));
    }
    for (size_t s = 0; s < salvaged_.shards.size(); ++s) {
      const FoundShard& shard = salvaged_.shards[s];
      if (!shard.index) continue;
      for (const IndexEntry& e : shard.index->entries) entries_[e.entry.name].push_back({s, &e});
    }
    for (size_t s = 0; s < salvaged_.shards.size(); ++s) {
      if (!salvaged_.shards[s].index) LLMC_TRY(nameless(s));
    }
    for (const auto& [name, pieces] : entries_) LLMC_TRY(entry(name, pieces));
    LLMC_TRY(strays());
    LLMC_TRY(tree_.close());
    return std::move(out_);
  }

 private:
  struct Stretch {
    uint64_t begin, end;  // of the shard's text
  };
  // Bytes of a file that are there, next to each other, from one shard or more.
  struct Segment {
    size_t shard;
    uint64_t shard_offset, offset, size;
  };
  struct Run {
    uint64_t begin = 0, end = 0;  // of the file
    std::vector<Segment> segments;
  };

  // What of [begin, end) of a shard's text is there.
  std::vector<Stretch> stretches(size_t s, uint64_t begin, uint64_t end) const {
    const FoundShard& shard = salvaged_.shards[s];
    std::vector<Stretch> found;
    const uint64_t size = std::max<uint64_t>(shard.chunk_bytes, 1);
    for (auto c = job_.won()[s].lower_bound(static_cast<uint32_t>(begin / size)); c != job_.won()[s].end(); ++c) {
      const uint64_t from = std::max(begin, *c * size), to = std::min(end, *c * size + shard.text_size(*c));
      if (*c * size >= end) break;
      if (from >= to) continue;
      if (!found.empty() && found.back().end == from) {
        found.back().end = to;
      } else {
        found.push_back({from, to});
      }
    }
    return found;
  }

  // What of a version is there: of each part from the first of its shards that has it.
  std::vector<Run> runs_of(const FoundVersion& version) const {
    std::vector<Run> runs;
    const auto put = [&](const Segment& segment) {
      if (runs.empty() || runs.back().end != segment.offset) runs.push_back({segment.offset, segment.offset, {}});
      runs.back().end += segment.size;
      runs.back().segments.push_back(segment);
    };
    for (const std::vector<FoundPiece>& part : version.parts) {
      std::vector<Segment> all;
      for (const FoundPiece& p : part) {
        for (const Stretch& s : stretches(p.shard, p.e->shard_offset, p.e->shard_offset + p.e->size)) {
          all.push_back({p.shard, s.begin, p.e->offset + (s.begin - p.e->shard_offset), s.end - s.begin});
        }
      }
      std::stable_sort(all.begin(), all.end(), [](const Segment& a, const Segment& b) { return a.offset < b.offset; });
      uint64_t done = 0;
      for (Segment s : all) {
        const uint64_t skip = s.offset < done ? std::min(s.size, done - s.offset) : 0;
        if (skip == s.size) continue;
        s.shard_offset += skip;
        s.offset += skip;
        s.size -= skip;
        done = s.offset + s.size;
        put(s);
      }
    }
    return runs;
  }

  // Copies [begin, end) of a shard's text to `at` of the open file.
  Status copy(size_t s, uint64_t begin, uint64_t end, OutputTree::Handle handle, uint64_t at, Sha256* hash) {
    Bytes buffer(1u << 20);
    while (begin < end) {
      const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), end - begin));
      LLMC_TRY(texts_[s].read_at(begin, part));
      if (hash) hash->update(part);
      LLMC_TRY(tree_.write_at(handle, at, part));
      begin += part.size();
      at += part.size();
    }
    return {};
  }

  // A name of its own for what has none in the archive, or not this one: neither an archived one nor one given before.
  std::string own_name(const std::string& base, const std::string& suffix) {
    constexpr size_t longest = 255;  // of a file's name
    for (size_t n = 1;; ++n) {
      const std::string end = suffix + (n == 1 ? "" : "-" + std::to_string(n));
      const size_t folder = base.rfind('/') == std::string::npos ? 0 : base.rfind('/') + 1;
      std::string name = base.substr(0, folder) + base.substr(folder, longest - std::min(longest, end.size())) + end;
      if (!entries_.contains(name) && given_.insert(name).second) return name;
    }
  }

  Status stretch(Entry entry, const std::string& name, const Run& run) {
    entry.name = name;
    entry.size = run.end - run.begin;
    LLMC_ASSIGN(const OutputTree::Handle handle, tree_.create(entry));
    for (const Segment& s : run.segments) {
      LLMC_TRY(copy(s.shard, s.shard_offset, s.shard_offset + s.size, handle, s.offset - run.begin, nullptr));
    }
    LLMC_TRY(tree_.finish(handle));
    ++out_.stretches;
    out_.stretch_bytes += entry.size;
    return {};
  }
  static std::string bytes_suffix(uint64_t begin, uint64_t end) { return ".bytes-" + std::to_string(begin) + "-" + std::to_string(end); }

  Status entry(const std::string& name, const std::vector<FoundPiece>& pieces) {
    // What lies below it needs a folder of that name, also where only another version has one.
    const auto below = entries_.lower_bound(name + "/");
    const bool folder = below != entries_.end() && below->first.starts_with(name + "/");
    size_t number = 0;
    for (FoundVersion& v : versions_of(salvaged_, pieces)) {
      ++number;
      if (number > 1 || (folder && v.entry.kind != Entry::Kind::directory)) {
        v.entry.name = own_name(name, ".version-" + (v.plan ? to_hex(*v.plan).substr(0, 8) : std::to_string(number)));
        ++out_.versions;
      }
      LLMC_TRY(version(v));
    }
    return {};
  }

  Status version(const FoundVersion& v) {
    const Entry& e = v.entry;
    if (e.kind != Entry::Kind::file || e.size == 0) {
      ++out_.whole;
      return tree_.add(e);
    }
    const std::vector<Run> runs = runs_of(v);
    if (runs.size() == 1 && runs[0].begin == 0 && runs[0].end == e.size) {
      LLMC_ASSIGN(const OutputTree::Handle handle, tree_.create(e));
      bool same = true;
      size_t next = 0;
      for (const std::vector<FoundPiece>& part : v.parts) {
        const IndexEntry& piece = *part[0].e;
        Sha256 hash;
        for (; next < runs[0].segments.size() && runs[0].segments[next].offset < piece.offset + piece.size; ++next) {
          const Segment& s = runs[0].segments[next];
          LLMC_TRY(copy(s.shard, s.shard_offset, s.shard_offset + s.size, handle, s.offset, &hash));
        }
        same &= hash.finish() == piece.sha256;
      }
      if (same) {
        ++out_.whole;
        out_.whole_bytes += e.size;
        return tree_.finish(handle);
      }
      tree_.discard(handle);
      out_.lost.push_back(printable(e.name) + ": its SHA-256 is not the archived one");
    } else {
      out_.lost.push_back(printable(e.name) + ": not whole");
    }
    for (const Run& run : runs) LLMC_TRY(stretch(e, own_name(e.name, bytes_suffix(run.begin, run.end)), run));
    return {};
  }

  // Without an index there are no names: the text of the shard, as far as it hangs together.
  Status nameless(size_t s) {
    const FoundShard& shard = salvaged_.shards[s];
    out_.lost.push_back(printable(shard.label) + ": its names are lost; its text stands in " + printable(shard.label) + ".bytes-*");
    Entry entry;
    entry.mode = 0644;
    for (const Stretch& t : stretches(s, 0, uint64_t{1} << 62)) {
      const Run run{t.begin, t.end, {{s, t.begin, t.begin, t.end - t.begin}}};
      LLMC_TRY(stretch(entry, own_name(shard.label, bytes_suffix(t.begin, t.end)), run));
    }
    return {};
  }

  Status strays() {
    const size_t s = salvaged_.shards.size();
    Entry entry;
    entry.mode = 0644;
    for (const uint32_t i : job_.won()[s]) {
      const FoundFrame& f = salvaged_.strays[i];
      const std::string name = own_name(salvaged_.files[f.file].filename().string(), ".frame-at-" + std::to_string(f.offset));
      out_.lost.push_back(printable(name) + ": where this text belongs cannot be told");
      LLMC_TRY(stretch(entry, name, {0, f.text_size, {{s, job_.stray_offset(i), 0, f.text_size}}}));
    }
    return {};
  }

  const Salvaged& salvaged_;
  const SalvageJob& job_;
  OutputTree& tree_;
  std::map<std::string, std::vector<FoundPiece>> entries_;  // pieces of one entry may stand in several shards
  std::set<std::string> given_;                             // names that no entry has
  std::vector<File> texts_;
  SalvageOutcome out_;
};

}  // namespace

Result<SalvageOutcome> write_salvaged(const Salvaged& salvaged, const SalvageJob& job, OutputTree& tree) {
  return Writer(salvaged, job, tree).run();
}

}  // namespace llmc
