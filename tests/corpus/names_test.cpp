#include "corpus/names.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/entry.h"

namespace llmc {
namespace {

TEST(Names, GoodNamesPass) {
  for (const char* name : {"a", "a/b", "a b/\n", "...", "a/..b", ".hidden", "\xff\xfe", "-"}) {
    EXPECT_TRUE(check_entry_name(name).ok()) << name;
  }
}

TEST(Names, NamesThatCouldEscapeAreCorrupt) {
  using namespace std::string_view_literals;
  for (const std::string_view name : {""sv, "/"sv, "/etc/passwd"sv, ".."sv, "."sv, "../a"sv, "a/../b"sv, "a/.."sv,
                                      "a//b"sv, "a/"sv, "./a"sv, "a/./b"sv, "a\0b"sv}) {
    EXPECT_EQ(check_entry_name(name).code(), Code::corrupt) << printable(name);
  }
}

TEST(Names, PrintableIsOneHarmlessLine) {
  EXPECT_EQ(printable("plain é 漢"), "plain é 漢");
  EXPECT_EQ(printable("a\nb\\c"), "a\\nb\\\\c");
  EXPECT_EQ(printable("\x1b[2J\xff\x7f"), "\\x1b[2J\\xff\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");                             // C1 control
  EXPECT_EQ(printable("\xc0\xaf\xed\xa0\x80"), "\\xc0\\xaf\\xed\\xa0\\x80");  // over-long, surrogate
}

TEST(Glob, Matches) {
  struct Case {
    const char *pattern, *name;
    bool match;
  };
  const Case cases[] = {
      {"", "", true},
      {"", "a", false},
      {"*", "", true},
      {"*", "a/b", true},
      {"*.txt", "dir/a.txt", true},
      {"*.txt", "a.txt.gz", false},
      {"a?c", "abc", true},
      {"a?c", "ac", false},
      {"?", "é", true},
      {"?", "\xff", true},
      {"??", "é", false},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[^a-c]x", "ax", false},
      {"[]]", "]", true},
      {"[]-]", "-", true},
      {"[a-]", "-", true},
      {"[ä-ü]", "ö", true},
      {"[abc", "[abc", true},
      {"[", "[", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"[\\]]", "]", true},
      {"a*b*c", "aXbYc", true},
      {"a*b*c", "aXcYb", false},
      {"**", "x", true},
      {"*a", "baa", true},
      {"x\\", "x\\", true},
      {"*[0-9]", "file7", true},
      {"*\n*", "a\nb", true},
  };
  for (const Case& c : cases) EXPECT_EQ(match_glob(c.pattern, c.name), c.match) << c.pattern << " on " << c.name;
}

TEST(Glob, HostilePatternsDoNotExplode) {
  std::string pattern, name(20000, 'a');
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(match_glob(pattern + "b", name));
  EXPECT_TRUE(match_glob(pattern, name));
}

TEST(Glob, AnywhereMatchesBehindSlashes) {
  EXPECT_TRUE(match_glob_anywhere("*.o", "a/b.o"));
  EXPECT_TRUE(match_glob_anywhere(".git", "a/b/.git"));
  EXPECT_TRUE(match_glob_anywhere("b/c", "a/b/c"));
  EXPECT_FALSE(match_glob_anywhere("b", "a/bb"));
}

}  // namespace
}  // namespace llmc
