#include "corpus/text_reader.h"

#include <algorithm>

namespace llmc {

namespace {

Status changed(const Entry& entry, const std::string& how) {
  return {Code::failure, printable(entry.source) + ": changed while being read (" + how + "); run again"};
}

Status check_facts(const Entry& entry, const SourceFacts& facts) {
  if (facts.inode != entry.source_inode) return changed(entry, "another file has its name");
  if (facts.size != entry.source_size) {
    return changed(entry, std::to_string(entry.source_size) + " bytes when planned, now " + std::to_string(facts.size));
  }
  if (facts.mtime_ns != entry.source_mtime_ns) return changed(entry, "written to since it was planned");
  return {};
}

}  // namespace

TextReader::TextReader(const std::vector<Entry>& entries) : entries_(entries) {
  uint64_t at = 0;
  starts_.reserve(entries.size() + 1);
  for (const Entry& entry : entries) {
    starts_.push_back(at);
    if (entry.kind == Entry::Kind::file) at += entry.size;
  }
  starts_.push_back(at);
}

Status TextReader::open(const Entry& entry) {
  auto opened = PlainSource::open(entry.source, static_cast<Packing>(entry.unpacked));
  if (!opened.ok() && opened.status().code() == Code::missing) {
    return {Code::failure, printable(entry.source) + ": vanished after it was planned; run again"};
  }
  LLMC_TRY(opened.status());
  LLMC_TRY(check_facts(entry, opened->facts()));
  source_.emplace(std::move(*opened));
  return {};
}

Status TextReader::close(const Entry& entry) {
  LLMC_ASSIGN(const SourceFacts now, source_->facts_now());
  LLMC_TRY(check_facts(entry, now));
  if (entry.unpacked != 0) {
    // The checksum behind the data is checked by reading on to the end.
    uint8_t more;
    LLMC_ASSIGN(const size_t n, source_->read({&more, 1}));
    if (n != 0) return changed(entry, "more bytes than planned");
  }
  source_.reset();
  return {};
}

// Leaves the entries that end at position_, empty files checked on the way.
Status TextReader::advance() {
  while (index_ < entries_.size() && position_ == starts_[index_ + 1]) {
    const Entry& entry = entries_[index_];
    if (entry.kind == Entry::Kind::file) {
      if (!source_) LLMC_TRY(open(entry));
      LLMC_TRY(close(entry));
    }
    ++index_;
  }
  return {};
}

Status TextReader::read(std::span<uint8_t> out) {
  if (out.size() > size() - position_) {
    return {Code::failure, "the text ends before byte " + std::to_string(position_ + out.size())};
  }
  Status status = read_on(out);
  if (!status.ok()) source_.reset();
  return status;
}

Status TextReader::read_on(std::span<uint8_t> out) {
  LLMC_TRY(advance());
  while (!out.empty()) {
    const Entry& entry = entries_[index_];
    if (!source_) {
      LLMC_TRY(open(entry));
      const Status status = source_->skip(position_ - starts_[index_]);
      if (status.code() == Code::corrupt) return changed(entry, status.message());
      LLMC_TRY(status);
    }
    const auto part = out.first(static_cast<size_t>(std::min<uint64_t>(out.size(), starts_[index_ + 1] - position_)));
    auto n = source_->read(part);
    if (!n.ok() && n.status().code() == Code::corrupt) return changed(entry, n.status().message());
    LLMC_TRY(n.status());
    if (*n < part.size()) return changed(entry, "fewer bytes than planned");
    position_ += part.size();
    out = out.subspan(part.size());
    LLMC_TRY(advance());
  }
  return {};
}

Status TextReader::skip_to(uint64_t text_offset) {
  if (text_offset > size()) return {Code::failure, "the text ends before byte " + std::to_string(text_offset)};
  const bool same_file = source_ && text_offset >= position_ && text_offset < starts_[index_ + 1];
  if (same_file) {
    const Status status = source_->skip(text_offset - position_);
    if (!status.ok()) source_.reset();
    if (status.code() == Code::corrupt) return changed(entries_[index_], status.message());
    LLMC_TRY(status);
  } else {
    source_.reset();
    // The first entry that ends behind this offset; entries that end at it are passed over.
    index_ =
        static_cast<size_t>(std::upper_bound(starts_.begin() + 1, starts_.end(), text_offset) - starts_.begin()) - 1;
  }
  position_ = text_offset;
  return {};
}

}  // namespace llmc
