// Speed of the numeric kernels on one core:  exact_bench [--benchmark_filter=avx512vnni/linear8]
// Linear layers report multiply-adds per second, everything else time per call.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "exact/kernels.h"

namespace llmc {
namespace {

struct Block {
  explicit Block(size_t bytes) : data(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {}
  ~Block() { std::free(data); }
  Block(const Block&) = delete;
  void* data;
};

std::vector<float> wave(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = std::sin(static_cast<float>(i) * 1.7f);
  return x;
}

void linear(benchmark::State& state, const Kernels* kernels, int bits, int k, int n, int rows) {
  const FloatState exact;
  std::vector<int8_t> w(static_cast<size_t>(n) * k);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(i * 37 % 255 - 127);
  Block packed(kernels->packed_bytes(n, k)), q(rows * kernels->quantised_bytes(bits, k));
  kernels->pack(n, k, w.data(), packed.data);
  const std::vector<float> x = wave(static_cast<size_t>(rows) * k), sw(n, 0.01f);
  std::vector<float> s(rows), y(static_cast<size_t>(rows) * n);
  std::vector<uint8_t> range(rows);
  (bits == 8 ? kernels->quantise8 : kernels->quantise16)(rows, k, x.data(), k, q.data, s.data(), range.data());
  for (auto _ : state) {
    (bits == 8 ? kernels->linear8 : kernels->linear16)(rows, n, k, q.data, s.data(), packed.data, sw.data(), nullptr,
                                                       y.data(), n);
    benchmark::ClobberMemory();
  }
  state.counters["MAC/s"] = benchmark::Counter(static_cast<double>(rows) * n * k,
                                               benchmark::Counter::kIsIterationInvariantRate);
}

void quantise(benchmark::State& state, const Kernels* kernels, int bits, int k) {
  const FloatState exact;
  Block q(kernels->quantised_bytes(bits, k));
  const std::vector<float> x = wave(k);
  float s;
  uint8_t range = 0;
  for (auto _ : state) {
    (bits == 8 ? kernels->quantise8 : kernels->quantise16)(1, k, x.data(), k, q.data, &s, &range);
    benchmark::ClobberMemory();
  }
}

void rms_norm(benchmark::State& state, const Kernels* kernels, int n) {
  const FloatState exact;
  std::vector<float> x = wave(n), g(n, 1.0f), y(n);
  uint8_t range = 0;
  for (auto _ : state) {
    kernels->rms_norm(1, 1, n, x.data(), n, g.data(), 1e-5f, y.data(), n, &range);
    benchmark::ClobberMemory();
  }
}

void silu(benchmark::State& state, const Kernels* kernels, int n) {
  const FloatState exact;
  std::vector<float> x = wave(n), y(n);
  for (auto _ : state) {
    kernels->silu_mul(1, n, x.data(), n, x.data(), n, y.data(), n);
    benchmark::ClobberMemory();
  }
}

// One token at the end of `context` positions, or `rows` of them.
void attention(benchmark::State& state, const Kernels* kernels, int heads, int kv_heads, int head_dim, int context,
               int rows) {
  const FloatState exact;
  const AttentionShape shape{heads, kv_heads, head_dim, context, 0.18f, 0};
  Block cache(kernels->kv_bytes(shape)), scratch(kernels->attention_scratch_bytes(shape));
  const std::vector<float> k = wave(static_cast<size_t>(context) * kv_heads * head_dim);
  const std::vector<float> q = wave(static_cast<size_t>(rows) * heads * head_dim);
  std::vector<float> o(q.size());
  std::vector<uint8_t> range(context);
  kernels->kv_store(shape, cache.data, 0, context, k.data(), kv_heads * head_dim, k.data(), kv_heads * head_dim,
                    range.data());
  for (auto _ : state) {
    kernels->attention(shape, cache.data, context - rows, rows, q.data(), heads * head_dim, o.data(), heads * head_dim,
                       range.data(), scratch.data);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows);
}

void kv_store(benchmark::State& state, const Kernels* kernels, int kv_heads, int head_dim) {
  const FloatState exact;
  const AttentionShape shape{kv_heads, kv_heads, head_dim, 1024, 0.18f, 0};
  Block cache(kernels->kv_bytes(shape));
  const std::vector<float> k = wave(kv_heads * head_dim);
  uint8_t range = 0;
  int pos = 0;
  for (auto _ : state) {
    kernels->kv_store(shape, cache.data, pos++ % 1024, 1, k.data(), k.size(), k.data(), k.size(), &range);
    benchmark::ClobberMemory();
  }
}

void frequencies(benchmark::State& state, const Kernels* kernels, int vocabulary) {
  const FloatState exact;
  const std::vector<float> y = wave(vocabulary);
  std::vector<float> t(vocabulary);
  std::vector<uint32_t> w(vocabulary);
  std::vector<uint64_t> block(frequency_blocks(vocabulary));
  Frequencies f{vocabulary, vocabulary, t.data(), w.data(), block.data(), 0};
  int symbol = 0;
  for (auto _ : state) {
    kernels->frequencies(y.data(), &f);
    benchmark::DoNotOptimize(symbol = kernels->find(f, f.total / 2));
  }
}

void rank(benchmark::State& state, const Kernels* kernels, int vocabulary) {
  const FloatState exact;
  const std::vector<float> y = wave(vocabulary);
  std::vector<float> t(vocabulary);
  std::vector<uint32_t> w(vocabulary);
  std::vector<uint64_t> block(frequency_blocks(vocabulary));
  Frequencies f{vocabulary, vocabulary, t.data(), w.data(), block.data(), 0};
  kernels->frequencies(y.data(), &f);
  int r = 0;
  for (auto _ : state) benchmark::DoNotOptimize(kernels->symbol_of_rank(f, r++ % 8));
}

}  // namespace
}  // namespace llmc

int main(int argc, char** argv) {
  using namespace llmc;
  for (const std::string& name : available_isas()) {
    const Kernels* kernels = *select_kernels(name);
    const auto add = [&](const std::string& what, auto... args) {
      benchmark::RegisterBenchmark((name + "/" + what).c_str(), args...)->MinTime(0.05);
    };
    for (int bits : {8, 16}) {
      for (const auto& [k, n] : {std::pair{256, 640}, std::pair{640, 256}, std::pair{256, 4096}, std::pair{2048, 8192}}) {
        for (int rows : {1, 4, 16, 64}) {
          add("linear" + std::to_string(bits) + "/k" + std::to_string(k) + "/n" + std::to_string(n) + "/rows" +
                  std::to_string(rows), linear, kernels, bits, k, n, rows);
        }
      }
      add("quantise" + std::to_string(bits) + "/k256", quantise, kernels, bits, 256);
    }
    add("rms_norm/256", rms_norm, kernels, 256);
    add("silu/640", silu, kernels, 640);
    add("kv_store/4x64", kv_store, kernels, 4, 64);
    add("attention/4x64/context1024/rows1", attention, kernels, 4, 4, 64, 1024, 1);
    add("attention/4x64/context1024/rows64", attention, kernels, 4, 4, 64, 1024, 64);
    add("attention/8of2x64/context1024/rows1", attention, kernels, 8, 2, 64, 1024, 1);
    add("frequencies/4096", frequencies, kernels, 4096);
    add("rank/4096", rank, kernels, 4096);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
