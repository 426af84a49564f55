// Command lines and configuration files of all verbs, over Boost.Program_options.
//
// An option given on the command line wins over the same option in a --config file, and that of an earlier file
// over that of a later one; what may be repeated (--include) is put together from all. Unknown options name the
// nearest known one, errors in files their line; all errors are Code::usage. Main thread only.
#pragma once

#include <boost/program_options.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace llmc {

// A number of bytes: "65536", "64K", "256M", "4G" (binary units, "KiB" and "KB" too).
struct ByteSize {
  uint64_t bytes = 0;
};
Result<uint64_t> parse_byte_size(const std::string& text);
// Boost's hook for ByteSize options.
void validate(boost::any& value, const std::vector<std::string>& words, ByteSize*, int);

// One verb's options. `positional` is the name of the option that takes the bare words
// (empty: none allowed), `positional_max` how many (-1: any number).
class OptionSet {
 public:
  OptionSet(std::string verb, std::string usage, std::string summary);

  // The group that add_options() extends; shown in --help under `caption`.
  boost::program_options::options_description& group(const std::string& caption);
  void positional(const std::string& name, int max);

  // Parses, --config included. Where --help was given, prints it if `speak` is true and sets *done:
  // the verb has nothing else to do.
  Status parse(const std::vector<std::string>& words, bool speak, bool* done);
  bool given(const std::string& name) const;
  // The bare words.
  std::vector<std::string> words() const;
  template <class T>
  const T& get(const std::string& name) const {
    return values_[name].as<T>();
  }

 private:
  Status read_file(const std::string& path, const boost::program_options::options_description& all);
  std::string help() const;
  std::string nearest(const std::string& word) const;
  std::string verb_, usage_, summary_;
  std::vector<std::unique_ptr<boost::program_options::options_description>> groups_;
  boost::program_options::positional_options_description positional_;
  boost::program_options::options_description hidden_;
  std::string positional_name_;
  boost::program_options::variables_map values_;
};

// The candidate with the smallest edit distance to `word`, or "" where none is near.
std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace llmc
