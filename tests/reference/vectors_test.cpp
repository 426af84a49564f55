// Golden vectors of LLMC-X1 (docs/NUMERICS.md, section 10): what each step leaves, by the scalar
// and the vector kernels and by Python. LLMC_WRITE_GOLDEN=DIR writes them anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include "base/file.h"
#include "exact/kernels.h"
#include "model/forward_session.h"
#include "model/host_ops.h"
#include "python.h"

namespace llmc::test {
namespace {

constexpr int kTokens = 48;

std::string file_name(int activations) { return "e0-a" + std::to_string(activations) + ".txt"; }

std::string committed(int activations) {
  return slurp(repository("tests/reference/vectors/" + file_name(activations)));
}

// models/e0.safetensors, or the same with all activations in 16 bits.
std::shared_ptr<const Model> model_of(int activations) {
  std::string file = slurp(repository("models/e0.safetensors"));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  std::string header = file.substr(8, length);
  for (const std::string name : {"head", "attn_in", "attn_out", "mlp_in", "mlp_out"}) {
    const std::string eight = "\\\"" + name + "\\\":8", other = "\\\"" + name + "\\\":" + std::to_string(activations);
    for (size_t at = 0; (at = header.find(eight, at)) != std::string::npos; at += other.size()) {
      header.replace(at, eight.size(), other);
    }
  }
  header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
  file = std::string(8, '\0') + header + file.substr(8 + length);
  length = header.size();
  std::memcpy(file.data(), &length, 8);
  auto owner = std::make_shared<const std::string>(std::move(file));
  auto model = Model::from_bytes(as_bytes(*owner), owner);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? *model : nullptr;
}

ByteView bytes_of(const auto& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof values[0]};
}

// Quantises rows as the linear that follows does, and says what came out.
std::string quantised(const Kernels& kernels, int bits, const std::vector<float>& x, int rows, int k) {
  const size_t row_bytes = kernels.quantised_bytes(bits, k);
  PlainMemory memory;
  uint8_t* q = memory.take(row_bytes * rows);
  std::vector<float> scales(rows);
  std::vector<uint8_t> range(rows);
  (bits == 8 ? kernels.quantise8 : kernels.quantise16)(rows, k, x.data(), k, q, scales.data(), range.data());
  std::vector<int16_t> all(static_cast<size_t>(rows) * k);
  for (int i = 0; i < rows; ++i) {
    kernels.read_quantised(bits, k, q + i * row_bytes, all.data() + static_cast<size_t>(i) * k);
  }
  Sha256 hash;
  hash.update(bytes_of(all));
  hash.update(bytes_of(scales));
  char scale[16];
  std::snprintf(scale, sizeof scale, "%08X", std::bit_cast<uint32_t>(scales[0]));
  std::string out = scale;
  for (int i = 0; i < 6; ++i) out += " " + std::to_string(all[i]);
  return out + " " + to_hex(hash.finish());
}

// The lines of a file of vectors, as the kernels of `isa` compute them.
std::string vectors(const std::shared_ptr<const Model>& owner, int activations, const std::string& isa) {
  const Model& model = *owner;
  auto text = read_file(repository("tests/data/text/alice29.txt"));
  EXPECT_TRUE(text.ok());
  text->resize(400);
  std::vector<Symbol> symbols;
  model.tokenizer().encode(*text, &symbols);
  symbols.resize(kTokens);
  std::ostringstream out;
  out << "# LLMC-X1 with models/e0.safetensors on the first tokens of alice29.txt; docs/NUMERICS.md, section 10\n"
      << "activations " << activations << "\nids";
  for (const Symbol id : symbols) out << ' ' << id;
  out << '\n';

  const auto kernels = select_kernels(isa);
  EXPECT_TRUE(kernels.ok());
  const HostWeights weights(owner, **kernels, std::make_unique<PlainMemory>());
  auto ops = std::make_unique<HostOps>(weights, 1, kTokens, std::make_unique<PlainMemory>());
  Ops* const reader = ops.get();
  Sha256 logits;
  int logit_rows = 0;
  const auto trace = [&](const char* operation, int layer, Place place, int rows) {
    const std::vector<float> x = reader->read(place, rows);
    if (place == Place::logits) {  // block by block
      logits.update(bytes_of(x));
      logit_rows += rows;
      if (logit_rows == kTokens) out << "floats " << layer << " logits " << to_hex(logits.finish()) << '\n';
      return;
    }
    std::string name = place == Place::active ? "activation" : operation;
    for (char& c : name) c = c == ' ' ? '-' : c;
    out << "floats " << layer << ' ' << name << ' ' << to_hex(sha256(bytes_of(x))) << '\n';
    if (place == Place::mixed || place == Place::active) {
      const int k = static_cast<int>(x.size()) / rows;
      out << "quantised " << layer << ' ' << name << ' ' << quantised(**kernels, activations, x, rows, k) << '\n';
    }
  };
  const auto session = make_forward_session(model, std::move(ops), 1, kTokens, trace);
  std::vector<Row> rows;
  for (int i = 0; i < kTokens; ++i) rows.push_back({0, i ? symbols[i - 1] : model.config().start, symbols[i]});
  EXPECT_LE(kTokens, session->max_rows());
  const Status status = session->feed(rows, Ask::intervals);
  EXPECT_TRUE(status.ok()) << status.message();
  for (int i = 0; i < kTokens; ++i) {
    const Interval answer = session->interval(i);
    out << "answer " << symbols[i] << ' ' << answer.cum << ' ' << answer.weight << ' ' << answer.total << '\n';
  }
  return out.str();
}

// The first line that differs, which names the step.
void expect_equal(const std::string& made, const std::string& wanted, const std::string& who) {
  std::istringstream a(made), b(wanted);
  std::string x, y;
  for (int line = 1;; ++line) {
    const bool more_a = static_cast<bool>(std::getline(a, x)), more_b = static_cast<bool>(std::getline(b, y));
    ASSERT_EQ(more_a, more_b) << who << ": line " << line;
    if (!more_a) return;
    ASSERT_EQ(x, y) << who << ": line " << line;
  }
}

TEST(Vectors, EveryInstructionSetGivesTheCommittedOnes) {
  for (const int activations : {8, 16}) {
    const auto model = model_of(activations);
    ASSERT_TRUE(model);
    if (const char* folder = std::getenv("LLMC_WRITE_GOLDEN")) {
      spill(std::filesystem::path(folder) / file_name(activations), vectors(model, activations, "scalar"));
    }
    for (const std::string& isa : available_isas()) {
      expect_equal(vectors(model, activations, isa), committed(activations), file_name(activations) + " " + isa);
    }
  }
}

TEST(Vectors, PythonGivesTheCommittedOnes) {
  const std::string python = python_with("numpy");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with numpy";
  for (const int activations : {8, 16}) {
    const std::string file = repository("tests/reference/vectors/" + file_name(activations));
    const Outcome outcome = shell(python + " " + quoted(repository("tools/reference/frequencies.py")) + " vectors " +
                                  quoted(file) + " --model " + quoted(repository("models/e0.safetensors")));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    expect_equal(outcome.out, committed(activations), file_name(activations) + " Python");
  }
}

// Each result in the tables of docs/NUMERICS.md, section 9, is one that Python gives; C++: tests/exact.
TEST(Vectors, PythonGivesTheWorkedExamples) {
  const std::string python = python_with("numpy");
  if (python.empty()) GTEST_SKIP() << "not run: no Python with numpy";
  const Outcome outcome = shell(python + " " + quoted(repository("tools/reference/frequencies.py")) + " examples");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string document = slurp(repository("docs/NUMERICS.md"));
  std::istringstream lines(outcome.out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const size_t at = line.find(": ");
    ASSERT_NE(at, std::string::npos) << line;
    EXPECT_NE(document.find(line.substr(at + 2)), std::string::npos) << line;
  }
  EXPECT_EQ(count, 17);
}

}  // namespace
}  // namespace llmc::test
