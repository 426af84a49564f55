#include "archive/repair_archive.h"

#include <algorithm>
#include <functional>

#include "archive/format.h"
#include "archive/lock.h"
#include "archive/manifest.h"
#include "archive/parity.h"
#include "archive/set_names.h"
#include "base/file.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

// Code::corrupt: the medium does not give all of it. Code::interrupted: `stop` said so.
Result<bool> matches(const fs::path& path, const Digest& expected, const StopRequest& stop) {
  const auto file = File::open_read(path);
  if (file.status().code() == Code::missing) return false;
  LLMC_TRY(file.status());
  LLMC_ASSIGN(const Digest found, file_digest(*file, stop));
  return found == expected;
}

class Repairer {
 public:
  Repairer(bool dry_run, const StopRequest& stop) : dry_run_(dry_run), stop_(stop) {}

  // `rate`: the archive's, where it is known; then a parity file that is gone is made anew. `is_whole` is
  // asked before that: parity of a damaged file would be worse than none.
  Status file(const fs::path& path, double rate, const std::function<Result<bool>()>& is_whole) {
    const fs::path parity = parity_path(path);
    auto report = examine_parity(path, parity, stop_);
    if (!report.ok()) {
      if (report.status().code() != Code::missing && report.status().code() != Code::corrupt) return report.status();
      const std::string what = printable(parity.native()) + (report.status().code() == Code::missing ? ": missing" : ": unusable");
      Result<bool> whole = false;
      if (rate > 0) whole = is_whole();
      if (!whole.ok() && whole.status().code() != Code::corrupt) return whole.status();
      if (!whole.ok() || !*whole) {
        result_.lost.push_back(what);
        return {};
      }
      LLMC_TRY(replace(parity, [&](const fs::path& out) { return write_parity(path, rate, out, stop_).status(); }));
      result_.repaired.push_back(what + "; made anew");
      return {};
    }
    if (!report->possible()) {
      result_.lost.push_back(printable(path.native()) + ": " + report->describe());
      return {};
    }
    if (report->file_sound) {
      ++result_.sound;
    } else {
      LLMC_TRY(replace(path, [&](const fs::path& out) { return repair_file(path, parity, out, stop_).status(); }));
      result_.repaired.push_back(printable(path.native()) + ": " + report->describe());
    }
    if (report->parity_sound) return {};
    LLMC_ASSIGN(const ParityTable table, ParityTable::load(parity, stop_));
    LLMC_TRY(replace(parity, [&](const fs::path& out) { return rewrite_parity(path, table.shape, out, stop_).status(); }));
    result_.repaired.push_back(printable(parity.native()) + ": damaged, made anew");
    return {};
  }
  Status names(const fs::path& folder, const Manifest& manifest, const ManifestNames& row) {
    LLMC_ASSIGN(const std::optional<std::string> wrong, check_names(folder, row, stop_));
    if (!wrong) {
      ++result_.sound;
      return {};
    }
    if (!dry_run_) {
      const Status made = rebuild_names(folder, manifest, row, folder / names_name(row.first, row.end), stop_);
      if (made.code() == Code::corrupt) {
        lose(*wrong + ", and cannot be made anew (" + made.message() + ")");
        return {};
      }
      LLMC_TRY(made);
    }
    result_.repaired.push_back(*wrong + "; made anew from the shards");
    return {};
  }
  // Of what has no parity.
  Status look(const fs::path& path, const Digest& expected) {
    const auto same = matches(path, expected, stop_);
    if (same.status().code() == Code::corrupt) {
      lose(same.status().message() + ", and has no parity");
      return {};
    }
    LLMC_TRY(same.status());
    if (*same) ++result_.sound;
    else lose(printable(path.native()) + ": missing or damaged (SHA-256), and has no parity");
    return {};
  }
  void lose(const std::string& what) { result_.lost.push_back(what); }
  void note_stop() { result_.stopped = true; }
  ArchiveRepair take() { return std::move(result_); }

 private:
  Status replace(const fs::path& path, const std::function<Status(const fs::path&)>& make) {
    if (dry_run_) return {};
    const fs::path temporary = path.native() + ".repaired";
    const Status made = make(temporary);
    std::error_code error;
    if (!made.ok()) {
      fs::remove(temporary, error);
      return made;
    }
    if (const auto old = fs::status(path, error); fs::exists(old)) fs::permissions(temporary, old.permissions(), error);
    return rename_durable(temporary, path);
  }

  const bool dry_run_;
  const StopRequest& stop_;
  ArchiveRepair result_;
};

bool is_shard(const std::string& name) { return name.starts_with("shard-") && name.ends_with(".h5"); }

Status repair_set(const fs::path& path, Repairer& repairer, const StopRequest& stop) {
  const fs::path manifest_path = path / manifest_name;
  std::error_code error;
  auto manifest = Manifest::load(manifest_path);
  if (fs::exists(parity_path(manifest_path), error) || (manifest.ok() && manifest->parity > 0)) {
    LLMC_TRY(repairer.file(manifest_path, manifest.ok() ? manifest->parity : 0, [&] { return Result<bool>(manifest.ok()); }));
    manifest = Manifest::load(manifest_path);
  }
  // After the shards, which they are made of.
  const auto repair_names = [&]() -> Status {
    if (!manifest.ok()) return {};
    for (const ManifestNames& row : manifest->names) LLMC_TRY(repairer.names(path, *manifest, row));
    return {};
  };
  if (manifest.ok() && manifest->parity <= 0 && !fs::exists(parity_path(path / manifest->shards[0].file), error)) {
    for (const ManifestShard& row : manifest->shards) LLMC_TRY(repairer.look(path / row.file, row.sha256));
    return repair_names();
  }
  std::vector<fs::path> shards;
  if (manifest.ok()) {
    for (const ManifestShard& row : manifest->shards) shards.push_back(path / row.file);
  } else {
    // In a dry run it is still damaged; then, or where it is lost, the folder says what there is.
    for (const auto& item : fs::directory_iterator(path, error)) {
      if (is_shard(item.path().filename())) shards.push_back(item.path());
    }
    if (error) return errno_status(error.value(), path);
    std::sort(shards.begin(), shards.end());
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    const ManifestShard* row = manifest.ok() ? &manifest->shards[i] : nullptr;
    if (!row || row->parity_bytes == 0) {
      if (!fs::exists(parity_path(shards[i]), error)) {
        repairer.lose(printable(parity_path(shards[i]).native()) + ": missing");
        continue;
      }
    }
    LLMC_TRY(repairer.file(shards[i], manifest.ok() ? manifest->parity : 0, [&] {
      return row ? matches(shards[i], row->sha256, stop) : Result<bool>(false);
    }));
  }
  return repair_names();
}

}  // namespace

Result<ArchiveRepair> repair_archive(const fs::path& given, bool dry_run, const StopRequest& stop) {
  const fs::path path = given.has_filename() ? given : given.parent_path();
  std::error_code error;
  const auto type = fs::status(path, error).type();
  const bool set = type == fs::file_type::directory;
  const bool has_parity = fs::exists(parity_path(set ? path / manifest_name : path), error);
  if (type == fs::file_type::not_found && !has_parity) {
    return Status(Code::missing, printable(path.native()) + ": there is no such file or folder");
  }
  Repairer repairer(dry_run, stop);
  Lock lock;
  if (!dry_run) {
    LLMC_ASSIGN(lock, Lock::acquire(path.native() + ".repair"));
  }
  bool any = has_parity;
  if (set) {
    const auto manifest = Manifest::load(path / manifest_name);
    any |= manifest.ok() && !manifest->names.empty();
    for (const auto& item : fs::directory_iterator(path, error)) {
      any |= item.path().extension() == ".parity";
    }
    if (error) return errno_status(error.value(), path);
  }
  if (!any) {
    return Status(Code::failure, printable(path.native()) + ": has no parity (it was made without --parity); extract gives what is "
                                               "whole, salvage what is left");
  }
  const Status done = set ? repair_set(path, repairer, stop) : repairer.file(path, 0, [] { return Result<bool>(false); });
  if (done.code() == Code::interrupted) repairer.note_stop();
  else LLMC_TRY(done);
  return repairer.take();
}

}  // namespace llmc
