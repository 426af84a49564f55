#include "model/forward_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace llmc {

namespace {

constexpr int kMaxStreams = 65536;

class ForwardSession final : public Session {
 public:
  ForwardSession(const Model& model, std::unique_ptr<Ops> ops, int streams, int context, ForwardTrace trace)
      : model_(model), ops_(std::move(ops)), context_(context), trace_(std::move(trace)), slots_(streams) {}

  int streams() const override { return static_cast<int>(slots_.size()); }
  int max_rows() const override { return ops_->max_rows(); }
  int context() const override { return context_; }

  void reset(int stream) override {
    if (known(stream)) slots_[stream] = {};
  }
  int length(int stream) const override { return known(stream) ? slots_[stream].length : 0; }
  int range_error_layer(int stream) const override { return known(stream) ? slots_[stream].error : -1; }

  Status set_leaves(std::span<const uint32_t> symbols) override {
    if (!leaves_.assign(symbols, model_.symbols())) {
      return {Code::failure, fmt::format("the leaves of a tree are not the model's {} symbols", model_.symbols())};
    }
    return ops_->set_leaves(leaves_);
  }

  Status feed(std::span<const Row> rows, Ask ask) override {
    answer_of_.assign(rows.size(), -1);
    LLMC_TRY(check(rows, ask));
    build(rows);
    if (ids_.empty()) return {};

    const FloatState float_state;
    const Batch batch{ids_, positions_, runs_, asking_, symbols_, states_, ask};
    LLMC_TRY(ops_->begin(batch));
    forward(model_, *ops_, batch, asking_, symbols_, ask, trace_);
    LLMC_TRY(ops_->finish());
    settle(rows);
    return {};
  }

  Interval interval(int row) override { return answered(row) ? ops_->interval(answer_of_[row]) : Interval{}; }
  uint32_t rank(int row) override { return answered(row) ? ops_->rank(answer_of_[row]) : 0; }
  std::span<const uint32_t> path(int row) override {
    return answered(row) ? ops_->path(answer_of_[row]) : std::span<const uint32_t>();
  }
  LeafWeights leaves(int row) override { return answered(row) ? ops_->leaves(answer_of_[row]) : LeafWeights{}; }
  uint64_t total(int row) override { return answered(row) ? ops_->total(answer_of_[row]) : 0; }
  Symbol find(int row, uint64_t target, Interval* interval) override {
    return answered(row) ? ops_->find(answer_of_[row], target, interval) : Row::no_question;
  }
  Symbol symbol_of_rank(int row, uint32_t rank) override {
    return answered(row) && rank < static_cast<uint32_t>(model_.symbols()) ? ops_->symbol_of_rank(answer_of_[row], rank)
                                                                           : Row::no_question;
  }
  Symbol found(int row, Interval* interval) override {
    return answered(row) ? ops_->found(answer_of_[row], interval) : Row::no_question;
  }
  std::span<const uint32_t> weights(int row) override {
    return answered(row) ? ops_->weights(answer_of_[row]) : std::span<const uint32_t>();
  }

 private:
  struct Slot {
    int length = 0;
    int error = -1;
    int fed = 0;  // rows of the call in hand
  };

  bool known(int stream) const { return stream >= 0 && stream < streams(); }
  bool answered(int row) const { return row >= 0 && row < static_cast<int>(answer_of_.size()) && answer_of_[row] >= 0; }
  static bool names_symbols(Ask ask) { return ask == Ask::intervals || ask == Ask::ranks || ask == Ask::paths; }
  bool is_symbol(Symbol s) const { return s >= 0 && s < model_.config().vocab + (model_.escape() ? 256 : 0); }

  // Everything that can be wrong is found before anything is changed.
  Status check(std::span<const Row> rows, Ask ask) {
    if (rows.size() > static_cast<size_t>(max_rows())) {
      return {Code::failure, fmt::format("{} rows were fed where {} fit", rows.size(), max_rows())};
    }
    if ((ask == Ask::paths || ask == Ask::leaves) && leaves_.leaves() == 0) {
      return {Code::failure, "a way down a tree was asked for, but no tree is set"};
    }
    for (const Row& row : rows) {
      if (!known(row.stream)) return {Code::failure, fmt::format("there is no stream {}", row.stream)};
      slots_[row.stream].fed = 0;
    }
    for (const Row& row : rows) {
      if (!is_symbol(row.token)) return {Code::failure, fmt::format("the model has no symbol {}", row.token)};
      if (row.want != Row::no_question && (row.want < 0 || (names_symbols(ask) && !is_symbol(row.want)))) {
        return {Code::failure, fmt::format("the model has no symbol {} to ask for", row.want)};
      }
      Slot& slot = slots_[row.stream];
      if (slot.error < 0 && slot.length + ++slot.fed > context_) {
        return {Code::failure, fmt::format("stream {} is full: it holds {} tokens", row.stream, context_)};
      }
    }
    return {};
  }

  // Brings the rows of a stream together and leaves out streams that are given up.
  void build(std::span<const Row> rows) {
    order_.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      if (slots_[rows[i].stream].error < 0) order_.push_back(static_cast<int>(i));
    }
    const auto before = [&](int a, int b) { return rows[a].stream < rows[b].stream; };
    if (!std::is_sorted(order_.begin(), order_.end(), before)) std::stable_sort(order_.begin(), order_.end(), before);

    ids_.clear();
    positions_.clear();
    runs_.clear();
    asking_.clear();
    symbols_.clear();
    states_.clear();
    for (const int i : order_) {
      const Row& row = rows[i];
      Slot& slot = slots_[row.stream];
      const int at = static_cast<int>(ids_.size());
      if (runs_.empty() || runs_.back().slot != row.stream) runs_.push_back({row.stream, at, 0, slot.length});
      ++runs_.back().rows;
      ids_.push_back(row.token < model_.config().vocab ? row.token : model_.config().start);
      positions_.push_back(slot.length++);
      if (row.want != Row::no_question) {
        answer_of_[i] = static_cast<int>(asking_.size());
        asking_.push_back(at);
        symbols_.push_back(std::min(row.want, model_.config().vocab));
        states_.push_back(row.state);
      }
    }
  }

  // A stream's error is that of its first bad row: what one call per row would have reported.
  void settle(std::span<const Row> rows) {
    const int layers = model_.config().layers;
    bool sound = true;
    for (int layer = 0; layer <= layers; ++layer) {
      const std::span<const uint8_t> range = ops_->range(layer);
      sound = sound && std::find(range.begin(), range.end(), 1) == range.end();
    }
    if (sound) return;

    const std::span<const uint8_t> head = ops_->range(layers);

    for (size_t at = 0; at < order_.size(); ++at) {
      Slot& slot = slots_[rows[order_[at]].stream];
      for (int layer = 0; layer < layers && slot.error < 0; ++layer) {
        if (ops_->range(layer)[at]) slot.error = layer;
      }
      const int answer = answer_of_[order_[at]];
      if (slot.error < 0 && answer >= 0 && head[answer]) slot.error = layers;
    }
    for (const int i : order_) {
      if (slots_[rows[i].stream].error >= 0) answer_of_[i] = -1;
    }
  }

  const Model& model_;
  std::unique_ptr<Ops> ops_;
  const int context_;
  const ForwardTrace trace_;
  std::vector<Slot> slots_;
  LeafOrder leaves_;  // empty: none is set

  // Of the call in hand, in the order of the batch; answer_of_ in the order of the caller's rows.
  std::vector<int> order_, answer_of_;
  std::vector<int32_t> ids_, positions_, asking_, symbols_;
  std::vector<Run> runs_;
  std::vector<RangeState> states_;
};

}  // namespace

Result<int> checked_context(const Model& model, int streams, int context) {
  if (streams < 1 || streams > kMaxStreams) {
    return Status(Code::usage, fmt::format("{} streams were asked for; 1 to {} are possible", streams, kMaxStreams));
  }
  if (context == 0) return model.config().context;
  if (context < 0 || context > model.config().context) {
    return Status(Code::usage,
                  fmt::format("a context of {} was asked for; the model has {}", context, model.config().context));
  }
  return context;
}

std::unique_ptr<Session> make_forward_session(const Model& model, std::unique_ptr<Ops> ops, int streams, int context,
                                              ForwardTrace trace) {
  return std::make_unique<ForwardSession>(model, std::move(ops), streams, context, std::move(trace));
}

}  // namespace llmc
