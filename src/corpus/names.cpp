#include "corpus/names.h"

#include "base/bytes.h"

namespace llmc {

namespace {

// Whether `c` is in the set that opens at pattern[*pos] (behind the '['); *pos moves behind the ']'.
// False with *pos unchanged and *closed false where the set has no end.
bool match_set(std::string_view pattern, size_t* pos, uint32_t c, bool* closed) {
  size_t p = *pos;
  bool negated = false, found = false;
  if (p < pattern.size() && (pattern[p] == '!' || pattern[p] == '^')) {
    negated = true;
    ++p;
  }
  const auto next = [&] {
    if (pattern[p] == '\\' && p + 1 < pattern.size()) ++p;
    return next_code_point(pattern, &p);
  };
  for (bool first = true; p < pattern.size(); first = false) {
    if (pattern[p] == ']' && !first) {
      *pos = p + 1;
      *closed = true;
      return found != negated;
    }
    const uint32_t low = next();
    uint32_t high = low;
    if (p + 1 < pattern.size() && pattern[p] == '-' && pattern[p + 1] != ']') {
      ++p;
      high = next();
    }
    found = found || (low <= c && c <= high);
  }
  *closed = false;
  return false;
}

}  // namespace

bool match_glob(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0;
  // Where to go on when the rest does not match: the last '*' takes one character more. Earlier stars
  // need no second try, hence no exponential time.
  size_t star = pattern.npos, star_name = 0;
  for (;;) {
    bool matched = false;
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_name = n;
      continue;
    }
    if (n == name.size() && p == pattern.size()) return true;
    if (n < name.size() && p < pattern.size()) {
      size_t after = n;
      const uint32_t c = next_code_point(name, &after);
      bool closed = true;
      size_t set = p + 1;
      if (pattern[p] == '?') {
        ++p;
        matched = true;
      } else if (pattern[p] == '[' && (matched = match_set(pattern, &set, c, &closed), closed)) {
        p = set;
      } else {
        size_t q = pattern[p] == '\\' && p + 1 < pattern.size() ? p + 1 : p;
        matched = next_code_point(pattern, &q) == c;
        p = q;
      }
      if (matched) n = after;
    }
    if (!matched) {
      if (star == pattern.npos || star_name == name.size()) return false;
      next_code_point(name, &star_name);
      p = star;
      n = star_name;
    }
  }
}

bool match_glob_anywhere(std::string_view pattern, std::string_view name) {
  for (;;) {
    if (match_glob(pattern, name)) return true;
    const size_t slash = name.find('/');
    if (slash == name.npos) return false;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace llmc
