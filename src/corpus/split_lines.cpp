#include <cstring>

#include "base/signals.h"
#include "corpus/split.h"

namespace llmc {

RecordKind recognise(ByteView head) {
  if (looks_like_warc(head)) return RecordKind::warc;
  if (looks_like_zip(head)) return RecordKind::zip;
  if (looks_like_tar(head)) return RecordKind::tar;
  return RecordKind::whole;
}

Result<Records> split_lines(PlainSource& source, RecordKind kind) {
  RecordWriter out(kind);
  Bytes block(size_t{1} << 20);
  Record line;
  for (;;) {
    if (stop_requested()) return Status(Code::interrupted, "interrupted while looking for lines");
    LLMC_ASSIGN(const size_t n, source.read(block));
    if (n == 0) break;
    for (size_t at = 0; at < n;) {
      const auto* end = static_cast<const uint8_t*>(std::memchr(block.data() + at, '\n', n - at));
      const size_t next = end ? static_cast<size_t>(end - block.data()) + 1 : n;
      line.length += next - at;
      at = next;
      if (end) {
        out.add(line);
        line.offset += line.length;
        line.length = 0;
      }
    }
  }
  if (line.length > 0) out.add(line);
  return out.take();
}

}  // namespace llmc
