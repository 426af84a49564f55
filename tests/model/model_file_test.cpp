#include "model/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "checkpoint.h"

namespace llmc {
namespace {

using nlohmann::json;
using test::Checkpoint;
using test::TempDir;

// A sound file, taken apart so that a test can put it together wrong.
class ModelFile : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto model = Checkpoint().model();
    ASSERT_TRUE(model.ok()) << model.status().message();
    file_ = new Bytes((*model)->bytes().begin(), (*model)->bytes().end());
  }
  static void TearDownTestSuite() { delete file_; }

  void SetUp() override {
    const auto parsed = Safetensors::parse(*file_);
    ASSERT_TRUE(parsed.ok());
    metadata = parsed->metadata();
    tensors = parsed->tensors();
  }

  std::string problem() const {
    const Bytes bytes = write_safetensors(metadata, tensors);
    const auto model = Model::from_bytes(bytes, nullptr);
    if (model.ok()) return "";
    EXPECT_EQ(model.status().code(), Code::model);
    return model.status().message();
  }
  void expect_problem(const std::string& word) const {
    const std::string message = problem();
    EXPECT_NE(message.find(word), std::string::npos) << word << " gave: " << message;
  }

  Tensor& tensor(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    ADD_FAILURE() << name;
    return tensors[0];
  }
  // A private copy of its bytes, to be changed.
  uint8_t* data(const std::string& name) {
    Tensor& t = tensor(name);
    copies_.push_back(std::make_unique<Bytes>(t.data.begin(), t.data.end()));
    t.data = *copies_.back();
    return copies_.back()->data();
  }
  void put(const std::string& name, size_t index, float value) { std::memcpy(data(name) + 4 * index, &value, 4); }

  static Bytes* file_;
  std::map<std::string, std::string> metadata;
  std::vector<Tensor> tensors;
  std::vector<std::unique_ptr<Bytes>> copies_;
};
Bytes* ModelFile::file_ = nullptr;

TEST_F(ModelFile, IsSound) {
  EXPECT_EQ(problem(), "");
  EXPECT_TRUE(write_safetensors(metadata, tensors) == *file_);
}

TEST_F(ModelFile, EveryMetadataFieldCounts) {
  const auto sound = metadata;
  for (const auto& [key, value] : sound) {
    metadata = sound;
    metadata.erase(key);
    EXPECT_NE(problem(), "") << key;
    if (key == "name" || key == "license") continue;  // free text
    for (const std::string wrong : {"", "x", "0", "{}", "[]", "null"}) {
      metadata[key] = wrong;
      EXPECT_NE(problem(), "") << key << " as " << wrong;
    }
  }
  metadata = sound;
  metadata["format_version"] = "2";
  expect_problem("format version is 2");
  metadata = sound;
  metadata["numerics"] = "LLMC-X2";
  expect_problem("LLMC-X2");
  metadata = sound;
  metadata["unicode"] = "17.0.0";
  expect_problem("17.0.0");
  metadata = sound;
  metadata["architecture"] = "rwkv";
  expect_problem("rwkv");
}

TEST_F(ModelFile, EveryConfigFieldCounts) {
  const json sound = json::parse(metadata["config"]);
  const auto with = [&](const std::string& key, const json& value) {
    json config = sound;
    if (value.is_discarded()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
    metadata["config"] = config.dump();
    return problem();
  };
  const std::vector<json> wrong{json(json::value_t::discarded),
                                nullptr,
                                "7",
                                -1,
                                0.5,
                                1e300,
                                json::array(),
                                UINT64_MAX,
                                INT64_MIN,
                                0x7fffffff,
                                4294967297};
  for (const auto& [key, value] : sound.items()) {
    for (const json& w : wrong)
      EXPECT_NE(with(key, w), "") << key << " as " << (w.is_discarded() ? "nothing" : w.dump());
    if (value.is_number() && key != "start") {
      EXPECT_NE(with(key, 0), "") << key;
      EXPECT_NE(with(key, value.get<int>() + 1), "") << key;
      EXPECT_NE(with(key, value.get<int>() * 2), "") << key;
    }
  }
  EXPECT_NE(with("start", 4096), "");
  EXPECT_NE(with("rope_pairs", "thirds"), "");
  EXPECT_EQ(with("rope_pairs", "neighbours"), "");
  EXPECT_NE(with("tied", false), "");
  for (const char* bits : {"7fc00000", "7f800000", "ff800000", "00000000", "80000000", "7f7fffff", "00000001", "3",
                           "358637bd0", "358637bg"}) {
    EXPECT_NE(with("eps_bits", bits), "") << bits;
    EXPECT_NE(with("attention_scale_bits", bits), "") << bits;
  }
}

TEST_F(ModelFile, EveryProfileFieldCounts) {
  const json sound = json::parse(metadata["profile"]);
  const auto with = [&](const std::function<void(json&)>& change) {
    json profile = sound;
    change(profile);
    metadata["profile"] = profile.dump();
    return problem();
  };
  EXPECT_EQ(with([](json& p) { p["layers"][0]["mlp_out"] = 16; }), "");
  for (const json& wrong : {json(9), json(0), json("8"), json(), json(-8), json(12)}) {
    EXPECT_NE(with([&](json& p) { p["head"] = wrong; }), "");
    EXPECT_NE(with([&](json& p) { p["kv"] = wrong; }), "");
    for (const char* role : {"attn_in", "attn_out", "mlp_in", "mlp_out"}) {
      EXPECT_NE(with([&](json& p) { p["layers"][1][role] = wrong; }), "") << role;
    }
  }
  EXPECT_NE(with([](json& p) { p["layers"].erase(1); }), "");
  EXPECT_NE(with([](json& p) { p["layers"].push_back(p["layers"][0]); }), "");
  EXPECT_NE(with([](json& p) { p["layers"][0] = 8; }), "");
  EXPECT_NE(with([](json& p) { p["layers"] = 8; }), "");
}

TEST_F(ModelFile, EveryTensorCounts) {
  const auto sound = tensors;
  for (size_t i = 0; i < sound.size(); ++i) {
    const std::string name = sound[i].name;
    tensors = sound;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    expect_problem(name);
    tensors = sound;
    tensors[i].name = "model.other";
    expect_problem(name);
    tensors = sound;
    tensors[i].type = tensors[i].type == DType::f32 ? DType::i32 : DType::boolean;
    expect_problem(name);
    if (name == "tokenizer.json") continue;
    tensors = sound;
    tensors[i].shape.push_back(1);
    expect_problem(name);
    tensors = sound;
    tensors[i].shape = {tensors[i].data.size() / dtype_size(tensors[i].type) / 2, 2};
    expect_problem(name);
  }
  tensors = sound;
  static const Bytes four(4, 0);
  tensors.push_back({"model.layers.2.input_layernorm.weight", DType::u8, {4}, four});
  expect_problem("model.layers.2.input_layernorm.weight");
}

TEST_F(ModelFile, ValuesBeyondTheProvenRangeAreRefused) {
  const struct {
    const char* name;
    std::vector<float> wrong, right;
  } cases[] = {
      {"model.norm.weight",
       {NAN, INFINITY, -INFINITY, 0x1.000002p20f, -0x1.000002p20f},
       {0, -0x1p20f, 0x1p20f, 1e-40f}},
      {"model.layers.1.self_attn.k_norm.weight", {NAN, 0x1.000002p20f}, {2}},
      {"model.layers.0.mlp.down_proj.weight_scale",
       {NAN, INFINITY, 0, -1, 0x1.fffffep-41f, 0x1.000002p20f},
       {0x1p-40f, 0x1p20f}},
      {"model.embed_tokens.weight_scale", {NAN, 0}, {1}},
      {"rope.cos", {NAN, 1.0000001f, -1.5f}, {-1, 1}},
      {"rope.sin", {INFINITY}, {0}},
  };
  const auto sound = tensors;
  for (const auto& c : cases) {
    for (const float v : c.wrong) {
      tensors = sound;
      put(c.name, 3, v);
      expect_problem(c.name);
    }
    for (const float v : c.right) {
      tensors = sound;
      put(c.name, 3, v);
      EXPECT_EQ(problem(), "") << c.name << " " << v;
    }
  }
  tensors = sound;
  data("model.layers.1.self_attn.o_proj.weight")[100] = 0x80;
  expect_problem("model.layers.1.self_attn.o_proj.weight");
}

TEST_F(ModelFile, CutAnywhereIsRefused) {
  const size_t size = file_->size();
  for (size_t i = 0; i < 400; ++i) {
    const size_t length = i < 200 ? i * 5 : size - 1 - (i - 200) * (size - 1100) / 200;
    const Bytes cut(file_->begin(), file_->begin() + static_cast<std::ptrdiff_t>(length));
    const auto model = Model::from_bytes(cut, nullptr);
    ASSERT_FALSE(model.ok()) << length;
    EXPECT_EQ(model.status().code(), Code::model);
  }
  Bytes longer = *file_;
  longer.push_back(0);
  EXPECT_FALSE(Model::from_bytes(longer, nullptr).ok());
}

TEST_F(ModelFile, ErrorsNameThePath) {
  const TempDir folder;
  EXPECT_EQ(Model::load(folder / "none").status().code(), Code::missing);
  test::spill(folder.path() / "other", "PK\3\4 this is something else entirely");
  const auto other = Model::load(folder / "other");
  EXPECT_EQ(other.status().code(), Code::model);
  EXPECT_NE(other.status().message().find(folder / "other"), std::string::npos);
  const auto foreign = Model::load(test::source("models/e0-hf/model.safetensors"));
  EXPECT_NE(foreign.status().message().find("model import"), std::string::npos) << foreign.status().message();
  EXPECT_FALSE(Model::load(folder.path()).ok());
}

TEST_F(ModelFile, AnyChangeIsAnotherIdentity) {
  const auto a = Model::from_bytes(*file_, nullptr);
  put("model.norm.weight", 0, 0.5f);
  const Bytes changed = write_safetensors(metadata, tensors);
  const auto b = Model::from_bytes(changed, nullptr);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->digest(), sha256(*file_));
  EXPECT_NE((*a)->digest(), (*b)->digest());
}

}  // namespace
}  // namespace llmc
