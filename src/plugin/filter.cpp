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
// folders that LLMC_DICTIONARY_PATH names.
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

// Kept for the life of the process: programs read chunk after chunk.
Result<Engine*> engine_of(const Digest& digest) {
  static std::mutex mutex;
  static std::map<Digest, std::unique_ptr<Engine>> engines;
  const std::lock_guard lock(mutex);
  if (const auto known = engines.find(digest); known != engines.end()) return known->second.get();
  LLMC_ASSIGN(auto model, find_model(digest));
  LLMC_ASSIGN(auto engine, make_native_engine(std::move(model)));
  return (engines[digest] = std::move(engine)).get();
}

// The dictionary of this digest in a file: a shard, whose user block says where it stands (docs/FORMAT.md, 4.2), or its
// bytes alone. Whatever the file claims, the digest decides.
Bytes dictionary_in(const fs::path& path, const Digest& digest) {
  constexpr size_t most = max_dictionary_bytes + frame_header_bytes, block_bytes = 512, offset_at = 216, digest_at = 232;
  const auto file = File::open_read(path);
  if (!file.ok()) return {};
  const auto size = file->size();
  Bytes bytes(block_bytes);
  if (!size.ok() || *size < frame_header_bytes) return {};
  if (*size >= block_bytes && file->read_at(0, bytes).ok() &&
      std::equal(digest.begin(), digest.end(), bytes.begin() + digest_at)) {
    ByteReader in(ByteView(bytes).subspan(offset_at));
    const uint64_t offset = in.u64();
    const uint32_t length = in.u32();
    if (offset > *size || length > *size - offset || length > most) return {};
    bytes.resize(length);
    if (!file->read_at(offset, bytes).ok()) return {};
  } else {
    if (*size > most) return {};
    bytes.resize(*size);
    if (!file->read_at(0, bytes).ok()) return {};
  }
  return sha256(bytes) == digest ? bytes : Bytes();
}

Result<std::shared_ptr<const Bytes>> find_dictionary(const Digest& digest) {
  std::vector<fs::path> files = files_at("/proc/self/fd");
  for (const fs::path& path : paths_of("LLMC_DICTIONARY_PATH")) {
    for (fs::path& file : files_at(path)) files.push_back(std::move(file));
  }
  for (const fs::path& file : files) {
    Bytes bytes = dictionary_in(file, digest);
    if (!bytes.empty()) return std::make_shared<const Bytes>(std::move(bytes));
  }
  return Status(Code::missing, "this chunk begins with the dictionary of SHA-256 " + to_hex(digest) +
                                   ", which is in no file that this program has open; let LLMC_DICTIONARY_PATH name the archive, "
                                   "or use: llmc-batch extract ARCHIVE -o OUT");
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
    LLMC_ASSIGN(engine, engine_of(values.model));
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
    LLMC_ASSIGN(engine, engine_of(values.model));
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
