#include <algorithm>

#include "archive/format.h"
#include "archive/hdf5.h"
#include "archive/shard_file.h"
#include "archive/shard_writer.h"
#include "base/file.h"

namespace llmc {

Status check_hdf5_view(const std::filesystem::path& path) {
  LLMC_ASSIGN(const ShardFile shard, ShardFile::open(path));
  const std::string name = printable(path.native());
  auto differs = [&](const std::string& what) {
    return Status(Code::corrupt, name + ": HDF5 shows another " + what + " than the user block");
  };
  const H5Session session;
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  const H5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  if (!file.ok()) return h5_status(name);
  const H5Handle text(H5Dopen2(file, "text", H5P_DEFAULT), H5Dclose);
  const H5Handle index(H5Dopen2(file, "index", H5P_DEFAULT), H5Dclose);
  if (!text.ok() || !index.ok()) return h5_status(name);
  auto length = [](hid_t dataset) -> uint64_t {
    const H5Handle space(H5Dget_space(dataset), H5Sclose);
    hsize_t size = 0;
    return H5Sget_simple_extent_ndims(space) == 1 && H5Sget_simple_extent_dims(space, &size, nullptr) == 1 ? size
                                                                                                            : ~0ull;
  };
  const UserBlock& block = shard.block();
  if (length(text) != block.text_bytes) return differs("text length");
  if (length(index) != block.index_bytes || H5Dget_offset(index) != block.index_offset) return differs("index");

  if (shard.has_dictionary()) {
    const H5Handle dictionary(H5Dopen2(file, "dictionary", H5P_DEFAULT), H5Dclose);
    if (!dictionary.ok()) return h5_status(name);
    if (length(dictionary) != block.dictionary_bytes || H5Dget_offset(dictionary) != block.dictionary_offset) {
      return differs("dictionary");
    }
  }
  if (block.adaptation_bytes > 0) {
    const H5Handle adaptation(H5Dopen2(file, "adaptation", H5P_DEFAULT), H5Dclose);
    if (!adaptation.ok()) return h5_status(name);
    if (length(adaptation) != block.adaptation_bytes || H5Dget_offset(adaptation) != block.adaptation_offset) return differs("adaptation");
  }
  const H5Handle layout(H5Dget_create_plist(text), H5Pclose);
  std::vector<unsigned> values(256);  // the most that H5Pget_filter2 takes; ours are at most 140
  size_t count = values.size();
  unsigned flags = 0, filter_config = 0;
  if (H5Pget_filter2(layout, 0, &flags, &count, values.data(), 0, nullptr, &filter_config) !=
      static_cast<H5Z_filter_t>(filter_id)) {
    return differs("filter");
  }
  values.resize(std::min(count, values.size()));
  hsize_t dimension = 0;
  H5Pget_chunk(layout, 1, &dimension);
  const auto expected = static_cast<uint32_t>(std::clamp<uint64_t>(block.text_bytes, 1, block.chunk_bytes));
  if (dimension != expected || values != filter_values(expected, block.seed, block.model, shard.index().parameters, block.dictionary)) {
    return differs("set of filter parameters");
  }
  Bytes seen;
  for (uint32_t c = 0; c < block.chunks; ++c) {
    LLMC_ASSIGN(const Bytes frame, shard.read_frame(c));
    const hsize_t offset = uint64_t{c} * block.chunk_bytes;
    hsize_t size = 0;
    uint32_t mask = 1;
    if (H5Dget_chunk_storage_size(text, &offset, &size) < 0) return h5_status(name);
    if (size != frame.size()) return differs("frame " + std::to_string(c));
    seen.resize(size);
    if (H5Dread_chunk(text, H5P_DEFAULT, &offset, &mask, seen.data()) < 0) return h5_status(name);
    if (mask != 0 || seen != frame) return differs("frame " + std::to_string(c));
  }
  return {};
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return "HDF5 " + std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

}  // namespace llmc
