// The names of a whole set: streams over its shards, the indexes of names beside them (name_index.h), and how these
// are made, checked and made again.
//
// A set of more than 64 shards, or of several parts, has indexes that cover all shards: each of consecutive shards, a later
// one of fewer names. An append writes one of the new shards' names and merges into it those before it that are not
// more than twice as large: so there are few, and each name is written again only now and then. Functions of one thread.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "archive/file_digest.h"
#include "archive/manifest.h"
#include "archive/name_index.h"
#include "archive/shard_file.h"

namespace llmc {

inline constexpr size_t shards_without_names = 64;

// Shard `number` of the set in `folder`, checked against its row. Code::corrupt where it is missing or another.
Result<ShardFile> open_set_shard(const std::filesystem::path& folder, const Manifest& manifest, uint32_t number);

// Names of shards [first, end) of one part, from their indexes; one of these is in memory. Both outlive it.
class ShardNames : public NameStream {
 public:
  using OpenShard = std::function<Result<std::shared_ptr<const ShardFile>>(uint32_t shard)>;
  ShardNames(OpenShard open, uint32_t first, uint32_t end) : open_(std::move(open)), shard_(first), end_(end) {}
  Result<const NamedPlace*> next() override;

 private:
  OpenShard open_;
  uint32_t shard_, end_;
  std::shared_ptr<const ShardFile> file_;
  size_t entry_ = 0;
  NamedPlace place_;
};

// Several streams as one.
class MergedNames : public NameStream {
 public:
  explicit MergedNames(std::vector<NameStream*> streams) : streams_(std::move(streams)) {}
  Result<const NamedPlace*> next() override;

 private:
  std::vector<NameStream*> streams_;
  std::multimap<std::string_view, std::pair<size_t, const NamedPlace*>> heads_;
  size_t last_ = 0;
  bool begun_ = false;
};

// What a set will have when `manifest` is committed: files that are missing are made in `work` and put in their places; those of
// manifest.names that no longer serve are left where they are. A damaged one is made again, with a warning.
Result<std::vector<ManifestNames>> update_names(const std::filesystem::path& folder, const Manifest& manifest,
                                                const std::filesystem::path& work);
// Indexes of names that the manifest does not name: an append that was interrupted or has merged them left them.
Status remove_unused_names(const std::filesystem::path& folder, const Manifest& manifest);

// Nothing where the file is what its row says; else one sentence. Code::interrupted: `stop` said so.
Result<std::optional<std::string>> check_names(const std::filesystem::path& folder, const ManifestNames& row, const StopRequest& stop = {});
// Makes it again, as it was, from the shards, at `path`. Code::corrupt where they do not give the same file.
Status rebuild_names(const std::filesystem::path& folder, const Manifest& manifest, const ManifestNames& row,
                     const std::filesystem::path& path, const StopRequest& stop = {});

// A sum over names and places that does not depend on their order: shards and indexes can be compared in any.
class NamesSum {
 public:
  void add(const NamedPlace& place);
  bool operator==(const NamesSum&) const = default;

 private:
  uint64_t words_[4] = {};
  uint64_t names_ = 0;
};

}  // namespace llmc
