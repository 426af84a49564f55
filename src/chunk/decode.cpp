#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/checksum.h"
#include "chunk/fallback.h"
#include "chunk/lockstep.h"
#include "chunk/primed_states.h"
#include "chunk/symbol_coder.h"
#include "chunk/window.h"

namespace llmc {
namespace {

// A frame on its way through a slot of the session. Memory grows with what was decoded,
// never with what the frame claims.
struct DecodeStream {
  int slot = 0;
  ChunkItem item;
  Frame frame;  // its payload lies in item.bytes
  WindowCursor cursor;
  std::unique_ptr<SymbolDecoder> decoder;
  std::vector<Symbol> symbols;  // of the current window: symbols[p - 1] stands at position p
  uint32_t decoded = 0;
  Bytes text;
  Status error;

  bool stops_early() const { return error.ok() && decoded < frame.tokens && item.wanted > 0 && text.size() >= item.wanted; }
  bool done() const { return !error.ok() || decoded == frame.tokens || stops_early(); }
};

Status corrupt(const std::string& what) { return {Code::corrupt, what}; }

class DecodeLoop {
 public:
  DecodeLoop(const LockstepJob& job, ChunkFeed& feed) : job_(job), feed_(feed) {}

  Status run() {
    for (;;) {
      if (feed_.stopped()) return {Code::interrupted, "stopped on request"};
      LLMC_TRY(take_items());
      if (streams_.empty()) {
        if (feed_.stopped()) continue;
        return {};
      }
      fill_rows();
      if (Status status = session_->feed(rows_, ask_); !status.ok()) {
        for (const DecodeStream& stream : streams_) feed_.finished(stream.item.ticket, status.with(chunk_name(stream.item)));
        return status;
      }
      take_answers();
      finish_streams();
    }
  }

 private:
  // Fills the free slots. Frames that need no model, and those that cannot be right, are done here.
  Status take_items() {
    while (streams_.size() < most_streams_) {
      if (feed_.stopped()) return {};
      ChunkItem item;
      if (!feed_.next(&item, static_cast<int>(streams_.size()), streams_.empty())) return {};
      Result<Frame> parsed = check(item);
      if (!parsed.ok()) {
        feed_.finished(item.ticket, parsed.status().with(chunk_name(item)));
        continue;
      }
      const Frame frame = *parsed;
      if (!is_model_codec(frame.codec)) {
        Result<Bytes> text = Fallback::text(frame);
        feed_.finished(item.ticket, !text.ok() ? text.status().with(chunk_name(item)) : checked(item, frame, std::move(*text)));
        continue;
      }
      if (!job_.engine) {
        feed_.finished(item.ticket, Status(Code::model, chunk_name(item) + " was coded with a model, and none is given"));
        continue;
      }
      if (frame.codec == Codec::dictionary && !job_.learner) {
        // As an item of its own: all that is asked for is its text.
        auto primed = job_.primed->get(job_, item.bytes, item.seed, feed_);
        if (!primed.ok() && feed_.stopped()) return {};
        feed_.finished(item.ticket, primed.ok() ? Result<Bytes>((*primed)->text) : primed.status());
        continue;
      }
      MixStart start{nullptr, job_.learner, 0};
      std::shared_ptr<const Primed> primed;
      if (frame.codec == Codec::primed) {
        Result<std::shared_ptr<const Primed>> found = Status(Code::corrupt, "is not given");
        if (item.dictionary) found = job_.primed->get(job_, *item.dictionary, item.seed, feed_);
        if (!found.ok()) {
          if (feed_.stopped()) return {};
          feed_.finished(item.ticket, found.status().with(chunk_name(item) + " begins with the dictionary of its shard, which"));
          continue;
        }
        primed = std::move(*found);
        start.primed = &primed->model;
      }
      Status ready = session_ ? Status() : make_session();
      if (ready.ok()) ready = coders_->prepare(frame.codec, *session_);
      if (!ready.ok()) {
        feed_.finished(item.ticket, ready.with(chunk_name(item)));
        return ready;
      }
      DecodeStream stream{free_.back(), std::move(item), frame, WindowCursor(job_.window, job_.carry), nullptr, {}, 0, {}, {}};
      free_.pop_back();
      session_->reset(stream.slot);
      stream.decoder = coders_->make_decoder(frame.codec, frame.text_size, frame.payload, start);
      if (!stream.decoder) {
        feed_.finished(stream.item.ticket, corrupt(chunk_name(stream.item) + ": the payload is not one of its codec"));
        free_.push_back(stream.slot);
        continue;
      }
      streams_.push_back(std::move(stream));
    }
    return {};
  }

  Result<Frame> check(const ChunkItem& item) const {
    LLMC_ASSIGN(Frame frame, parse_frame(item.bytes, item.seed));
    if (frame.chunk != item.chunk) {
      return corrupt("the frame is that of chunk " + std::to_string(frame.chunk));
    }
    if (frame.text_size != item.size) {
      return corrupt("the frame holds " + std::to_string(frame.text_size) + " bytes of text, not " +
                     std::to_string(item.size));
    }
    return frame;
  }

  static Result<Bytes> checked(const ChunkItem& item, const Frame& frame, Bytes text) {
    if (crc32c(text) != frame.text_crc) {
      return corrupt(chunk_name(item) + ": the decoded text does not match its checksum");
    }
    if (item.wanted > 0 && item.wanted < text.size()) text.resize(item.wanted);
    return text;
  }

  Status make_session() {
    LLMC_ASSIGN(session_, job_.engine->make_session(job_.streams));
    coders_.emplace(job_.engine->tokenizer());
    most_streams_ = static_cast<size_t>(std::min(job_.streams, session_->max_rows()));
    for (int slot = static_cast<int>(most_streams_) - 1; slot >= 0; --slot) free_.push_back(slot);
    return {};
  }

  // A question whose answer serves both.
  static Ask both(Ask a, Ask b) {
    if (a == b) return a;
    const auto step = [](Ask ask) { return ask == Ask::search || ask == Ask::leaves; };
    return step(a) && step(b) ? Ask::leaves : Ask::tables;
  }

  // One row for each stream that decodes; what is left of the block goes to those that carry
  // tokens into a new window.
  void fill_rows() {
    rows_.clear();
    owners_.clear();
    size_t room = session_->max_rows();
    for (DecodeStream& stream : streams_) {
      if (stream.cursor.window_is_full()) {
        const uint32_t gone = stream.cursor.next_window();
        stream.symbols.erase(stream.symbols.begin(), stream.symbols.begin() + gone);
        session_->reset(stream.slot);
      }
      if (stream.cursor.codes()) --room;
      const Ask ask = stream.decoder->ask();
      ask_ = &stream == &streams_.front() ? ask : both(ask_, ask);
    }
    for (DecodeStream& stream : streams_) {
      size_t n = 1;
      if (!stream.cursor.codes()) {
        n = std::min<size_t>(room, stream.cursor.rows_to_carry() + 1);
        room -= n;
      }
      WindowCursor cursor = stream.cursor;
      for (; n > 0; --n) {
        Row row;
        row.stream = stream.slot;
        row.token = cursor.position() == 0 ? job_.engine->start() : stream.symbols[cursor.position() - 1];
        if (cursor.codes()) {
          row.want = 0;
          row.state = stream.decoder->state();
        }
        rows_.push_back(row);
        owners_.push_back(&stream);
        cursor.advance();
      }
    }
  }

  void take_answers() {
    uint64_t decoded = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      DecodeStream& stream = *owners_[i];
      if (!stream.error.ok()) continue;
      if (const int layer = session_->range_error_layer(stream.slot); layer >= 0) {
        stream.error = corrupt("out-of-range activation in layer " + std::to_string(layer) +
                               ": the frame is damaged, or was coded with another model");
        continue;
      }
      stream.cursor.advance();
      if (rows_[i].want == Row::no_question) continue;
      stream.error = take_symbol(stream, stream.decoder->decode(*session_, static_cast<int>(i), ask_));
      decoded += stream.error.ok();
    }
    if (decoded) feed_.progress(decoded);
  }

  Status take_symbol(DecodeStream& stream, Symbol symbol) {
    const ByteView bytes = symbol < 0 ? ByteView() : job_.engine->tokenizer().bytes_of(symbol);
    if (bytes.empty()) return corrupt("the payload names a token that no text yields");
    stream.text.insert(stream.text.end(), bytes.begin(), bytes.end());
    stream.symbols.push_back(symbol);
    ++stream.decoded;
    // Every token still to come is at least one byte.
    if (stream.text.size() + (stream.frame.tokens - stream.decoded) > stream.frame.text_size) {
      return corrupt("the payload decodes to more text than the frame claims");
    }
    return {};
  }

  void finish_streams() {
    for (auto stream = streams_.begin(); stream != streams_.end();) {
      if (!stream->done()) {
        ++stream;
        continue;
      }
      const bool early = stream->stops_early();
      if (early) stream->text.resize(stream->item.wanted);
      if (!early && stream->error.ok() && stream->text.size() != stream->frame.text_size) {
        stream->error = corrupt("the payload decodes to " + std::to_string(stream->text.size()) + " bytes of text, not " +
                                std::to_string(stream->frame.text_size));
      }
      if (!early && stream->error.ok() && !stream->decoder->at_end()) {
        stream->error = corrupt("the payload goes on after its last token");
      }
      feed_.finished(stream->item.ticket, early ? Result<Bytes>(std::move(stream->text))
                                          : !stream->error.ok()
                                              ? Result<Bytes>(stream->error.with(chunk_name(stream->item)))
                                              : checked(stream->item, stream->frame, std::move(stream->text)));
      free_.push_back(stream->slot);
      stream = streams_.erase(stream);
    }
  }

  const LockstepJob& job_;
  ChunkFeed& feed_;
  std::unique_ptr<Session> session_;  // made for the first frame that needs it
  std::optional<SymbolCoders> coders_;  // with the session
  size_t most_streams_ = 1;
  std::list<DecodeStream> streams_;
  std::vector<int> free_;
  Ask ask_ = Ask::search;  // of the rows in hand
  std::vector<Row> rows_;
  std::vector<DecodeStream*> owners_;  // by row
};

}  // namespace

Status decode_in_lockstep(const LockstepJob& job, ChunkFeed& feed) { return DecodeLoop(job, feed).run(); }

}  // namespace llmc
