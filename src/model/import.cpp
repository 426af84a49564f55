#include "model/import.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "exact/kernels.h"
#include "model/import_plan.h"
#include "model/json_field.h"
#include "model/model_error.h"
#include "model/model_writer.h"
#include "model/trial.h"
#include "tokens/unicode.h"

namespace llmc {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kFloatsAtOnce = 4u << 20;

std::string float_bits(float value) { return fmt::format("{:08x}", std::bit_cast<uint32_t>(value)); }

// "qwen3" says all there is to say about a plain one, and is what older versions read.
bool is_plain_qwen3(const ModelConfig& c) {
  return c.family == "qwen3" && c.norm == NormKind::rms && c.activation == Activation::silu && c.gated && !c.parallel &&
         c.qk_norm && !c.learned_positions && !c.attention_bias && !c.output_bias && !c.mlp_bias &&
         std::all_of(c.windows.begin(), c.windows.end(), [](int w) { return w == 0; });
}

std::string config_text(const ModelConfig& c) {
  json out{{"vocab", c.vocab},
           {"width", c.width},
           {"layers", c.layers},
           {"heads", c.heads},
           {"kv_heads", c.kv_heads},
           {"head_dim", c.head_dim},
           {"ffn", c.ffn},
           {"context", c.context},
           {"rotary", c.rotary},
           {"rope_pairs", "halves"},
           {"tied", c.tied},
           {"eps_bits", float_bits(c.eps)},
           {"attention_scale_bits", float_bits(c.attention_scale)},
           {"start", c.start}};
  if (c.architecture == "decoder") {
    static constexpr const char* kActivations[] = {"silu", "gelu", "gelu_tanh"};
    out.update({{"family", c.family},
                {"norm", c.norm == NormKind::rms ? "rms" : "layer"},
                {"activation", kActivations[static_cast<int>(c.activation)]},
                {"positions", c.learned_positions ? "learned" : "rope"},
                {"gated", c.gated},
                {"parallel", c.parallel},
                {"qk_norm", c.qk_norm},
                {"attention_bias", c.attention_bias},
                {"output_bias", c.output_bias},
                {"mlp_bias", c.mlp_bias},
                {"windows", c.windows}});
  }
  return out.dump();
}

// What a piece's tensor has in the checkpoint.
std::vector<uint64_t> shape_of(const TensorPiece& piece) {
  const uint64_t rows = piece.origin.rows > 0 ? piece.origin.rows : piece.n;
  if (!piece.matrix && piece.k == 1) return {rows};
  return piece.origin.columns ? std::vector<uint64_t>{piece.k, rows} : std::vector<uint64_t>{rows, piece.k};
}

// A file of our own, seen as memory.
Result<std::shared_ptr<const Model>> load_mapped(const fs::path& path) {
  LLMC_ASSIGN(const File file, File::open_read(path));
  LLMC_ASSIGN(const uint64_t size, file.size());
  void* const p = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (p == MAP_FAILED) return errno_status(errno, path);
  const auto unmap = [size](const void* begin) { munmap(const_cast<void*>(begin), size); };
  const std::shared_ptr<const void> owner(p, unmap);
  return Model::from_bytes({static_cast<const uint8_t*>(p), size}, owner);
}

class Importer {
 public:
  Importer(TensorStore store, ImportPlan plan, const ImportOptions& options, const fs::path& output)
      : store_(std::move(store)), plan_(std::move(plan)), c_(plan_.config), options_(options), writer_(output) {}

  Result<ImportReport> run(const fs::path& source) {
    LLMC_TRY(check_tensors());
    const bool long_context = c_.context > kMaxContext / 2;
    const bool sample = options_.activations == 0 || (options_.kv == 0 && !long_context);
    Profile profile = Profile::of(sample ? 16 : options_.activations, sample ? 16 : options_.kv);
    if (long_context && options_.kv == 0) profile.kv = 8;
    ModelWriter::Metadata metadata = describe(source, profile);
    declare();
    LLMC_TRY(writer_.start(metadata));
    LLMC_TRY(write_tables());
    LLMC_TRY(write_pieces());
    if (sample) {
      LLMC_ASSIGN(auto model, load_mapped(writer_.unfinished()));
      const auto measuring = [this](double part) { tell("measuring the sample text", part); };
      LLMC_ASSIGN(const Trial trial,
                  choose_profile(std::move(model), options_.activations, options_.kv, measuring, options_.stop));
      report_.sample_bytes = trial.sample_bytes;
      report_.sample_tokens = trial.sample_tokens;
      report_.bits_best = trial.bits_best;
      report_.bits_chosen = trial.bits_chosen;
      metadata["profile"] = trial.profile.json(c_.layers);
      LLMC_TRY(writer_.restate(metadata));
    }
    LLMC_TRY(go_on());
    tell("checking", 1);
    // The reader's own checks (the range table) are the last word.
    const auto model = load_mapped(writer_.unfinished());
    if (!model.ok()) return model.status();
    report_.profile = (*model)->profile();
    LLMC_TRY(writer_.finish());
    return std::move(report_);
  }

 private:
  void tell(const std::string& what, double part) const {
    if (options_.progress) options_.progress(what, part);
  }
  Status go_on() const { return options_.stop && options_.stop() ? Status(Code::interrupted, "stopped on request") : Status(); }

  // Every tensor is there in the right shape, and there are no others, before any is read.
  Status check_tensors() {
    for (const TensorPiece& piece : plan_.pieces) {
      const Origin& from = piece.origin;
      LLMC_ASSIGN(std::vector<uint64_t> shape, store_.shape(from.tensor));
      const std::vector<uint64_t> wanted = shape_of(piece);
      const bool padded = from.more && shape.size() == 2 && shape[0] >= wanted[0] && shape[1] == piece.k;
      if (shape == wanted || padded) continue;
      Tensor has, asks;
      has.shape = shape;
      asks.shape = wanted;
      return bad(fmt::format("{}: tensor {} has the shape {}, not {}", store_.path(), from.tensor, has.shape_text(),
                             asks.shape_text()));
    }
    if (const std::string unused = store_.unused(); !unused.empty()) {
      return bad(
          fmt::format("{}: tensor {} is not part of a model of the family {}", store_.path(), unused, c_.family));
    }
    return {};
  }

  ModelWriter::Metadata describe(const fs::path& source, const Profile& profile) const {
    const auto choose = [](const std::string& given, const std::string& found, const std::string& otherwise) {
      return !given.empty() ? given : !found.empty() ? found : otherwise;
    };
    const fs::path last = source.has_filename() ? source : source.parent_path();
    const std::string own = fs::is_directory(last) ? last.filename().string() : last.stem().string();
    return {{"format", Model::kFormat},
            {"format_version", std::to_string(Model::kFormatVersion)},
            {"numerics", Model::kNumerics},
            {"architecture", c_.architecture},
            {"config", config_text(c_)},
            {"profile", profile.json(c_.layers)},
            {"unicode", unicode::kUnicodeVersion},
            {"name", choose(options_.name, plan_.name, own)},
            {"license", choose(options_.license, plan_.license, "unknown")}};
  }

  void declare() {
    if (!c_.learned_positions) {
      const std::vector<uint64_t> shape{static_cast<uint64_t>(c_.context), static_cast<uint64_t>(c_.rotary / 2)};
      writer_.declare(model_names::kRopeCos, DType::f32, shape);
      writer_.declare(model_names::kRopeSin, DType::f32, shape);
    }
    for (const TensorPiece& piece : plan_.pieces) {
      if (piece.matrix) {
        writer_.declare(piece.name + model_names::kScaleSuffix, DType::f32, {piece.n});
        writer_.declare(piece.name, DType::i8, {piece.n, piece.k});
      } else if (piece.k == 1) {
        writer_.declare(piece.name, DType::f32, {piece.n});
      } else {
        writer_.declare(piece.name, DType::f32, {piece.n, piece.k});
      }
    }
    writer_.declare(model_names::kTokenizer, DType::u8, {plan_.tokenizer_json.size()});
  }

  static ByteView bytes_of(const std::vector<float>& values) {
    return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
  }

  Status write_tables() {
    LLMC_TRY(writer_.put(model_names::kTokenizer, 0, plan_.tokenizer_json));
    if (c_.learned_positions) return {};
    const RopeTable rope = make_rope_table(plan_.rope_theta, c_.rotary, c_.context, plan_.rope);
    LLMC_TRY(writer_.put(model_names::kRopeCos, 0, bytes_of(rope.cos)));
    return writer_.put(model_names::kRopeSin, 0, bytes_of(rope.sin));
  }

  Status write_pieces() {
    double all = 0, done = 0;
    for (const TensorPiece& piece : plan_.pieces) all += static_cast<double>(piece.n * piece.k);
    double noise = 0, power = 0;
    for (const TensorPiece& piece : plan_.pieces) {
      tell("reading weights", done / all);
      Error error;
      LLMC_TRY(write_piece(piece, &error));
      done += static_cast<double>(piece.n * piece.k);
      noise += error.noise;
      power += error.power;
      if (piece.matrix) add_error(piece.name, error);
    }
    report_.weight_error = power > 0 ? std::sqrt(noise / power) : 0;
    for (size_t i = 0; i < errors_.size(); ++i) {
      report_.layers[i].error = errors_[i].power > 0 ? std::sqrt(errors_[i].noise / errors_[i].power) : 0;
    }
    return {};
  }

  struct Error {
    double noise = 0, power = 0;
  };

  void add_error(const std::string& name, const Error& error) {
    const std::string_view layers = "model.layers.";
    std::string group = name == model_names::kEmbedding ? "embedding" : name == model_names::kHead ? "head" : "";
    if (group.empty()) {
      const std::string rest = name.substr(layers.size());
      group = "layer " + rest.substr(0, rest.find('.'));
    }
    if (report_.layers.empty() || report_.layers.back().name != group) {
      report_.layers.push_back({group, 0});
      errors_.emplace_back();
    }
    errors_.back().noise += error.noise;
    errors_.back().power += error.power;
  }

  // A few rows at a time; a transposed tensor has to be there as a whole.
  Status write_piece(const TensorPiece& piece, Error* error) {
    std::vector<float> whole;
    const uint64_t stored = piece.origin.rows > 0 ? piece.origin.rows : piece.n;
    if (piece.origin.columns) {
      whole.resize(stored * piece.k);
      LLMC_TRY(store_.read(piece.origin.tensor, 0, piece.k, whole.data()));
    }
    const uint64_t step = std::max<uint64_t>(1, kFloatsAtOnce / piece.k);
    std::vector<float> rows, scales;
    std::vector<int8_t> q;
    for (uint64_t first = 0; first < piece.n; first += step) {
      LLMC_TRY(go_on());
      const uint64_t count = std::min(step, piece.n - first);
      rows.resize(count * piece.k);
      if (piece.origin.columns) {
        for (uint64_t i = 0; i < count; ++i) {
          for (uint64_t j = 0; j < piece.k; ++j) {
            rows[i * piece.k + j] = whole[j * stored + piece.origin.first + first + i];
          }
        }
      } else {
        LLMC_TRY(read_rows(piece, first, count, rows.data()));
      }
      if (!piece.matrix) {
        LLMC_TRY(writer_.put(piece.name, first * piece.k * sizeof(float), bytes_of(rows)));
        continue;
      }
      LLMC_TRY(quantise(piece, first, rows, &q, &scales, error));
      LLMC_TRY(writer_.put(piece.name, first * piece.k, {reinterpret_cast<const uint8_t*>(q.data()), q.size()}));
      LLMC_TRY(writer_.put(piece.name + model_names::kScaleSuffix, first * sizeof(float), bytes_of(scales)));
    }
    return {};
  }

  // Rows that lie together are read together.
  Status read_rows(const TensorPiece& piece, uint64_t first, uint64_t count, float* out) const {
    const Origin& from = piece.origin;
    if (from.order.empty()) return store_.read(from.tensor, from.first + first, count, out);
    for (uint64_t i = 0; i < count;) {
      uint64_t run = 1;
      while (i + run < count && from.order[first + i + run] == from.order[first + i] + run) ++run;
      LLMC_TRY(store_.read(from.tensor, from.first + from.order[first + i], run, out + i * piece.k));
      i += run;
    }
    return {};
  }

  // int8 with one scale per row (docs/MODEL.md, "Weights").
  static Status quantise(const TensorPiece& piece, uint64_t first, const std::vector<float>& rows, std::vector<int8_t>* q,
                         std::vector<float>* scales, Error* error) {
    const uint64_t k = piece.k, n = rows.size() / k;
    q->assign(rows.size(), 0);
    scales->assign(n, 0x1p-40f);
    for (uint64_t row = 0; row < n; ++row) {
      const float* w = rows.data() + row * k;
      float greatest = 0;
      for (uint64_t i = 0; i < k; ++i) greatest = std::max(greatest, std::fabs(w[i]));
      const float sw = greatest / 127.0f;
      if (sw > 0x1p20f) return bad(fmt::format("tensor {}: row {} is larger than 127 * 2^20", piece.name, first + row));
      const bool zero = sw < 0x1p-40f;
      if (!zero) (*scales)[row] = sw;
      double noise = 0, power = 0;
      for (uint64_t i = 0; i < k; ++i) {
        if (!zero) (*q)[row * k + i] = static_cast<int8_t>(std::clamp(std::nearbyint(w[i] / sw), -127.0f, 127.0f));
        const double off = static_cast<double>(w[i]) - static_cast<double>((*q)[row * k + i]) * (*scales)[row];
        noise += off * off;
        power += static_cast<double>(w[i]) * w[i];
      }
      error->noise += noise;
      error->power += power;
    }
    return {};
  }

  TensorStore store_;
  const ImportPlan plan_;
  const ModelConfig& c_;
  const ImportOptions& options_;
  ModelWriter writer_;
  ImportReport report_;
  std::vector<Error> errors_;  // of report_.layers
};

Status check_options(const ImportOptions& options) {
  const auto among = [](int value) { return value == 0 || value == 8 || value == 16; };
  if (!among(options.activations)) {
    return {Code::usage, fmt::format("activations of {} bits are not offered; 8 and 16 are", options.activations)};
  }
  if (!among(options.kv)) {
    return {Code::usage, fmt::format("keys and values of {} bits are not offered; 8 and 16 are", options.kv)};
  }
  return {};
}

Result<ImportReport> run_import(TensorStore store, ImportPlan plan, const fs::path& source, const fs::path& output,
                                const ImportOptions& options) {
  LLMC_TRY(check_plan(options, &plan).with(source.string()));
  plan.config.architecture = is_plain_qwen3(plan.config) ? "qwen3" : "decoder";
  return Importer(std::move(store), std::move(plan), options, output).run(source);
}

}  // namespace

Result<ImportReport> import_model(const fs::path& source, const fs::path& output, const ImportOptions& options) {
  LLMC_TRY(check_options(options));
  const FloatState float_state;
  std::error_code ignored;
  TensorStore store;
  ImportPlan plan;
  if (fs::is_regular_file(source, ignored)) {
    LLMC_ASSIGN(File file, File::open_read(source));
    LLMC_ASSIGN(const Gguf gguf, Gguf::read(file));
    LLMC_ASSIGN(store, TensorStore::open_gguf(std::move(file), gguf));
    LLMC_ASSIGN(plan, plan_gguf(gguf, store));
  } else {
    // The configuration first: its errors say more than a missing tensor's.
    if (!fs::exists(source / "config.json", ignored)) return File::open_read(source / "config.json").status();
    LLMC_ASSIGN(store, TensorStore::open_safetensors(source));
    LLMC_ASSIGN(plan, plan_huggingface(source, store));
  }
  return run_import(std::move(store), std::move(plan), source, output, options);
}

Result<ImportReport> import_shape(const std::string& config, const std::string& where, const fs::path& output,
                                  const ImportOptions& options) {
  LLMC_TRY(check_options(options));
  const FloatState float_state;
  LLMC_ASSIGN(ImportPlan plan, plan_config(config, where));
  TensorStore store;
  for (const TensorPiece& piece : plan.pieces) store.draw(piece.origin.tensor, shape_of(piece));
  return run_import(std::move(store), std::move(plan), where, output, options);
}

}  // namespace llmc
