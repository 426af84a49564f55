// model info FILE, model import SOURCE -o FILE, model adapt SAMPLE... -o FILE.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/signals.h"
#include "commands/adapt.h"
#include "commands/compute.h"
#include "commands/output_file.h"
#include "model/import.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

void print_model(const Model& model, bool json) {
  const ModelConfig& c = model.config();
  if (json) {
    const nlohmann::ordered_json out = {
        {"name", model.name()},       {"sha256", to_hex(model.digest())}, {"bytes", model.bytes().size()},
        {"family", c.family},         {"architecture", c.architecture},   {"parameters", model.parameters()},
        {"profile", model.profile()},
        {"vocabulary", c.vocab},      {"escape", model.escape()},         {"width", c.width},
        {"layers", c.layers},         {"heads", c.heads},                 {"kv_heads", c.kv_heads},
        {"head_dim", c.head_dim},     {"ffn", c.ffn},                     {"context", c.context},
        {"tied", c.tied},             {"numerics", Model::kNumerics},     {"unicode", model.unicode()},
        {"license", model.license()}};
    std::printf("%s\n", out.dump(2).c_str());
    return;
  }
  std::printf(
      "name          %s\nsha256        %s\nbytes         %zu\nfamily        %s\narchitecture  %s, %d layers of %d, %d heads of "
      "%d (%d for keys and values), feed-forward %d\nparameters    %llu\nprofile       %s (%s)\nvocabulary    %d%s%s, "
      "Unicode %s\ncontext       %d tokens\nlicence       %s\n",
      model.name().c_str(), to_hex(model.digest()).c_str(), model.bytes().size(), c.family.c_str(),
      c.architecture.c_str(), c.layers, c.width, c.heads, c.head_dim, c.kv_heads, c.ffn,
      static_cast<unsigned long long>(model.parameters()), model.profile().c_str(), Model::kNumerics, c.vocab,
      c.tied ? ", tied" : "", model.escape() ? ", with an escape for bytes that it lacks" : "", model.unicode().c_str(),
      c.context, model.license().c_str());
}

Status model_info(const Words& words) {
  OptionSet set("model info", "llmc-batch model info [FILE] [options]",
                "Describes a model file; without FILE, the embedded model.");
  set.positional("file", 1);
  set.group("Options").add_options()("json", po::bool_switch(), "as JSON");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  const Words files = set.words();
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, open_model(files.empty() ? "" : files[0]));
  print_model(*model, set.get<bool>("json"));
  return {};
}

void show_progress(const std::string& what, double part) {
  constexpr int kWidth = 30;
  const int full = static_cast<int>(part * kWidth);
  std::fprintf(stderr, "\r\033[K[%s%s] %3.0f %% %s", std::string(full, '#').c_str(),
               std::string(kWidth - full, '.').c_str(), part * 100, what.c_str());
}

// What int8 did to the weights, layer by layer, and what the profile did to the sample text.
void print_report(const ImportReport& report) {
  std::printf("int8 weights  %.2f %% off (root mean square, of the weights' own)", report.weight_error * 100);
  for (size_t i = 0; i < report.layers.size(); ++i) {
    std::printf("%s%s %.2f", i % 6 == 0 ? "\n              " : ", ", report.layers[i].name.c_str(),
                report.layers[i].error * 100);
  }
  std::puts("");
  if (report.sample_bytes == 0) return;
  std::printf("sample text   %llu bytes, %llu tokens: %.4f bits per byte; with 16 bits everywhere %.4f (%+.3f %%)\n",
              static_cast<unsigned long long>(report.sample_bytes), static_cast<unsigned long long>(report.sample_tokens),
              report.bits_chosen / static_cast<double>(report.sample_bytes),
              report.bits_best / static_cast<double>(report.sample_bytes),
              (report.bits_chosen / report.bits_best - 1) * 100);
}

Status model_import(const Words& words) {
  OptionSet set("model import", "llmc-batch model import SOURCE -o FILE [options]",
                "Turns a checkpoint into a model file: int8 weights, exact arithmetic, tokenizer inside. SOURCE is a\n"
                "Hugging Face folder (config.json, safetensors, tokenizer) of the families Llama, Mistral, Qwen2, Qwen3,\n"
                "GPT-2 or GPT-NeoX, or a GGUF file. The same checkpoint gives the same bytes everywhere.");
  set.positional("source", 1);
  set.group("Options").add_options()
      ("output,o", po::value<std::string>()->value_name("FILE"), "the model file to write")
      ("activations", po::value<std::string>()->default_value("auto")->value_name("BITS"),
       "bits of activations: 16 loses least, 8 is twice as fast; auto: 8 where a sample text grows by 0.1 % at most")
      ("kv", po::value<std::string>()->default_value("auto")->value_name("BITS"), "bits of keys and values, likewise")
      ("context", po::value<int>()->default_value(0)->value_name("TOKENS"),
       "the longest window; 0: the checkpoint's, at most 8192")
      ("name", po::value<std::string>()->default_value("")->value_name("TEXT"), "name kept in the file; default: the model card's, or the folder's")
      ("license", po::value<std::string>()->default_value("")->value_name("TEXT"), "licence kept in the file; default: the model card's")
      ("force,f", po::bool_switch(), "replace FILE");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "model import: no folder or file given"};
  if (!set.given("output")) return {Code::usage, "model import: -o FILE is missing"};
  const std::string output = set.get<std::string>("output");
  LLMC_TRY(check_output_file(output, set.get<bool>("force")));
  ImportOptions options;
  for (const auto& [name, bits] : {std::pair{"activations", &options.activations}, {"kv", &options.kv}}) {
    const auto text = set.get<std::string>(name);
    if (text != "auto" && text != "8" && text != "16") {
      return {Code::usage, "--" + std::string(name) + " is auto, 8 or 16, not '" + text + "'"};
    }
    *bits = text == "auto" ? 0 : std::stoi(text);
  }
  options.context = set.get<int>("context");
  options.name = set.get<std::string>("name");
  options.license = set.get<std::string>("license");
  options.stop = stop_requested;
  if (isatty(STDERR_FILENO)) options.progress = show_progress;
  const Result<ImportReport> report = import_model(set.words()[0], output, options);
  if (options.progress) std::fputs("\r\033[K", stderr);
  LLMC_TRY(report.status());
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, Model::load(output));
  print_model(*model, false);
  print_report(*report);
  return {};
}

}  // namespace

Status run_model(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  const Words rest(words.begin() + (words.empty() ? 0 : 1), words.end());
  if (!words.empty() && words[0] == "info") return model_info(rest);
  if (!words.empty() && words[0] == "import") return model_import(rest);
  if (!words.empty() && words[0] == "adapt") return run_model_adapt(context, rest);
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) {
    std::puts("Usage: llmc-batch model info [FILE]\n       llmc-batch model import SOURCE -o FILE\n       llmc-batch model adapt SAMPLE... -o FILE");
    return {};
  }
  const std::string near = words.empty() ? "" : nearest_word(words[0], {"info", "import", "adapt"});
  return {Code::usage, "model: say 'model info', 'model import' or 'model adapt'" + (near.empty() ? "" : "; did you mean '" + near + "'?")};
}

}  // namespace llmc
