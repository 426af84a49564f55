// Inputs -> entries: what a set consists of, in the order of its text.
//
// A pure function of the tree and the options: never of locale, order of readdir, time or library versions.
// Names are relative to the input's parent folder: "x/y/dir" and "x/y/dir/" give "dir", "dir/...", "x/f" gives
// "f"; the contents of an input that ends in "." or ".." ("." , "..", "x/.", "/") are named without a folder
// before them. Entries are sorted by the bytes of their names, so a folder stands before what it holds.
//
// As tar does: hidden files and empty folders are taken; symbolic links are entries and never followed, neither
// below an input nor as an input itself (except "link/", which names the folder behind the link); hard links are
// archived as separate files; sockets, devices and FIFOs are left out with a warning.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/status.h"

namespace llmc {

enum class DocumentRule : uint8_t {
  files,    // a file is one document; members of tar and zip and records of WARC (known by content) are documents
  lines,    // every line of every file is a document
  records,  // as files, and every line of *.jsonl and *.ndjson
};

struct ScanOptions {
  DocumentRule rule = DocumentRule::files;
  // Inputs that end in .gz, .tgz, .zst or .tzst and have the magic number of gzip or zstd are archived as their
  // plain bytes, under the name without that ending (.tgz, .tzst: .tar); standard input by its magic alone.
  // What cannot be unpacked without loss (damaged, cut, bytes behind the end) stays as it is, with a warning.
  bool unpack = false;
  // match_glob_anywhere (names.h) against entry names. A matching exclude leaves out an entry and all below it.
  // Where include is not empty, only what matches or lies in a folder that matches is taken, with the folders above.
  std::vector<std::string> include, exclude;
  // Where the input "-" is kept until the run is complete, so that it can be resumed; empty: "-" is refused.
  // Written under a temporary name first: if the file is there, it is whole.
  std::filesystem::path stdin_copy;
  // A resumed run: take stdin_copy, if it is there, instead of reading standard input again.
  bool reuse_stdin_copy = false;
  int stdin_descriptor = 0;
  // Files and folders of the run itself (its output, spool, ...), left out with a warning if met below an input.
  std::vector<std::filesystem::path> skip;
};

struct ScanOutcome {
  std::vector<Entry> entries;
  // Total size of all files: the length of the text.
  uint64_t text_size = 0;
  // Items that could not be read and are not among the entries (exit 3); a folder that cannot be
  // listed is an entry, but empty. One sentence each, with the path.
  std::vector<std::string> problems;
  // Left out on purpose, or archived otherwise than asked (a damaged container as one document).
  std::vector<std::string> warnings;
};

// Fails for an input that is missing (Code::missing) or neither file, folder nor link, for no input at all and
// for two sources of one name (Code::usage), when stopped by a signal, and where standard input cannot be kept.
Result<ScanOutcome> scan_inputs(const std::vector<std::string>& inputs, const ScanOptions& options);

}  // namespace llmc
