#include "base/entry.h"

#include <algorithm>
#include <limits>

namespace llmc {

const char* record_kind_name(RecordKind kind) {
  switch (kind) {
    case RecordKind::whole: return "file";
    case RecordKind::lines: return "lines";
    case RecordKind::jsonl: return "jsonl";
    case RecordKind::tar: return "tar";
    case RecordKind::zip: return "zip";
    case RecordKind::warc: return "warc";
  }
  return "unknown";
}

namespace {
bool has_names(RecordKind kind) {
  return kind == RecordKind::tar || kind == RecordKind::zip || kind == RecordKind::warc;
}
}  // namespace

void RecordWriter::add(const Record& record) {
  if (has_names(kind_)) out_.varint(record.offset - end_);
  out_.varint(record.length);
  if (has_names(kind_)) out_.string(record.name);
  if (kind_ == RecordKind::zip) out_.u8(record.method);
  end_ = record.offset + record.length;
  ++count_;
}

Records RecordWriter::take() {
  Records records{count_, out_.take()};
  count_ = end_ = 0;
  return records;
}

bool RecordReader::next(Record* record) {
  if (left_ == 0) {
    ok_ = ok_ && in_.done();
    return false;
  }
  --left_;
  const uint64_t gap = has_names(kind_) ? in_.varint() : 0;
  record->length = in_.varint();
  record->name = has_names(kind_) ? std::string(in_.string()) : std::string();
  record->method = kind_ == RecordKind::zip ? in_.u8() : 0;
  const uint64_t room = std::numeric_limits<uint64_t>::max() - end_;
  if (!in_.ok() || gap > room || record->length > room - gap) {
    ok_ = false;
    left_ = 0;
    return false;
  }
  record->offset = end_ + gap;
  end_ = record->offset + record->length;
  return true;
}

Status check_entry_name(std::string_view name) {
  const auto refuse = [&](const char* why) {
    return Status(Code::corrupt, "entry name \"" + printable(name) + "\" is refused: " + why);
  };
  if (name.empty()) return refuse("it is empty");
  if (name.front() == '/') return refuse("it is absolute");
  if (name.find('\0') != name.npos) return refuse("it holds a NUL byte");
  for (size_t start = 0; start <= name.size();) {
    const size_t slash = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, slash - start);
    if (part.empty() || part == "." || part == "..") return refuse("it has an empty, \".\" or \"..\" part");
    start = slash + 1;
  }
  return {};
}

}  // namespace llmc
