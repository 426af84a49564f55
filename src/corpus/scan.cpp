#include "corpus/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <unordered_set>
#include <utility>

#include "base/file.h"
#include "base/signals.h"
#include "corpus/names.h"
#include "corpus/plain_source.h"
#include "corpus/split.h"

namespace llmc {

namespace {

constexpr const char* kStdinName = "stdin";

using DeviceInode = std::pair<uint64_t, uint64_t>;
DeviceInode identity(const struct stat& st) { return {st.st_dev, st.st_ino}; }

int64_t mtime_ns(const struct stat& st) { return st.st_mtim.tv_sec * int64_t{1000000000} + st.st_mtim.tv_nsec; }

bool has_ending(std::string_view name, std::string_view lower) {
  if (name.size() <= lower.size()) return false;
  const std::string_view tail = name.substr(name.size() - lower.size());
  return std::equal(tail.begin(), tail.end(), lower.begin(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b; });
}

// The name without the ending of a packed file; empty where it has none (or is nothing else).
std::string unpacked_name(const std::string& name) {
  const size_t slash = name.rfind('/');
  const std::string_view last = std::string_view(name).substr(slash == name.npos ? 0 : slash + 1);
  for (const auto& [ending, instead] : {std::pair{".gz", ""}, {".zst", ""}, {".tgz", ".tar"}, {".tzst", ".tar"}}) {
    if (has_ending(last, ending)) return name.substr(0, name.size() - std::string_view(ending).size()) + instead;
  }
  return {};
}

struct Found {
  Entry entry;
  std::string shown;  // the source as the user knows it
};

class Scanner {
 public:
  explicit Scanner(const ScanOptions& options) : options_(options) {
    for (const auto& path : options.skip) note_skip(path);
    if (!options.stdin_copy.empty()) note_skip(options.stdin_copy);
  }

  Result<ScanOutcome> run(const std::vector<std::string>& inputs) {
    if (inputs.empty()) return Status(Code::usage, "no input is given");
    // Inputs are checked before standard input is drunk and before long walks.
    for (const std::string& input : inputs) {
      struct stat st;
      if (input.empty()) return Status(Code::usage, "an input is an empty string");
      if (input != "-" && ::lstat(input.c_str(), &st) != 0) return errno_status(errno, input);
    }
    for (const std::string& input : inputs) LLMC_TRY(input == "-" ? add_stdin() : add_input(input));
    if (!options_.include.empty()) keep_included();
    LLMC_TRY(sort_and_check());

    std::vector<Found> walked = std::move(found_);
    found_.clear();
    for (Found& item : walked) {
      if (stop_requested()) return Status(Code::interrupted, "interrupted while the inputs were listed");
      if (item.entry.kind == Entry::Kind::file) {
        const Status status = analyse(item);
        if (status.code() == Code::interrupted) return status;
        if (!status.ok()) {
          outcome_.problems.push_back(status.message());
          continue;
        }
      }
      found_.push_back(std::move(item));
    }
    // Unpacked files have other names than packed ones.
    LLMC_TRY(sort_and_check());
    for (Found& item : found_) {
      outcome_.text_size += item.entry.size;
      outcome_.entries.push_back(std::move(item.entry));
    }
    return std::move(outcome_);
  }

 private:
  void note_skip(const std::filesystem::path& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) == 0) skip_.insert(identity(st));
  }
  void problem(const Status& status) { outcome_.problems.push_back(status.message()); }
  void warn(const std::string& path, const std::string& what) {
    outcome_.warnings.push_back(printable(path) + ": " + what);
  }

  Status add_input(const std::string& input) {
    struct stat st;
    if (::lstat(input.c_str(), &st) != 0) return errno_status(errno, input);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode)) {
      return {Code::usage,
              printable(input) + ": is neither a file nor a folder; give its bytes as standard input, with -"};
    }
    std::string base = input.substr(0, input.find_last_not_of('/') + 1);
    base = base.substr(base.rfind('/') + 1);
    if (base == "." || base == "..") base.clear();
    return visit(input, base);
  }

  // `name` is empty for a folder whose contents stand at the top.
  Status visit(const std::string& path, const std::string& name) {
    if (stop_requested()) return {Code::interrupted, "interrupted while the inputs were listed"};
    for (const std::string& pattern : options_.exclude) {
      if (!name.empty() && match_glob_anywhere(pattern, name)) return {};
    }
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0) {
      problem(errno_status(errno, path));
      return {};
    }
    if (skip_.count(identity(st))) {
      warn(path, "belongs to this run and is left out");
      return {};
    }
    Found item;
    item.shown = path;
    Entry& entry = item.entry;
    entry.name = name;
    entry.source = path;
    entry.mode = st.st_mode & 07777;
    entry.mtime_ns = entry.source_mtime_ns = mtime_ns(st);
    entry.source_inode = st.st_ino;
    if (S_ISREG(st.st_mode)) {
      entry.kind = Entry::Kind::file;
    } else if (S_ISDIR(st.st_mode)) {
      entry.kind = Entry::Kind::directory;
      if (!name.empty()) found_.push_back(std::move(item));
      return list(path, name);
    } else if (S_ISLNK(st.st_mode)) {
      entry.kind = Entry::Kind::symlink;
      auto target = read_link(path);
      if (!target.ok()) {
        problem(target.status());
        return {};
      }
      entry.target = std::move(*target);
    } else {
      warn(path, "is a socket, device or FIFO and is left out");
      return {};
    }
    found_.push_back(std::move(item));
    return {};
  }

  Status list(const std::string& path, const std::string& name) {
    DIR* dir = ::opendir(path.c_str());
    if (!dir) {
      problem(errno_status(errno, path));
      return {};
    }
    std::vector<std::string> children;
    for (;;) {
      errno = 0;
      const dirent* item = ::readdir(dir);
      if (!item) break;
      const std::string_view child = item->d_name;
      if (child != "." && child != "..") children.emplace_back(child);
    }
    const int error = errno;
    ::closedir(dir);
    if (error != 0) problem(errno_status(error, path));
    // Sorted here too, so that problems and warnings come in the same order everywhere.
    std::sort(children.begin(), children.end());
    const std::string path_prefix = path.ends_with('/') ? path : path + "/";
    const std::string name_prefix = name.empty() ? name : name + "/";
    for (const std::string& child : children) LLMC_TRY(visit(path_prefix + child, name_prefix + child));
    return {};
  }

  static Result<std::string> read_link(const std::string& path) {
    std::string target(256, '\0');
    for (;;) {
      const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
      if (n < 0) return errno_status(errno, path);
      if (static_cast<size_t>(n) < target.size()) {
        target.resize(static_cast<size_t>(n));
        return target;
      }
      target.resize(target.size() * 2);
    }
  }

  Status add_stdin() {
    const std::string copy = options_.stdin_copy.string();
    if (copy.empty()) return {Code::usage, "standard input (-) cannot be an input here"};
    struct stat st;
    if (!(options_.reuse_stdin_copy && ::stat(copy.c_str(), &st) == 0)) {
      const std::string temporary = copy + ".tmp";
      const Status status = copy_stdin(temporary);
      if (!status.ok()) {
        ::unlink(temporary.c_str());
        return status;
      }
      LLMC_TRY(rename_durable(temporary, copy));
    }
    if (::stat(copy.c_str(), &st) != 0) return errno_status(errno, copy);
    skip_.insert(identity(st));
    Found item;
    item.shown = "standard input";
    item.entry.name = kStdinName;
    item.entry.mode = 0644;  // and mtime 0: the same bytes give the same entry
    item.entry.source = copy;
    found_.push_back(std::move(item));
    return {};
  }

  Status copy_stdin(const std::string& to) {
    LLMC_ASSIGN(File out, File::create(to));
    Bytes block(size_t{1} << 16);
    for (;;) {
      if (stop_requested()) return {Code::interrupted, "interrupted while standard input was read"};
      const ssize_t n = ::read(options_.stdin_descriptor, block.data(), block.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_status(errno, "standard input");
      if (n == 0) break;
      LLMC_TRY(out.write(ByteView(block).first(static_cast<size_t>(n))));
    }
    LLMC_TRY(out.sync());
    return out.close();
  }

  // Whether a pattern matches the name or a folder that it lies in.
  bool included(const std::string& name) const {
    for (size_t end = name.find('/');; end = name.find('/', end + 1)) {
      for (const std::string& pattern : options_.include) {
        if (match_glob_anywhere(pattern, std::string_view(name).substr(0, end))) return true;
      }
      if (end == std::string::npos) return false;
    }
  }

  void keep_included() {
    std::unordered_set<std::string> keep;
    for (const Found& item : found_) {
      const std::string& name = item.entry.name;
      if (!included(name)) continue;
      keep.insert(name);
      for (size_t slash = name.rfind('/'); slash != std::string::npos; slash = name.rfind('/', slash - 1)) {
        if (!keep.insert(name.substr(0, slash)).second) break;
      }
    }
    std::erase_if(found_, [&](const Found& item) { return keep.count(item.entry.name) == 0; });
  }

  Status sort_and_check() {
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Found& a, const Found& b) { return a.entry.name < b.entry.name; });
    for (size_t i = 1; i < found_.size(); ++i) {
      const Found &a = found_[i - 1], &b = found_[i];
      if (a.entry.name != b.entry.name) continue;
      return {Code::usage, "two inputs have the same name \"" + printable(a.entry.name) +
                               "\" in the archive: " + printable(a.shown) + " and " + printable(b.shown) +
                               "; rename one or archive them apart"};
    }
    return {};
  }

  // Fills in size, facts and records of a file. A failure is a problem of this file alone.
  Status analyse(Found& item) {
    const Entry before = item.entry;
    for (int attempt = 0; attempt < 3; ++attempt) {
      item.entry = before;
      const size_t warnings = outcome_.warnings.size();
      LLMC_ASSIGN(const bool steady, analyse_once(item));
      if (steady) return {};
      outcome_.warnings.resize(warnings);
    }
    return {Code::failure, printable(item.shown) + ": changed while being read"};
  }

  // False where the file changed meanwhile.
  Result<bool> analyse_once(Found& item) {
    Entry& entry = item.entry;
    const bool from_stdin = entry.name == kStdinName && entry.source == options_.stdin_copy.string();
    LLMC_ASSIGN(PlainSource source, PlainSource::open(entry.source, Packing::none));
    const SourceFacts facts = source.facts();
    if (!from_stdin && facts.inode != entry.source_inode) return false;  // not the file that was listed
    entry.size = entry.source_size = facts.size;
    entry.source_mtime_ns = facts.mtime_ns;
    entry.source_inode = facts.inode;
    if (!from_stdin) entry.mtime_ns = facts.mtime_ns;

    Bytes head(512);
    LLMC_ASSIGN(const size_t n, source.read(head));
    head.resize(n);
    const std::string plain_name = from_stdin ? entry.name : unpacked_name(entry.name);
    if (options_.unpack && !plain_name.empty() && packing_of(head) != Packing::none) {
      LLMC_TRY(unpack(item, packing_of(head), plain_name, &head));
    }
    LLMC_TRY(find_records(item, head));
    LLMC_ASSIGN(const SourceFacts now, source.facts_now());
    return now == facts;
  }

  // First pass over a packed file: its plain size, the digest of what stands on disk, the first plain bytes.
  Status unpack(Found& item, Packing packing, const std::string& plain_name, Bytes* head) {
    Sha256 digest;
    LLMC_ASSIGN(PlainSource source, PlainSource::open(item.entry.source, packing, &digest));
    Bytes block(size_t{1} << 18), plain_head;
    for (;;) {
      if (stop_requested()) return {Code::interrupted, "interrupted while the inputs were unpacked"};
      auto n = source.read(block);
      if (!n.ok() && n.status().code() == Code::corrupt) {
        outcome_.warnings.push_back(n.status().with("not unpacked but archived as it is").message());
        return {};
      }
      LLMC_TRY(n.status());
      if (*n == 0) break;
      if (plain_head.empty())
        plain_head.assign(block.begin(), block.begin() + static_cast<ptrdiff_t>(std::min<size_t>(*n, 512)));
    }
    item.entry.name = plain_name;
    item.entry.unpacked = static_cast<uint8_t>(packing);
    item.entry.size = source.position();
    item.entry.source_digest = digest.finish();
    *head = std::move(plain_head);
    return {};
  }

  Status find_records(Found& item, ByteView head) {
    Entry& entry = item.entry;
    RecordKind kind = RecordKind::lines;
    if (options_.rule != DocumentRule::lines) {
      kind = recognise(head);
      const bool by_line = has_ending(entry.name, ".jsonl") || has_ending(entry.name, ".ndjson");
      if (options_.rule == DocumentRule::records && by_line) kind = RecordKind::jsonl;
      // The directory of a zip stands at its end: a stream has none.
      if (kind == RecordKind::zip && entry.unpacked != 0) kind = RecordKind::whole;
    }
    if (kind == RecordKind::whole) return {};
    LLMC_ASSIGN(PlainSource source, PlainSource::open(entry.source, static_cast<Packing>(entry.unpacked)));
    auto records = kind == RecordKind::tar    ? split_tar(source)
                   : kind == RecordKind::zip  ? split_zip(source)
                   : kind == RecordKind::warc ? split_warc(source)
                                              : split_lines(source, kind);
    if (!records.ok() && records.status().code() == Code::corrupt) {
      warn(item.shown, "looks like " + std::string(record_kind_name(kind)) + ", but " + records.status().message() +
                           "; archived as one document");
      return {};
    }
    LLMC_TRY(records.status());
    entry.records_kind = kind;
    entry.records = std::move(*records);
    return {};
  }

  const ScanOptions& options_;
  std::set<DeviceInode> skip_;
  std::vector<Found> found_;
  ScanOutcome outcome_;
};

}  // namespace

Result<ScanOutcome> scan_inputs(const std::vector<std::string>& inputs, const ScanOptions& options) {
  return Scanner(options).run(inputs);
}

}  // namespace llmc
