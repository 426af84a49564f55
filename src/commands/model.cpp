// model info FILE, model import DIR -o FILE.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "commands/compute.h"
#include "model/import.h"

namespace llmc {

namespace po = boost::program_options;

namespace {

void print_model(const Model& model, bool json) {
  const ModelConfig& c = model.config();
  if (json) {
    const nlohmann::ordered_json out = {
        {"name", model.name()},       {"sha256", to_hex(model.digest())}, {"bytes", model.bytes().size()},
        {"architecture", c.architecture}, {"parameters", model.parameters()}, {"profile", model.profile()},
        {"vocabulary", c.vocab},      {"escape", model.escape()},         {"width", c.width},
        {"layers", c.layers},         {"heads", c.heads},                 {"kv_heads", c.kv_heads},
        {"head_dim", c.head_dim},     {"ffn", c.ffn},                     {"context", c.context},
        {"tied", c.tied},             {"numerics", Model::kNumerics},     {"unicode", model.unicode()},
        {"license", model.license()}};
    std::printf("%s\n", out.dump(2).c_str());
    return;
  }
  std::printf(
      "name          %s\nsha256        %s\nbytes         %zu\narchitecture  %s, %d layers of %d, %d heads of %d (%d for "
      "keys and values), feed-forward %d\nparameters    %llu\nprofile       %s (%s)\nvocabulary    %d%s%s, Unicode %s\n"
      "context       %d tokens\nlicence       %s\n",
      model.name().c_str(), to_hex(model.digest()).c_str(), model.bytes().size(), c.architecture.c_str(), c.layers,
      c.width, c.heads, c.head_dim, c.kv_heads, c.ffn, static_cast<unsigned long long>(model.parameters()),
      model.profile().c_str(), Model::kNumerics, c.vocab, c.tied ? ", tied" : "",
      model.escape() ? ", with an escape for bytes that it lacks" : "", model.unicode().c_str(), c.context,
      model.license().c_str());
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

Status model_import(const Words& words) {
  OptionSet set("model import", "llmc-batch model import DIR -o FILE [options]",
                "Turns a Hugging Face checkpoint (config.json, model.safetensors, tokenizer.json) into a model file:\n"
                "int8 weights, exact arithmetic, tokenizer inside. The same checkpoint gives the same bytes everywhere.");
  set.positional("dir", 1);
  set.group("Options").add_options()
      ("output,o", po::value<std::string>()->value_name("FILE"), "the model file to write")
      ("activations", po::value<int>()->default_value(16)->value_name("BITS"),
       "bits of activations: 16 loses least, 8 is twice as fast")
      ("name", po::value<std::string>()->default_value("")->value_name("TEXT"), "name kept in the file; default: the model card's, or the folder's")
      ("license", po::value<std::string>()->default_value("")->value_name("TEXT"), "licence kept in the file; default: the model card's")
      ("force,f", po::bool_switch(), "replace FILE");
  bool done = false;
  LLMC_TRY(set.parse(words, true, &done));
  if (done) return {};
  if (set.words().empty()) return {Code::usage, "model import: no folder given"};
  if (!set.given("output")) return {Code::usage, "model import: -o FILE is missing"};
  const std::string output = set.get<std::string>("output");
  if (!set.get<bool>("force") && std::filesystem::exists(output)) {
    return {Code::failure, output + ": exists already; --force replaces it"};
  }
  ImportOptions options;
  options.activations = set.get<int>("activations");
  options.name = set.get<std::string>("name");
  options.license = set.get<std::string>("license");
  LLMC_ASSIGN(const Bytes bytes, import_huggingface(set.words()[0], options));
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, Model::from_bytes(bytes, nullptr));
  LLMC_TRY(write_file_atomic(output, bytes));
  print_model(*model, false);
  return {};
}

}  // namespace

Status run_model(Context& context, const Words& words) {
  if (!context.coordinator()) return {};
  const Words rest(words.begin() + (words.empty() ? 0 : 1), words.end());
  if (!words.empty() && words[0] == "info") return model_info(rest);
  if (!words.empty() && words[0] == "import") return model_import(rest);
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) {
    std::puts("Usage: llmc-batch model info [FILE]\n       llmc-batch model import DIR -o FILE");
    return {};
  }
  const std::string near = words.empty() ? "" : nearest_word(words[0], {"info", "import"});
  return {Code::usage, "model: say 'model info' or 'model import'" + (near.empty() ? "" : "; did you mean '" + near + "'?")};
}

}  // namespace llmc
