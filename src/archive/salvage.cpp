#include "archive/salvage.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "archive/crc_table.h"
#include "archive/format.h"
#include "archive/manifest.h"
#include "archive/scan_window.h"
#include "plan/plan.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view frame_magic = "\x8cLCF";
constexpr std::string_view block_magic = "\x89LLMC\r\n\x1a";
constexpr std::string_view zstd_magic = "\x28\xb5\x2f\xfd";
constexpr std::string_view adaptation_magic = "\x8cLCA";
constexpr size_t adaptation_length_at = 12, adaptation_head_bytes = 52, most_adaptations = 16;
constexpr size_t crc_at = 28;
constexpr size_t most_alike = 64;  // shards of one seed without user blocks, and those that a run is tried on

struct FoundBlock {
  uint32_t file;
  uint64_t offset;
  UserBlock block;
};

// Frames of one file with one seed and rising numbers, as a shard has them.
using FoundRun = std::vector<FoundFrame>;

// Whether two found frames are the same one.
auto identity(const FoundFrame& f) { return std::tuple(f.chunk, f.text_crc, f.tokens, f.codec, f.bytes); }

class Search {
 public:
  explicit Search(const StopRequest& stop) : stop_(stop) {}

  Result<Salvaged> run(const fs::path& path) {
    LLMC_TRY(list_files(path));
    for (uint32_t f = 0; f < out_.files.size(); ++f) LLMC_TRY(search_file(f));
    LLMC_TRY(group());
    prepare_indexes();
    for (uint32_t f = 0; f < out_.files.size(); ++f) LLMC_TRY(search_indexes(f));
    accept();
    settle(path);
    return std::move(out_);
  }

 private:
  Status list_files(const fs::path& path) {
    std::error_code error;
    const auto type = fs::status(path, error).type();
    if (type == fs::file_type::not_found) return {Code::missing, printable(path.native()) + ": there is no such file or folder"};
    if (type != fs::file_type::directory) {
      out_.files.push_back(path);
      return {};
    }
    for (const auto& item : fs::recursive_directory_iterator(path, error)) {
      if (item.is_regular_file(error) && item.path().extension() != ".parity") out_.files.push_back(item.path());
    }
    if (error) return errno_status(error.value(), path);
    std::sort(out_.files.begin(), out_.files.end());
    return {};
  }

  static Status interrupted() { return {Code::interrupted, "interrupted"}; }
  bool asked() const { return stop_ && stop_(); }

  Status search_file(uint32_t number) {
    LLMC_ASSIGN(const File file, File::open_read(out_.files[number]));
    LLMC_ASSIGN(const uint64_t size, file.size());
    ScanWindow window(file, size, stop_);
    // A file made to look full of long frames must not cost its length squared.
    uint64_t patience = 16 * size + (uint64_t{1} << 30);
    for (uint64_t at = 0; (at = window.find(at, frame_magic)) < size; ++at) {
      if (asked()) return interrupted();
      ByteReader in(window.at(at, frame_header_bytes));
      (void)in.bytes(20);
      const uint64_t length = frame_header_bytes + uint64_t{in.u32()};
      if (!in.ok() || length > size - at || length > max_chunk_bytes + frame_header_bytes || length > patience) continue;
      patience -= length;
      Frame frame;
      size_t found = 0;
      const ByteView bytes = window.at(at, length);
      if (!peek_frame(bytes, &frame, &found) || found != length) continue;
      frames_.push_back({number, at, static_cast<uint32_t>(length), implied_seed(bytes), frame.chunk, frame.text_size,
                         frame.tokens, frame.codec, frame.text_crc});
    }
    for (uint64_t at = 0; (at = window.find(at, block_magic)) < size; ++at) {
      if (asked()) return interrupted();
      const ByteView bytes = window.at(at, user_block_bytes);
      ByteReader in(bytes);
      (void)in.bytes(24);
      const uint64_t stated = in.u64();  // the file may have been cut off since
      auto block = UserBlock::parse(bytes, stated, "");
      if (block.ok()) blocks_.push_back({number, at, *block});
    }
    for (uint64_t at = 0; (at = window.find(at, adaptation_magic)) < size && adaptations_.size() < most_adaptations; ++at) {
      ByteReader in(window.at(at, adaptation_head_bytes));
      (void)in.bytes(adaptation_length_at);
      const uint64_t length = in.u32();
      if (asked()) return interrupted();
      if (!in.ok() || length < adaptation_head_bytes || length > size - at || length > max_plan_adaptation_bytes || length > patience) continue;
      patience -= length;
      const ByteView bytes = window.at(at, length);
      adaptations_[sha256(bytes)] = Bytes(bytes.begin(), bytes.end());
    }
    if (window.stopped()) return interrupted();
    out_.bytes += size;
    out_.unreadable += window.unreadable();
    return {};
  }

  // More bytes first, so that an archive inside an archive does not take the outer one's place.
  Status group() {
    std::map<uint32_t, std::vector<FoundRun>> seeds;
    for (const FoundFrame& f : frames_) {
      std::vector<FoundRun>& runs = seeds[f.seed];
      if (runs.empty() || runs.back().back().file != f.file || runs.back().back().chunk >= f.chunk) runs.emplace_back();
      runs.back().push_back(f);
    }
    std::map<uint32_t, std::vector<const FoundBlock*>> blocks;  // by seed; in the order of files and places, as they were found
    for (const FoundBlock& b : blocks_) {
      if (b.block.chunks > 0) blocks[b.block.seed].push_back(&b);
    }
    for (auto& [seed, runs] : seeds) LLMC_TRY(group_seed(seed, blocks[seed], std::move(runs)));
    std::stable_sort(groups_.begin(), groups_.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    return {};
  }

  // Several shards may have one seed: those of one number in two parts of a set that begin with the same chunk, or of two versions
  // of an archive. A run belongs to the shard whose file it lies in; where no block says, to one that it fits. It is tried on a
  // bounded number of them, so that many blocks and many runs of one seed do not cost the product of both.
  Status group_seed(uint32_t seed, const std::vector<const FoundBlock*>& blocks, std::vector<FoundRun> runs) {
    using Group = std::pair<uint64_t, FoundShard>;
    std::vector<Group> groups;
    std::vector<size_t> group_of;  // of each block
    std::vector<uint64_t> reach;   // of each block: the end of the longest file that begins with it or before it in the same file
    std::map<std::pair<Digest, Digest>, size_t> known;  // by plan and index: a copy is the same shard
    for (size_t i = 0; i < blocks.size(); ++i) {
      const FoundBlock& b = *blocks[i];
      const size_t at = known.try_emplace({b.block.plan, b.block.index}, groups.size()).first->second;
      if (at == groups.size()) {
        groups.emplace_back();
        groups.back().second.seed = seed;
        groups.back().second.block = b.block;
      }
      group_of.push_back(at);
      const uint64_t end = b.offset + b.block.file_bytes;
      reach.push_back(i > 0 && blocks[i - 1]->file == b.file ? std::max(reach.back(), end) : end);
    }
    // The first block whose file the frame lies in; blocks.size(): none.
    const auto home = [&](const FoundFrame& f) {
      size_t low = 0, high = blocks.size();
      while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const FoundBlock& b = *blocks[middle];
        if (b.file < f.file || (b.file == f.file && reach[middle] <= f.offset)) low = middle + 1;
        else high = middle;
      }
      return low < blocks.size() && blocks[low]->file == f.file && blocks[low]->offset <= f.offset ? low : blocks.size();
    };
    std::vector<FoundRun> loose;
    for (FoundRun& run : runs) {
      if (asked()) return interrupted();
      const size_t at = home(run[0]);
      if (at < blocks.size() && add_run(run, &groups[group_of[at]])) continue;
      loose.push_back(std::move(run));
    }
    if (!groups.empty() && !loose.empty()) LLMC_TRY(place_loose(&groups, &loose));
    for (size_t i = 0; i < most_alike && !loose.empty(); ++i) {
      if (asked()) return interrupted();
      groups.emplace_back();
      groups.back().second.seed = seed;
      std::erase_if(loose, [&](const FoundRun& run) { return add_run(run, &groups.back()); });
    }
    for (const FoundRun& run : loose) out_.strays.insert(out_.strays.end(), run.begin(), run.end());
    for (Group& g : groups) {
      if (!g.second.frames.empty()) groups_.push_back(std::move(g));
      else if (g.second.dictionary) out_.strays.push_back(*g.second.dictionary);
    }
    return {};
  }

  // On shards that have the run's first frame, of which it may be a copy, and on shards that lack frames.
  Status place_loose(std::vector<std::pair<uint64_t, FoundShard>>* groups, std::vector<FoundRun>* loose) {
    std::map<decltype(identity({})), std::vector<size_t>> holders;
    for (const FoundRun& run : *loose) holders[identity(run[0])];
    std::vector<size_t> lacking;
    for (size_t g = 0; g < groups->size(); ++g) {
      const FoundShard& shard = (*groups)[g].second;
      const auto note = [&](const FoundFrame& f) {
        const auto at = holders.find(identity(f));
        if (at != holders.end() && at->second.size() < most_alike) at->second.push_back(g);
      };
      for (const auto& [chunk, f] : shard.frames) note(f);
      if (shard.dictionary) note(*shard.dictionary);
      const bool whole = shard.frames.size() == shard.block->chunks && (shard.dictionary || shard.block->dictionary_bytes == 0);
      if (!whole && lacking.size() < most_alike) lacking.push_back(g);
    }
    std::vector<FoundRun> rest;
    for (FoundRun& run : *loose) {
      if (asked()) return interrupted();
      const auto takes = [&](size_t g) { return add_run(run, &(*groups)[g]); };
      const std::vector<size_t>& alike = holders[identity(run[0])];
      if (std::any_of(alike.begin(), alike.end(), takes) || std::any_of(lacking.begin(), lacking.end(), takes)) continue;
      rest.push_back(std::move(run));
    }
    *loose = std::move(rest);
    return {};
  }

  // False where it contradicts what is there; a copy of that is passed over.
  static bool add_run(const FoundRun& run, std::pair<uint64_t, FoundShard>* group) {
    FoundShard& shard = group->second;
    const auto of = [&](const FoundFrame& f) -> const FoundFrame* {
      if (f.codec == Codec::dictionary) return shard.dictionary ? &*shard.dictionary : nullptr;
      const auto at = shard.frames.find(f.chunk);
      return at == shard.frames.end() ? nullptr : &at->second;
    };
    for (const FoundFrame& f : run) {
      if (shard.block && f.codec != Codec::dictionary && f.chunk >= shard.block->chunks) return false;
      const FoundFrame* const known = of(f);
      if (known && identity(*known) != identity(f)) return false;
    }
    for (const FoundFrame& f : run) {
      if (of(f)) continue;
      group->first += f.bytes;
      if (f.codec == Codec::dictionary) {
        shard.dictionary = f;
      } else {
        shard.frames.emplace(f.chunk, f);
      }
    }
    return true;
  }

  // What search_indexes asks of all groups, once.
  void prepare_indexes() {
    believed_.resize(out_.files.size());
    for (size_t g = 0; g < groups_.size(); ++g) {
      const FoundShard& shard = groups_[g].second;
      uint32_t chunk_bytes = 0;
      for (const auto& [chunk, f] : shard.frames) chunk_bytes = std::max(chunk_bytes, f.text_size);
      chunk_bytes_.push_back(chunk_bytes);
      if (shard.block) by_index_[shard.block->index].push_back(g);
      if (!shard.block && shard.frames.size() < 2) continue;
      for (const auto& [chunk, f] : shard.frames) believed_[f.file].emplace_back(f.offset, f.offset + f.bytes);
    }
    for (auto& places : believed_) std::sort(places.begin(), places.end());
  }

  // Where the block says, or wherever zstd's magic stands outside of the frames.
  Status search_indexes(uint32_t number) {
    LLMC_ASSIGN(const File file, File::open_read(out_.files[number]));
    LLMC_ASSIGN(const uint64_t size, file.size());
    ScanWindow window(file, size, stop_);
    // As with frames. Indexes are a small part of an archive, and shrink to a quarter at best.
    patience_ = 64 * size + (uint64_t{4} << 30);
    auto b = std::partition_point(blocks_.begin(), blocks_.end(), [&](const FoundBlock& f) { return f.file < number; });
    for (; b != blocks_.end() && b->file == number; ++b) {
      if (asked()) return interrupted();
      if (b->offset + b->block.index_offset + b->block.index_bytes > size) continue;
      const auto key = std::pair(b->block.plan, b->block.index);
      if (unpacked_.contains(key) || !spend(b->block.index_bytes + b->block.index_plain_bytes)) continue;
      const ByteView stored = window.at(b->offset + b->block.index_offset, b->block.index_bytes);
      auto index = ShardIndex::unpack(stored, b->block, "");
      if (!index.ok()) continue;
      unpacked_.insert(key);
      for (const size_t g : by_index_[b->block.index]) {
        if (!groups_[g].second.index) groups_[g].second.index = *index;
      }
      if (b->block.chunks == 0) add_textless(b->block, std::move(*index));
    }
    const auto& taken = believed_[number];
    for (uint64_t at = 0; (at = window.find(at, zstd_magic)) < size; ++at) {
      if (asked()) return interrupted();
      const auto behind = std::partition_point(taken.begin(), taken.end(), [&](const auto& place) { return place.first <= at; });
      if (behind != taken.begin() && at < std::prev(behind)->second) {
        at = std::prev(behind)->second - 1;
        continue;
      }
      if (!unpack_candidate(window, at, behind == taken.end() ? size : behind->first)) continue;
      const auto text_bytes = ShardIndex::text_bytes_of(plain_);
      if (text_bytes) match_index(plain_, *text_bytes);
    }
    return window.stopped() ? interrupted() : Status();
  }

  bool spend(uint64_t cost) {
    if (cost > patience_) {
      out_.gave_up = true;
      return false;
    }
    patience_ -= cost;
    return true;
  }

  // The zstd frame at `at`, which ends before `end`, to plain_; false where there is none that could be an index.
  bool unpack_candidate(ScanWindow& window, uint64_t at, uint64_t end) {
    constexpr size_t step = 1u << 16;
    end = std::min<uint64_t>(end, at + max_stored_index_bytes);
    ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
    plain_.clear();
    const uint64_t begin = at;
    for (size_t hint = 1; hint != 0;) {
      const ByteView stored = window.at(at, static_cast<size_t>(std::min<uint64_t>(step, end - at)));
      const size_t filled = plain_.size();
      // An index holds digests, which do not shrink: more than a thousandfold is none.
      const uint64_t most = std::min<uint64_t>(max_index_bytes, (at + stored.size() - begin) * 1000 + 4096);
      if (filled >= most || !spend(4096)) return false;
      plain_.resize(std::min<uint64_t>(most, std::max<size_t>(filled * 2, 4096)));
      ZSTD_inBuffer in{stored.data(), stored.size(), 0};
      ZSTD_outBuffer out{plain_.data(), plain_.size(), filled};
      hint = ZSTD_decompressStream(context_.get(), &out, &in);
      plain_.resize(out.pos);
      if (ZSTD_isError(hint) || (hint != 0 && out.pos == filled && in.pos == 0)) return false;
      at += in.pos;
      if (!spend(in.pos + out.pos - filled)) return false;
    }
    return plain_.size() <= (at - begin) * 1000 + 4096;
  }

  // An index belongs to the shard whose frames it speaks of: their CRCs say so.
  void match_index(ByteView plain, uint64_t text_bytes) {
    std::map<uint32_t, std::optional<ShardIndex>> parsed;  // by the size of a chunk
    for (size_t g = 0; g < chunk_bytes_.size(); ++g) {
      FoundShard& shard = groups_[g].second;
      if (chunk_bytes_[g] == 0) continue;
      const uint64_t chunks = (text_bytes + chunk_bytes_[g] - 1) / chunk_bytes_[g];
      if (chunks > max_shard_chunks || shard.frames.rbegin()->first >= chunks) continue;
      if (!spend(16)) return;
      const auto [at, fresh] = parsed.try_emplace(chunk_bytes_[g]);
      if (fresh && !parse_index(plain, text_bytes, chunk_bytes_[g], &at->second)) return;
      if (!at->second) continue;
      uint64_t same = 0;
      for (const auto& [chunk, f] : shard.frames) {
        const IndexChunk& c = at->second->chunks[chunk];
        if (c.text_crc != f.text_crc || c.tokens != f.tokens || c.codec != f.codec || c.frame_size != f.bytes) break;
        ++same;
      }
      if (!spend(same)) return;
      if (same != shard.frames.size()) continue;
      // The largest: a damaged frame alone has the same header as its sound twin would have.
      if (!shard.index) shard.index = std::move(*at->second);
      return;
    }
  }

  // False where patience ends.
  bool parse_index(ByteView plain, uint64_t text_bytes, uint32_t chunk_bytes, std::optional<ShardIndex>* parsed) {
    UserBlock block;
    block.chunk_bytes = chunk_bytes;
    block.file_bytes = uint64_t{1} << 62;
    block.text_bytes = text_bytes;
    block.chunks = static_cast<uint32_t>((text_bytes + chunk_bytes - 1) / chunk_bytes);
    block.dictionary_bytes = 1;  // whether there is one does not matter here
    for (block.features = 0; block.features <= known_features; ++block.features) {
      if (!spend(plain.size())) return false;
      auto index = ShardIndex::parse(plain, block, "");
      if (!index.ok()) continue;
      *parsed = std::move(*index);
      break;
    }
    return true;
  }

  void add_textless(const UserBlock& block, ShardIndex index) {
    FoundShard shard;
    shard.block = block;
    shard.index = std::move(index);
    groups_.emplace_back(0, std::move(shard));
  }

  void accept() {
    std::set<std::pair<uint32_t, std::pair<uint64_t, uint64_t>>> taken;  // file, begin, end
    const auto overlaps = [&](const FoundFrame& f) {
      auto at = taken.lower_bound({f.file, {f.offset + f.bytes, 0}});
      if (at == taken.begin()) return false;
      --at;
      return at->first == f.file && at->second.second > f.offset;
    };
    for (auto& [bytes, shard] : groups_) {
      const bool textless = shard.frames.empty();
      const bool believed = shard.block || shard.index || shard.frames.size() + shard.dictionary.has_value() >= 2;
      for (auto it = shard.frames.begin(); it != shard.frames.end();) {
        if (overlaps(it->second)) {
          it = shard.frames.erase(it);
          continue;
        }
        if (!believed) {
          out_.strays.push_back(it->second);
        } else {
          taken.insert({it->second.file, {it->second.offset, it->second.offset + it->second.bytes}});
        }
        ++it;
      }
      if (believed && (textless || !shard.frames.empty())) out_.shards.push_back(std::move(shard));
    }
    std::erase_if(out_.strays, overlaps);
  }

  // Names, sizes, and what it takes to decode.
  void settle(const fs::path& path) {
    std::set<std::string> labels;
    std::map<std::string, int> alike;
    for (FoundShard& s : out_.shards) {
      for (const auto& [chunk, f] : s.frames) s.chunk_bytes = std::max(s.chunk_bytes, f.text_size);
      s.chunks = s.frames.empty() ? 0 : s.frames.rbegin()->first + 1;
      if (s.block) {
        s.chunk_bytes = s.block->chunk_bytes;
        s.chunks = s.block->chunks;
      } else if (s.index) {
        s.chunks = static_cast<uint32_t>(s.index->chunks.size());
      }
      std::string name = s.frames.empty() ? "" : out_.files[s.frames.begin()->second.file].stem().string();
      if (s.block) name = fs::path(shard_name(s.block->shard)).stem();
      if (name.empty() || !labels.insert(name).second) {
        const uint8_t seed[4] = {static_cast<uint8_t>(s.seed), static_cast<uint8_t>(s.seed >> 8), static_cast<uint8_t>(s.seed >> 16),
                                 static_cast<uint8_t>(s.seed >> 24)};
        name += "-" + to_hex(seed);
        const std::string seeded = name;
        for (int& n = alike.try_emplace(seeded, 2).first->second; !labels.insert(name).second; ++n) name = seeded + "-" + std::to_string(n);
      }
      s.label = name;
      if (s.index && out_.parameters.empty()) {
        out_.parameters = s.index->parameters;
        out_.model_name = s.index->model_name;
      }
    }
    for (const FoundBlock& b : blocks_) {
      if (out_.model == Digest{}) out_.model = b.block.model;
    }
    const auto order = [](const FoundShard& a, const FoundShard& b) {
      const uint32_t x = a.block ? a.block->shard : ~0u, y = b.block ? b.block->shard : ~0u;
      return x != y ? x < y : a.label < b.label;
    };
    std::stable_sort(out_.shards.begin(), out_.shards.end(), order);
    if (const auto manifest = Manifest::load(path / manifest_name); manifest.ok()) {
      if (out_.parameters.empty()) out_.parameters = manifest->parameters;
      if (out_.model == Digest{}) out_.model = manifest->model;
      out_.model_name = manifest->model_name;
    }
    const auto named = adaptations_.find(adaptation_of(out_.parameters));
    if (named != adaptations_.end()) out_.adaptation = named->second;
    else if (out_.parameters.empty() && adaptations_.size() == 1) out_.adaptation = adaptations_.begin()->second;
  }

  const StopRequest& stop_;
  Salvaged out_;
  std::vector<FoundFrame> frames_;
  std::vector<FoundBlock> blocks_;
  std::map<Digest, Bytes> adaptations_;
  std::vector<std::pair<uint64_t, FoundShard>> groups_;  // with the bytes of their frames
  // For the search for indexes.
  std::vector<uint32_t> chunk_bytes_;                                    // of each group; 0: without frames
  std::map<Digest, std::vector<size_t>> by_index_;                       // groups by what their block says
  std::vector<std::vector<std::pair<uint64_t, uint64_t>>> believed_;     // by file: begin and end of frames
  std::set<std::pair<Digest, Digest>> unpacked_;                         // by plan and index
  uint64_t patience_ = 0;                                                // for this file
  Bytes plain_;
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_{ZSTD_createDCtx(), ZSTD_freeDCtx};
};

}  // namespace

// The register is known behind the last byte; it is run backwards to before the first.
uint32_t implied_seed(ByteView frame) {
  static const auto tables = [] {
    std::pair<std::array<uint32_t, 256>, std::array<uint8_t, 256>> t{crc_table(), {}};
    for (uint32_t i = 0; i < 256; ++i) t.second[t.first[i] >> 24] = static_cast<uint8_t>(i);
    return t;
  }();
  ByteReader in(frame.subspan(crc_at, 4));
  uint32_t r = ~in.u32();
  const auto back = [&](ByteView bytes) {
    for (size_t i = bytes.size(); i-- > 0;) {
      const uint8_t index = tables.second[r >> 24];
      r = (r ^ tables.first[index]) << 8 | (index ^ bytes[i]);
    }
  };
  back(frame.subspan(frame_header_bytes));
  back(frame.first(crc_at));
  return ~r;
}

uint64_t FoundShard::text_size(uint32_t chunk) const {
  if (const auto at = frames.find(chunk); at != frames.end()) return at->second.text_size;
  if (block) return block->chunk_size(chunk);
  if (!index || chunk + 1 < chunks) return chunk_bytes;
  uint64_t text = 0;
  for (const IndexEntry& e : index->entries) text += e.size;
  return text - uint64_t{chunk} * chunk_bytes;
}

Result<Salvaged> search_frames(const fs::path& path, const StopRequest& stop) { return Search(stop).run(path); }

Result<Bytes> read_found(const Salvaged& salvaged, const FoundFrame& frame) {
  LLMC_ASSIGN(const File file, File::open_read(salvaged.files[frame.file]));
  Bytes bytes(frame.bytes);
  LLMC_TRY(file.read_at(frame.offset, bytes));
  return bytes;
}

}  // namespace llmc
