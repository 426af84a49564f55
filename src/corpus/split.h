// Where the records of one file are: lines, members of tar and zip, records of WARC.
//
// Each splitter reads a source from its first byte and gives the records in rising order. What cannot
// be split without doubt (damaged, cut, sparse, ambiguous) is Code::corrupt with the reason as its
// message, and the file is then archived as one document; other codes are I/O errors. Memory: a block
// and the records themselves. Nothing depends on locale or library versions, so that every machine finds
// the same records; that is why tar is parsed here and not by libarchive, whose member names and
// handling of odd headers depend on both (tests hold this parser against it).
#pragma once

#include "base/entry.h"
#include "corpus/plain_source.h"

namespace llmc {

// What the first 512 bytes of a file (fewer where it is shorter) look like: tar, zip, warc or whole.
RecordKind recognise(ByteView head);

// One record per line, each with its newline; a last line without one counts. `kind`: lines or jsonl.
Result<Records> split_lines(PlainSource& source, RecordKind kind);

// POSIX.1-1988 (ustar), POSIX.1-2001 (pax), GNU and V7 tar. Records are the data of regular files, named
// as stored. Sparse and multi-volume members and links that carry data are refused.
Result<Records> split_tar(PlainSource& source);
bool looks_like_tar(ByteView head);

// ISO 28500 (WARC 1.x; 0.17 and 0.18 look alike). A record is header, block and the line ends behind it,
// so that records cover the file without gaps. Named by WARC-Target-URI, which is what people ask
// for; by WARC-Record-ID where there is none (warcinfo). Line ends may be LF alone.
Result<Records> split_warc(PlainSource& source);
bool looks_like_warc(ByteView head);

// PKWARE APPNOTE 6.3, zip64 too, read from the central directory. Records are the stored bytes of the
// members that are not folders; method as stored, zip_opaque where it is above 254 or encrypted.
inline constexpr uint8_t zip_opaque = 255;
Result<Records> split_zip(PlainSource& source);
bool looks_like_zip(ByteView head);

}  // namespace llmc
