#include "chunk/fit_adaptation.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "chunk/text_rows.h"
#include "model/native_engine.h"

namespace llmc {

namespace {

// What speaks for a summand of 0, and a factor that stays, as curvature: the summands of a kind of text are believed to
// lie some 0.3 around 0, so that tokens seldom seen keep theirs small.
constexpr double prior = 12, factor_prior = 20;
// A pass moves a summand by one at most.
constexpr double longest_step = 1;
// Tokens below a millionth of the likeliest one's weight count for nothing in the mean of logits.
constexpr uint32_t least_weight = 1u << 10;

// What one pass has seen, of a part or of all.
struct Seen {
  std::vector<double> expected, found;  // of each id
  double slope = 0, curvature = 0;      // of the likelihood, by the factor

  void clear(size_t ids) {
    expected.assign(ids, 0);
    found.assign(ids, 0);
    slope = curvature = 0;
  }
  void add(const Seen& part) {
    slope += part.slope;
    curvature += part.curvature;
    for (size_t id = 0; id < expected.size(); ++id) {
      expected[id] += part.expected[id];
      found[id] += part.found[id];
    }
  }
};

// The fit under way: what is rounded into an Adaptation.
struct State {
  double factor = 1;
  std::vector<double> bias;
  Adaptation rounded(const Digest& model) const {
    Adaptation out;
    out.model = model;
    out.factor = static_cast<float>(factor);
    for (const double b : bias) {
      out.bias.push_back(static_cast<int8_t>(std::lround(std::clamp(b / Adaptation::bias_step, -127.0, 127.0))));
    }
    return out;
  }
};

class Fit {
 public:
  Fit(std::shared_ptr<const Model> model, std::span<const Bytes> parts, const FitOptions& options)
      : base_(std::move(model)), parts_(parts), options_(options), symbols_(parts.size()) {
    for (size_t i = 0; i < parts.size(); ++i) base_->tokenizer().encode(parts[i], &symbols_[i]);
    state_.bias.assign(base_->config().vocab, 0);
  }

  Result<Adaptation> run() {
    if (std::all_of(symbols_.begin(), symbols_.end(), [](const auto& s) { return s.empty(); })) {
      return Status(Code::failure, "there is no text to fit an adaptation to");
    }
    for (int pass = 0; pass < options_.passes; ++pass) {
      current_ = state_.rounded(base_->digest());
      std::shared_ptr<const Model> model = base_;
      if (pass > 0) {
        LLMC_ASSIGN(model, adapt_model(base_, current_, sha256(current_.serialize())));
      }
      LLMC_ASSIGN(engine_, make_native_engine(std::move(model)));
      sum_.clear(state_.bias.size());
      sum_.curvature = factor_prior;
      LLMC_TRY(see_all(pass));
      step();
    }
    return state_.rounded(base_->digest());
  }

 private:
  // Parts are added in their order, so that the sums do not depend on the threads; each thread holds one that waits for its turn.
  Status see_all(int pass) {
    std::atomic<size_t> next{0};
    std::mutex mutex;  // of all below, of the sum and of progress
    std::condition_variable turn;
    Status outcome;
    size_t done = 0;
    const auto work = [&] {
      Result<std::unique_ptr<Session>> session = engine_->make_session(1, static_cast<int>(options_.window));
      Seen seen;
      for (size_t part; (part = next++) < parts_.size();) {
        Status status = session.ok() ? see(**session, part, &seen) : session.status();
        std::unique_lock lock(mutex);
        turn.wait(lock, [&] { return done == part || !outcome.ok(); });
        if (!outcome.ok()) return;
        outcome = std::move(status);
        if (outcome.ok()) {
          sum_.add(seen);
          ++done;
          const double passes = options_.passes, share = static_cast<double>(done) / static_cast<double>(parts_.size());
          if (options_.progress) options_.progress((pass + share) / passes);
        }
        turn.notify_all();
        if (!outcome.ok()) return;
      }
    };
    std::vector<std::thread> threads;
    const auto wanted = static_cast<int>(std::min<size_t>(parts_.size(), 1u << 16));
    for (int i = 1; i < std::min(options_.threads, wanted); ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    return outcome;
  }

  Status see(Session& session, size_t part, Seen* seen) {
    seen->clear(state_.bias.size());
    session.reset(0);
    const auto answer = [&](int row, Symbol want) -> Status {
      if (options_.stop && options_.stop()) return {Code::interrupted, "stopped on request"};
      if (want < base_->config().vocab) take(session.weights(row), session.total(row), want, seen);
      return {};
    };
    const WindowCursor begin(options_.window, options_.carry);
    const Status scored = score_text(session, base_->config().start, symbols_[part], begin, Ask::tables, answer);
    return scored.code() == Code::range ? scored.with("the sample cannot be used") : scored;
  }

  void take(std::span<const uint32_t> weights, uint64_t total, Symbol truth, Seen* seen) const {
    const double share = 1 / static_cast<double>(total);
    // Logits before the adaptation, but for a summand that all have in common.
    const auto logit = [&](size_t id) {
      return (std::log(static_cast<double>(weights[id])) - current_.bias[id] * double{Adaptation::bias_step}) / current_.factor;
    };
    double mean = 0, square = 0, whole = 0;
    for (size_t id = 0; id < seen->expected.size(); ++id) {
      const double chance = weights[id] * share;
      seen->expected[id] += chance;
      if (weights[id] < least_weight) continue;
      const double y = logit(id);
      whole += chance;
      mean += chance * y;
      square += chance * y * y;
    }
    const auto id = static_cast<size_t>(truth);
    seen->found[id] += 1;
    if (weights[id] < least_weight || whole <= 0) return;
    mean /= whole;
    seen->slope += logit(id) - mean;
    seen->curvature += square / whole - mean * mean;
  }

  void step() {
    const std::vector<double>&expected = sum_.expected, &found = sum_.found;
    const double most = 127 * double{Adaptation::bias_step};
    state_.factor = std::clamp(state_.factor + sum_.slope / sum_.curvature, double{Adaptation::least_factor}, double{Adaptation::greatest_factor});
    for (size_t id = 0; id < expected.size(); ++id) {
      // What was expected is no less than the curvature of the likelihood: no step is too long.
      const double step = (found[id] - expected[id] - prior * state_.bias[id]) / (expected[id] + prior);
      state_.bias[id] = std::clamp(state_.bias[id] + std::clamp(step, -longest_step, longest_step), -most, most);
    }
  }

  const std::shared_ptr<const Model> base_;
  const std::span<const Bytes> parts_;
  const FitOptions& options_;
  std::vector<std::vector<Symbol>> symbols_;
  State state_;
  Adaptation current_;  // what the engine computes with
  std::unique_ptr<Engine> engine_;
  Seen sum_;  // of the pass
};

}  // namespace

Result<Adaptation> fit_adaptation(std::shared_ptr<const Model> model, std::span<const Bytes> parts, const FitOptions& options) {
  return Fit(std::move(model), parts, options).run();
}

}  // namespace llmc
