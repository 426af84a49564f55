#include "commands/salvage_job.h"

#include <algorithm>

#include "commands/chunk_work.h"

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
    // The pieces of one entry may stand in several shards.
    std::map<std::string, std::vector<Piece>> entries;
    for (size_t s = 0; s < salvaged_.shards.size(); ++s) {
      const FoundShard& shard = salvaged_.shards[s];
      if (!shard.index) {
        LLMC_TRY(nameless(s));
        continue;
      }
      for (const IndexEntry& e : shard.index->entries) entries[e.entry.name].push_back({s, &e});
    }
    for (auto& [name, pieces] : entries) LLMC_TRY(entry(name, pieces));
    LLMC_TRY(strays());
    LLMC_TRY(tree_.close());
    return std::move(out_);
  }

 private:
  struct Piece {
    size_t shard;
    const IndexEntry* e;
  };
  struct Stretch {
    uint64_t begin, end;  // of the shard's text
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

  Status stretch(size_t s, Entry entry, const std::string& name, uint64_t begin, uint64_t end) {
    entry.name = name;
    entry.size = end - begin;
    LLMC_ASSIGN(const OutputTree::Handle handle, tree_.create(entry));
    LLMC_TRY(copy(s, begin, end, handle, 0, nullptr));
    LLMC_TRY(tree_.finish(handle));
    ++out_.stretches;
    out_.stretch_bytes += end - begin;
    return {};
  }

  Status entry(const std::string& name, const std::vector<Piece>& pieces) {
    const Entry& first = pieces[0].e->entry;
    if (first.kind != Entry::Kind::file || first.size == 0) {
      ++out_.whole;
      return tree_.add(first);
    }
    uint64_t here = 0;
    bool whole = true;
    for (const Piece& p : pieces) {
      here += p.e->size;
      const auto found = stretches(p.shard, p.e->shard_offset, p.e->shard_offset + p.e->size);
      whole &= found.size() == 1 && found[0].end - found[0].begin == p.e->size;
    }
    if (whole && here == first.size) {
      LLMC_ASSIGN(const OutputTree::Handle handle, tree_.create(first));
      bool same = true;
      for (const Piece& p : pieces) {
        Sha256 hash;
        LLMC_TRY(copy(p.shard, p.e->shard_offset, p.e->shard_offset + p.e->size, handle, p.e->offset, &hash));
        same &= hash.finish() == p.e->sha256;
      }
      if (same) {
        ++out_.whole;
        out_.whole_bytes += here;
        return tree_.finish(handle);
      }
      tree_.discard(handle);
      out_.lost.push_back(printable(name) + ": its SHA-256 is not the archived one");
    } else {
      out_.lost.push_back(printable(name) + ": not whole");
    }
    for (const Piece& p : pieces) {
      for (const Stretch& s : stretches(p.shard, p.e->shard_offset, p.e->shard_offset + p.e->size)) {
        const uint64_t begin = p.e->offset + (s.begin - p.e->shard_offset), end = begin + (s.end - s.begin);
        LLMC_TRY(stretch(p.shard, first, name + ".bytes-" + std::to_string(begin) + "-" + std::to_string(end), s.begin, s.end));
      }
    }
    return {};
  }

  // Without an index there are no names: the text of the shard, as far as it hangs together.
  Status nameless(size_t s) {
    const FoundShard& shard = salvaged_.shards[s];
    out_.lost.push_back(printable(shard.label) + ": its names are lost; its text stands in " + printable(shard.label) + ".bytes-*");
    Entry entry;
    entry.mode = 0644;
    for (const Stretch& t : stretches(s, 0, uint64_t{1} << 62)) {
      LLMC_TRY(stretch(s, entry, shard.label + ".bytes-" + std::to_string(t.begin) + "-" + std::to_string(t.end), t.begin, t.end));
    }
    return {};
  }

  Status strays() {
    const size_t s = salvaged_.shards.size();
    Entry entry;
    entry.mode = 0644;
    for (const uint32_t i : job_.won()[s]) {
      const FoundFrame& f = salvaged_.strays[i];
      const std::string name = salvaged_.files[f.file].filename().string() + ".frame-at-" + std::to_string(f.offset);
      out_.lost.push_back(printable(name) + ": where this text belongs cannot be told");
      const uint64_t begin = job_.stray_offset(i);
      LLMC_TRY(stretch(s, entry, name, begin, begin + f.text_size));
    }
    return {};
  }

  const Salvaged& salvaged_;
  const SalvageJob& job_;
  OutputTree& tree_;
  std::vector<File> texts_;
  SalvageOutcome out_;
};

}  // namespace

Result<SalvageOutcome> write_salvaged(const Salvaged& salvaged, const SalvageJob& job, OutputTree& tree) {
  return Writer(salvaged, job, tree).run();
}

}  // namespace llmc
