// How a pattern selects names of entries.
//
// Names are bytes ('/' between parts), never interpreted by locale. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace llmc {

// Shell pattern against a whole name: * any characters, '/' included; ? one character; [a-z], [!a-z]
// or [^a-z] one of a set; \c the character c itself. A '[' without its ']' stands for itself.
// As fnmatch(3) without FNM_PATHNAME, but the same in every locale: a character is a UTF-8 code point, or
// one byte where the name is not UTF-8. Named classes such as [:alpha:] are not known.
// Time is O(pattern x name) whatever the pattern.
bool match_glob(std::string_view pattern, std::string_view name);

// The same against the name and against everything behind one of its slashes, as `tar --exclude` does:
// "*.o" and "build" both match "a/build/x.o" or a folder "a/build".
bool match_glob_anywhere(std::string_view pattern, std::string_view name);

}  // namespace llmc
