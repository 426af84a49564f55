#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "chunk/fallback.h"
#include "chunk/lockstep.h"
#include "chunk/primed_states.h"
#include "chunk/symbol_coder.h"
#include "chunk/text_rows.h"
#include "chunk/window.h"

namespace llmc {
namespace {

// A chunk on its way through a slot of the session.
struct EncodeStream {
  int slot = 0;
  ChunkItem item;
  std::vector<Symbol> symbols;
  WindowCursor cursor;
  std::unique_ptr<SymbolEncoder> encoder;
  bool given_up = false;

  bool done() const { return given_up || cursor.predicts() == symbols.size(); }
};

class EncodeLoop {
 public:
  EncodeLoop(const LockstepJob& job, ChunkFeed& feed) : job_(job), feed_(feed) {}

  Status run() {
    if (is_model_codec(job_.codec)) {
      LLMC_ASSIGN(session_, job_.engine->make_session(job_.streams));
      coders_.emplace(job_.engine->tokenizer());
      LLMC_TRY(coders_->prepare(job_.codec, *session_));
      for (int slot = job_.streams - 1; slot >= 0; --slot) free_.push_back(slot);
    }
    for (;;) {
      if (feed_.stopped()) return {Code::interrupted, "stopped on request"};
      fill_rows();
      if (rows_.empty()) {
        if (feed_.stopped()) continue;
        return {};  // nothing held, nothing to come
      }
      if (Status status = session_->feed(rows_, ask_); !status.ok()) {
        for (const EncodeStream& stream : streams_) feed_.finished(stream.item.ticket, status.with(chunk_name(stream.item)));
        return status;
      }
      code_rows();
      finish_streams();
    }
  }

 private:
  // One block of rows: the oldest chunks first, new ones only for what they leave free, so
  // that few are held at a time.
  void fill_rows() {
    rows_.clear();
    owners_.clear();
    for (EncodeStream& stream : streams_) add_rows(stream);
    while (rows_room() > 0 && take_item()) add_rows(streams_.back());
  }

  size_t rows_room() const { return session_ ? session_->max_rows() - rows_.size() : 1; }

  void add_rows(EncodeStream& stream) {
    if (stream.cursor.window_is_full()) {
      stream.cursor.next_window();
      session_->reset(stream.slot);
    }
    // The stream's cursor moves on as the rows are coded.
    append_text_rows(stream.cursor, stream.symbols, job_.engine->start(), stream.slot, rows_room(), &rows_);
    owners_.resize(rows_.size(), &stream);
  }

  // True with a new stream at the end of streams_. Chunks that no model is asked about are
  // done here.
  bool take_item() {
    while (!session_ || !free_.empty()) {
      if (feed_.stopped()) return false;
      ChunkItem item;
      if (!feed_.next(&item, static_cast<int>(streams_.size()), streams_.empty())) return false;
      if (item.bytes.size() > max_chunk_bytes) {
        feed_.finished(item.ticket, Status(Code::failure, chunk_name(item) + " is larger than 1 GiB"));
        continue;
      }
      if (!session_ || item.bytes.empty()) {
        finish(item, std::nullopt);
        continue;
      }
      MixStart start{nullptr, job_.learner, job_.room};
      std::shared_ptr<const Primed> primed;
      if (item.dictionary && job_.codec == Codec::mix) {
        auto found = job_.primed->get(job_, *item.dictionary, item.seed, feed_);
        if (!found.ok()) {
          if (feed_.stopped()) return false;
          feed_.finished(item.ticket, found.status().with(chunk_name(item) + ": the dictionary of its shard"));
          continue;
        }
        primed = std::move(*found);
        start.primed = &primed->model;
      }
      EncodeStream stream{0, std::move(item), {}, WindowCursor(job_.window, job_.carry), nullptr};
      job_.engine->tokenizer().encode(stream.item.bytes, &stream.symbols);
      stream.encoder = coders_->make_encoder(job_.codec, stream.item.bytes.size(), start);
      ask_ = stream.encoder->ask();
      stream.slot = free_.back();
      free_.pop_back();
      session_->reset(stream.slot);
      streams_.push_back(std::move(stream));
      return true;
    }
    return false;
  }

  void code_rows() {
    uint64_t coded = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      EncodeStream& stream = *owners_[i];
      if (stream.given_up) continue;
      if (const int layer = session_->range_error_layer(stream.slot); layer >= 0) {
        log::warn("{}: out-of-range activation in layer {}; the chunk is coded without the model",
                  chunk_name(stream.item), layer);
        stream.given_up = true;
        continue;
      }
      if (rows_[i].want != Row::no_question) {
        stream.encoder->encode(*session_, static_cast<int>(i), rows_[i].want);
        ++coded;
        stream.given_up = stream.encoder->size() >= stream.item.bytes.size();  // nothing to gain any more
      }
      stream.cursor.advance();
    }
    if (coded) feed_.progress(coded);
  }

  void finish_streams() {
    for (auto stream = streams_.begin(); stream != streams_.end();) {
      if (!stream->done()) {
        ++stream;
        continue;
      }
      std::optional<ModelPayload> payload;
      if (!stream->given_up) {
        Bytes bytes = stream->encoder->finish();
        payload = ModelPayload{stream->encoder->codec(), static_cast<uint32_t>(stream->symbols.size()), std::move(bytes)};
      }
      finish(stream->item, payload);
      free_.push_back(stream->slot);
      stream = streams_.erase(stream);
    }
  }

  void finish(const ChunkItem& item, const std::optional<ModelPayload>& payload) {
    feed_.finished(item.ticket,
                   fallback_.frame(item.bytes, item.chunk, item.seed, payload, job_.codec != Codec::stored));
  }

  const LockstepJob& job_;
  ChunkFeed& feed_;
  Fallback fallback_;
  std::unique_ptr<Session> session_;
  std::optional<SymbolCoders> coders_;  // with the session
  Ask ask_ = Ask::intervals;
  std::list<EncodeStream> streams_;  // oldest first
  std::vector<int> free_;
  std::vector<Row> rows_;
  std::vector<EncodeStream*> owners_;  // by row
};

}  // namespace

Status encode_in_lockstep(const LockstepJob& job, ChunkFeed& feed) { return EncodeLoop(job, feed).run(); }

}  // namespace llmc
