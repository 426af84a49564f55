#include "archive/set.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "archive/format.h"
#include "archive/reader.h"
#include "archive/set_files.h"
#include "archive/shard_file.h"
#include "base/fault.h"
#include "base/log.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

// True where the call made it.
Result<bool> make_folder(const fs::path& path) {
  std::error_code error;
  const bool made = fs::create_directory(path, error);
  if (error) {
    // A file of that name is an error too (EEXIST or ENOTDIR).
    return Status(Code::failure, shown(path) + ": cannot create this folder: " + error.message());
  }
  if (made) LLMC_TRY(sync_directory(path.parent_path()));
  return made;
}

// In the work folder, beside the plan: what decides the set's files and is not in the plan.
std::string settings_text(const std::optional<VerifiedSample>& verified, double parity, const std::optional<AppendTo>& append) {
  nlohmann::ordered_json j = {{"verify", verified ? verified->rate : 0}, {"parity", parity}};
  if (append) {
    j["append"] = append->first_shard;
    j["content"] = to_hex(append->content);
  }
  return j.dump() + "\n";
}

// shard-000000.h5, or its parity file.
bool is_shard_name(std::string name) {
  if (name.ends_with(".parity")) name.resize(name.size() - 7);
  if (name.size() < 15 || name.rfind("shard-", 0) != 0 || name.substr(name.size() - 3) != ".h5") return false;
  return name.find_first_not_of("0123456789", 6) == name.size() - 3;
}

// What a run leaves that was killed while it wrote the companions.
fs::path left_readme(const fs::path& set) { return set / "README.txt.tmp"; }

bool begins_with(const fs::path& path, ByteView head) {
  const auto file = File::open_read(path);
  Bytes begin(head.size());
  return file.ok() && file->read_at(0, begin).ok() && std::equal(head.begin(), head.end(), begin.begin());
}

// Damaged ones of ours.
bool begins_like_a_shard(const fs::path& path) { return begins_with(path, user_block_magic); }
bool claims_to_be_a_manifest(const fs::path& path) {
  return begins_with(path, as_bytes("{\n  \"format\": \"llmc-batch set\""));
}

}  // namespace

SetPaths::SetPaths(const fs::path& output) {
  // "OUT/" and "OUT" are one; without this, OUT.work would become OUT/.work of another meaning.
  out = output.has_filename() ? output : output.parent_path();
  single = out.extension() == ".h5";
  work = single ? fs::path(out.native() + ".work") : out / ".work";
  lock = work / "lock";
  plan = work / "plan";
  settings = work / "settings";
  manifest = out / manifest_name;
}

fs::path SetPaths::shard(uint32_t shard) const { return single ? out : out / shard_name(shard); }

Result<Plan> SetWriter::saved_plan(const fs::path& output) { return Plan::load(SetPaths(output).plan); }

Result<SetSettings> SetWriter::saved_settings(const fs::path& output) {
  const fs::path path = SetPaths(output).settings;
  LLMC_ASSIGN(const Bytes bytes, read_file(path, 4096));
  const auto j = nlohmann::json::parse(bytes.begin(), bytes.end(), nullptr, false);
  const auto rate = [&](const char* key) { return j.is_object() && j.contains(key) && j[key].is_number() ? j[key].get<double>() : -1; };
  SetSettings settings{rate("verify"), rate("parity"), {}};
  bool good = settings.verify >= 0 && settings.parity >= 0;
  if (good && j.contains("append")) {
    AppendTo to;
    good = j["append"].is_number_unsigned() && j["append"].get<uint64_t>() <= max_shards && j.contains("content") &&
           j["content"].is_string() && from_hex(j["content"].get<std::string>(), to.content);
    if (good) to.first_shard = j["append"].get<uint32_t>();
    settings.append = to;
  }
  if (good) return settings;
  return Status(Code::corrupt, shown(path) + ": is not what an unfinished set has there");
}

Result<std::unique_ptr<SetWriter>> SetWriter::open(const fs::path& output, Plan plan, const SetOptions& options) {
  std::unique_ptr<SetWriter> set(new SetWriter(output));
  set->verified_ = options.verified;
  set->parity_ = options.parity;
  set->companions_ = options.companions;
  set->append_ = options.append;
  if (set->paths_.out.empty()) return Status(Code::usage, "the output needs a name");
  if (set->paths_.single && plan.shards().size() != 1) {
    return Status(Code::usage, shown(output) + ": one .h5 file holds one shard, the plan has " +
                                   std::to_string(plan.shards().size()));
  }
  set->plan_ = std::make_unique<Plan>(std::move(plan));
  if (const Status status = set->prepare(options); !status.ok()) {
    set->undo_folders();
    return status;
  }
  return set;
}

// Takes back empty folders that this object made, so that a refusal leaves no traces.
void SetWriter::undo_folders() {
  const bool held = lock_.held();
  lock_.release();
  std::error_code ignored;
  if (made_work_ && held) fs::remove(paths_.work, ignored);
  if (made_out_) fs::remove(paths_.out, ignored);
}

Status SetWriter::prepare_folders(const SetOptions& options) {
  std::error_code error;
  const auto type = fs::status(paths_.out, error).type();
  if (paths_.single) {
    if (type == fs::file_type::directory) return {Code::failure, shown(paths_.out) + ": is a folder, not an .h5 file"};
    if (type != fs::file_type::not_found && options.mode == SetMode::create) {
      return {Code::failure, shown(paths_.out) + ": exists already (--force replaces it)"};
    }
  } else if (type != fs::file_type::not_found && type != fs::file_type::directory) {
    return {Code::failure, shown(paths_.out) + ": exists and is not a folder"};
  } else {
    LLMC_ASSIGN(made_out_, make_folder(paths_.out));
  }
  // Between our mkdir and our lock another process may tidy up and remove the folder.
  for (int round = 0;; ++round) {
    LLMC_ASSIGN(const bool made, make_folder(paths_.work));
    made_work_ = made_work_ || made;
    auto lock = Lock::acquire(paths_.lock, options.break_lock);
    if (lock.ok()) {
      lock_ = std::move(*lock);
      return {};
    }
    if (lock.status().code() != Code::missing || round == 10) return lock.status();
  }
}

Status SetWriter::look_for_finished(const SetOptions& options) {
  std::error_code error;
  if (!fs::exists(paths_.single ? paths_.out : paths_.manifest, error)) return {};
  Digest found{};
  if (paths_.single) {
    auto block = ShardFile::read_block(paths_.out);
    if (block.ok()) found = block->plan;
  } else {
    auto manifest = Manifest::load(paths_.manifest);
    if (manifest.ok()) found = manifest->parts.front().plan;
  }
  finished_ = found == plan_->digest();
  const fs::path parity = parity_path(paths_.single ? paths_.out : paths_.manifest);
  if (finished_ && options.mode == SetMode::resume && parity_ > 0 && !fs::exists(parity, error)) {
    return {Code::failure, shown(paths_.out) + ": is finished, and was made without parity (--force makes it anew)"};
  }
  if (options.mode == SetMode::create) {
    return {Code::failure, shown(paths_.out) + ": exists already (--force replaces it)"};
  }
  // One .h5 file stays until its successor takes its name: with a plan in the work folder, that
  // is what was begun here.
  if (finished_ || (paths_.single && fs::exists(paths_.plan, error))) return {};
  return {Code::failure, shown(paths_.out) + ": exists already and was made from other inputs or parameters (--force "
                             "replaces it)"};
}

// What an earlier archive left. Only names that are ours are touched.
Status SetWriter::remove_old() {
  if (!paths_.single) {
    const auto old_manifest = Manifest::load(paths_.manifest);
    LLMC_TRY(remove_file(paths_.manifest));
    if (old_manifest.ok()) LLMC_TRY(remove_companions(paths_.out, old_manifest->companions));
    LLMC_TRY(remove_file(parity_path(paths_.manifest)));
    LLMC_TRY(sync_directory(paths_.out));
    std::error_code error;
    std::vector<fs::path> old;
    for (const auto& item : fs::directory_iterator(paths_.out, error)) {
      const std::string name = item.path().filename();
      if (is_shard_name(name) || is_names_name(name)) old.push_back(item.path());
    }
    if (error) return errno_status(error.value(), paths_.out);
    for (const fs::path& path : old) LLMC_TRY(remove_file(path));
    LLMC_TRY(remove_file(left_readme(paths_.out)));
  }
  LLMC_TRY(remove_file(paths_.plan));
  LLMC_ASSIGN(Spool spool, Spool::open(paths_.work, *plan_));
  return spool.remove();
}

// A fresh start must not mix with what a user keeps in that folder. Replacing: nothing is removed unless all that
// stands there is ours, an earlier archive or an unfinished one.
Status SetWriter::check_no_strangers(bool replacing) const {
  if (paths_.single) return {};
  std::error_code error;
  const auto manifest = Manifest::load(paths_.manifest);
  const bool unfinished = fs::exists(paths_.plan, error);
  const auto ours = [&](const fs::path& path) {
    const std::string name = path.filename();
    if (name == ".work" || is_companion_path(path) || (replacing && is_names_name(name))) return true;
    if (is_shard_name(name)) {
      if (name.ends_with(".parity") || (replacing && manifest.ok())) return true;
      const auto block = ShardFile::read_block(path);
      return replacing ? block.ok() || begins_like_a_shard(path) : block.ok() && block->plan == plan_->digest();
    }
    if (!replacing) return false;
    if (path == paths_.manifest) return manifest.ok() || claims_to_be_a_manifest(path);
    return path == parity_path(paths_.manifest) || (unfinished && path == left_readme(paths_.out));
  };
  for (const auto& item : fs::directory_iterator(paths_.out, error)) {
    if (ours(item.path())) continue;
    return {Code::failure, shown(paths_.out) + ": holds a file that is no part of " +
                               (replacing ? "an archive of ours" : "an unfinished archive of these inputs") + " (" +
                               printable(item.path().filename().native()) +
                               "); nothing was touched, choose another name"};
  }
  return error ? errno_status(error.value(), paths_.out) : Status();
}

Status SetWriter::prepare(const SetOptions& options) {
  LLMC_TRY(prepare_folders(options));
  if (append_) return prepare_append(options);
  if (options.mode == SetMode::replace) {
    LLMC_TRY(check_no_strangers(true));
    LLMC_TRY(remove_old());
  } else {
    LLMC_TRY(look_for_finished(options));
  }
  if (finished_) {
    // A kill right after the commit leaves a work folder; what an append has there stays.
    const auto left = saved_settings(paths_.out);
    if (!left.ok() || !left->append) return remove_work();
    lock_.release();
    return {};
  }
  return begin(options);
}

// Goes on with what the work folder holds, or begins.
Status SetWriter::begin(const SetOptions& options) {
  auto saved = Plan::load(paths_.plan);
  if (saved.ok()) {
    resumed_ = true;
    LLMC_TRY(plan_->check_same_as(*saved));
    LLMC_TRY(check_settings());
  } else if (saved.status().code() == Code::missing) {
    if (options.mode != SetMode::replace && !append_) LLMC_TRY(check_no_strangers(false));
    LLMC_TRY(write_file_atomic(paths_.settings, as_bytes(settings_text(verified_, parity_, append_))));
    LLMC_TRY(plan_->save(paths_.plan));
  } else {
    return saved.status();
  }
  LLMC_ASSIGN(spool_, Spool::open(paths_.work, *plan_, options.spool));
  if (spool_->bytes_cut() > 0) {
    log::warn("{}: {} bytes at the end of the spool were torn or damaged; their chunks are computed again",
              shown(paths_.work), spool_->bytes_cut());
  }
  return adopt_shards();
}

// What the manifest will say of the whole set must have held from its begin on.
Status SetWriter::check_settings() const {
  auto saved = read_file(paths_.settings, 4096);
  if (!saved.ok()) {
    return {Code::failure, shown(paths_.work) + ": the interrupted run has no settings file; --force starts anew"};
  }
  if (as_text(*saved) == settings_text(verified_, parity_, append_)) return {};
  std::string was(as_text(*saved));
  while (!was.empty() && was.back() == '\n') was.pop_back();
  return {Code::failure, shown(paths_.out) + ": was begun with other settings (" + printable(was) +
                             "); give --verify and --parity as then, or --force to start anew"};
}

// Finds what is committed, and what is still to come.
Status SetWriter::adopt_shards() {
  const size_t count = plan_->shards().size();
  committed_.assign(count, false);
  seeds_.assign(count, 0);
  digests_left_.assign(count, 0);
  file_digests_.resize(count);
  parities_.resize(count);
  for (size_t p = 0; p < plan_->pieces().size(); ++p) {
    const Piece& piece = plan_->pieces()[p];
    if (plan_->has_digest(piece) && !spool_->digest(p)) ++digests_left_[piece.shard];
  }
  if (paths_.single) return {};
  for (uint32_t s = 0; s < count; ++s) {
    auto block = ShardFile::read_block(shard_path(s));
    if (!block.ok() && block.status().code() == Code::missing) continue;
    if (!block.ok() || block->plan != plan_->digest() || block->shard != s) {
      log::warn("{}: not usable, it is made again ({})", shown(shard_path(s)),
                block.ok() ? "of another archive" : block.status().message());
      continue;
    }
    committed_[s] = true;
    resumed_ = true;
    seeds_[s] = block->seed;
    LLMC_TRY(spool_->drop(s));
  }
  return {};
}

bool SetWriter::have_digest(size_t piece) const {
  const Piece& p = plan_->pieces()[piece];
  return !plan_->has_digest(p) || committed(p.shard) || spool_->digest(piece);
}

std::optional<uint32_t> SetWriter::seed(uint32_t shard) const {
  if (finished_) return std::nullopt;
  return committed_[shard] ? std::optional(seeds_[shard]) : spool_->seed(shard);
}

Status SetWriter::set_seed(uint32_t shard, uint32_t seed) {
  if (finished_ || shard >= committed_.size()) return {};
  const auto before = this->seed(shard);
  if (before && *before != seed) {
    const auto pieces = plan_->pieces(shard);
    return {Code::failure, (pieces.empty() ? "" : printable(plan_->entries()[pieces.front().entry].name)) +
                               " or a file soon behind it has changed since this output was begun: shard " +
                               std::to_string(shard) + " begins with other text"};
  }
  return before ? Status() : spool_->add_seed(shard, seed);
}

Status SetWriter::set_dictionary(uint32_t shard, ByteView bytes) {
  if (finished_ || shard >= committed_.size() || committed_[shard]) return {};
  const std::string where = "the dictionary of shard " + std::to_string(shard);
  const auto seed = spool_->seed(shard);
  if (!seed) return {Code::failure, where + " came before the seed"};
  if (!bytes.empty()) {
    auto frame = parse_frame(bytes, *seed);
    if (!frame.ok()) return frame.status().with(where);
    if (frame->codec != Codec::dictionary) return {Code::corrupt, where + ": these bytes are none"};
  }
  LLMC_TRY(spool_->add_dictionary(shard, bytes));
  return commit_if_complete(shard);
}

Status SetWriter::check_text(uint32_t shard, uint32_t chunk, uint32_t text_crc) const {
  if (committed(shard) || !spool_->has_frame(shard, chunk)) return {};
  LLMC_ASSIGN(const Bytes bytes, spool_->read_frame(shard, chunk));
  LLMC_ASSIGN(const Frame frame, parse_frame(bytes, spool_->seed(shard).value_or(0)));
  if (frame.text_crc == text_crc) return {};
  const uint64_t begin = plan_->chunk_offset(chunk);
  std::string names;
  for (const Piece& piece : plan_->pieces_in(shard, begin, begin + plan_->chunk_size(shard, chunk))) {
    names += (names.empty() ? "" : " or ") + printable(plan_->entries()[piece.entry].name);
    if (names.size() > 400) break;
  }
  return {Code::failure, names + ": has changed since this output was begun: chunk " + std::to_string(chunk) + " of shard " +
                             std::to_string(shard) + " was made of other text; --force starts anew"};
}

Status SetWriter::put(uint32_t shard, uint32_t chunk, ByteView bytes) {
  const std::string where = "shard " + std::to_string(shard) + " chunk " + std::to_string(chunk);
  if (finished_) return {};
  if (shard >= committed_.size() || chunk >= plan_->shard_chunks(shard)) {
    return {Code::corrupt, where + ": the plan has no such chunk"};
  }
  if (have(shard, chunk)) return {};  // a lease that was given twice
  const auto seed = spool_->seed(shard);
  if (!seed) return {Code::failure, where + ": a frame came before the seed of its shard"};
  auto frame = parse_frame(bytes, *seed);
  if (!frame.ok()) return frame.status().with(where);
  if (frame->chunk != chunk || frame->text_size != plan_->chunk_size(shard, chunk)) {
    return {Code::corrupt, where + ": the frame is that of another chunk"};
  }
  LLMC_TRY(spool_->add_frame(shard, chunk, bytes));
  return commit_if_complete(shard);
}

Status SetWriter::put_digest(size_t piece, const Digest& digest) {
  if (finished_ || piece >= plan_->pieces().size()) return {};
  const Piece& p = plan_->pieces()[piece];
  if (!plan_->has_digest(p) || committed_[p.shard]) return {};
  if (const Digest* before = spool_->digest(piece)) {
    if (*before == digest) return {};
    return {Code::failure, printable(plan_->entries()[p.entry].name) +
                               ": its content is not what it was when this output was begun (SHA-256)"};
  }
  LLMC_TRY(spool_->add_digest(piece, digest));
  --digests_left_[p.shard];
  return commit_if_complete(p.shard);
}

bool SetWriter::complete(uint32_t shard) const {
  const uint32_t chunks = plan_->shard_chunks(shard);
  const bool dictionary = (features_of(plan_->options().parameters) & feature_dictionary) == 0 || chunks == 0 || spool_->has_dictionary(shard);
  return dictionary && digests_left_[shard] == 0 && spool_->frames(shard) == chunks && (chunks == 0 || spool_->seed(shard));
}

Status SetWriter::commit_if_complete(uint32_t shard) {
  // The rename of one .h5 file commits the whole archive: that is for finish() to do.
  return !paths_.single && complete(shard) ? commit(shard) : Status();
}

Status SetWriter::commit(uint32_t shard) {
  ShardContents contents;
  contents.plan = plan_.get();
  contents.shard = shard;
  contents.seed = spool_->seed(shard).value_or(0);
  if (spool_->has_dictionary(shard)) {
    LLMC_ASSIGN(contents.dictionary, spool_->read_dictionary(shard));
  }
  contents.frame = [&](uint32_t chunk) { return spool_->read_frame(shard, chunk); };
  contents.digest = [&](size_t piece) { return *spool_->digest(piece); };
  const fs::path temporary = paths_.work / (shard_name(shard) + ".tmp");
  auto written = write_shard(contents, temporary);
  if (!written.ok()) {
    // The space is better used by the spool.
    (void)remove_file(temporary);
    return written.status();
  }
  // First the parity, since the shard's own rename commits it.
  if (parity_ > 0) {
    ParityFileFacts facts;
    LLMC_TRY(place_parity(temporary, shard_path(shard), &facts));
    parities_[shard] = facts;
  }
  LLMC_TRY(rename_durable(temporary, shard_path(shard)));
  LLMC_TRY(fault_point("archive.shard_committed"));
  if (parity_ == 0) LLMC_TRY(remove_file(parity_path(shard_path(shard))));  // of what stood there before
  committed_[shard] = true;
  seeds_[shard] = contents.seed;
  file_digests_[shard] = written->file;
  return spool_->drop(shard);
}

// The parity of `made`, which is or will be `file`, takes its place.
Status SetWriter::place_parity(const fs::path& made, const fs::path& file, ParityFileFacts* facts) {
  const fs::path temporary = paths_.work / "parity.tmp";
  auto written = write_parity(made, parity_, temporary);
  if (!written.ok()) {
    (void)remove_file(temporary);
    return written.status();
  }
  LLMC_TRY(fault_point("archive.parity"));
  LLMC_TRY(rename_durable(temporary, parity_path(file)));
  *facts = *written;
  return {};
}

Result<SetSummary> SetWriter::finish() {
  if (finished_) return summarize();
  uint64_t chunks = 0, digests = 0, dictionaries = 0;
  std::string first;
  for (uint32_t s = 0; s < committed_.size(); ++s) {
    if (committed_[s]) continue;
    if (complete(s)) {
      LLMC_TRY(commit(s));
      continue;
    }
    for (uint32_t c = 0; first.empty() && c < plan_->shard_chunks(s); ++c) {
      if (spool_->has_frame(s, c)) continue;
      first = ", the first is chunk " + std::to_string(c) + " of shard " + std::to_string(s);
    }
    chunks += plan_->shard_chunks(s) - spool_->frames(s);
    digests += digests_left_[s];
    dictionaries += (features_of(plan_->options().parameters) & feature_dictionary) != 0 && !spool_->has_dictionary(s);
  }
  if (chunks + digests + dictionaries > 0) {
    LLMC_TRY(spool_->sync());
    return Status(Code::partial, shown(paths_.out) + ": not finished: " + std::to_string(chunks) + " chunks and " +
                                     std::to_string(digests) + " files" +
                                     (dictionaries ? " and " + std::to_string(dictionaries) + " dictionaries" : "") +
                                     " are missing" + first);
  }
  LLMC_ASSIGN(SetSummary summary, commit_set());
  finished_ = true;
  LLMC_TRY(remove_work());
  return summary;
}

// All but the lock.
Status SetWriter::clear_work() {
  spool_.reset();
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& item : fs::directory_iterator(paths_.work, error)) {
    if (item.path() != paths_.lock) old.push_back(item.path());
  }
  if (error) return errno_status(error.value(), paths_.work);
  for (const fs::path& path : old) {
    LLMC_TRY(fault_point("archive.tidy"));
    LLMC_TRY(remove_file(path));
  }
  return {};
}

Status SetWriter::remove_work() {
  LLMC_TRY(clear_work());
  lock_.release();
  std::error_code error;
  fs::remove(paths_.work, error);  // may have become another process's by now
  return {};
}

Status SetWriter::discard_if_empty() {
  if (finished_ || resumed_) return {};
  if (std::find(committed_.begin(), committed_.end(), true) != committed_.end()) return {};
  for (uint32_t s = 0; s < committed_.size(); ++s) {
    if (spool_->frames(s) > 0) return {};
  }
  LLMC_TRY(remove_work());
  std::error_code ignored;
  if (made_out_) fs::remove(paths_.out, ignored);
  return {};
}

}  // namespace llmc
