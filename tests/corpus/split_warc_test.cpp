#include "corpus/fixture.h"
#include "corpus/split.h"

namespace llmc {
namespace {

std::string record(const std::string& headers, const std::string& block, const std::string& end = "\r\n\r\n",
                   const std::string& version = "WARC/1.0\r\n") {
  return version + headers + "Content-Length: " + std::to_string(block.size()) + "\r\n\r\n" + block + end;
}

class Warc : public TreeTest {
 protected:
  Entry one(const std::string& content, size_t warnings = 0, const std::string& name = "w.warc") {
    make(name, content);
    ScanOptions options;
    options.unpack = true;
    auto outcome = scan({at(name)}, options);
    EXPECT_EQ(outcome.warnings.size(), warnings) << (outcome.warnings.empty() ? "" : outcome.warnings[0]);
    last_warning = outcome.warnings.empty() ? "" : outcome.warnings[0];
    return outcome.entries.at(0);
  }
  // The records must be these texts, one behind the other without gaps.
  void expect_records(const Entry& entry, const std::vector<std::string>& texts,
                      const std::vector<std::string>& names) {
    EXPECT_EQ(entry.records_kind, RecordKind::warc);
    const auto got = records(entry);
    ASSERT_EQ(got.size(), texts.size());
    uint64_t at = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].offset, at);
      EXPECT_EQ(got[i].length, texts[i].size()) << i;
      EXPECT_EQ(got[i].name, names[i]);
      at += texts[i].size();
    }
    EXPECT_EQ(at, entry.size);
  }
  void not_split(const std::string& content, const std::string& reason) {
    const Entry entry = one(content, 1);
    EXPECT_EQ(entry.records_kind, RecordKind::whole) << content;
    EXPECT_NE(last_warning.find(reason), std::string::npos) << last_warning;
  }
  std::string last_warning;
};

const std::string kInfo = "WARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:1>\r\n";
const std::string kResponse =
    "WARC-Type: response\r\nWARC-Record-ID: <urn:uuid:2>\r\nWARC-Target-URI: http://example.org/\r\n";

TEST_F(Warc, EveryRecordWithItsHeader) {
  // A block may hold anything, also what looks like a record or like line ends.
  const std::vector<std::string> texts = {record(kInfo, "software: test\r\n"),
                                          record(kResponse, "HTTP/1.1 200 OK\r\n\r\n<p>WARC/1.0\r\n\r\n"),
                                          record(kResponse, ""), record(kResponse, noise(200000))};
  std::string warc, members;
  for (const std::string& text : texts) {
    warc += text;
    members += gzip(text);
  }
  const std::vector<std::string> names = {"urn:uuid:1", "http://example.org/", "http://example.org/",
                                          "http://example.org/"};
  expect_records(one(warc), texts, names);
  expect_records(one(members, 0, "w.warc.gz"), texts, names);  // a member per record
  expect_records(one(zstd(warc), 0, "w.warc.zst"), texts, names);
}

TEST_F(Warc, LineEndsOfAllKinds) {
  const std::vector<std::string> texts = {record(kResponse, "one", "\r\n"),
                                          record(kResponse, "two", "\n\n"),
                                          record(kResponse, "three", "\r\n\r\n\r\n"),
                                          record(kResponse, "four", ""),
                                          "WARC/0.18\nwarc-target-uri:   <http://lf/>  \nCONTENT-LENGTH:3\n\nabc\n\n",
                                          record(kResponse, "last", "")};
  std::string warc;
  for (const std::string& text : texts) warc += text;
  const std::string uri = "http://example.org/";
  expect_records(one(warc), texts, {uri, uri, uri, uri, "http://lf/", uri});
}

TEST_F(Warc, ContinuedAndOddHeaders) {
  const std::string text =
      record("X: a\r\n  continued: b\r\nno colon here\r\nWARC-Target-URI: http://a\r\n\tb\r\n", "x");
  expect_records(one(text), {text}, {"http://a\tb"});
}

TEST_F(Warc, DamagedWarcsAreWhole) {
  const std::string good = record(kInfo, "abc");
  not_split(good + record(kResponse, "block").substr(0, 20), "ends inside a record's header");
  not_split(good + record(kResponse, std::string(1000, 'b')).substr(0, 500), "ends inside a record ");
  not_split(good + "something else", "does not begin with WARC/");
  not_split("WARC/1.0\r\n" + kInfo + "\r\nabc", "no valid Content-Length");
  not_split("WARC/1.0\r\n\r\n", "no valid Content-Length");
  for (const char* length : {"", "-1", "1x", "0x10", "99999999999999999999999"}) {
    not_split("WARC/1.0\r\nContent-Length: " + std::string(length) + "\r\n\r\nabc", "no valid Content-Length");
  }
  not_split("WARC/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc", "no valid Content-Length");
  not_split("WARC/1.0\r\nContent-Length: 999999999999999999\r\n\r\nabc", "ends inside a record");
  not_split("WARC/1.0\r\nX: " + std::string(2 << 20, 'x') + "\r\n\r\n", "longer than 1 MiB");
}

TEST_F(Warc, CutAnywhereNeverFails) {
  const std::string warc = record(kInfo, "abc") + record(kResponse, "defghi");
  for (size_t size = 0; size <= warc.size(); ++size) {
    make("cut.warc", warc.substr(0, size));
    const auto outcome = scan({at("cut.warc")});
    ASSERT_EQ(outcome.entries.size(), 1u);
    EXPECT_TRUE(outcome.problems.empty());
    records(outcome.entries[0]);
  }
}

TEST_F(Warc, TextAboutWarcIsNotWarc) {
  for (const char* text : {"WARC/1.0 is a format\n", "WARC/\r\n", "WARC/1\r\n", "WARC", "warc/1.0\r\n"}) {
    EXPECT_FALSE(looks_like_warc(as_bytes(text))) << text;
  }
  EXPECT_TRUE(looks_like_warc(as_bytes("WARC/1.1\n")));
}

}  // namespace
}  // namespace llmc
