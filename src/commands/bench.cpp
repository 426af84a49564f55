// bench: how fast a model is on this machine, and how near to what the machine can do.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/signals.h"
#include "build_info.h"
#include "commands/compute.h"
#include "commands/speed.h"
#include "commands/streams.h"
#include "commands/timed_ops.h"
#include "exact/kernels.h"
#include "model/forward_session.h"
#include "model/host_ops.h"
#include "model/import.h"

namespace llmc {

namespace po = boost::program_options;
using nlohmann::ordered_json;

namespace {

using Clock = std::chrono::steady_clock;

struct Machine {
  std::string cpu;
  int cores = 0;
  double macs = 0;       // 8-bit multiply-adds a second that the linear kernel reaches at its best, all threads
  double bandwidth = 0;  // bytes a second read from memory, all threads
};

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

// The sum over threads of what `work` returns (an amount), per second, over about `seconds`.
template <class Work>
double per_second(int threads, double seconds, Work work) {
  std::vector<double> rates(threads);
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      work(t);  // warm
      double amount = 0;
      const auto begin = Clock::now();
      while (since(begin) < seconds) amount += work(t);
      rates[t] = amount / since(begin);
    });
  }
  for (std::thread& thread : pool) thread.join();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

Result<Machine> measure_machine(int threads, double seconds, std::string_view isa) {
  Machine machine{cpu_name(), available_cores(), 0, 0};
  LLMC_ASSIGN(const Kernels* const kernels, select_kernels(isa));
  constexpr int k = 512, n = 512, rows = 60;  // weights that stay in a core's own cache
  struct Layer {
    PlainMemory memory;
    uint8_t *packed, *q;
    std::vector<float> scales, y;
  };
  std::vector<Layer> layers(threads);
  for (Layer& layer : layers) {
    layer.packed = layer.memory.take(kernels->packed_bytes(n, k));
    layer.q = layer.memory.take(rows * kernels->quantised_bytes(8, k));
    const std::vector<int8_t> w(size_t{n} * k, 3);
    const std::vector<float> x(size_t{rows} * k, 1.0f);
    layer.scales.assign(std::max(n, rows), 0.5f);
    layer.y.resize(size_t{rows} * n);
    std::vector<uint8_t> range(rows);
    kernels->pack(n, k, w.data(), layer.packed);
    kernels->quantise8(rows, k, x.data(), k, layer.q, layer.scales.data(), range.data());
  }
  machine.macs = per_second(threads, seconds, [&](int t) {
    const FloatState exact;
    Layer& layer = layers[t];
    kernels->linear8(rows, n, k, layer.q, layer.scales.data(), layer.packed, layer.scales.data(), nullptr,
                     layer.y.data(), n);
    return double{rows} * n * k;
  });
  constexpr size_t words = size_t{96} << 17;  // 96 MiB a thread: more than caches hold
  std::vector<std::vector<uint64_t>> blocks(threads);
  for (auto& block : blocks) block.assign(words, 1);
  std::atomic<uint64_t> keep{0};
  machine.bandwidth = per_second(threads, seconds, [&](int t) {
    uint64_t sum = 0;
    for (const uint64_t word : blocks[t]) sum += word;
    keep += sum;
    return static_cast<double>(words * 8);
  });
  return machine;
}

// What a token costs, by the model's shape alone.
struct Cost {
  double linear = 0;     // multiply-adds, head included
  double per_seen = 0;   // multiply-adds of attention for each position that the token sees
  double weights = 0;    // bytes
  double kv_seen = 0;    // bytes of cache for each position seen
};

Cost cost_of(const Model& model) {
  const ModelConfig& c = model.config();
  Cost cost;
  for (const auto& linear : model.linears()) {
    cost.linear += double{1} * linear->n * linear->k;
    cost.weights += double{1} * linear->n * linear->k;
  }
  cost.per_seen = 2.0 * c.layers * c.q_width();
  cost.kv_seen = 2.0 * c.layers * c.kv_width() * (c.kv_bits / 8);
  return cost;
}

Status bench_rows(Engine& engine, const Machine& machine, std::span<const Symbol> text, double bytes_per_token,
                  int threads, const std::vector<int>& sweep, double seconds, ordered_json* rows, bool print) {
  const Cost cost = cost_of(engine.model());
  if (print) {
    fmt::print("\n{:<8}{:>8}{:>12}{:>10}{:>12}{:>10}{:>10}{:>12}\n", "", "streams", "tokens/s", "KB/s", "GMAC/s",
               "of peak", "GB/s", "of memory");
  }
  for (const bool decode : {false, true}) {
    // Compressing, the rows of a step are the oldest chunk's.
    for (const int streams : decode ? sweep : std::vector<int>{1}) {
      if (stop_requested()) return {Code::interrupted, "stopped on request"};
      LLMC_ASSIGN(const Measured m, measure_speed(engine, text, threads, streams, decode, seconds));
      const double rate = static_cast<double>(m.tokens) / m.seconds, seen = m.seen / static_cast<double>(m.tokens);
      const double macs = rate * (cost.linear + cost.per_seen * seen);
      // Scoring reads weights and caches once for a block of rows; only decoding can be bound by memory.
      const double bytes = decode ? rate * (cost.weights / streams + cost.kv_seen * seen) : 0;
      ordered_json row = {{"mode", decode ? "decode" : "score"},
                          {"streams_per_thread", streams},
                          {"tokens_per_second", rate},
                          {"text_bytes_per_second", rate * bytes_per_token},
                          {"macs_per_second", macs},
                          {"of_peak", macs / machine.macs}};
      if (decode) {
        row["bytes_per_second"] = bytes;
        row["of_memory"] = bytes / machine.bandwidth;
      }
      rows->push_back(row);
      if (!print) continue;
      fmt::print("{:<8}{:>8}{:>12.0f}{:>10.1f}{:>12.1f}{:>9.0f}%", decode ? "decode" : "score", streams, rate,
                 rate * bytes_per_token / 1000, macs / 1e9, 100 * macs / machine.macs);
      if (decode) fmt::print("{:>10.1f}{:>11.0f}%", bytes / 1e9, 100 * bytes / machine.bandwidth);
      fmt::print("\n");
      std::fflush(stdout);
    }
  }
  return {};
}

// The native engine's operations one by one, on one thread.
Status bench_operations(const std::shared_ptr<const Model>& model, std::span<const Symbol> text, int decode_streams,
                        double seconds, ordered_json* out, bool print) {
  LLMC_ASSIGN(const Kernels* const kernels, select_kernels(""));
  const HostWeights weights(model, *kernels, std::make_unique<PlainMemory>());
  LLMC_ASSIGN(const int context, checked_context(*model, decode_streams, 0));
  for (const bool decode : {false, true}) {
    const int streams = decode ? decode_streams : 1;
    TimedOps::Seconds times{};
    auto host = std::make_unique<HostOps>(weights, streams, context, std::make_unique<PlainMemory>());
    const auto session =
        make_forward_session(*model, std::make_unique<TimedOps>(std::move(host), &times), streams, context);
    SpeedStreams loop(*session, text, model->config().start, decode);
    LLMC_TRY(loop.warm());
    times.fill(0);
    Measured m;
    const auto begin = Clock::now();
    do {
      if (stop_requested()) return {Code::interrupted, "stopped on request"};
      LLMC_TRY(loop.step(&m));
    } while (since(begin) < seconds);
    const double whole = since(begin), tokens = static_cast<double>(m.tokens);
    const std::string mode = decode ? "decode" : "score";
    if (print) fmt::print("\n{}, one thread, {} streams: {:.2f} us a token\n", mode, streams, 1e6 * whole / tokens);
    ordered_json operations;
    double rest = whole;
    const auto show = [&](std::string_view name, double time) {
      operations[std::string(name)] = time / tokens;
      if (print) fmt::print("  {:<18}{:>9.2f} us{:>6.1f} %\n", name, 1e6 * time / tokens, 100 * time / whole);
    };
    for (int kind = 0; kind < TimedOps::kinds; ++kind) {
      rest -= times[kind];
      show(TimedOps::names[kind], times[kind]);
    }
    show("everything else", rest);
    (*out)[mode] = {{"streams", streams}, {"seconds_per_token", whole / tokens}, {"operations", operations}};
  }
  return {};
}

// A model of a shape, by way of a file that is gone once it is read.
Result<std::shared_ptr<const Model>> draw_model(const std::string& shape, int activations) {
  if (activations != 8 && activations != 16) return Status(Code::usage, "--activations is 8 or 16");
  std::string config = shape_config(shape);
  if (config.empty()) {
    const Result<Bytes> file = read_file(shape, 1 << 24);
    if (!file.ok()) {
      return Status(Code::usage, fmt::format("--shape {}: neither a file nor a known shape ({})", printable(shape),
                                             fmt::join(shape_names(), ", ")));
    }
    config = as_text(*file);
  }
  std::string folder = (std::filesystem::temp_directory_path() / "llmc-shape-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return errno_status(errno, folder);
  ImportOptions options;
  options.activations = activations;
  options.stop = stop_requested;
  options.name = shape + ", drawn weights";
  const std::string path = folder + "/model";
  const Result<ImportReport> report = import_shape(config, shape, path, options);
  Result<std::shared_ptr<const Model>> model = report.ok() ? Model::load(path) : report.status();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return model;
}

// What is coded while measuring.
struct BenchSample {
  std::vector<Symbol> symbols;
  double bytes_per_token = 0;
};

Result<BenchSample> sample_of_text(const Tokenizer& tokenizer, const std::string& path) {
  const ByteView own = as_bytes(sample_text_for_speed());
  Bytes text(own.begin(), own.end());
  if (!path.empty()) {
    LLMC_ASSIGN(text, read_file(path));
    text.resize(std::min<size_t>(text.size(), 1 << 20));
    if (text.empty()) return Status(Code::usage, printable(path) + " is empty");
  }
  BenchSample sample;
  tokenizer.encode(text, &sample.symbols);
  sample.bytes_per_token = static_cast<double>(text.size()) / static_cast<double>(sample.symbols.size());
  return sample;
}

// A drawn tokenizer knows no words. English takes the tokenizers of such models about four bytes a token.
BenchSample drawn_sample(int symbols) {
  BenchSample sample{std::vector<Symbol>(1 << 14), 4.0};
  for (size_t i = 0; i < sample.symbols.size(); ++i) {
    sample.symbols[i] = static_cast<Symbol>((static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15 >> 32) * symbols >> 32);
  }
  return sample;
}

Result<std::vector<int>> parse_sweep(const std::string& words) {
  std::vector<int> sweep;
  for (size_t at = 0; at <= words.size();) {
    const size_t comma = std::min(words.find(',', at), words.size());
    int value = 0;
    const auto [end, error] = std::from_chars(words.data() + at, words.data() + comma, value);
    if (error != std::errc() || end != words.data() + comma || value < 1 || value > 4096) {
      return Status(Code::usage,
                    "--streams is a list of numbers from 1 to 4096, such as 1,8,64; '" + printable(words) + "' is not");
    }
    sweep.push_back(value);
    at = comma + 1;
  }
  return sweep;
}

}  // namespace

Status run_bench(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  OptionSet set("bench", "llmc-batch bench [options]",
                "Measures a model, or a shape with drawn weights, on this machine: scoring (what compress does) and decoding (what extract does),\n"
                "beside the best multiply rate and memory bandwidth that the machine shows in the same run.");
  set.group("Bench").add_options()
      ("model", po::value<std::string>()->default_value("")->value_name("FILE"),
       "model file; default: the embedded model")
      ("shape", po::value<std::string>()->default_value("")->value_name("NAME|FILE"),
       "in place of a model, drawn weights: smollm2-135m, llama-8b, ..., or what a config.json describes")
      ("activations", po::value<int>()->default_value(16)->value_name("8|16"), "bits of the activations of a shape")
      ("engine", po::value<std::string>()->default_value("auto")->value_name("NAME"), "auto, torch or native")
      ("device", po::value<std::string>()->default_value("auto")->value_name("NAME"), "cpu, cuda, cuda:N, or auto: the CPU")
      ("threads", po::value<int>()->default_value(0)->value_name("N"), "compute threads; 0: all cores")
      ("streams", po::value<std::string>()->default_value("")->value_name("LIST"),
       "streams of a thread in decoding, e.g. 1,8,64; default: 1 and what extract takes")
      ("text", po::value<std::string>()->default_value("")->value_name("FILE"),
       "sample of text (its first 1 MiB); default: a built-in one")
      ("seconds", po::value<double>()->default_value(2)->value_name("S"), "for each figure")
      ("json", po::bool_switch(), "as JSON");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  const double seconds = set.get<double>("seconds");
  if (!(seconds > 0 && seconds <= 3600)) return {Code::usage, "--seconds is more than 0 and at most 3600"};
  if (set.get<int>("threads") < 0 || set.get<int>("threads") > 1024) return {Code::usage, "--threads is 0 to 1024"};
  const bool json = set.get<bool>("json");

  const std::string shape = set.get<std::string>("shape"), text = set.get<std::string>("text");
  if (!shape.empty() && !set.get<std::string>("model").empty()) {
    return {Code::usage, "--shape stands in place of --model"};
  }
  if (shape.empty() && set.given("activations")) return {Code::usage, "--activations goes with --shape: a model has its own"};
  if (!shape.empty() && !text.empty()) return {Code::usage, "the drawn weights of --shape read no --text"};
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, shape.empty() ? open_model(set.get<std::string>("model"))
                                                                      : draw_model(shape, set.get<int>("activations")));
  LLMC_ASSIGN(const std::unique_ptr<Engine> engine, open_engine(set.get<std::string>("engine"), model, set.get<std::string>("device"), context.placement));
  int threads = set.get<int>("threads");
  if (threads == 0) threads = engine->good_sessions() > 0 ? engine->good_sessions() : available_cores();
  const int kept_busy = engine->good_streams(threads, 0);
  std::vector<int> sweep = {1, kept_busy > 0 ? kept_busy : default_streams(model.get(), threads)};
  if (!set.get<std::string>("streams").empty()) {
    LLMC_ASSIGN(sweep, parse_sweep(set.get<std::string>("streams")));
  }
  BenchSample sample;
  if (shape.empty()) {
    LLMC_ASSIGN(sample, sample_of_text(model->tokenizer(), text));
  } else {
    sample = drawn_sample(model->symbols());
  }
  const double bytes_per_token = sample.bytes_per_token;

  LLMC_ASSIGN(const Machine machine, measure_machine(threads, std::min(seconds, 1.0), ""));
  ordered_json out = {{"version", LLMC_VERSION},
                      {"commit", LLMC_COMMIT},
                      {"cpu", machine.cpu},
                      {"cores", machine.cores},
                      {"engine", engine->name()},
                      {"model", model->name()},
                      {"model_sha256", to_hex(model->digest())},
                      {"parameters", model->parameters()},
                      {"profile", model->profile()},
                      {"threads", threads},
                      {"bytes_per_token", bytes_per_token},
                      {"peak_macs_per_second", machine.macs},
                      {"memory_bytes_per_second", machine.bandwidth},
                      {"rows", ordered_json::array()},
                      {"operations", nullptr}};
  if (!json) {
    fmt::print("llmc-batch {} ({}) on {}, {} cores\n", LLMC_VERSION, LLMC_COMMIT, machine.cpu, machine.cores);
    fmt::print("{} ({}, {:.1f} M parameters), {}, {} threads, {:.2f} bytes a token{}\n", model->name(), model->profile(),
               static_cast<double>(model->parameters()) / 1e6, engine->name(), threads, bytes_per_token,
               shape.empty() ? "" : " taken for granted");
    fmt::print("peak {:.1f} GMAC/s of 8 bits, memory {:.1f} GB/s\n", machine.macs / 1e9, machine.bandwidth / 1e9);
  }
  LLMC_TRY(bench_rows(*engine, machine, sample.symbols, bytes_per_token, threads, sweep, seconds, &out["rows"], !json));
  if (engine->name().starts_with("native")) {
    LLMC_TRY(bench_operations(model, sample.symbols, sweep.back(), seconds, &out["operations"], !json));
  }
  if (json) fmt::print("{}\n", out.dump(1));
  return {};
}

}  // namespace llmc
