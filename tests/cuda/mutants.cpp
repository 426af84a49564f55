// cuda_mutant EMULATOR.so: starts the GPU engine, with its start-up check, for small models of several shapes on the
// emulated GPU of that library. 0: every check passed; 1: one refused, and why.
#include <dlfcn.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "cuda/device_engine.h"
#include "exact/kernels.h"
#include "model/import.h"

namespace {

using namespace llmc;

struct Shape {
  const char* config;
  int activations, kv;
};
constexpr Shape kShapes[] = {
    {R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 600, "hidden_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 96, "hidden_act": "silu",
         "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000, "bos_token_id": 0})", 8, 8},
    {R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 600, "hidden_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 96, "hidden_act": "silu",
         "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "bos_token_id": 0})", 16, 16},
    {R"({"architectures": ["GPT2LMHeadModel"], "vocab_size": 600, "n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 64,
         "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "bos_token_id": 0})", 16, 8},
    {R"({"architectures": ["GPTNeoXForCausalLM"], "vocab_size": 600, "hidden_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 3, "intermediate_size": 96, "hidden_act": "gelu", "max_position_embeddings": 64,
         "layer_norm_eps": 1e-5, "rotary_emb_base": 10000, "rotary_pct": 0.5, "bos_token_id": 0})", 8, 8},
};

Status check(const Shape& shape, const std::string& folder, const DeviceOpener& open) {
  ImportOptions options;
  options.activations = shape.activations;
  options.kv = shape.kv;
  const std::string path = folder + "/model";
  LLMC_TRY(import_shape(shape.config, "shape", path, options).status());
  LLMC_ASSIGN(const std::shared_ptr<const Model> model, Model::load(path));
  return make_device_engine(model, open, {true, 128, 32}).status();
}

}  // namespace

int main(int argc, char** argv) {
  const FloatState exact;
  void* const library = argc == 2 ? ::dlopen(argv[1], RTLD_NOW) : nullptr;
  if (!library) return std::puts(argc == 2 ? ::dlerror() : "usage: cuda_mutant EMULATOR.so"), 2;
  const auto make = reinterpret_cast<Device* (*)()>(::dlsym(library, "make_mutant"));
  if (!make) return std::puts(::dlerror()), 2;
  const DeviceOpener open = [make]() -> Result<std::unique_ptr<Device>> { return std::unique_ptr<Device>(make()); };
  std::string folder = (std::filesystem::temp_directory_path() / "llmc-mutant-XXXXXX").string();
  if (!::mkdtemp(folder.data())) return std::perror("mkdtemp"), 2;
  Status status;
  for (const Shape& shape : kShapes) {
    status = check(shape, folder, open);
    if (!status.ok()) break;
  }
  std::filesystem::remove_all(folder);
  std::puts(status.ok() ? "survives" : status.message().c_str());
  return status.ok() ? 0 : 1;
}
