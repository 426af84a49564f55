#include "exact/examples.h"

#include <bit>
#include <cstdlib>
#include <memory>

namespace llmc::exact {
namespace {

// Numbers without any library: 24 random bits in [-4, 4); with outliers, one in 61 is a thousand
// times larger.
std::vector<float> numbers(size_t n, uint32_t seed, bool outliers = true) {
  std::vector<float> x(n);
  for (float& v : x) {
    seed = seed * 1664525 + 1013904223;
    v = (static_cast<float>(seed >> 8) - 0x1p23f) * 0x1p-21f;
    if (outliers && (seed >> 8) % 61 == 0) v = v * 1000.0f;
  }
  return x;
}

class Block {
 public:
  explicit Block(size_t bytes) : data_(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free) {}
  char* get() { return static_cast<char*>(data_.get()); }

 private:
  std::unique_ptr<void, void (*)(void*)> data_;
};

class Hash {
 public:
  void word(uint32_t w) { hash_ = (hash_ ^ w) * 0x100000001b3u; }
  Hash& add(const std::vector<float>& x) {
    for (float v : x) word(std::bit_cast<uint32_t>(v));
    return *this;
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

constexpr int kRows = 7, kManyRows = 61, kIn = 70, kOut = 37;

struct Weights {
  explicit Weights(const Kernels& kernels) : packed(kernels.packed_bytes(kOut, kIn)), sw(kOut) {
    std::vector<int8_t> w(kOut * kIn);
    uint32_t seed = 1;
    for (int8_t& v : w) {
      seed = seed * 1664525 + 1013904223;
      v = static_cast<int8_t>(static_cast<int>((seed >> 16) % 255) - 127);
    }
    kernels.pack(kOut, kIn, w.data(), packed.get());
    for (int i = 0; i < kOut; ++i) sw[i] = static_cast<float>(i + 1) * 0x1.8p-12f;
  }
  Block packed;
  std::vector<float> sw;
};

void linear_examples(const Kernels& kernels, std::vector<Example>* out) {
  Weights m(kernels);
  const std::vector<int32_t> ids = {0, 36, 17, 3, 16, 31, 32};
  std::vector<float> x(kRows * kIn);
  kernels.embed(kRows, kOut, kIn, ids.data(), m.packed.get(), m.sw.data(), x.data(), kIn);
  out->push_back({"embedding", Hash().add(x).value()});

  x = numbers(kManyRows * kIn, 2);
  for (int i = 0; i < kIn; ++i) x[i] = i == 0 ? 127.0f : 0.5f - static_cast<float>(i);  // ties
  const std::vector<float> bias = numbers(kOut, 3);
  uint8_t range[kManyRows] = {};
  for (int bits : {8, 16}) {
    const size_t row_bytes = kernels.quantised_bytes(bits, kIn);
    Block q(kManyRows * row_bytes);
    std::vector<float> s(kManyRows), y(kRows * kOut);
    (bits == 8 ? kernels.quantise8 : kernels.quantise16)(kManyRows, kIn, x.data(), kIn, q.get(), s.data(), range);
    Hash hash;
    for (int row = 0; row < kManyRows; ++row) {
      int16_t integers[kIn];
      kernels.read_quantised(bits, kIn, q.get() + row * row_bytes, integers);
      for (int16_t v : integers) hash.word(static_cast<uint32_t>(static_cast<int32_t>(v)));
    }
    out->push_back({bits == 8 ? "quantise A8" : "quantise A16", hash.add(s).value()});
    (bits == 8 ? kernels.linear8 : kernels.linear16)(kRows, kOut, kIn, q.get(), s.data(), m.packed.get(), m.sw.data(),
                                                     bias.data(), y.data(), kOut);
    out->push_back({bits == 8 ? "linear A8" : "linear A16", Hash().add(y).value()});
  }
}

void row_examples(const Kernels& kernels, std::vector<Example>* out) {
  std::vector<float> x = numbers(kRows * kIn, 4);
  // Two rows far from zero with little between them, where the mean decides.
  for (int i = 0; i < kIn; ++i) {
    x[i] = 3.0f + static_cast<float>(i * i % 11) * 0x1p-16f;
    x[kIn + i] = -3.0f - static_cast<float>(i * i % 7) * 0x1p-16f;
  }
  const std::vector<float> g = numbers(kIn, 5), b = numbers(kIn, 6);
  uint8_t range[kRows] = {};
  std::vector<float> y(x.size());
  kernels.rms_norm(kRows, 1, kIn, x.data(), kIn, g.data(), 0x1p-17f, y.data(), kIn, range);
  out->push_back({"RMSNorm", Hash().add(y).value()});
  kernels.layer_norm(kRows, kIn, x.data(), kIn, g.data(), b.data(), 0x1p-17f, y.data(), kIn, range);
  out->push_back({"LayerNorm", Hash().add(y).value()});

  const std::vector<float> cos = numbers(9 * 10, 7), sin = numbers(9 * 10, 8);
  const std::vector<int32_t> pos = {0, 8, 1, 7, 2, 6, 3};
  Hash hash;
  for (RopePairs pairs : {RopePairs::halves, RopePairs::neighbours}) {
    y = x;
    kernels.rope(kRows, 2, 35, 20, pairs, pos.data(), cos.data(), sin.data(), y.data(), kIn);
    hash.add(y);
  }
  out->push_back({"RoPE", hash.value()});

  std::vector<float> powers(2000);
  for (int i = 0; i < 2000; ++i) powers[i] = static_cast<float>(i) * -0x1.05p-4f;
  kernels.exp2(2000, powers.data(), powers.data());
  out->push_back({"exp2", Hash().add(powers).value()});
  kernels.silu_mul(kRows, kIn, x.data(), kIn, g.data(), 0, y.data(), kIn);
  out->push_back({"SiLU", Hash().add(y).value()});
  Hash gelu;
  for (Gelu kind : {Gelu::erf, Gelu::tanh}) {
    kernels.gelu(kind, kRows, kIn, x.data(), kIn, nullptr, 0, y.data(), kIn);
    gelu.add(y);
    kernels.gelu(kind, kRows, kIn, g.data(), 0, x.data(), kIn, y.data(), kIn);
    gelu.add(y);
  }
  out->push_back({"GELU", gelu.value()});
  y = x;
  kernels.add(kRows, kIn, y.data(), kIn, g.data(), 0);
  out->push_back({"residual", Hash().add(y).value()});
}

void attention_example(const Kernels& kernels, int kv_bits, std::vector<Example>* out) {
  AttentionShape shape;
  shape.kv_bits = kv_bits;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 24;
  shape.context = 41;
  shape.scale = 0x1.2d3f5ap-5f;
  const int n = 37, q_width = 4 * 24, kv_width = 2 * 24;
  std::vector<float> k = numbers(n * kv_width, 10, false);
  const std::vector<float> v = numbers(n * kv_width, 11);
  std::vector<float> q = numbers(n * q_width, 9, false);
  // Scores with a large common part, so that their last bits count; flat and peaked rows in turn.
  for (int i = 0; i < n * 2; ++i) k[i * 24] = 8.0f;
  for (int i = 0; i < n * 4; ++i) q[i * 24] = 40.0f;
  for (int i = 0; i < n * q_width; ++i) q[i] = i / q_width % 2 ? q[i] * 8.0f : q[i];
  Block cache(kernels.kv_bytes(shape)), scratch(kernels.attention_scratch_bytes(shape));
  uint8_t range[n] = {};
  kernels.kv_store(shape, cache.get(), 0, n, k.data(), kv_width, v.data(), kv_width, range);
  kernels.attention(shape, cache.get(), 0, n, q.data(), q_width, q.data(), q_width, range, scratch.get());
  Hash hash;
  hash.add(q);
  for (uint8_t flag : range) hash.word(flag);
  out->push_back({kv_bits == 8 ? "attention" : "attention KV16", hash.value()});
}

void frequency_example(const Kernels& kernels, std::vector<Example>* out) {
  std::vector<float> y = numbers(300, 12, false);
  for (float& v : y) v = v * 3.0f;
  y[16] = y[18] = y[17];
  std::vector<float> t(300);
  std::vector<uint32_t> w(301);
  std::vector<uint64_t> block(frequency_blocks(301));
  Frequencies f;
  f.real = 300;
  f.symbols = 301;
  f.t = t.data();
  f.w = w.data();
  f.block = block.data();
  Hash hash;
  hash.word(kernels.frequencies(y.data(), &f));
  hash.add(t);
  for (uint32_t one : w) hash.word(one);
  hash.word(static_cast<uint32_t>(f.total));
  hash.word(static_cast<uint32_t>(f.total >> 32));
  hash.word(static_cast<uint32_t>(kernels.interval(f, 299).cum));
  hash.word(static_cast<uint32_t>(kernels.find(f, f.total / 3)));
  hash.word(static_cast<uint32_t>(kernels.rank(f, 18)));
  hash.word(static_cast<uint32_t>(kernels.symbol_of_rank(f, 123)));
  out->push_back({"frequencies", hash.value()});
}

}  // namespace

std::vector<Example> run_examples(const Kernels& kernels) {
  std::vector<Example> out;
  linear_examples(kernels, &out);
  row_examples(kernels, &out);
  attention_example(kernels, 8, &out);
  attention_example(kernels, 16, &out);
  frequency_example(kernels, &out);
  return out;
}

const std::vector<Example>& expected_examples() {
  static const std::vector<Example> expected = {
      {"embedding", 0xd0f70d0e9022bd0du},
      {"quantise A8", 0xf6a7acd97fbaea37u},
      {"linear A8", 0xacc634b8673b9d07u},
      {"quantise A16", 0x987b999db54ac78cu},
      {"linear A16", 0x3b6dc97a677fa0b9u},
      {"RMSNorm", 0x20f23448a20b0c0fu},
      {"LayerNorm", 0x9ff1f5473e1e5898u},
      {"RoPE", 0xd7465de572508501u},
      {"exp2", 0xc45b1f9752590881u},
      {"SiLU", 0x5fc2204bc0b5964bu},
      {"GELU", 0xadd90d82707b9780u},
      {"residual", 0xa6c0f7f7a1d73618u},
      {"attention", 0x8176b2681148f3d6u},
      {"attention KV16", 0xa8f144954d4495cbu},
      {"frequencies", 0x5b1639536c2262a9u},
  };
  return expected;
}

}  // namespace llmc::exact
