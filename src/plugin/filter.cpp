// The HDF5 filter 51773: h5py, h5dump, h5repack and every other program over libhdf5 (1.8.11 or later) reads the
// text of an archive through it, and may write frames. HDF5 finds it in HDF5_PLUGIN_PATH.
//
// A filter sees the dataset's cd_values (docs/FORMAT.md, 4.1) and one chunk. No function of libhdf5 is called, so
// that one file serves every version of it. The model is the embedded one, or that of the right digest among the
// files and folders that LLMC_MODEL_PATH names (":" between them). HDF5 holds a lock around each call; engines are
// made once and kept.
//
// Chunks of a shard with a dictionary need that as well, which a filter is not given: only its digest. It is looked
// for in the files that the program has open (/proc/self/fd), the archive among them, then in the files and
// folders that LLMC_DICTIONARY_PATH names. So is an adaptation of the model, with LLMC_ADAPTATION_PATH.
//
// Read: a frame in, the chunk's text out, padded with zeros to the chunk's size. Written: frames with the number
// 0xFFFFFFFF and seed 0, which llmc-batch never writes itself, and without the dictionary.
#include <H5PLextern.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "base/file.h"
#include "chunk/codec.h"
#include "frame/frame.h"
#include "model/adaptation.h"
#include "model/embedded_model.h"
#include "model/native_engine.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr H5Z_filter_t filter_id = 51773;
constexpr uint64_t most_model_bytes = uint64_t{1} << 40;

struct Values {
  uint32_t chunk_bytes = 0;
  uint32_t seed = 0;
  Digest model{};
  CodecParameters parameters;
  Digest dictionary{};  // zeros: none
};

Result<Values> read_values(size_t count, const unsigned* words) {
  const Status wrong(Code::usage, "the filter needs the values of docs/FORMAT.md, 4.1 (layout, chunk size, seed, model, parameters)");
  constexpr size_t head = 12;
  if (count < head || words[0] < 1 || words[0] > 2 || words[1] == 0 || words[1] > max_chunk_bytes || words[11] > 512) return wrong;
  const size_t parameter_words = (words[11] + 3) / 4, digest_words = words[0] == 2 ? 8 : 0;
  if (count != head + parameter_words + digest_words) return wrong;
  Bytes bytes(count * 4);  // little-endian, whatever the machine
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4)));
  Values values;
  values.chunk_bytes = words[1];
  values.seed = words[2];
  std::memcpy(values.model.data(), &bytes[12], values.model.size());
  LLMC_ASSIGN(values.parameters, CodecParameters::parse(ByteView(bytes).subspan(4 * head, words[11])));
  std::memcpy(values.dictionary.data(), bytes.data() + 4 * (head + parameter_words), 4 * digest_words);
  return values;
}

// `path` itself, or the files of the folder that it is.
std::vector<fs::path> files_at(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> files;
  const auto take = [&](const fs::path& file) {
    if (fs::is_regular_file(file, error)) files.push_back(file);
  };
  if (fs::is_directory(path, error)) {
    for (const auto& item : fs::directory_iterator(path, error)) take(item.path());
  } else {
    take(path);
  }
  return files;
}

// The paths that an environment variable names, ":" between them.
std::vector<fs::path> paths_of(const char* variable) {
  const char* value = std::getenv(variable);
  const std::string text = value ? value : "";
  std::vector<fs::path> paths;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(':', at), text.size());
    if (end > at) paths.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return paths;
}

// The model file of this digest at `path`: a file, or any in a folder.
std::shared_ptr<const Model> model_at(const fs::path& path, const Digest& digest) {
  for (const fs::path& file : files_at(path)) {
    const auto bytes = read_file(file, most_model_bytes);
    if (!bytes.ok() || sha256(*bytes) != digest) continue;
    auto model = Model::load(file);
    if (model.ok()) return *model;
    std::fprintf(stderr, "llmc-batch filter: %s\n", model.status().message().c_str());
  }
  return nullptr;
}

Result<std::shared_ptr<const Model>> find_model(const Digest& digest) {
  auto embedded = embedded_model();
  if (embedded.ok() && (*embedded)->digest() == digest) return *embedded;
  for (const fs::path& path : paths_of("LLMC_MODEL_PATH")) {
    if (auto model = model_at(path, digest)) return model;
  }
  return Status(Code::model, "the text was coded with the model of SHA-256 " + to_hex(digest) +
                                 ", which is not here; let LLMC_MODEL_PATH name its file or folder");
}

// What a shard keeps beside its text, and where its user block says so (docs/FORMAT.md, 4.2).
struct Kept {
  size_t place_at;  // u64 offset, u32 length
  size_t most;      // bytes
  const char* variable;
};
constexpr Kept kept_dictionary = {216, max_dictionary_bytes + frame_header_bytes, "LLMC_DICTIONARY_PATH"};
constexpr Kept kept_adaptation = {264, max_adaptation_bytes, "LLMC_ADAPTATION_PATH"};

// The bytes of this digest in a file: a shard that keeps them, or a file of them alone. Whatever the file claims, the
// digest decides.
Bytes bytes_in(const fs::path& path, const Kept& kept, const Digest& digest) {
  constexpr size_t block_bytes = 512, least = 32;
  const auto file = File::open_read(path);
  if (!file.ok()) return {};
  const auto size = file->size();
  if (!size.ok() || *size < least) return {};
  const auto read = [&](uint64_t offset, uint64_t length) -> Bytes {
    if (offset > *size || length > *size - offset || length > kept.most) return {};
    Bytes bytes(length);
    return file->read_at(offset, bytes).ok() && sha256(bytes) == digest ? bytes : Bytes();
  };
  Bytes block(block_bytes);
  if (*size >= block_bytes && file->read_at(0, block).ok()) {
    ByteReader in(ByteView(block).subspan(kept.place_at));
    const uint64_t offset = in.u64();
    Bytes bytes = read(offset, in.u32());
    if (!bytes.empty()) return bytes;
  }
  return read(0, *size);
}

// In the files that this program has open, then where the variable says. No bytes: nowhere.
Bytes find_bytes(const Kept& kept, const Digest& digest) {
  std::vector<fs::path> files = files_at("/proc/self/fd");
  for (const fs::path& path : paths_of(kept.variable)) {
    for (fs::path& file : files_at(path)) files.push_back(std::move(file));
  }
  for (const fs::path& file : files) {
    Bytes bytes = bytes_in(file, kept, digest);
    if (!bytes.empty()) return bytes;
  }
  return {};
}

Status not_here(const std::string& what, const Kept& kept, const Digest& digest) {
  return {Code::missing, what + " of SHA-256 " + to_hex(digest) + ", which is in no file that this program has open; let " +
                             kept.variable + " name the archive, or use: llmc-batch extract ARCHIVE -o OUT"};
}

Result<std::shared_ptr<const Bytes>> find_dictionary(const Digest& digest) {
  Bytes bytes = find_bytes(kept_dictionary, digest);
  if (bytes.empty()) return not_here("this chunk begins with the dictionary", kept_dictionary, digest);
  return std::make_shared<const Bytes>(std::move(bytes));
}

// Kept for the life of the process: programs read chunk after chunk.
Result<Engine*> engine_of(const Values& values) {
  static std::mutex mutex;
  static std::map<std::pair<Digest, Digest>, std::unique_ptr<Engine>> engines;
  const std::lock_guard lock(mutex);
  const Digest& adaptation = values.parameters.adaptation;
  std::unique_ptr<Engine>& known = engines[{values.model, adaptation}];
  if (known) return known.get();
  LLMC_ASSIGN(auto model, find_model(values.model));
  if (adaptation != Digest{}) {
    const Bytes bytes = find_bytes(kept_adaptation, adaptation);
    if (bytes.empty()) return not_here("the text was coded with the adaptation", kept_adaptation, adaptation);
    LLMC_ASSIGN(model, adapt_model(std::move(model), bytes));
  }
  LLMC_ASSIGN(known, make_native_engine(std::move(model)));
  return known.get();
}

// A codec that has learned a dictionary, kept: the next chunk wants the same.
struct Learned {
  Bytes key;  // model, parameters, dictionary
  std::shared_ptr<const Bytes> dictionary;
  std::unique_ptr<ChunkCodec> codec;
};

Result<Bytes> decode_primed(const Values& values, Engine* engine, ChunkItem item) {
  if (values.dictionary == Digest{}) return Status(Code::corrupt, "this chunk begins with a dictionary, and the filter's values name none");
  static std::mutex mutex;
  static Learned learned;
  const std::lock_guard lock(mutex);
  ByteWriter key;
  key.bytes(values.model);
  key.bytes(values.parameters.serialize());
  key.bytes(values.dictionary);
  if (learned.key != key.view()) {
    LLMC_ASSIGN(auto dictionary, find_dictionary(values.dictionary));
    learned = {key.take(), std::move(dictionary), std::make_unique<ChunkCodec>(engine, values.parameters)};
  }
  item.dictionary = learned.dictionary;
  return learned.codec->decode_one(std::move(item));
}

Result<Bytes> decode(const Values& values, ByteView bytes) {
  Frame frame;
  size_t size = 0;
  if (!peek_frame(bytes, &frame, &size)) return Status(Code::corrupt, "this chunk is no frame");
  if (frame.text_size > values.chunk_bytes) return Status(Code::corrupt, "this frame holds more text than a chunk");
  Engine* engine = nullptr;
  if (frame.codec != Codec::stored && frame.codec != Codec::zstd) {
    LLMC_ASSIGN(engine, engine_of(values));
  }
  const uint32_t seed = frame.chunk == frame_any_chunk ? 0 : values.seed;
  const ByteView whole = bytes.first(size);
  Result<Bytes> decoded =
      frame.codec == Codec::primed
          ? decode_primed(values, engine, {0, frame.chunk, seed, frame.text_size, Bytes(whole.begin(), whole.end())})
          : decode_frame(engine, values.parameters, frame.chunk, seed, whole, frame.text_size);
  LLMC_ASSIGN(Bytes text, std::move(decoded));
  text.resize(values.chunk_bytes);
  return text;
}

Result<Bytes> encode(const Values& values, ByteView text) {
  Engine* engine = nullptr;
  if (values.parameters.codec != Codec::stored && values.parameters.codec != Codec::zstd) {
    LLMC_ASSIGN(engine, engine_of(values));
  }
  return encode_chunk(engine, values.parameters, frame_any_chunk, 0, text);
}

size_t filter(unsigned flags, size_t count, const unsigned* words, size_t used, size_t* room, void** buffer) {
  try {
    const ByteView in(static_cast<const uint8_t*>(*buffer), used);
    const auto values = read_values(count, words);
    Result<Bytes> out = !values.ok() ? Result<Bytes>(values.status())
                        : flags & H5Z_FLAG_REVERSE ? decode(*values, in)
                                                   : encode(*values, in);
    if (!out.ok()) {
      std::fprintf(stderr, "llmc-batch filter: %s\n", out.status().message().c_str());
      return 0;
    }
    void* const memory = std::malloc(std::max<size_t>(out->size(), 1));
    if (!memory) return 0;
    std::memcpy(memory, out->data(), out->size());
    std::free(*buffer);
    *buffer = memory;
    *room = out->size();
    return out->size();
  } catch (const std::exception&) {  // no memory; the caller is a C library
    return 0;
  }
}

const H5Z_class2_t filter_class = {H5Z_CLASS_T_VERS, filter_id, 1, 1, "llmc-batch", nullptr, nullptr, filter};

}  // namespace
}  // namespace llmc

H5PL_type_t H5PLget_plugin_type() { return H5PL_TYPE_FILTER; }
const void* H5PLget_plugin_info() { return &llmc::filter_class; }
