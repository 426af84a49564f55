// A text that is known, as the rows of a session: what asks the model for the answers that code it.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "chunk/window.h"
#include "model/session.h"

namespace llmc {

// Appends the rows of `slot` from `cursor` on: `room` at most, as many as the window and the text still have. Each feeds
// the token before (`start` at position 0) and, where the position codes, wants the next. The cursor stays: it is for
// the caller to advance as the rows are answered.
void append_text_rows(WindowCursor cursor, std::span<const Symbol> symbols, Symbol start, int slot, size_t room, std::vector<Row>* rows);

// What is done with the answer to a row of the last feed(), whose next symbol was `want`; an error ends the text.
using TakeAnswer = std::function<Status(int row, Symbol want)>;

// Asks `session` about a whole text, alone in slot 0, through windows as a chunk is coded in, and hands out the answers,
// one for each symbol, in their order. `cursor` stands at the beginning and its window fits the session, whose slot is
// empty. Code::range where the text drives the model out of its range. On the calling thread.
Status score_text(Session& session, Symbol start, std::span<const Symbol> symbols, WindowCursor cursor, Ask ask, const TakeAnswer& take);

}  // namespace llmc
