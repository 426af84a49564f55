#include "fuzz/targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "archive/manifest.h"
#include "archive/name_index.h"
#include "archive/parity_packet.h"
#include "archive/salvage.h"
#include "archive/shard_file.h"
#include "archive/verify.h"
#include "chunk/codec.h"
#include "chunk/fallback.h"
#include "chunk/memory_feed.h"
#include "chunk/stub_engine.h"
#include "commands/options.h"
#include "model/adaptation.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "plan/plan.h"
#include "reader/archive_text.h"
#include "tokens/tokenizer.h"

namespace llmc::fuzz {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

// Bytes as a file, for what reads files only.
class MemoryFile {
 public:
  explicit MemoryFile(ByteView bytes) : fd_(::memfd_create("fuzz", 0)) {
    require(fd_ >= 0);
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      require(n > 0);
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void put_u32(Bytes& bytes, size_t at, uint32_t v) { std::memcpy(bytes.data() + at, &v, 4); }

void frame(ByteView input) {
  Frame f;
  size_t size = 0;
  for (size_t at = find_frame(input, 0); at != std::string::npos; at = find_frame(input, at + 1)) {
    require(peek_frame(input.subspan(at), &f, &size) && size <= input.size() - at);
  }
  (void)parse_frame(input, 0);
  if (input.size() < frame_header_bytes) return;
  // With the CRC that a forger would give it.
  auto forged = parse_frame(input, implied_seed(input));
  if (!forged.ok() || forged->text_size > 1u << 22) return;
  if (forged->codec != Codec::stored && forged->codec != Codec::zstd) return;
  const auto text = Fallback::text(*forged);
  require(!text.ok() || text->size() == forged->text_size);
}

// As an index of names; then as the plain bytes of its root, with every checksum made to fit.
void names(ByteView input) {
  const auto look = [](ByteView bytes) {
    const MemoryFile file(bytes);
    auto index = NameIndex::open(file.path(), 0, 3);
    if (!index.ok()) return;
    for (const char* name : {"", "a", "a/two.txt", "corpus/x", "\xff"}) (void)index->find(name);
    NameIndexStream stream(*index), seeker(*index);
    std::string last;
    for (int i = 0; i < 10000; ++i) {
      const auto place = stream.next();
      if (!place.ok() || !*place) break;
      require(last < (*place)->name && (*place)->shard < 3);
      last = (*place)->name;
    }
    (void)seeker.seek("corpus/w");
    (void)seeker.next();
  };
  look(input);
  if (input.size() > 32768) return;
  const Bytes packed = ShardIndex::pack(input);
  for (const uint32_t levels : {1u, 2u, 3u}) {
    constexpr uint8_t magic[8] = {0x89, 'L', 'L', 'C', 'N', 'A', 'M', '\n'};
    ByteWriter out;
    out.bytes(magic);
    out.u32(0);
    out.u32(3);
    out.u32(crc32c(packed, 16));
    out.bytes(packed);
    ByteWriter trailer;
    trailer.u64(5);
    trailer.u64(16);
    trailer.u32(static_cast<uint32_t>(packed.size()) + 4);
    trailer.u32(static_cast<uint32_t>(input.size()));
    trailer.u32(levels);
    trailer.u32(1);
    trailer.u32(0);
    trailer.u32(crc32c(trailer.view(), 3));
    out.bytes(trailer.view());
    out.bytes(magic);
    look(out.view());
  }
}

// As a shard file; then with every checksum made to fit, as far as there is something to fit it to.
void shard(ByteView input) {
  const auto look = [](ByteView bytes) {
    const MemoryFile file(bytes);
    auto opened = ShardFile::open(file.path());
    if (opened.ok()) {
      for (uint32_t c = 0; c < std::min(opened->block().chunks, 64u); ++c) (void)opened->read_frame(c);
    }
    (void)verify_archive(file.path());
  };
  look(input);
  if (input.size() < user_block_bytes + 1) return;
  Bytes sealed(input.begin(), input.end());
  const auto u64_at = [&](size_t at) {
    ByteReader in(ByteView(sealed).subspan(at, 8));
    return in.u64();
  };
  const uint64_t size = sealed.size();
  std::memcpy(sealed.data() + 24, &size, 8);
  const uint64_t begin = u64_at(64), length = u64_at(72);
  if (begin <= size && length <= size - begin) {
    const Digest digest = sha256(ByteView(sealed).subspan(begin, length));
    std::copy(digest.begin(), digest.end(), sealed.begin() + 152);
  }
  put_u32(sealed, 508, crc32c(ByteView(sealed).first(508)));
  look(sealed);
}

// The first 28 bytes are what the user block would say.
void index(ByteView input) {
  ByteReader in(input);
  UserBlock block;
  block.file_bytes = in.u64();
  block.text_bytes = in.u64();
  block.chunk_bytes = in.u32();
  block.chunks = in.u32();
  block.shards = in.u32();
  if (!in.ok() || block.chunk_bytes == 0) return;
  if (block.chunks != (block.text_bytes + block.chunk_bytes - 1) / block.chunk_bytes) return;
  const ByteView plain = in.bytes(in.left());
  const auto parsed = ShardIndex::parse(plain, block, "fuzz");
  const auto text = ShardIndex::text_bytes_of(plain);
  if (!parsed.ok()) return;
  require(text && *text == block.text_bytes);
  (void)parsed->entries_in(block.text_bytes / 3, block.text_bytes / 2);
  require(ShardIndex::parse(parsed->serialize(), block, "again").ok());
}

// An index as for index(), in a file whose checksums fit: what libllmc.so makes of its documents and records.
void reader(ByteView input) {
  ByteReader in(input);
  const uint64_t frames = in.u64() % (1u << 16);
  in.u64();
  UserBlock block;
  block.chunk_bytes = in.u32();
  in.u32();
  in.u32();
  const ByteView plain = in.bytes(in.left());
  const auto text = ShardIndex::text_bytes_of(plain);
  if (!in.ok() || !text || block.chunk_bytes == 0) return;
  const uint64_t chunks = (*text + block.chunk_bytes - 1) / block.chunk_bytes;
  if (chunks > 1u << 20) return;
  const Bytes stored = ShardIndex::pack(plain);
  block.text_bytes = *text;
  block.chunks = static_cast<uint32_t>(chunks);
  block.index_offset = std::max<uint64_t>(frames, user_block_bytes);
  block.index_bytes = stored.size();
  block.index_plain_bytes = plain.size();
  block.index = sha256(stored);
  block.file_bytes = block.index_offset + stored.size();
  Bytes file = block.serialize();
  file.resize(block.index_offset);
  file.insert(file.end(), stored.begin(), stored.end());
  const MemoryFile memory(file);
  const auto archive = ArchiveText::open(memory.path(), {"", 1, 1u << 20});
  if (!archive.ok()) return;
  for (uint64_t n = 0; n < std::min<uint64_t>((*archive)->documents(), 64); ++n) {
    const auto document = (*archive)->document(n);
    require(document.ok() && document->number == n);
    require(document->begin <= *text && document->size <= *text - document->begin);
    const auto found = (*archive)->find(document->first().entry.name);
    require(found.ok() && *found && (*found)->number == n);
    uint64_t records = 0;
    const Status listed = (*archive)->records(*document, [&](const Record& record) {
      ++records;
      require(record.offset >= document->offset && record.offset - document->offset <= (1ull << 62));
    });
    require(!listed.ok() || records == document->records);
    if (document->size > 1u << 20) continue;
    Bytes out(document->size);
    require((*archive)->read_document(*document, out.data(), {}).ok() == out.empty());
  }
}

// A job file or --config of a machine, with options of every type.
void job(ByteView input) {
  namespace po = boost::program_options;
  OptionSet set("run", "llmc-batch run JOB", "");
  set.positional("input", -1);
  set.group("All").add_options()
      ("chunk", po::value<ByteSize>())("threads", po::value<int>()->default_value(0))("streams", po::value<int>())
      ("lease", po::value<double>())("seed", po::value<uint32_t>())("force", po::bool_switch())("unpack", po::bool_switch())
      ("include", po::value<std::vector<std::string>>()->composing());
  for (const char* name : {"output", "codec", "shard", "documents", "verify", "parity", "check", "model", "engine", "device"}) {
    set.group("Words").add_options()(name, po::value<std::string>());
  }
  const MemoryFile file(input);
  bool done = false;
  if (!set.parse({"--config", file.path()}, false, &done).ok()) return;
  require(!done && set.words().size() <= input.size());
  if (set.given("include")) require(!set.get<std::vector<std::string>>("include").empty());
}

void manifest(ByteView input) {
  (void)Manifest::parse(input, "fuzz");
  const std::string body(as_text(input));
  const std::string sealed = body + "  \"sha256\": \"" + to_hex(sha256(as_bytes(body))) + "\"\n}\n";
  const auto parsed = Manifest::parse(as_bytes(sealed), "fuzz");
  if (parsed.ok()) require(Manifest::parse(as_bytes(parsed->serialize()), "again").ok());
}

// All packets get the CRC that they should have.
void parity(ByteView input) {
  Bytes sealed(input.begin(), input.end());
  for (size_t at = 0; at + parity_header_bytes <= sealed.size(); ++at) {
    const auto packet = ParityPacket::parse_header(ByteView(sealed).subspan(at, parity_header_bytes));
    if (!packet || packet->payload_bytes > sealed.size() - at - parity_header_bytes) continue;
    const ByteView all = ByteView(sealed).subspan(at, parity_header_bytes + packet->payload_bytes);
    put_u32(sealed, at + 12, crc32c(all.subspan(16), crc32c(all.subspan(8, 4))));
  }
  const MemoryFile parity_file(sealed), file(input.first(input.size() / 2));
  (void)examine_parity(file.path(), parity_file.path());
}

void salvage(ByteView input) {
  const MemoryFile file(input);
  const auto found = search_frames(file.path());
  require(found.ok());
  for (const FoundShard& s : found->shards) {
    for (const auto& [chunk, f] : s.frames) require(read_found(*found, f).ok());
  }
}

void model(ByteView input) {
  (void)Safetensors::parse(input);
  // Model wants its bytes aligned.
  const Bytes copy(input.begin(), input.end());
  (void)Model::from_bytes(copy, nullptr);
}

// As it stands, and with the length and the checksum that its bytes should have.
void adaptation(ByteView input) {
  (void)Adaptation::parse(input);
  if (input.size() < 20 || input.size() > (1u << 16)) return;
  Bytes sealed(input.begin(), input.end());
  put_u32(sealed, 12, static_cast<uint32_t>(sealed.size()));
  put_u32(sealed, 16, 0);
  put_u32(sealed, 16, crc32c(sealed));
  const auto parsed = Adaptation::parse(sealed);
  if (!parsed.ok()) return;
  require(parsed->factor >= Adaptation::least_factor && parsed->factor <= Adaptation::greatest_factor);
  require(std::find(parsed->bias.begin(), parsed->bias.end(), int8_t{-128}) == parsed->bias.end());
  require(Adaptation::parse(parsed->serialize()).ok());
}

void tokenizer(ByteView input) {
  const auto made = Tokenizer::from_json(input);
  if (!made.ok()) return;
  const std::string text = "The quick brown fox, 12 dogs\r\n\xff\xc3\xa9";
  std::vector<Symbol> symbols;
  (*made)->encode(as_bytes(text), &symbols);
  Bytes back;
  require((*made)->decode(symbols, &back) && as_text(back) == text);
}

void plan(ByteView input) {
  (void)Plan::parse(input, "fuzz");
  // magic, length, body, digest
  ByteWriter sealed;
  sealed.bytes(input);
  sealed.bytes(sha256(input));
  (void)Plan::parse(sealed.view(), "fuzz");
}

// codec, text length, tokens, CRC, payload: decoders of coded text get any bytes; a primed chunk with a sound dictionary.
void decoder(ByteView input) {
  constexpr Codec kinds[] = {Codec::range, Codec::mix, Codec::rank, Codec::primed, Codec::dictionary};
  ByteReader in(input);
  Frame f;
  f.codec = kinds[in.u8() % std::size(kinds)];
  f.text_size = in.u16();
  f.tokens = in.u16();
  f.text_crc = in.u32();
  f.payload = in.bytes(in.left());
  static const std::string text = "It was the best of times, it was the worst of times. The and ing the an in er.";
  const auto codec_of = [](Codec codec) {
    return ChunkCodec(std::make_unique<StubEngine>(as_bytes(text), StubOptions{}),
                      {codec, 0, 32, codec == Codec::mix ? max_dictionary_bytes : 0});
  };
  static const ChunkCodec range = codec_of(Codec::range), mix = codec_of(Codec::mix), rank = codec_of(Codec::rank);
  static const auto dictionary = std::make_shared<const Bytes>([] {
    MemoryFeed feed({});
    std::string many;
    while (many.size() < 2000) many += text;
    const auto made = mix.make_dictionary({9, 1000, 1000, Bytes(many.begin(), many.end()), {}}, feed);
    require(made.ok() && !made->empty());
    return *made;
  }());
  ChunkItem item;
  item.chunk = f.codec == Codec::dictionary ? frame_dictionary : 3;
  item.seed = 9;
  item.size = f.text_size;
  if (f.codec == Codec::primed) item.dictionary = dictionary;
  f.chunk = item.chunk;
  item.bytes = make_frame(f, 9);
  const ChunkCodec& codec = f.codec == Codec::range ? range : f.codec == Codec::rank ? rank : mix;
  const auto plain = codec.decode_one(std::move(item));
  require(!plain.ok() || (plain->size() == f.text_size && crc32c(*plain) == f.text_crc));
}

}  // namespace

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {
      {"frame", frame},       {"shard", shard}, {"index", index},         {"manifest", manifest}, {"parity", parity},
      {"salvage", salvage},   {"model", model}, {"tokenizer", tokenizer}, {"plan", plan},         {"decoder", decoder},
      {"reader", reader},     {"job", job},     {"names", names}, {"adaptation", adaptation},
  };
  return all;
}

}  // namespace llmc::fuzz
