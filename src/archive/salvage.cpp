#include "archive/salvage.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>

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
constexpr size_t most_alike = 64;  // shards of one seed without user blocks

struct FoundBlock {
  uint32_t file;
  uint64_t offset;
  UserBlock block;
};

// Frames of one file with one seed and rising numbers, as a shard has them.
using FoundRun = std::vector<FoundFrame>;

Result<Bytes> unpack_candidate(ByteView stored) {
  const Status no(Code::corrupt, "no index");
  const size_t packed = ZSTD_findFrameCompressedSize(stored.data(), stored.size());
  if (ZSTD_isError(packed)) return no;
  // An index holds digests, which do not shrink: more than a thousandfold is none.
  const uint64_t most = std::min<uint64_t>(max_index_bytes, packed * 1000 + 4096);
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_inBuffer in{stored.data(), packed, 0};
  Bytes bytes;
  for (size_t hint = 1; hint != 0;) {
    const size_t filled = bytes.size();
    if (filled >= most) return no;
    bytes.resize(std::min<uint64_t>(most, std::max<size_t>(filled * 2, 1u << 16)));
    ZSTD_outBuffer out{bytes.data(), bytes.size(), filled};
    hint = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(hint) || (hint != 0 && out.pos == filled && in.pos == in.size)) return no;
    bytes.resize(out.pos);
  }
  return bytes;
}

class Search {
 public:
  explicit Search(const std::function<bool()>& stop) : stop_(stop) {}

  Result<Salvaged> run(const fs::path& path) {
    LLMC_TRY(list_files(path));
    for (uint32_t f = 0; f < out_.files.size(); ++f) LLMC_TRY(search_file(f));
    group();
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

  Status search_file(uint32_t number) {
    LLMC_ASSIGN(const File file, File::open_read(out_.files[number]));
    LLMC_ASSIGN(const uint64_t size, file.size());
    ScanWindow window(file, size);
    // A file made to look full of long frames must not cost its length squared.
    uint64_t patience = 16 * size + (uint64_t{1} << 30);
    for (uint64_t at = 0; (at = window.find(at, frame_magic)) < size; ++at) {
      if (stop_ && stop_()) return {Code::interrupted, "interrupted"};
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
      if (!in.ok() || length < adaptation_head_bytes || length > size - at || length > max_plan_adaptation_bytes) continue;
      const ByteView bytes = window.at(at, length);
      adaptations_[sha256(bytes)] = Bytes(bytes.begin(), bytes.end());
    }
    out_.bytes += size;
    out_.unreadable += window.unreadable();
    return {};
  }

  // By seed; more bytes first, so that an archive inside an archive does not take the outer one's place. Several shards may have one
  // seed: those of one number in two parts of a set that begin with the same chunk, or of two versions of an archive.
  void group() {
    std::map<uint32_t, std::vector<FoundRun>> seeds;
    for (const FoundFrame& f : frames_) {
      std::vector<FoundRun>& runs = seeds[f.seed];
      if (runs.empty() || runs.back().back().file != f.file || runs.back().back().chunk >= f.chunk) runs.emplace_back();
      runs.back().push_back(f);
    }
    for (auto& [seed, runs] : seeds) {
      // By shard: what lies in its file; `loose`: where no block says.
      std::vector<const FoundBlock*> blocks;
      std::vector<size_t> shards;  // of each block, in `own`
      std::vector<std::vector<FoundRun>> own;
      std::vector<FoundRun> loose;
      std::map<std::pair<Digest, Digest>, size_t> known;  // by plan and index: a copy is the same shard
      for (const FoundBlock& b : blocks_) {
        if (b.block.seed != seed || b.block.chunks == 0) continue;
        blocks.push_back(&b);
        shards.push_back(known.try_emplace({b.block.plan, b.block.index}, known.size()).first->second);
      }
      own.resize(known.size());
      for (FoundRun& run : runs) {
        const auto holds = [&](const FoundBlock* b) {
          return b->file == run[0].file && b->offset <= run[0].offset && run[0].offset - b->offset < b->block.file_bytes;
        };
        const auto at = std::find_if(blocks.begin(), blocks.end(), holds);
        (at == blocks.end() ? loose : own[shards[static_cast<size_t>(at - blocks.begin())]]).push_back(std::move(run));
      }
      for (size_t i = 0; i < own.size(); ++i) {
        const auto block = static_cast<size_t>(std::find(shards.begin(), shards.end(), i) - shards.begin());
        add_group(seed, blocks[block]->block, &own[i], &loose);
        std::move(own[i].begin(), own[i].end(), std::back_inserter(loose));
      }
      for (size_t i = 0; i < most_alike && !loose.empty(); ++i) add_group(seed, std::nullopt, &loose, nullptr);
      for (const FoundRun& run : loose) out_.strays.insert(out_.strays.end(), run.begin(), run.end());
    }
    std::stable_sort(groups_.begin(), groups_.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  }

  // Takes away the runs that fit together.
  void add_group(uint32_t seed, const std::optional<UserBlock>& block, std::vector<FoundRun>* own, std::vector<FoundRun>* loose) {
    FoundShard shard;
    shard.seed = seed;
    shard.block = block;
    uint64_t bytes = 0;
    for (std::vector<FoundRun>* runs : {own, loose}) {
      if (runs) std::erase_if(*runs, [&](const FoundRun& run) { return add_run(run, &shard, &bytes); });
    }
    if (!shard.frames.empty()) {
      groups_.emplace_back(bytes, std::move(shard));
    } else if (shard.dictionary) {
      out_.strays.push_back(*shard.dictionary);
    }
  }

  // False where it contradicts what is there; a copy of that is passed over.
  static bool add_run(const FoundRun& run, FoundShard* shard, uint64_t* bytes) {
    const auto of = [&](const FoundFrame& f) -> const FoundFrame* {
      if (f.codec == Codec::dictionary) return shard->dictionary ? &*shard->dictionary : nullptr;
      const auto at = shard->frames.find(f.chunk);
      return at == shard->frames.end() ? nullptr : &at->second;
    };
    for (const FoundFrame& f : run) {
      if (shard->block && f.codec != Codec::dictionary && f.chunk >= shard->block->chunks) return false;
      const FoundFrame* const known = of(f);
      if (known && (known->text_crc != f.text_crc || known->tokens != f.tokens || known->codec != f.codec || known->bytes != f.bytes)) return false;
    }
    for (const FoundFrame& f : run) {
      if (of(f)) continue;
      *bytes += f.bytes;
      if (f.codec == Codec::dictionary) {
        shard->dictionary = f;
      } else {
        shard->frames.emplace(f.chunk, f);
      }
    }
    return true;
  }

  // Where the block says, or wherever zstd's magic stands outside of the frames.
  Status search_indexes(uint32_t number) {
    LLMC_ASSIGN(const File file, File::open_read(out_.files[number]));
    LLMC_ASSIGN(const uint64_t size, file.size());
    ScanWindow window(file, size);
    for (const FoundBlock& b : blocks_) {
      if (b.file != number || b.offset + b.block.index_offset + b.block.index_bytes > size) continue;
      const ByteView stored = window.at(b.offset + b.block.index_offset, b.block.index_bytes);
      auto index = ShardIndex::unpack(stored, b.block, "");
      if (!index.ok()) continue;
      for (auto& [bytes, shard] : groups_) {
        if (shard.block && shard.block->index == b.block.index) shard.index = *index;
      }
      if (b.block.chunks == 0) add_textless(b.block, std::move(*index));
    }
    std::map<uint64_t, uint64_t> taken;  // of believed frames: begin, end
    for (const auto& [bytes, shard] : groups_) {
      if (!shard.block && shard.frames.size() < 2) continue;
      for (const auto& [chunk, f] : shard.frames) {
        if (f.file == number) taken[f.offset] = std::max(taken[f.offset], f.offset + f.bytes);
      }
    }
    for (uint64_t at = 0; (at = window.find(at, zstd_magic)) < size; ++at) {
      if (stop_ && stop_()) return {Code::interrupted, "interrupted"};
      auto behind = taken.upper_bound(at);
      if (behind != taken.begin() && at < std::prev(behind)->second) {
        at = std::prev(behind)->second - 1;
        continue;
      }
      const uint64_t end = behind == taken.end() ? size : behind->first;
      const auto plain = unpack_candidate(window.at(at, std::min<uint64_t>(end - at, max_stored_index_bytes)));
      if (!plain.ok()) continue;
      const auto text_bytes = ShardIndex::text_bytes_of(*plain);
      if (text_bytes) match_index(*plain, *text_bytes);
    }
    return {};
  }

  // An index belongs to the shard whose frames it speaks of: their CRCs say so.
  void match_index(ByteView plain, uint64_t text_bytes) {
    for (auto& [bytes, shard] : groups_) {
      UserBlock block;
      for (const auto& [chunk, f] : shard.frames) block.chunk_bytes = std::max(block.chunk_bytes, f.text_size);
      if (block.chunk_bytes == 0) continue;
      block.file_bytes = uint64_t{1} << 62;
      block.text_bytes = text_bytes;
      const uint64_t chunks = (text_bytes + block.chunk_bytes - 1) / block.chunk_bytes;
      if (chunks > max_shard_chunks || shard.frames.rbegin()->first >= chunks) continue;
      block.chunks = static_cast<uint32_t>(chunks);
      block.dictionary_bytes = 1;  // whether there is one does not matter here
      auto index = ShardIndex::parse(plain, block, "");
      while (!index.ok() && block.features < known_features) {
        ++block.features;
        index = ShardIndex::parse(plain, block, "");
      }
      if (!index.ok()) continue;
      uint64_t same = 0;
      for (const auto& [chunk, f] : shard.frames) {
        const IndexChunk& c = index->chunks[chunk];
        same += c.text_crc == f.text_crc && c.tokens == f.tokens && c.codec == f.codec && c.frame_size == f.bytes;
      }
      if (same != shard.frames.size()) continue;
      // The largest: a damaged frame alone has the same header as its sound twin would have.
      if (!shard.index) shard.index = std::move(*index);
      return;
    }
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
        ByteWriter seed;
        seed.u32(s.seed);
        name += "-" + to_hex(seed.view());
        const std::string alike = name;
        for (int n = 2; !labels.insert(name).second; ++n) name = alike + "-" + std::to_string(n);
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

  const std::function<bool()>& stop_;
  Salvaged out_;
  std::vector<FoundFrame> frames_;
  std::vector<FoundBlock> blocks_;
  std::map<Digest, Bytes> adaptations_;
  std::vector<std::pair<uint64_t, FoundShard>> groups_;  // with the bytes of their frames
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

Result<Salvaged> search_frames(const fs::path& path, const std::function<bool()>& stop) { return Search(stop).run(path); }

Result<Bytes> read_found(const Salvaged& salvaged, const FoundFrame& frame) {
  LLMC_ASSIGN(const File file, File::open_read(salvaged.files[frame.file]));
  Bytes bytes(frame.bytes);
  LLMC_TRY(file.read_at(frame.offset, bytes));
  return bytes;
}

}  // namespace llmc
