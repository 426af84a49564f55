// Numbers and names of the archive format that more than one file here needs. docs/FORMAT.md
// says what they mean; what is stored in files is fixed for ever.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/status.h"

namespace llmc {

inline constexpr uint16_t archive_version = 1;
// Required features that this version understands. A reader refuses a file with a bit that it does not know
// before it reads data.
inline constexpr uint32_t feature_dictionary = 1;  // the coding parameters ask for dictionaries
inline constexpr uint32_t feature_adaptation = 4;  // they name what the model is adapted with
inline constexpr uint32_t known_features = feature_dictionary | feature_adaptation;
inline constexpr uint32_t feature_parts = 2;  // of a manifest alone: the set was appended to
// What an archive with these coding parameters requires. Those that ask for dictionaries are 5 bytes longer; behind all
// others stands the adaptation's digest.
inline constexpr size_t plain_parameter_bytes = 9, dictionary_parameter_bytes = 5;
inline uint32_t features_of(ByteView parameters) {
  const size_t more = parameters.size() - std::min(parameters.size(), plain_parameter_bytes);
  return (more % sizeof(Digest) == dictionary_parameter_bytes ? feature_dictionary : 0) | (more >= sizeof(Digest) ? feature_adaptation : 0);
}
// The adaptation's digest in them; zeros: none.
Digest adaptation_of(ByteView parameters);

// The HDF5 filter of /text: the id is from the range for private use, the name stands in the file.
inline constexpr unsigned filter_id = 51773;
inline constexpr const char* filter_name = "llmc-batch";
inline constexpr uint32_t cd_values_version = 1;
inline constexpr uint32_t cd_values_dictionary_version = 2;

// Bounds that readers enforce before they take memory, and writers so that readers can.
inline constexpr uint64_t max_index_bytes = uint64_t{1} << 30;
inline constexpr uint64_t max_stored_index_bytes = max_index_bytes + (max_index_bytes >> 7);  // zstd may add a little
inline constexpr uint64_t max_manifest_bytes = uint64_t{1} << 29;

// Of an index of names over shards [first, end): names-000000-000099.index.
std::string names_name(uint32_t first, uint32_t end);
bool is_names_name(const std::string& name);

inline constexpr const char* manifest_name = "manifest.json";
std::string shard_name(uint32_t shard);  // shard-000000.h5

// Code::failure: the file asks for more than this version knows.
Status newer_version(const std::string& name, uint64_t version, uint64_t features);

// What the filter is told through HDF5: layout version, chunk dimension, frame seed, model
// digest (8 words, little-endian), bytes of parameters, parameters padded with zeros; where the shard has a
// dictionary (a digest that is not zeros) that digest, and another layout version.
std::vector<uint32_t> filter_values(uint32_t chunk_dimension, uint32_t seed, const Digest& model, ByteView parameters,
                                    const Digest& dictionary);

}  // namespace llmc
