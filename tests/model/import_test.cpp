#include "model/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "checkpoint.h"
#include "model/embedded_model.h"

namespace llmc {
namespace {

using test::Checkpoint;
using test::import_bytes;
using test::TempDir;

std::string problem(const Checkpoint& checkpoint) {
  const auto model = checkpoint.model();
  return model.ok() ? "" : model.status().message();
}

void expect_refused(const Checkpoint& checkpoint, const std::string& word) {
  const std::string message = problem(checkpoint);
  EXPECT_NE(message.find(word), std::string::npos) << word << " gave: " << message;
}

TEST(Import, ReproducesTheEmbeddedModelBitForBit) {
  const auto file = import_bytes(test::source("models/e0-hf"), {});
  ASSERT_TRUE(file.ok()) << file.status().message();
  const auto committed = read_file(test::source("models/e0.safetensors"));
  ASSERT_TRUE(committed.ok());
  EXPECT_TRUE(*file == *committed) << to_hex(sha256(*file)) << " is not " << to_hex(sha256(*committed));
  const auto embedded = embedded_model();
  ASSERT_TRUE(embedded.ok()) << embedded.status().message();
  EXPECT_EQ((*embedded)->digest(), sha256(*committed));
  EXPECT_EQ((*embedded)->name(), "llmc-e0");
  EXPECT_EQ((*embedded)->license(), "apache-2.0");
  EXPECT_EQ((*embedded)->profile(), "W8A8");
  EXPECT_EQ((*embedded)->parameters(), 4492672u);
  EXPECT_FALSE((*embedded)->escape());
}

TEST(Import, GivesTheSameModelFromEveryFloatType) {
  Checkpoint checkpoint;
  const auto f32 = checkpoint.model();
  ASSERT_TRUE(f32.ok()) << f32.status().message();
  for (const DType type : {DType::bf16, DType::f16}) {
    checkpoint.type = type;
    const auto other = checkpoint.model();
    ASSERT_TRUE(other.ok()) << other.status().message();
    // Folder names are not equal, so neither are the digests; the weights are.
    const auto a = Safetensors::parse((*f32)->bytes()), b = Safetensors::parse((*other)->bytes());
    ASSERT_TRUE(a.ok() && b.ok());
    for (const Tensor& t : a->tensors()) {
      const Tensor* o = b->find(t.name);
      ASSERT_NE(o, nullptr) << t.name;
      EXPECT_TRUE(std::equal(t.data.begin(), t.data.end(), o->data.begin(), o->data.end()))
          << t.name << " from " << dtype_name(type);
    }
  }
}

TEST(Import, QuantisesRowsAsSpecified) {
  Checkpoint checkpoint;
  std::vector<float> v(48 * 32, 0.0f);
  v[0] = 127.0f, v[1] = 0.5f, v[2] = 1.5f, v[3] = -0.5f, v[4] = -127.0f;  // ties go to even
  v[32] = 0x1p-34f;                                                       // below 127 * 2^-40: a row of zeros
  v[64] = 1.0f, v[65] = 0.3f, v[66] = -0.7f;
  checkpoint.extra["model.layers.1.mlp.up_proj.weight"] = v;
  const auto model = checkpoint.model();
  ASSERT_TRUE(model.ok()) << model.status().message();
  const Matrix& m = (*model)->layers()[1].mlp_in->parts[1];
  ASSERT_EQ(m.name, "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(m.scale[0], 1.0f);
  EXPECT_EQ(std::vector<int>(m.w, m.w + 5), (std::vector<int>{127, 0, 2, 0, -127}));
  EXPECT_EQ(m.scale[1], 0x1p-40f);
  EXPECT_EQ(m.w[32], 0);
  EXPECT_EQ(m.scale[2], 1.0f / 127.0f);
  EXPECT_EQ(std::vector<int>(m.w + 64, m.w + 67), (std::vector<int>{127, 38, -89}));
}

TEST(Import, TakesUntiedHeadsPaddedVocabulariesAndBothProfiles) {
  Checkpoint checkpoint;
  checkpoint.config["tie_word_embeddings"] = false;
  checkpoint.config["vocab_size"] = 4160;  // 64 rows of padding
  const auto model = checkpoint.model(16);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->config().vocab, 4096);
  EXPECT_EQ((*model)->profile(), "W8A16");
  EXPECT_EQ((*model)->head().parts[0].name, "lm_head.weight");
  EXPECT_NE((*model)->head().parts[0].w, (*model)->embedding().w);
}

TEST(Import, RefusesByNameWhatItDoesNotKnow) {
  const auto with = [](const char* field, nlohmann::json value) {
    Checkpoint checkpoint;
    checkpoint.claims[field] = std::move(value);
    return checkpoint;
  };
  EXPECT_EQ(problem(with("use_sliding_window", false)), "");
  EXPECT_EQ(problem(with("rope_scaling", nullptr)), "");
  EXPECT_EQ(problem(with("layer_types", {"full_attention", "full_attention"})), "");
  EXPECT_EQ(problem(with("rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}})), "");
  expect_refused(with("architectures", {"MambaForCausalLM"}), "MambaForCausalLM");
  expect_refused(with("architectures", nullptr), "none named");
  expect_refused(with("rope_scaling", {{"type", "yarn"}}), "rope_scaling.rope_type is yarn");
  expect_refused(with("rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 1e6}}), "rope_type");
  expect_refused(with("attention_bias", true), "attention_bias");
  expect_refused(with("use_sliding_window", true), "sliding_window");
  expect_refused(with("layer_types", {"full_attention", "sliding_attention"}), "sliding_window");
  expect_refused(with("layer_types", {"full_attention", "linear_attention"}), "layer_types");
  expect_refused(with("num_experts", 8), "num_experts");
  expect_refused(with("hidden_act", "gelu"), "hidden_act");
  expect_refused(with("quantization_config", {{"bits", 4}}), "quantization_config");
  expect_refused(with("partial_rotary_factor", 0.5), "partial_rotary_factor");
  expect_refused(with("vocab_size", 4000), "vocab_size");
  expect_refused(with("num_key_value_heads", 3), "num_attention_heads");
  expect_refused(with("head_dim", 12), "head_dim");
  expect_refused(with("head_dim", 512), "head_dim");
  expect_refused(with("hidden_size", "wide"), "hidden_size");
  expect_refused(with("hidden_size", -1), "hidden_size");
  expect_refused(with("num_hidden_layers", nullptr), "num_hidden_layers");
  expect_refused(with("max_position_embeddings", 1 << 25), "max_position_embeddings");
  expect_refused(with("rope_theta", 0), "rope_theta");
  expect_refused(with("rms_norm_eps", nullptr), "rms_norm_eps");
  expect_refused(with("rms_norm_eps", 1e-20), "eps");
  expect_refused(with("bos_token_id", 5000), "bos_token_id");
  expect_refused(with("bos_token_id", nullptr), "eos_token_id");

  Checkpoint checkpoint;
  checkpoint.extra["model.layers.0.self_attn.q_proj.bias"] = {1, 2, 3};
  expect_refused(checkpoint, "model.layers.0.self_attn.q_proj.bias");
  checkpoint.extra.clear();
  checkpoint.extra["model.norm.weight"] = std::vector<float>(32, INFINITY);
  expect_refused(checkpoint, "model.norm.weight");
  checkpoint.extra["model.norm.weight"] = std::vector<float>(32, 0x1p21f);
  expect_refused(checkpoint, "model.norm.weight");
  checkpoint.extra.clear();
  checkpoint.extra["model.layers.0.mlp.up_proj.weight"] = std::vector<float>(48 * 32, 1e30f);
  expect_refused(checkpoint, "model.layers.0.mlp.up_proj.weight");
}

TEST(Import, NamesMissingAndWrongFiles) {
  const TempDir folder;
  const auto message = [&] {
    const auto file = import_bytes(folder.path(), {});
    return file.ok() ? std::string() : file.status().message();
  };
  EXPECT_NE(message().find("config.json"), std::string::npos);
  Checkpoint().write(folder.path());
  EXPECT_EQ(message(), "");
  std::filesystem::remove(folder.path() / "model.safetensors");
  EXPECT_NE(message().find("model.safetensors"), std::string::npos);
  test::spill(folder.path() / "model.safetensors", "not a checkpoint");
  EXPECT_NE(message().find("model.safetensors: it is not"), std::string::npos);
  Checkpoint().write(folder.path());
  test::spill(folder.path() / "tokenizer.json", "{}");
  EXPECT_NE(message().find("tokenizer.json"), std::string::npos);
  test::spill(folder.path() / "config.json", "[]");
  EXPECT_NE(message().find("config.json"), std::string::npos);
  EXPECT_EQ(import_bytes(folder.path(), {.activations = 4, .name = {}, .license = {}, .progress = {}, .stop = {}}).status().code(),
            Code::usage);
}

TEST(Import, ReadsCheckpointsInParts) {
  const TempDir folder;
  Checkpoint().write(folder.path());
  const auto whole = import_bytes(folder.path(), {});
  ASSERT_TRUE(whole.ok());
  const auto bytes = read_file(folder.path() / "model.safetensors");
  ASSERT_TRUE(bytes.ok());
  const auto view = Safetensors::parse(*bytes);
  ASSERT_TRUE(view.ok());
  std::vector<Tensor> parts[2];
  nlohmann::json map;
  for (size_t i = 0; i < view->tensors().size(); ++i) {
    parts[i % 2].push_back(view->tensors()[i]);
    map[view->tensors()[i].name] = i % 2 ? "b.safetensors" : "a.safetensors";
  }
  const auto put = [&](const char* name, ByteView b) { test::spill(folder.path() / name, std::string(as_text(b))); };
  put("a.safetensors", write_safetensors({}, parts[0]));
  put("b.safetensors", write_safetensors({}, parts[1]));
  test::spill(folder.path() / "model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
  std::filesystem::remove(folder.path() / "model.safetensors");
  const auto joined = import_bytes(folder.path(), {});
  ASSERT_TRUE(joined.ok()) << joined.status().message();
  EXPECT_TRUE(*joined == *whole);
  test::spill(folder.path() / "model.safetensors.index.json", R"({"weight_map":{"x":"../../etc/passwd"}})");
  EXPECT_FALSE(import_bytes(folder.path(), {}).ok());
}

TEST(Import, TakesNameAndLicenceFromTheModelCard) {
  const TempDir folder;
  Checkpoint().write(folder.path() / "some-model");
  const auto fields = [&](const ImportOptions& options) {
    const auto file = import_bytes(folder.path() / "some-model/", options);
    if (!file.ok()) return file.status().message();
    const auto model = Model::from_bytes(*file, nullptr);
    return (*model)->name() + ", " + (*model)->license();
  };
  EXPECT_EQ(fields({}), "some-model, unknown");
  test::spill(folder.path() / "some-model/README.md",
              "---\nlicense: \"mit\"\nmodel_name: A model\n---\nlicense: not this\n");
  EXPECT_EQ(fields({}), "A model, mit");
  EXPECT_EQ(fields({.activations = 8, .name = "B", .license = "bsd", .progress = {}, .stop = {}}), "B, bsd");
}

// While weights are written and while the sample is measured.
TEST(Import, StopsAndLeavesNothing) {
  const TempDir folder;
  Checkpoint().write(folder.path() / "in");
  for (const int activations : {8, 0}) {
    ImportOptions options;
    options.activations = activations;
    bool measuring = false;
    int asked = 0;
    options.progress = [&](const std::string& what, double) { measuring |= what.starts_with("measuring"); };
    options.stop = [&] { return ++asked > 1 && (activations == 8 || measuring); };
    const Status status = import_model(folder.path() / "in", folder.path() / "out/model", options).status();
    EXPECT_EQ(status.code(), Code::missing) << status.message();  // no such folder
    std::filesystem::create_directory(folder.path() / "out");
    EXPECT_EQ(import_model(folder.path() / "in", folder.path() / "out/model", options).status().code(), Code::interrupted) << activations;
    EXPECT_EQ(measuring, activations == 0);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "out"));
    std::filesystem::remove(folder.path() / "out");
  }
}

}  // namespace
}  // namespace llmc
