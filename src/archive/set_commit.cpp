// The commit of a set, and how a part is added to one.
#include <algorithm>

#include "archive/format.h"
#include "archive/reader.h"
#include "archive/set.h"
#include "archive/set_files.h"
#include "archive/set_names.h"
#include "archive/shard_file.h"
#include "base/fault.h"

namespace llmc {

namespace fs = std::filesystem;

// What stands in the work folder belongs to an append that goes on, to one that was killed right after its commit, or to
// one that is to be given up.
Status SetWriter::prepare_append(const SetOptions& options) {
  LLMC_ASSIGN(Manifest base, Manifest::load(paths_.manifest));
  const ManifestPart& last = base.parts.back();
  auto saved = Plan::load(paths_.plan);
  if (!saved.ok() && saved.status().code() != Code::missing) return saved.status();
  const bool committed = saved.ok() && saved->digest() == last.plan;
  if (last.first_shard == append_->first_shard && last.plan == plan_->digest() && base.parts.size() > 1) {
    finished_ = true;
    if (saved.ok() && !committed) {  // of an append that has begun since; its work is not ours to remove
      lock_.release();
      return {};
    }
    LLMC_TRY(remove_unused_names(paths_.out, base));
    return remove_work();
  }
  if (base.shards.size() != append_->first_shard || base.content != append_->content) {
    return {Code::failure, shown(paths_.out) + ": was changed by another process meanwhile; repeat the command"};
  }
  const PlanOptions& o = plan_->options();
  if (o.model != base.model || o.parameters != base.parameters || o.chunk_bytes != base.chunk_bytes || o.shard_bytes != base.shard_bytes) {
    return {Code::usage, shown(paths_.out) + ": what is appended needs the model, the codec and the sizes of the set"};
  }
  if (base.shards.size() + plan_->shards().size() > max_shards || base.text_bytes + plan_->text_size() > uint64_t{1} << 62) {
    return {Code::failure, shown(paths_.out) + ": would have more than " + std::to_string(max_shards) + " shards"};
  }
  base_ = std::move(base);
  first_shard_ = append_->first_shard;
  if (saved.ok() && (committed || options.mode == SetMode::replace)) {
    if (!committed) LLMC_TRY(give_up_append(*saved));
    LLMC_TRY(clear_work());
    saved = Status(Code::missing, "");
  }
  if (!saved.ok()) {
    LLMC_TRY(remove_unused_names(paths_.out, *base_));
    for (uint32_t s = 0; s < plan_->shards().size(); ++s) {
      std::error_code error;
      if (!fs::exists(shard_path(s), error)) continue;
      return {Code::failure, shown(shard_path(s)) + ": is no shard of the set (manifest.json does not name it) and would be "
                                 "replaced; move it away"};
    }
  } else if (const Status same = plan_->check_same_as(*saved); !same.ok()) {
    return {same.code(), shown(paths_.out) + ": another append was interrupted here; repeat that one, or give it up with --force (" +
                             same.message() + ")"};
  }
  return begin(options);
}

// Nothing of it is in the set: its shards go, and they alone. First the parity of the manifest is made anew: were it that of the
// manifest which was to be, repair would bring that one, and with it shards that are gone.
Status SetWriter::give_up_append(const Plan& saved) {
  if (parity_ > 0) {
    ParityFileFacts facts;
    LLMC_TRY(place_parity(paths_.manifest, paths_.manifest, &facts));
  }
  for (uint32_t s = 0; s < saved.shards().size(); ++s) {
    const fs::path path = shard_path(s);
    const auto block = ShardFile::read_block(path);
    if (block.status().code() == Code::missing) LLMC_TRY(remove_file(parity_path(path)));  // placed before its shard
    if (!block.ok() || block->plan != saved.digest() || block->shard != s) continue;
    LLMC_TRY(remove_file(parity_path(path)));
    LLMC_TRY(remove_file(path));
  }
  return {};
}

// Reads back what it commits: user blocks and indexes of all shards.
Result<SetSummary> SetWriter::commit_set() {
  Manifest m = base_.value_or(Manifest());
  if (!base_) {
    m.model = plan_->options().model;
    m.model_name = plan_->options().model_name;
    m.parameters = plan_->options().parameters;
    m.chunk_bytes = plan_->options().chunk_bytes;
    m.shard_bytes = plan_->options().shard_bytes;
    m.parity = parity_;
  }
  ManifestPart part;
  part.plan = plan_->digest();
  part.shards = static_cast<uint32_t>(plan_->shards().size());
  part.entries = plan_->entries().size();
  part.verified = verified_;
  m.entries += part.entries;
  m.text_bytes += plan_->text_size();
  m.chunks += plan_->chunks();
  ContentDigest content;
  SetSummary summary;
  summary.shards = part.shards;
  summary.chunks = plan_->chunks();
  summary.text_bytes = plan_->text_size();
  for (uint32_t s = 0; s < part.shards; ++s) {
    LLMC_ASSIGN(const ShardFile file, ShardFile::open(shard_path(s)));
    if (file.block().plan != part.plan || file.block().shard != s) {
      return Status(Code::corrupt, shown(shard_path(s)) + ": not the shard that was written");
    }
    ManifestShard row;
    row.file = shard_name(first_shard_ + s);
    row.bytes = file.block().file_bytes;
    row.user_block = file.block_digest();
    row.text_bytes = file.block().text_bytes;
    row.entries = file.index().entries.size();
    row.chunks = file.block().chunks;
    if (!paths_.single) {
      if (!file_digests_[s]) {
        LLMC_ASSIGN(file_digests_[s], file_digest(file.file()));
      }
      row.sha256 = *file_digests_[s];
    }
    if (parity_ > 0) {
      if (!parities_[s]) {
        ParityFileFacts facts;
        LLMC_TRY(place_parity(shard_path(s), shard_path(s), &facts));
        parities_[s] = facts;
      }
      row.parity_bytes = parities_[s]->bytes;
      row.parity = parities_[s]->sha256;
      summary.parity_bytes += row.parity_bytes;
    }
    for (const IndexEntry& e : file.index().entries) content.add(e);
    for (const IndexChunk& c : file.index().chunks) {
      summary.tokens += c.tokens;
      summary.coded_bytes += c.frame_size;
    }
    summary.file_bytes += row.bytes;
    m.shards.push_back(std::move(row));
  }
  m.tokens += summary.tokens;
  m.coded_bytes += summary.coded_bytes;
  part.content = content.finish();
  m.parts.push_back(part);
  std::vector<Digest> contents;
  for (const ManifestPart& p : m.parts) contents.push_back(p.content);
  m.content = content_of_parts(contents);
  summary.content = m.content;
  summary.file_bytes += summary.parity_bytes;
  if (paths_.single) return summary;

  if (!m.settle()) return Status(Code::failure, shown(paths_.out) + ": its shards and parts do not agree");
  LLMC_ASSIGN(m.names, update_names(paths_.out, m, paths_.work));
  for (const ManifestNames& names : m.names) {
    const bool old = base_ && std::any_of(base_->names.begin(), base_->names.end(),
                                          [&](const ManifestNames& n) { return n.sha256 == names.sha256; });
    if (!old) summary.file_bytes += names.bytes;
  }
  const std::vector<ManifestCompanion> companions_before = m.companions;
  if (companions_) {
    SetFacts facts{m.entries, m.text_bytes, m.shards.size(), 0, m.model, false};
    for (const ManifestShard& row : m.shards) facts.set_bytes += row.bytes + row.parity_bytes;
    for (const ManifestCompanion& c : m.companions) facts.copied_model |= c.file == model_companion;
    LLMC_ASSIGN(const std::vector<Companion> companions, companions_(facts));
    LLMC_ASSIGN(m.companions, write_companions(paths_.out, companions));
    for (const ManifestCompanion& c : m.companions) summary.companion_bytes += c.bytes;
  }
  const std::string text = m.serialize();
  // What a reader would refuse must not be committed.
  if (auto parsed = Manifest::parse(as_bytes(text), shown(paths_.manifest)); !parsed.ok()) return parsed.status();
  const fs::path temporary = paths_.work / (std::string(manifest_name) + ".tmp");
  LLMC_ASSIGN(File file, File::create(temporary));
  LLMC_TRY(file.write(as_bytes(text)));
  LLMC_TRY(file.sync());
  LLMC_TRY(file.close());
  if (parity_ > 0) {
    ParityFileFacts facts;
    LLMC_TRY(place_parity(temporary, paths_.manifest, &facts));
    summary.parity_bytes += facts.bytes;
    summary.file_bytes += facts.bytes;
  }
  LLMC_TRY(fault_point("archive.manifest"));
  LLMC_TRY(rename_durable(temporary, paths_.manifest));
  LLMC_TRY(fault_point("archive.committed"));
  if (!base_) {
    summary.file_bytes += text.size();
    return summary;
  }
  LLMC_TRY(remove_unused_names(paths_.out, m));
  std::vector<ManifestCompanion> gone = companions_before;
  std::erase_if(gone, [&](const ManifestCompanion& old) {
    return std::any_of(m.companions.begin(), m.companions.end(), [&](const ManifestCompanion& c) { return c.file == old.file; });
  });
  LLMC_TRY(remove_companions(paths_.out, gone));
  return summary;
}

Result<SetSummary> SetWriter::summarize() const {
  LLMC_ASSIGN(ArchiveReader reader, ArchiveReader::open(paths_.out));
  SetSummary summary;
  summary.shards = reader.shards().size();
  summary.chunks = reader.chunks();
  summary.text_bytes = reader.text_bytes();
  for (const auto& shard : reader.shards()) summary.file_bytes += shard.file_bytes;
  if (const Manifest* manifest = reader.manifest()) {
    summary.tokens = manifest->tokens;
    summary.coded_bytes = manifest->coded_bytes;
    summary.content = manifest->content;
    std::error_code error;
    summary.file_bytes += fs::file_size(paths_.manifest, error);
    return summary;
  }
  LLMC_ASSIGN(const auto shard, reader.shard(0));
  for (const IndexChunk& c : shard->index().chunks) {
    summary.tokens += c.tokens;
    summary.coded_bytes += c.frame_size;
  }
  LLMC_ASSIGN(summary.content, reader.content_digest());
  return summary;
}

}  // namespace llmc
