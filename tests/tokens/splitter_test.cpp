#include "tokens/splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokens/unicode.h"

namespace llmc {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const std::string& text, bool digits, Pattern pattern = Pattern::gpt2) {
  Pieces pieces;
  Splitter splitter(as_bytes(text), pattern, digits);
  for (ByteView piece = splitter.next(); !piece.empty(); piece = splitter.next()) pieces.emplace_back(as_text(piece));
  return pieces;
}

TEST(Splitter, CutsWordsWithTheSpaceBefore) {
  EXPECT_EQ(split("", true), Pieces());
  EXPECT_EQ(split("Hello, big world!", true), (Pieces{"Hello", ",", " big", " world", "!"}));
  EXPECT_EQ(split(" ?x \xC3\xA9t\xC3\xA9", true), (Pieces{" ?", "x", " \xC3\xA9t\xC3\xA9"}));
}

TEST(Splitter, KnowsContractionsInLowerCaseOnly) {
  EXPECT_EQ(split("he'll I've it's'S !'s '", true),
            (Pieces{"he", "'ll", " I", "'ve", " it", "'s", "'", "S", " !'", "s", " '"}));
  EXPECT_EQ(split("'r're't", true), (Pieces{"'", "r", "'re", "'t"}));
}

TEST(Splitter, LeavesTheLastSpaceToTheWord) {
  EXPECT_EQ(split("a   b", true), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(split("a\n\nb", true), (Pieces{"a", "\n", "\n", "b"}));
  EXPECT_EQ(split("a \r\n b", true), (Pieces{"a", " \r\n", " b"}));
  EXPECT_EQ(split("a  ", true), (Pieces{"a", "  "}));
  EXPECT_EQ(split("\xE3\x80\x80\xE3\x80\x80x", true), (Pieces{"\xE3\x80\x80", "\xE3\x80\x80", "x"}));
}

TEST(Splitter, ADigitEndsTheStringBeforeIt) {
  EXPECT_EQ(split("a  12b", true), (Pieces{"a", "  ", "1", "2", "b"}));
  EXPECT_EQ(split("a 1", true), (Pieces{"a", " ", "1"}));
  EXPECT_EQ(split("a  12b", false), (Pieces{"a", " ", " 12", "b"}));
  // U+2160 ROMAN NUMERAL ONE is numeric; U+11DE3 is a digit of Unicode 17, which the pattern does not know
  EXPECT_EQ(split("x \xE2\x85\xA0\xE2\x85\xA0", true), (Pieces{"x", " ", "\xE2\x85\xA0", "\xE2\x85\xA0"}));
  EXPECT_EQ(split("!\xF0\x91\xB7\xA3", true), (Pieces{"!", "\xF0\x91\xB7\xA3"}));
  EXPECT_EQ(split("!\xF0\x91\xB7\xA3", false), (Pieces{"!\xF0\x91\xB7\xA3"}));
}

TEST(Splitter, TakesInvalidBytesAsOtherCharacters) {
  EXPECT_EQ(split("a\xFF\xC3z", true), (Pieces{"a", "\xFF\xC3", "z"}));
  EXPECT_EQ(split(" \x80", true), (Pieces{" \x80"}));
  // overlong, surrogate, above U+10FFFF, cut off: none of them is a letter or a space
  for (const std::string bad :
       {"\xC0\xA0", "\xE0\x81\x81", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE3\x80", "\xF0\x9F"}) {
    EXPECT_EQ(split("a" + bad + "a", true), (Pieces{"a", bad, "a"}));
    EXPECT_EQ(split("a" + bad, true), (Pieces{"a", bad}));
  }
}

TEST(Unicode, HasTheVersionsThatItNames) {
  EXPECT_STREQ(unicode::kUnicodeVersion, "16.0.0/17.0.0");
  EXPECT_EQ(unicode::properties('a'), unicode::kLetter);
  EXPECT_EQ(unicode::properties('7'), unicode::kNumber | unicode::kNumeric);
  EXPECT_EQ(unicode::properties(0x3000), unicode::kSpace);
  EXPECT_EQ(unicode::properties(0x1C89), unicode::kLetter);   // new in 16.0
  EXPECT_EQ(unicode::properties(0x11DB0), unicode::kOther);   // a letter in 17.0
  EXPECT_EQ(unicode::properties(0x11DE0), unicode::kNumeric);  // new in 17.0
  EXPECT_EQ(unicode::properties(0x10FFFF), unicode::kOther);
  int letters = 0, numbers = 0, spaces = 0, numeric = 0;
  for (uint32_t point = 0; point < 0x110000; ++point) {
    const uint8_t properties = unicode::properties(point);
    letters += (properties & unicode::kClassMask) == unicode::kLetter;
    numbers += (properties & unicode::kClassMask) == unicode::kNumber;
    spaces += (properties & unicode::kClassMask) == unicode::kSpace;
    numeric += (properties & unicode::kNumeric) != 0;
  }
  // 141,028 letters and 1,911 numbers in UnicodeData.txt 16.0.0, 1,924 numbers in 17.0.0
  EXPECT_EQ(letters, 141028);
  EXPECT_EQ(numbers, 1911);
  EXPECT_EQ(spaces, 25);
  EXPECT_EQ(numeric, 1924);
}

TEST(Splitter, Gpt4CountsDigitsByThreeAndQwenByOne) {
  EXPECT_EQ(split("a 1234567b", false, Pattern::gpt4), (Pieces{"a", " ", "123", "456", "7", "b"}));
  EXPECT_EQ(split("a 123", false, Pattern::qwen), (Pieces{"a", " ", "1", "2", "3"}));
}

TEST(Splitter, Gpt4PutsOneSignBeforeAWord) {
  EXPECT_EQ(split("(word) .x \tx\u00e9", false, Pattern::gpt4),
            (Pieces{"(word", ")", " .", "x", " ", "\tx\u00e9"}));
  EXPECT_EQ(split("He'LL it'\u017fo 'x", false, Pattern::gpt4),
            (Pieces{"He", "'LL", " it", "'\u017f", "o", " '", "x"}));
}

TEST(Splitter, Gpt4EndsPiecesAtLineBreaks) {
  EXPECT_EQ(split("a;\n\nb", false, Pattern::gpt4), (Pieces{"a", ";\n\n", "b"}));
  EXPECT_EQ(split("a \n \n  b", false, Pattern::gpt4), (Pieces{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(split("a  \n", false, Pattern::gpt4), (Pieces{"a", "  \n"}));
  EXPECT_EQ(split("a   ", false, Pattern::gpt4), (Pieces{"a", "   "}));
  EXPECT_EQ(split("\r\nx", false, Pattern::gpt4), (Pieces{"\r\n", "x"}));
}

TEST(Splitter, WordsStartAtSpaces) {
  EXPECT_EQ(split(" a  b\n c", false, Pattern::words), (Pieces{" a", " ", " b\n", " c"}));
  EXPECT_EQ(split("a b", false, Pattern::whole), (Pieces{"a b"}));
}

}  // namespace
}  // namespace llmc
