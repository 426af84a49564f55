#include "commands/options.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace llmc {

namespace po = boost::program_options;

Result<uint64_t> parse_byte_size(const std::string& text) {
  const auto bad = [&] { return Status(Code::usage, "'" + text + "' is not a size such as 65536, 64K or 256M"); };
  size_t i = 0;
  uint64_t n = 0;
  while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
    if (n > (UINT64_MAX - 9) / 10) return bad();
    n = n * 10 + static_cast<uint64_t>(text[i++] - '0');
  }
  if (i == 0) return bad();
  std::string unit = text.substr(i);
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::toupper(c); });
  static const std::string letters = "KMGT";
  int shift = 0;
  if (!unit.empty() && unit != "B") {
    const size_t at = letters.find(unit[0]);
    const std::string rest = unit.substr(1);
    if (at == std::string::npos || (!rest.empty() && rest != "B" && rest != "IB")) return bad();
    shift = static_cast<int>(10 * (at + 1));
  }
  if (shift && n >> (64 - shift)) return bad();
  return n << shift;
}

void validate(boost::any& value, const std::vector<std::string>& words, ByteSize*, int) {
  po::validators::check_first_occurrence(value);
  const std::string& word = po::validators::get_single_string(words);
  const Result<uint64_t> size = parse_byte_size(word);
  if (!size.ok()) throw po::error(size.status().message());
  value = boost::any(ByteSize{*size});
}

namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

// Boost puts the words of the user into its message for as long as the message holds a placeholder, so for ever where these
// words are one, such as %value%. Without '%' they are none.
std::string message_of(po::error& error) {
  struct Words : po::error_with_option_name {
    static std::map<std::string, std::string>& of(po::error_with_option_name& e) { return e.*(&Words::m_substitutions); }
  };
  const char stand_in = '\x01';
  if (auto* named = dynamic_cast<po::error_with_option_name*>(&error)) {
    for (auto& [placeholder, word] : Words::of(*named)) std::replace(word.begin(), word.end(), '%', stand_in);
  }
  std::string text = error.what();
  std::replace(text.begin(), text.end(), stand_in, '%');
  return text;
}

}  // namespace

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t least = word.size() / 2 + 2;
  for (const std::string& candidate : candidates) {
    const size_t d = edit_distance(word, candidate);
    if (d < least) {
      least = d;
      best = candidate;
    }
  }
  return best;
}

OptionSet::OptionSet(std::string verb, std::string usage, std::string summary)
    : verb_(std::move(verb)), usage_(std::move(usage)), summary_(std::move(summary)) {}

po::options_description& OptionSet::group(const std::string& caption) {
  groups_.push_back(std::make_unique<po::options_description>(caption, 110));
  return *groups_.back();
}

void OptionSet::positional(const std::string& name, int max) {
  positional_.add(name.c_str(), max);
  positional_name_ = name;
  hidden_.add_options()(name.c_str(), po::value<std::vector<std::string>>());
}

std::string OptionSet::nearest(const std::string& word) const {
  std::vector<std::string> names;
  for (const auto& g : groups_) {
    for (const auto& option : g->options()) names.push_back("--" + option->long_name());
  }
  return nearest_word(word, names);
}

Status OptionSet::parse(const std::vector<std::string>& words, bool speak, bool* done) {
  auto& common = group("Everywhere");
  common.add_options()
      ("config", po::value<std::vector<std::string>>()->composing()->value_name("FILE"),
       "read options from FILE: one 'name = value' a line; may be repeated")
      ("help,h", "show this text");
  po::options_description all;
  all.add(hidden_);
  for (const auto& g : groups_) all.add(*g);
  using style = po::command_line_style::style_t;
  const int strict = style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing);
  try {
    po::store(po::command_line_parser(words).options(all).positional(positional_).style(strict).run(), values_);
    *done = values_.count("help") > 0;
    if (*done && speak) std::fputs(help().c_str(), stdout);
    if (*done) return {};
    if (values_.count("config")) {
      const auto paths = values_["config"].as<std::vector<std::string>>();
      for (const std::string& path : paths) LLMC_TRY(read_file(path, all));
    }
    po::notify(values_);
  } catch (const po::unknown_option& e) {
    const std::string name = e.get_option_name();
    const std::string near = nearest(name);
    return {Code::usage, verb_ + ": unknown option " + name + (near.empty() ? "" : ", did you mean " + near + "?")};
  } catch (const po::too_many_positional_options_error&) {
    return {Code::usage, verb_ + ": too many arguments; usage: " + usage_};
  } catch (po::error& e) {
    return {Code::usage, verb_ + ": " + message_of(e)};
  }
  return {};
}

// Each line is parsed, and its value looked at, by itself: so every error has its line.
Status OptionSet::read_file(const std::string& path, const po::options_description& all) {
  std::ifstream file(path);
  if (!file) return {Code::usage, path + ": cannot be read"};
  po::parsed_options found(&all);
  std::map<std::string, int> lines;  // of what may stand there once
  std::string text;
  for (int line = 1; std::getline(file, text); ++line) {
    const auto wrong = [&](const std::string& what) { return Status(Code::usage, path + ":" + std::to_string(line) + ": " + what); };
    if (text.ends_with('\r')) text.pop_back();
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == text.npos || text[begin] == '#' || text[begin] == ';') continue;
    if (text[begin] == '[') return wrong("sections are not used here; one 'name = value' a line");
    if (text.find('=') == text.npos) return wrong("not 'name = value'");
    std::string name = text.substr(begin, text.find_first_of(" \t=", begin) - begin);
    if (name == "config" || name == "help") return wrong("--" + name + " belongs on the command line");
    std::istringstream one(text);
    po::parsed_options parsed(&all);
    try {
      parsed = po::parse_config_file(one, all);
      po::variables_map scratch;
      po::store(parsed, scratch);
    } catch (const po::unknown_option&) {
      const std::string near = nearest("--" + name);
      return wrong("unknown option '" + name + "'" + (near.empty() ? "" : ", did you mean '" + near.substr(2) + "'?"));
    } catch (po::error& e) {
      return wrong(message_of(e));
    }
    const auto [first, is_new] = lines.emplace(name, line);
    if (!is_new && !all.find(name, false).semantic()->is_composing() && name != positional_name_) {
      return wrong("'" + name + "' stands in line " + std::to_string(first->second) + " already");
    }
    found.options.insert(found.options.end(), parsed.options.begin(), parsed.options.end());
  }
  // The bare words of the command line are instead of a file's, not beside them.
  if (given(positional_name_)) {
    std::erase_if(found.options, [&](const po::option& option) { return option.string_key == positional_name_; });
  }
  po::store(found, values_);
  return {};
}

std::string OptionSet::help() const {
  std::ostringstream text;
  text << "Usage: " << usage_ << "\n\n" << summary_ << "\n";
  for (const auto& g : groups_) text << "\n" << *g;
  return text.str();
}

std::vector<std::string> OptionSet::words() const {
  return given(positional_name_) ? values_[positional_name_].as<std::vector<std::string>>() : std::vector<std::string>();
}

bool OptionSet::given(const std::string& name) const {
  const auto it = values_.find(name);
  return it != values_.end() && !it->second.defaulted();
}

}  // namespace llmc
