#include "model/trial.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/forward_session.h"
#include "model/host_ops.h"
#include "model/rope_table.h"
#include "model/sample_text.h"

namespace llmc {

namespace {

constexpr double kTolerance = 0.001;
constexpr double kBitsOfEscape = 8;
// ln(2) / 2: half the mean square of small changes of log2(p), times this, is what they cost in bits.
constexpr double kHalfLn2 = 0x1.62e42fefa39efp-2;

}  // namespace

std::string Profile::json(int layers) const {
  const nlohmann::json layer{{"attn_in", attn_in}, {"attn_out", attn_out}, {"mlp_in", mlp_in}, {"mlp_out", mlp_out}};
  return nlohmann::json{{"layers", std::vector<nlohmann::json>(layers, layer)}, {"head", head}, {"kv", kv}}.dump();
}

// Runs the sample text through one model under changing profiles.
class ProfileTrial {
 public:
  // No one else sees the model: changing it is safe.
  ProfileTrial(std::shared_ptr<const Model> model, const Kernels& kernels, const std::function<bool()>& stop)
      : model_(std::const_pointer_cast<Model>(model)), weights_(model, kernels, std::make_unique<PlainMemory>()), stop_(stop) {
    model_->tokenizer().encode(as_bytes(kSampleText), &symbols_);
  }

  uint64_t tokens() const { return symbols_.size(); }

  // Bits of each token of the text; nothing where it drives the model out of its range.
  Result<std::vector<double>> bits(const Profile& profile) {
    const FloatState float_state;
    for (const Layer& layer : model_->layers_) {
      set(layer.attn_in, profile.attn_in);
      set(layer.attn_out, profile.attn_out);
      set(layer.mlp_in, profile.mlp_in);
      set(layer.mlp_out, profile.mlp_out);
    }
    set(model_->head_, profile.head);
    model_->config_.kv_bits = profile.kv;
    const int window = std::min<int>(model_->config().context, static_cast<int>(symbols_.size()));
    auto ops = std::make_unique<HostOps>(weights_, 1, window, std::make_unique<PlainMemory>());
    const std::unique_ptr<Session> session = make_forward_session(*model_, std::move(ops), 1, window);
    std::vector<double> bits;
    std::vector<Row> rows;
    for (size_t next = 0; next < symbols_.size();) {
      if (stop_ && stop_()) return Status(Code::interrupted, "stopped on request");
      if (session->length(0) == window) session->reset(0);
      rows.clear();
      for (int length = session->length(0);
           length < window && static_cast<int>(rows.size()) < session->max_rows() && next < symbols_.size();
           ++length, ++next) {
        rows.push_back({0, length == 0 ? model_->config().start : symbols_[next - 1], symbols_[next]});
      }
      LLMC_TRY(session->feed(rows, Ask::intervals));
      if (session->range_error_layer(0) >= 0) return std::vector<double>();
      for (size_t i = 0; i < rows.size(); ++i) {
        const Interval answer = session->interval(static_cast<int>(i));
        bits.push_back(stated_log2(static_cast<double>(answer.total) / static_cast<double>(answer.weight)));
        if (rows[i].want >= model_->config().vocab) bits.back() = bits.back() + kBitsOfEscape;
      }
    }
    return bits;
  }

 private:
  void set(const Linear* linear, int bits) { model_->linears_[linear->index]->bits = bits; }

  const std::shared_ptr<Model> model_;
  const HostWeights weights_;
  const std::function<bool()>& stop_;
  std::vector<Symbol> symbols_;
};

Result<Trial> choose_profile(std::shared_ptr<const Model> model, int activations, int kv,
                             const std::function<void(double part)>& progress, const std::function<bool()>& stop) {
  LLMC_ASSIGN(const Kernels* const kernels, select_kernels());
  const bool long_context = model->config().context > kMaxContext / 2;  // too long for 16 bits
  ProfileTrial trial(std::move(model), *kernels, stop);
  Trial out;
  out.sample_bytes = kSampleText.size();
  out.sample_tokens = trial.tokens();

  int steps = 0;
  const auto measure = [&](const Profile& profile) {
    if (progress) progress(std::min(steps++, 7) / 8.0);
    return trial.bits(profile);
  };
  const auto sum = [](const std::vector<double>& bits) {
    double total = 0;
    for (const double b : bits) total = total + b;
    return total;
  };
  Profile best = Profile::of(16, kv == 8 || long_context ? 8 : 16);
  LLMC_ASSIGN(const std::vector<double> reference, measure(best));
  if (reference.empty()) return Status(Code::model, "the sample text drives the model out of its range");
  out.bits_best = out.bits_chosen = sum(reference);
  const auto take_if_good = [&](const Profile& candidate) -> Result<bool> {
    LLMC_ASSIGN(const std::vector<double> got, measure(candidate));
    if (got.empty()) return false;
    double squares = 0;
    for (size_t i = 0; i < got.size(); ++i) squares = squares + (got[i] - reference[i]) * (got[i] - reference[i]);
    const double cost = kHalfLn2 * squares, bits = sum(got);
    if (!(cost <= kTolerance * out.bits_best) || !(bits - out.bits_best <= kTolerance * out.bits_best)) return false;
    best = candidate;
    out.bits_chosen = bits;
    return true;
  };
  if (kv == 0 && best.kv == 16) {
    Profile candidate = best;
    candidate.kv = 8;
    LLMC_TRY(take_if_good(candidate).status());
  }
  if (activations != 16) {
    LLMC_ASSIGN(const bool all, take_if_good(Profile::of(8, best.kv)));
    if (!all && activations == 8) {
      best = Profile::of(8, best.kv);
      LLMC_ASSIGN(const std::vector<double> forced, measure(best));
      out.bits_chosen = sum(forced);
    } else if (!all) {
      for (int Profile::*role :
           {&Profile::head, &Profile::mlp_in, &Profile::attn_in, &Profile::attn_out, &Profile::mlp_out}) {
        Profile candidate = best;
        candidate.*role = 8;
        LLMC_TRY(take_if_good(candidate).status());
      }
    }
  }
  out.profile = best;
  return out;
}

}  // namespace llmc
