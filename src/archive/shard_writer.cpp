#include "archive/shard_writer.h"

#include <algorithm>

#include "archive/format.h"
#include "archive/hdf5.h"
#include "archive/shard_index.h"
#include "base/fault.h"
#include "base/file.h"

namespace llmc {
namespace {

H5Handle file_space(hsize_t bytes) { return {H5Screate_simple(1, &bytes, nullptr), H5Sclose}; }

}  // namespace

std::vector<uint32_t> filter_values(uint32_t chunk_dimension, uint32_t seed, const Digest& model, ByteView parameters,
                                    const Digest& dictionary) {
  const bool with_dictionary = dictionary != Digest{};
  std::vector<uint32_t> values = {with_dictionary ? cd_values_dictionary_version : cd_values_version, chunk_dimension, seed};
  auto pack = [&](ByteView bytes) {
    for (size_t i = 0; i < bytes.size(); i += 4) {
      uint32_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min<size_t>(4, bytes.size() - i));
      values.push_back(word);
    }
  };
  pack(model);
  values.push_back(static_cast<uint32_t>(parameters.size()));
  pack(parameters);
  if (with_dictionary) pack(dictionary);
  return values;
}

namespace {

class Writer {
 public:
  Writer(const ShardContents& contents, const std::filesystem::path& path)
      : contents_(contents), plan_(*contents.plan), shard_(plan_.shards()[contents.shard]), path_(path) {}

  Result<WrittenShard> write() {
    LLMC_ASSIGN(file_, File::create(path_));
    H5Output output(&file_);
    const Status status = write_hdf5(output);
    LLMC_TRY(output.status());
    LLMC_TRY(status.with(printable(path_.native())));
    LLMC_TRY(fault_point("archive.shard_closed"));
    return seal();
  }

 private:
  Status write_hdf5(H5Output& output);
  Status write_frames(hid_t text, const H5Output& output);
  Result<WrittenShard> seal();
  Status check_dictionary();
  Status write_bytes(hid_t file, const std::string& name, ByteView bytes, uint64_t* offset);
  Status write_index(hid_t file);
  void fill_entries();

  const ShardContents& contents_;
  const Plan& plan_;
  const Shard& shard_;
  const std::filesystem::path& path_;
  File file_;
  UserBlock block_;
  ShardIndex index_;
  std::vector<uint32_t> frame_crcs_;  // of each frame: to find them again in the closed file
};

Status Writer::write_hdf5(H5Output& output) {
  const H5Session session;
  if (!session.ok()) return h5_status("cannot register the filter");
  const PlanOptions& options = plan_.options();
  const bool with_dictionary = !contents_.dictionary.empty();
  if (with_dictionary) LLMC_TRY(check_dictionary());
  const bool with_adaptation = !options.adaptation.empty();
  if (sha256(options.adaptation) != adaptation_of(options.parameters) && (with_adaptation || features_of(options.parameters) & feature_adaptation)) {
    return {Code::failure, "the plan's adaptation is not the one that its coding parameters name"};
  }

  const H5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  // Object times would make two identical runs differ. The oldest and newest layout are pinned
  // to one, so that newer libraries write the same bytes. Small metadata blocks, no room for
  // attributes and the exact group size save 1.6 KB a file.
  if (H5Pset_userblock(creation, user_block_bytes) < 0 || H5Pset_obj_track_times(creation, false) < 0 ||
      H5Pset_est_link_info(creation, 2 + with_dictionary + with_adaptation, with_dictionary || with_adaptation ? 10 : 5) < 0 ||
      H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 || H5Pset_meta_block_size(access, 0) < 0 ||
      H5Pset_small_data_block_size(access, 0) < 0 || !output.attach(access)) {
    return h5_status("cannot prepare the file");
  }
  H5Handle file(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose);
  if (!file.ok()) return h5_status("cannot create the file");

  const auto dimension =
      static_cast<uint32_t>(std::clamp<uint64_t>(shard_.text_size, 1, options.chunk_bytes));
  const hsize_t chunk_dimension = dimension;
  const auto values = filter_values(dimension, contents_.seed, options.model, options.parameters, block_.dictionary);
  const H5Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  if (H5Pset_chunk(layout, 1, &chunk_dimension) < 0 || H5Pset_obj_track_times(layout, false) < 0 ||
      H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER) < 0 || H5Pset_alloc_time(layout, H5D_ALLOC_TIME_INCR) < 0 ||
      H5Pset_dset_no_attrs_hint(layout, true) < 0 ||
      H5Pset_filter(layout, static_cast<H5Z_filter_t>(filter_id), H5Z_FLAG_MANDATORY, values.size(), values.data()) <
          0) {
    return h5_status("cannot prepare /text");
  }
  const H5Handle space = file_space(shard_.text_size);
  H5Handle text(H5Dcreate2(file, "text", H5T_STD_U8LE, space, H5P_DEFAULT, layout, H5P_DEFAULT), H5Dclose);
  if (!text.ok()) return h5_status("cannot create /text");

  LLMC_TRY(write_frames(text, output));
  LLMC_TRY(fault_point("archive.frames_written"));
  if (with_dictionary) LLMC_TRY(write_bytes(file, "dictionary", contents_.dictionary, &block_.dictionary_offset));
  if (with_adaptation) {
    LLMC_TRY(write_bytes(file, "adaptation", options.adaptation, &block_.adaptation_offset));
    block_.adaptation_bytes = static_cast<uint32_t>(options.adaptation.size());
  }
  LLMC_TRY(write_index(file));
  if (!text.reset() || !file.reset()) return h5_status("cannot close the file");
  return {};
}

Status Writer::write_frames(hid_t text, const H5Output& output) {
  const uint32_t chunks = plan_.shard_chunks(contents_.shard);
  index_.chunks.resize(chunks);
  frame_crcs_.resize(chunks);
  uint64_t end = 0;
  for (uint32_t c = 0; c < chunks; ++c) {
    const std::string where = "shard " + std::to_string(contents_.shard) + " chunk " + std::to_string(c);
    auto bytes = contents_.frame(c);
    if (!bytes.ok()) return bytes.status().with(where);
    auto frame = parse_frame(*bytes, contents_.seed);
    if (!frame.ok()) return frame.status().with(where);
    if (frame->codec == Codec::primed && contents_.dictionary.empty()) {
      return {Code::corrupt, where + ": the frame begins with a dictionary, and the shard has none"};
    }
    if (frame->chunk != c || frame->text_size != plan_.chunk_size(contents_.shard, c)) {
      return {Code::corrupt, where + ": the frame is that of another chunk"};
    }
    const hsize_t offset = plan_.chunk_offset(c);
    if (H5Dwrite_chunk(text, H5P_DEFAULT, 0, &offset, bytes->size(), bytes->data()) < 0) return h5_status(where);
    LLMC_TRY(output.status());
    if (c < 2) {
      // HDF5 puts its chunk index behind the first frame; all frames after it stand without
      // gaps, which seal() checks. (Asking for every address takes quadratic time.)
      haddr_t address = 0;
      hsize_t size = 0;
      unsigned mask = 0;
      if (H5Dget_chunk_info_by_coord(text, &offset, &mask, &address, &size) < 0) return h5_status(where);
      end = address + user_block_bytes;
    }
    index_.chunks[c] = {end, static_cast<uint32_t>(bytes->size()), frame->tokens, frame->codec, frame->text_crc};
    std::memcpy(&frame_crcs_[c], bytes->data() + frame_header_bytes - 4, 4);
    end += bytes->size();
  }
  return {};
}

void Writer::fill_entries() {
  index_.parameters = plan_.options().parameters;
  index_.model_name = plan_.options().model_name;
  index_.shard_bytes = plan_.options().shard_bytes;
  const auto pieces = plan_.pieces(contents_.shard);
  index_.first_entry = pieces.empty() ? 0 : pieces.front().entry;
  index_.entries.resize(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const Entry& from = plan_.entries()[piece.entry];
    IndexEntry& e = index_.entries[i];
    e.entry.name = from.name;
    e.entry.kind = from.kind;
    e.entry.mode = from.mode;
    e.entry.mtime_ns = from.mtime_ns;
    e.entry.target = from.target;
    e.entry.size = from.size;
    e.entry.unpacked = from.unpacked;
    e.entry.source_digest = from.source_digest;
    e.entry.records_kind = from.records_kind;
    e.entry.records.count = piece.record_count;
    e.entry.records.packed.assign(from.records.packed.begin() + static_cast<ptrdiff_t>(piece.packed_begin),
                                  from.records.packed.begin() + static_cast<ptrdiff_t>(piece.packed_end));
    e.offset = piece.offset;
    e.size = piece.size;
    e.shard_offset = piece.shard_offset;
    e.first_record = piece.first_record;
    e.records_base = piece.records_base;
    if (plan_.has_digest(piece)) e.sha256 = contents_.digest(shard_.first_piece + i);
  }
}

Status Writer::check_dictionary() {
  const std::string where = "the dictionary of shard " + std::to_string(contents_.shard);
  auto frame = parse_frame(contents_.dictionary, contents_.seed);
  if (!frame.ok()) return frame.status().with(where);
  if (frame->codec != Codec::dictionary) return {Code::corrupt, where + ": these bytes are none"};
  block_.dictionary_bytes = static_cast<uint32_t>(contents_.dictionary.size());
  block_.dictionary_text = frame->text_size;
  block_.dictionary = sha256(contents_.dictionary);
  return {};
}

// A contiguous dataset. *offset: of its bytes from the start of the file, user block included (unlike the addresses of chunks).
Status Writer::write_bytes(hid_t file, const std::string& name, ByteView bytes, uint64_t* offset) {
  const H5Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  const H5Handle space = file_space(bytes.size());
  if (H5Pset_obj_track_times(layout, false) < 0 || H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER) < 0 ||
      H5Pset_dset_no_attrs_hint(layout, true) < 0) {
    return h5_status("cannot prepare /" + name);
  }
  const H5Handle data(H5Dcreate2(file, name.c_str(), H5T_STD_U8LE, space, H5P_DEFAULT, layout, H5P_DEFAULT), H5Dclose);
  if (!data.ok() || H5Dwrite(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0) {
    return h5_status("cannot write /" + name);
  }
  *offset = H5Dget_offset(data);
  return {};
}

Status Writer::write_index(hid_t file) {
  fill_entries();
  const Bytes plain = index_.serialize();
  if (plain.size() > max_index_bytes) {
    return {Code::failure, "the index of shard " + std::to_string(contents_.shard) + " takes more than " +
                               std::to_string(max_index_bytes) + " bytes: choose smaller shards"};
  }
  const Bytes stored = ShardIndex::pack(plain);
  LLMC_TRY(write_bytes(file, "index", stored, &block_.index_offset));
  block_.index_bytes = stored.size();
  block_.index_plain_bytes = plain.size();
  block_.index = sha256(stored);
  return {};
}

Result<WrittenShard> Writer::seal() {
  const std::string name = printable(path_.native());
  LLMC_ASSIGN(block_.file_bytes, file_.size());
  block_.features = features_of(plan_.options().parameters);
  block_.shard = contents_.shard;
  block_.shards = static_cast<uint32_t>(plan_.shards().size());
  block_.text_bytes = shard_.text_size;
  block_.text_offset = shard_.text_offset;
  block_.chunk_bytes = plan_.options().chunk_bytes;
  block_.chunks = static_cast<uint32_t>(index_.chunks.size());
  block_.seed = contents_.seed;
  block_.model = plan_.options().model;
  block_.plan = plan_.digest();

  // The positions above are what libhdf5 said, or follow from it. See for ourselves.
  Bytes header(frame_header_bytes);
  for (size_t c = 0; c < index_.chunks.size(); ++c) {
    LLMC_TRY(file_.read_at(index_.chunks[c].offset, header));
    uint32_t crc = 0;
    std::memcpy(&crc, header.data() + frame_header_bytes - 4, 4);
    if (crc != frame_crcs_[c]) {
      return Status(Code::failure, name + ": libhdf5 put frame " + std::to_string(c) + " elsewhere than expected");
    }
  }
  Bytes stored(block_.index_bytes);
  LLMC_TRY(file_.read_at(block_.index_offset, stored));
  if (sha256(stored) != block_.index) {
    return Status(Code::failure, name + ": libhdf5 put the index elsewhere than it said");
  }
  if (block_.dictionary_bytes > 0) {
    stored.resize(block_.dictionary_bytes);
    LLMC_TRY(file_.read_at(block_.dictionary_offset, stored));
    if (stored != contents_.dictionary) return Status(Code::failure, name + ": libhdf5 put the dictionary elsewhere than it said");
  }

  if (block_.adaptation_bytes > 0) {
    stored.resize(block_.adaptation_bytes);
    LLMC_TRY(file_.read_at(block_.adaptation_offset, stored));
    if (stored != plan_.options().adaptation) return Status(Code::failure, name + ": libhdf5 put the adaptation elsewhere than it said");
  }

  Bytes buffer(1u << 20);
  auto hash_body = [&](Sha256& hash) -> Status {
    for (uint64_t at = user_block_bytes; at < block_.file_bytes;) {
      const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), block_.file_bytes - at));
      LLMC_TRY(file_.read_at(at, part));
      hash.update(part);
      at += part.size();
    }
    return {};
  };
  Sha256 hash;
  LLMC_TRY(hash_body(hash));
  block_.body = hash.finish();
  // What the block vouches for is on the device before the block is.
  LLMC_TRY(file_.sync());
  LLMC_TRY(fault_point("archive.before_user_block"));
  const Bytes block = block_.serialize();
  // A block that this version would refuse is a mistake of ours; better to learn of it now.
  LLMC_ASSIGN(block_, UserBlock::parse(block, block_.file_bytes, name));
  LLMC_TRY(file_.write_at(0, block));
  LLMC_TRY(file_.sync());
  WrittenShard written;
  written.block = block_;
  hash.update(block);
  LLMC_TRY(hash_body(hash));
  written.file = hash.finish();
  LLMC_TRY(file_.close());
  return written;
}

}  // namespace

Result<WrittenShard> write_shard(const ShardContents& contents, const std::filesystem::path& path) {
  return Writer(contents, path).write();
}

}  // namespace llmc
