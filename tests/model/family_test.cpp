// Every family that import knows against what transformers computes in binary32 (tools/families): the small
// checkpoints of tests/model/families, or those in the folder that LLMC_FAMILIES names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "chunk/codec.h"
#include "model/blocks.h"
#include "model/native_engine.h"
#include "transcript.h"

namespace llmc {
namespace {

using namespace test;
namespace fs = std::filesystem;

fs::path families() {
  const char* given = std::getenv("LLMC_FAMILIES");
  return given != nullptr && *given != 0 ? fs::path(given) : fs::path(source("tests/model/families"));
}

// Families, those that have a certain file where one is named.
std::vector<std::string> names(const std::string& file = "config.json") {
  std::vector<std::string> out;
  std::error_code missing;  // then there are no tests
  for (const auto& entry : fs::directory_iterator(families(), missing)) {
    if (fs::exists(entry.path() / file)) out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::shared_ptr<const Model>> imported(const fs::path& from, int activations, int kv) {
  ImportOptions options;
  options.activations = activations;
  options.kv = kv;
  LLMC_ASSIGN(Bytes file, import_bytes(from, options));
  auto owner = std::make_shared<const Bytes>(std::move(file));
  return Model::from_bytes(ByteView(*owner), owner);
}

struct GoldenText {
  std::string text;
  std::vector<Symbol> text_ids;
  std::vector<Symbol> ids;  // what the model would write itself
  std::vector<double> bits;
  std::vector<uint32_t> ranks;
};

GoldenText golden(const std::string& family) {
  const auto file = read_file(families() / family / "golden.json");
  EXPECT_TRUE(file.ok());
  const auto json = nlohmann::json::parse(as_text(*file));
  return {json["text"], json["text_ids"], json["ids"], json["bits"], json["ranks"]};
}

std::unique_ptr<Engine> engine_of(std::shared_ptr<const Model> model, const std::string& isa = "") {
  auto engine = make_native_engine(std::move(model), isa);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return std::move(*engine);
}

struct Measured {
  double bits = 0;
  int same_ranks = 0;
};

Measured measure(const std::shared_ptr<const Model>& model, const GoldenText& golden) {
  const auto engine = engine_of(model);
  const auto session = *engine->make_session(1);
  Measured out;
  for (const Ask ask : {Ask::intervals, Ask::ranks}) {
    session->reset(0);
    std::vector<Row> rows;
    for (size_t next = 0; next < golden.ids.size();) {
      rows.clear();
      for (; rows.size() < 64 && next < golden.ids.size(); ++next) {
        rows.push_back({0, next == 0 ? model->config().start : golden.ids[next - 1], golden.ids[next]});
      }
      EXPECT_TRUE(session->feed(rows, ask).ok());
      EXPECT_EQ(session->range_error_layer(0), -1);
      for (size_t i = 0; i < rows.size(); ++i) {
        const int row = static_cast<int>(i);
        if (ask == Ask::ranks) {
          out.same_ranks += session->rank(row) == golden.ranks[next - rows.size() + i];
        } else {
          const Interval answer = session->interval(row);
          out.bits += std::log2(static_cast<double>(answer.total) / static_cast<double>(answer.weight));
        }
      }
    }
  }
  return out;
}

class Family : public ::testing::TestWithParam<std::string> {};

TEST_P(Family, AgreesWithTransformers) {
  const GoldenText golden = llmc::golden(GetParam());
  double real = 0;
  for (const double b : golden.bits) real += b;
  for (const auto& [activations, kv] : {std::pair{16, 16}, std::pair{16, 8}, std::pair{8, 8}}) {
    const auto model = imported(families() / GetParam(), activations, kv);
    ASSERT_TRUE(model.ok()) << model.status().message();
    std::vector<Symbol> ids;
    (*model)->tokenizer().encode(as_bytes(golden.text), &ids);
    ASSERT_EQ(ids, golden.text_ids);
    EXPECT_EQ((*model)->config().start, 0);
    const Measured got = measure(*model, golden);
    const double part = got.same_ranks / static_cast<double>(golden.ids.size());
    RecordProperty((*model)->profile() + " bits against binary32", std::to_string(got.bits / real));
    RecordProperty((*model)->profile() + " same ranks", std::to_string(part));
    EXPECT_NEAR(got.bits / real, 1.0, 0.005) << (*model)->profile();
    // Eight bits move what lies close together: the ranks are a promise of sixteen.
    if (activations == 16 && kv == 16) {
      EXPECT_GE(part, 0.99) << (*model)->profile();
      EXPECT_NEAR(got.bits / real, 1.0, 0.0002);
    }
  }
}

TEST_P(Family, InstructionSetBatchAndSplitDoNotMatter) {
  const GoldenText golden = llmc::golden(GetParam());
  const std::vector<Symbol> symbols(golden.ids.begin(), golden.ids.begin() + 80);
  for (const auto& [activations, kv] : {std::pair{16, 16}, std::pair{8, 8}}) {
    const auto model = imported(families() / GetParam(), activations, kv);
    ASSERT_TRUE(model.ok()) << model.status().message();
    std::string first;
    for (const std::string& isa : available_isas()) {
      const auto engine = engine_of(*model, isa);
      const auto run = [&](const Schedule& schedule) {
        const auto session = *engine->make_session(schedule.streams);
        return transcript(*session, **model, symbols, schedule);
      };
      const std::string whole = run({1, 0, 64, Ask::intervals});
      if (first.empty()) first = whole;
      EXPECT_EQ(whole, first) << isa;
      EXPECT_EQ(run({1, 0, 1, Ask::tables}), first) << isa;
      EXPECT_EQ(run({5, 3, 0, Ask::intervals}), first) << isa;
    }
  }
}

TEST_P(Family, CodesAndDecodesText) {
  const auto model = imported(families() / GetParam(), 8, 16);
  ASSERT_TRUE(model.ok()) << model.status().message();
  const auto engine = engine_of(*model);
  const GoldenText golden = llmc::golden(GetParam());
  for (const Codec codec : {Codec::range, Codec::rank}) {
    CodecParameters parameters;
    parameters.codec = codec;
    parameters.window = 64;
    parameters.carry = 16;
    const ByteView text = as_bytes(golden.text);
    const auto frame = encode_chunk(engine.get(), parameters, 3, 7, text);
    ASSERT_TRUE(frame.ok()) << frame.status().message();
    const auto back = decode_frame(engine.get(), parameters, 3, 7, *frame, static_cast<uint32_t>(text.size()));
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_TRUE(std::equal(back->begin(), back->end(), text.begin(), text.end()));
  }
}

// GGUF interleaves rows of q and k, transposes, fuses and renames; the same weights come out as from the folder.
class GgufFamily : public Family {};

TEST_P(GgufFamily, GivesTheWeightsOfTheFolderThatItWasMadeFrom) {
  const auto folder = imported(families() / GetParam(), 16, 8);
  const auto gguf = imported(families() / GetParam() / "model.gguf", 16, 8);
  ASSERT_TRUE(folder.ok()) << folder.status().message();
  ASSERT_TRUE(gguf.ok()) << gguf.status().message();
  EXPECT_EQ((*gguf)->name(), "tiny " + GetParam());
  EXPECT_EQ((*gguf)->license(), "apache-2.0");
  const ModelConfig &c = (*folder)->config(), &d = (*gguf)->config();
  EXPECT_TRUE(c.architecture == d.architecture && c.norm == d.norm && c.activation == d.activation && c.gated == d.gated &&
              c.parallel == d.parallel && c.qk_norm == d.qk_norm && c.rotary == d.rotary && c.windows == d.windows &&
              c.eps == d.eps && c.tied == d.tied && c.start == d.start);
  const auto a = Safetensors::parse((*folder)->bytes()), b = Safetensors::parse((*gguf)->bytes());
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->tensors().size(), b->tensors().size());
  for (const Tensor& t : a->tensors()) {
    if (t.type == DType::u8) continue;  // the tokenizer, in other words
    const Tensor* other = b->find(t.name);
    ASSERT_NE(other, nullptr) << t.name;
    ASSERT_GE(other->data.size(), t.data.size()) << t.name;  // GGUF names the padding of the vocabulary
    if (t.name.starts_with("rope.") && GetParam() == "llama3") {
      // Its frequencies stand in the file as divisors in binary32.
      for (size_t i = 0; i < t.data.size(); i += 4) {
        float x, y;
        std::memcpy(&x, &t.data[i], 4);
        std::memcpy(&y, &other->data[i], 4);
        ASSERT_NEAR(x, y, 1e-4) << t.name << " " << i / 4;
      }
      continue;
    }
    EXPECT_TRUE(std::equal(t.data.begin(), t.data.end(), other->data.begin())) << t.name;
  }
  const std::string text = "It was <|endoftext|> the\r\n  sums";
  std::vector<Symbol> ids, others;
  (*folder)->tokenizer().encode(as_bytes(text), &ids);
  (*gguf)->tokenizer().encode(as_bytes(text), &others);
  EXPECT_EQ(ids, others);
}

INSTANTIATE_TEST_SUITE_P(Of, Family, ::testing::ValuesIn(names()), [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Of, GgufFamily, ::testing::ValuesIn(names("model.gguf")), [](const auto& info) { return info.param; });

TEST(Gguf, BlocksDecodeAsGgufPyDecodesThem) {
  const auto file = read_file(families() / "blocks.txt");
  if (!file.ok()) GTEST_SKIP() << "not run: no blocks.txt in " << families();
  std::istringstream lines{std::string(as_text(*file))};
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream words(line);
    std::string name, block, floats;
    uint32_t type = 0;
    words >> name >> type >> block >> floats;
    const BlockFormat* const format = gguf_format(type);
    ASSERT_NE(format, nullptr) << name;
    EXPECT_EQ(format->name, name);
    Bytes in(format->bytes), expected(format->floats * 4);
    ASSERT_TRUE(from_hex(block, in) && from_hex(floats, expected)) << name;
    std::vector<float> got(format->floats);
    format->decode(in.data(), 1, got.data());
    for (uint32_t i = 0; i < format->floats; ++i) {
      const uint8_t* e = &expected[4 * i];
      const uint32_t bits = static_cast<uint32_t>(e[0]) << 24 | e[1] << 16 | e[2] << 8 | e[3];
      const float value = std::bit_cast<float>(bits);
      ASSERT_TRUE(std::bit_cast<uint32_t>(got[i]) == bits || (got[i] == 0 && value == 0))
          << name << " value " << i << ": " << got[i] << ", expected " << value;
    }
    ++count;
  }
  EXPECT_GE(count, 20);
}

// Whatever is wrong with the file ends with a message, never with a crash.
TEST(Gguf, DamagedFilesAreRefused) {
  const auto whole = read_file(families() / "llama/model.gguf");
  ASSERT_TRUE(whole.ok());
  const TempDir folder;
  const fs::path path = folder.path() / "x.gguf", out = folder.path() / "model";
  const auto import = [&](const Bytes& bytes) {
    spill(path, std::string(as_text(bytes)));
    return import_model(path, out, {}).status();
  };
  EXPECT_TRUE(import(*whole).ok());
  for (const size_t size : {size_t{0}, size_t{3}, size_t{20}, size_t{200}, size_t{3000}, whole->size() / 2, whole->size() - 1}) {
    Bytes cut(whole->begin(), whole->begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(import(cut).ok()) << size;
  }
  std::minstd_rand random(3);
  const bool all = std::getenv("LLMC_LONG") != nullptr;
  for (int i = 0; i < (all ? 3000 : 200); ++i) {
    Bytes changed = *whole;
    for (int n = 0; n < 3; ++n) changed[random() / 8 % 6000] = static_cast<uint8_t>(random() / 8);
    import(changed);  // may even succeed: a name changed
    fs::remove(out);
  }
}

}  // namespace
}  // namespace llmc
