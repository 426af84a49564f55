#include "chunk/text_rows.h"

#include <algorithm>

namespace llmc {

void append_text_rows(WindowCursor cursor, std::span<const Symbol> symbols, Symbol start, int slot, size_t room, std::vector<Row>* rows) {
  for (size_t n = std::min<size_t>(room, cursor.rows_left()); n > 0 && cursor.predicts() < symbols.size(); --n) {
    Row row;
    row.stream = slot;
    row.token = cursor.position() == 0 ? start : symbols[cursor.predicts() - 1];
    if (cursor.codes()) row.want = symbols[cursor.predicts()];
    rows->push_back(row);
    cursor.advance();
  }
}

Status score_text(Session& session, Symbol start, std::span<const Symbol> symbols, WindowCursor cursor, Ask ask, const TakeAnswer& take) {
  std::vector<Row> rows;
  while (cursor.predicts() < symbols.size()) {
    if (cursor.window_is_full()) {
      cursor.next_window();
      session.reset(0);
    }
    rows.clear();
    append_text_rows(cursor, symbols, start, 0, static_cast<size_t>(session.max_rows()), &rows);
    LLMC_TRY(session.feed(rows, ask));
    if (session.range_error_layer(0) >= 0) return {Code::range, "the text drives the model out of its range"};
    for (size_t i = 0; i < rows.size(); ++i) {
      cursor.advance();
      if (rows[i].want != Row::no_question) LLMC_TRY(take(static_cast<int>(i), rows[i].want));
    }
  }
  return {};
}

}  // namespace llmc
