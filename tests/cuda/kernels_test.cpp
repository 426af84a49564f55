// Each kernel on the emulated GPU against the scalar reference, bit for bit, on inputs that models make and on inputs that
// they never should.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "../exact/exact_testing.h"
#include "base/chance.h"
#include "cuda/arithmetic.h"
#include "cuda/shapes.h"
#include "emulator.h"

namespace llmc {
namespace {

using namespace testing;
using cuda::Launch;

// Memory of the emulated device is memory of this process.
class KernelTest : public ::testing::TestWithParam<test::ThreadOrder> {
 protected:
  KernelTest() {
    test::EmulatorOptions options;
    options.order = GetParam();
    device_ = test::make_emulator(options);
    if (const char* mutant = std::getenv("LLMC_MUTANT")) device_ = open_mutant(mutant);
  }
  // tests/cuda/mutants.sh: kernels that have a mistake, which these tests must find.
  static std::unique_ptr<Device> open_mutant(const char* path) {
    void* const library = ::dlopen(path, RTLD_NOW);
    const auto make = library ? reinterpret_cast<Device* (*)()>(::dlsym(library, "make_mutant")) : nullptr;
    if (!make) throw std::runtime_error(::dlerror());
    return std::unique_ptr<Device>(make());
  }
  Device& gpu() { return *device_; }

 private:
  FloatState exact_;
  std::unique_ptr<Device> device_;
};
INSTANTIATE_TEST_SUITE_P(Order, KernelTest,
                         ::testing::Values(test::ThreadOrder::up, test::ThreadOrder::down, test::ThreadOrder::mixed),
                         [](const auto& info) {
                           return info.param == test::ThreadOrder::up     ? "up"
                                  : info.param == test::ThreadOrder::down ? "down"
                                                                          : "mixed";
                         });

// Rows of integers as the kernels keep them.
struct Planes {
  Planes(int rows, int k, int limbs)
      : k(k), stride((k + 63) / 64 * 64), limbs(limbs), q(static_cast<size_t>(limbs) * (rows + 128) * stride, 99), scale(rows + 128, -1) {
    args.q = q.data();
    args.scale = scale.data();
    args.plane = static_cast<size_t>(rows + 128) * stride;
    args.stride = stride;
    args.limbs = limbs;
  }
  int at(int row, int i) const {
    const size_t index = static_cast<size_t>(row) * stride + i;
    return limbs == 1 ? q[index] : q[index] * 256 + q[args.plane + index];
  }
  int k, stride, limbs;
  std::vector<int8_t> q;
  std::vector<float> scale;
  cuda::Quantised args;
};

// What the scalar kernels make of rows of floats.
struct Expected {
  Expected(int rows, int k, int limbs) : q(rows * scalar().quantised_bytes(8 * limbs, k)), s(rows), range(rows, 0) {}
  void quantise(int rows, int k, int limbs, const float* x) {
    (limbs == 1 ? scalar().quantise8 : scalar().quantise16)(rows, k, x, k, q.get(), s.data(), range.data());
  }
  std::vector<int16_t> row(int row, int k, int limbs) {
    std::vector<int16_t> out(k);
    scalar().read_quantised(8 * limbs, k, q.as<char>() + row * scalar().quantised_bytes(8 * limbs, k), out.data());
    return out;
  }
  Aligned q;
  std::vector<float> s;
  std::vector<uint8_t> range;
};

void expect_same(Planes& got, Expected& expected, int rows, const std::vector<uint32_t>& bad) {
  for (int row = 0; row < rows; ++row) {
    const std::vector<int16_t> q = expected.row(row, got.k, got.limbs);
    for (int i = 0; i < got.stride; ++i) ASSERT_EQ(got.at(row, i), i < got.k ? q[i] : 0) << "row " << row << ", " << i;
    EXPECT_EQ(std::bit_cast<uint32_t>(got.scale[row]), std::bit_cast<uint32_t>(expected.s[row]));
    EXPECT_EQ(bad[row] != 0, expected.range[row] != 0);
  }
}

// Rows of all mixes and one of nearly equal values, where all hangs on the mean; the last but one is out of range, the
// last one padding.
struct Rows {
  explicit Rows(int width, uint64_t seed) : count(static_cast<int>(kMixes.size()) + 3), alive(count, 0) {
    for (const Mix mix : kMixes) {
      const std::vector<float> row = floats(width, mix, seed++);
      x.insert(x.end(), row.begin(), row.end());
    }
    for (int i = 0; i < width; ++i) x.push_back(-1.0f - static_cast<float>(i % 3) * 0x1p-16f);
    std::vector<float> lost = floats(width, Mix::normal, seed);
    lost[width / 2] = seed % 2 ? NAN : -0x1p60f;
    for (int i = 0; i < 2; ++i) x.insert(x.end(), lost.begin(), lost.end());
    alive.back() = -1;
  }
  int count;
  std::vector<int32_t> alive;
  std::vector<float> x;
};

TEST_P(KernelTest, NormsAndQuantises) {
  for (const int width : {8, 40, 64, 576, 1500}) {
    for (const bool layer : {false, true}) {
      for (const int limbs : {1, 2}) {
        Rows rows(width, width + layer);
        const std::vector<float> g = floats(width, Mix::normal, 7), b = floats(width, Mix::outliers, 8);
        Expected expected(rows.count, width, limbs);
        std::vector<float> y(rows.x.size());
        const int alive = rows.count - 1;
        if (layer) {
          scalar().layer_norm(alive, width, rows.x.data(), width, g.data(), b.data(), 1e-5f, y.data(), width, expected.range.data());
        } else {
          scalar().rms_norm(alive, 1, width, rows.x.data(), width, g.data(), 1e-5f, y.data(), width, expected.range.data());
        }
        expected.quantise(alive, width, limbs, y.data());
        Planes got(rows.count, width, limbs);
        std::vector<uint32_t> bad(rows.count);
        cuda::NormArgs args{rows.alive.data(), rows.x.data(), g.data(), layer ? b.data() : nullptr, static_cast<size_t>(width),
                            width, 1e-5f, got.args, {bad.data(), 3}};
        gpu().norm_quantise({static_cast<unsigned>(rows.count), 1, 128, cuda::kReductionBytes}, args);
        expect_same(got, expected, alive, bad);
        EXPECT_EQ(bad[alive - 1], 3u);
        EXPECT_EQ(bad[alive], 0u);  // padding is never checked
        EXPECT_EQ(got.q[static_cast<size_t>(alive) * got.stride], 99);
      }
    }
  }
}

TEST_P(KernelTest, ActivatesAndQuantises) {
  const int width = 200;
  for (const auto function : {cuda::ActivateArgs::silu, cuda::ActivateArgs::gelu_erf, cuda::ActivateArgs::gelu_tanh}) {
    for (const bool gated : {true, false}) {
      if (function == cuda::ActivateArgs::silu && !gated) continue;
      Rows rows(2 * width, 11);
      const int alive = rows.count - 1;
      std::vector<float> y(rows.count * width), expected(y.size());
      const float* up = gated ? rows.x.data() + width : nullptr;
      if (function == cuda::ActivateArgs::silu) {
        scalar().silu_mul(alive, width, rows.x.data(), 2 * width, up, 2 * width, expected.data(), width);
      } else {
        const Gelu kind = function == cuda::ActivateArgs::gelu_erf ? Gelu::erf : Gelu::tanh;
        scalar().gelu(kind, alive, width, rows.x.data(), 2 * width, up, 2 * width, expected.data(), width);
      }
      std::vector<uint32_t> largest(rows.count), bad(rows.count);
      const cuda::ActivateArgs args{rows.alive.data(), rows.x.data(), y.data(), largest.data(), 2 * width, width, width, function, gated};
      gpu().activate({static_cast<unsigned>(rows.count), 1, 128, cuda::kReductionBytes}, args);
      EXPECT_TRUE(same_bits({y.begin(), y.begin() + alive * width}, {expected.begin(), expected.begin() + alive * width}));
      for (const int limbs : {1, 2}) {
        Expected quantised(rows.count, width, limbs);
        quantised.quantise(alive, width, limbs, expected.data());
        Planes got(rows.count, width, limbs);
        std::fill(bad.begin(), bad.end(), 0);
        gpu().quantise({static_cast<unsigned>(rows.count), 1, 128, 0},
                       {rows.alive.data(), y.data(), largest.data(), width, width, got.args, {bad.data(), 1}});
        expect_same(got, quantised, alive, bad);
      }
    }
  }
}

TEST_P(KernelTest, MultipliesIntegers) {
  struct Shape {
    int rows, n, k;
  };
  for (const Shape shape : {Shape{1, 3, 8}, Shape{70, 130, 200}, Shape{17, 64, 330}}) {
    for (const int limbs : {1, 2}) {
      for (const bool large : {false, true}) {
        Random random(shape.n + limbs);
        const int n_padded = (shape.n + 127) / 128 * 128;
        Planes in(shape.rows, shape.k, limbs);
        std::fill(in.q.begin(), in.q.end(), 0);
        Expected q(shape.rows, shape.k, limbs);
        std::vector<float> x = floats(static_cast<size_t>(shape.rows) * shape.k, Mix::outliers, 5);
        for (int i = 0; i < shape.k; ++i) x[i] = i % 3 ? 127.0f : -127.0f;  // the largest sums
        q.quantise(shape.rows, shape.k, limbs, x.data());
        for (int row = 0; row < shape.rows; ++row) {
          const std::vector<int16_t> values = q.row(row, shape.k, limbs);
          for (int i = 0; i < shape.k; ++i) {
            const size_t at = static_cast<size_t>(row) * in.stride + i;
            in.q[at] = static_cast<int8_t>(limbs == 1 ? values[i] : lane::high_limb(values[i]));
            if (limbs == 2) in.q[in.args.plane + at] = static_cast<int8_t>(lane::low_limb(values[i]));
          }
          in.scale[row] = q.s[row];
        }
        std::vector<int8_t> w(static_cast<size_t>(shape.n) * shape.k), padded(static_cast<size_t>(n_padded) * in.stride);
        for (int8_t& v : w) v = random.weight();
        for (int i = 0; i < shape.k; ++i) w[i] = i % 3 ? -127 : 127;
        for (int row = 0; row < shape.n; ++row) std::memcpy(&padded[static_cast<size_t>(row) * in.stride], &w[static_cast<size_t>(row) * shape.k], shape.k);
        const std::vector<float> scale = floats(shape.n, Mix::normal, 6), bias = floats(shape.n, Mix::normal, 9);
        Aligned packed(scalar().packed_bytes(shape.n, shape.k));
        scalar().pack(shape.n, shape.k, w.data(), packed.get());
        const size_t elements = static_cast<size_t>(shape.rows) * shape.n;
        std::vector<float> expected(elements), y(elements, 1.5f), added(elements, 1.5f), finished(elements, 1.5f);
        (limbs == 1 ? scalar().linear8 : scalar().linear16)(shape.rows, shape.n, shape.k, q.q.get(), q.s.data(), packed.get(),
                                                            scale.data(), bias.data(), expected.data(), shape.n);
        std::vector<int64_t> sums(elements);
        const cuda::TileShape tile = cuda::tile_shape(limbs, large);
        const Launch launch{static_cast<unsigned>((shape.n + tile.columns - 1) / tile.columns),
                            static_cast<unsigned>((shape.rows + tile.rows - 1) / tile.rows), tile.threads, tile.shared_bytes};
        const auto run = [&](float* to, cuda::LinearArgs::Into into) {
          const cuda::LinearArgs args{in.args, padded.data(), scale.data(), bias.data(), to, sums.data(), shape.rows, shape.n,
                                      in.stride, static_cast<size_t>(shape.n), into};
          if (limbs == 1) large ? gpu().linear8_large(launch, args) : gpu().linear8_small(launch, args);
          if (limbs == 2) large ? gpu().linear16_large(launch, args) : gpu().linear16_small(launch, args);
        };
        run(y.data(), cuda::LinearArgs::store);
        EXPECT_TRUE(same_bits(y, expected));
        run(added.data(), cuda::LinearArgs::add);
        run(nullptr, cuda::LinearArgs::sums);
        gpu().finish({static_cast<unsigned>((elements + 255) / 256), 1, 256, 0},
                     {sums.data(), in.scale.data(), scale.data(), bias.data(), finished.data(), shape.rows, shape.n, static_cast<size_t>(shape.n)});
        for (float& v : expected) v = 1.5f + v;
        EXPECT_TRUE(same_bits(added, expected));
        EXPECT_TRUE(same_bits(finished, expected));
      }
    }
  }
}

struct AttentionCase {
  int heads, kv_heads, d, window, kv_bits, first, rows;
  Mix mix;
  bool scratch, norm, neighbours;
};

// Keys, values and queries of one stream, row after row, then attention of all rows at once and one by one.
void attention_case(Device& gpu, const AttentionCase& c) {
  const int context = c.first + c.rows + 3, total = c.first + c.rows;
  const int width = (c.heads + 2 * c.kv_heads) * c.d, kv_width = c.kv_heads * c.d, group = c.heads / c.kv_heads;
  std::vector<float> x = floats(static_cast<size_t>(total) * width, c.mix, 40 + c.d);
  if (c.mix == Mix::huge) x[width + 1] = 0x1p61f, x[2 * width - 1] = INFINITY;  // row 1: a query and a value out of range
  const std::vector<float> g = floats(c.d, Mix::normal, 3);
  const int rotary = c.d / 4 * 2;
  const std::vector<float> cos = floats(static_cast<size_t>(context) * rotary / 2, Mix::normal, 1);
  const std::vector<float> sin = floats(static_cast<size_t>(context) * rotary / 2, Mix::normal, 2);

  AttentionShape shape{c.heads, c.kv_heads, c.d, context, 0.18f, c.window, c.kv_bits};
  Aligned cache(scalar().kv_bytes(shape)), scratch(scalar().attention_scratch_bytes(shape));
  std::vector<float> turned = x, expected(static_cast<size_t>(total) * c.heads * c.d);
  std::vector<uint8_t> range(total);
  std::vector<int32_t> positions(total), slots(total, 1);
  for (int i = 0; i < total; ++i) positions[i] = i;
  const size_t ld = width;
  if (c.norm) {
    scalar().rms_norm(total, c.heads + c.kv_heads, c.d, turned.data(), ld, g.data(), 1e-6f, turned.data(), ld, range.data());
  }
  scalar().rope(total, c.heads + c.kv_heads, c.d, rotary, c.neighbours ? RopePairs::neighbours : RopePairs::halves,
                positions.data(), cos.data(), sin.data(), turned.data(), ld);
  const float* k = turned.data() + c.heads * c.d;
  scalar().kv_store(shape, cache.get(), 0, total, k, ld, k + kv_width, ld, range.data());
  scalar().attention(shape, cache.get(), 0, total, turned.data(), ld, expected.data(), c.heads * c.d, range.data(), scratch.get());

  const int limbs = c.kv_bits / 8;
  const size_t head_bytes = (static_cast<size_t>(context) * (2 * c.d * limbs + 5) + 255) / 256 * 256;
  const cuda::CacheShape cache_shape{c.kv_heads, c.d, context, limbs, head_bytes, head_bytes * c.kv_heads};
  uint8_t* device_cache = gpu.take(2 * cache_shape.slot_bytes);
  std::vector<uint32_t> bad(total), largest(total, 77);
  std::vector<float> qkv = x, out(expected.size());
  const cuda::TurnArgs turn{slots.data(), positions.data(), qkv.data(), ld, c.norm ? g.data() : nullptr, c.norm ? g.data() : nullptr,
                            cos.data(), sin.data(), device_cache, largest.data(), cache_shape, total, c.heads, rotary, c.neighbours,
                            1e-6f, {bad.data(), 5}};
  gpu.turn_and_store({static_cast<unsigned>(total), static_cast<unsigned>((c.heads + 2 * c.kv_heads + 3) / 4), 128, cuda::kTurnShared}, turn);
  EXPECT_TRUE(same_bits(qkv, turned));

  const cuda::AttendPlan plan = cuda::plan_attend(group, c.kv_heads, c.d, context, 48 << 10);
  for (const bool steps : {false, true}) {
    std::vector<cuda::Item> items;
    const int rows = steps ? 1 : plan.rows;
    for (int row = 0; row < total; row += rows) items.push_back({row, std::min(rows, total - row)});
    items.push_back({0, 0});  // padding
    const int queries = steps ? plan.step_queries : plan.queries;
    std::vector<float> global(c.scratch ? static_cast<size_t>(3) * plan.parts * queries * context : 0);
    const cuda::AttendArgs args{items.data(), slots.data(), positions.data(), qkv.data(), ld, device_cache, out.data(),
                                static_cast<size_t>(c.heads) * c.d, largest.data(), c.scratch ? global.data() : nullptr, cache_shape,
                                static_cast<int>(items.size()), c.heads, plan.heads, context, c.window, 0.18f, {bad.data(), 5}};
    const Launch launch{3, static_cast<unsigned>(plan.parts), 128, cuda::attend_shared(queries, c.d, c.scratch ? 0 : context)};
    const bool wide = limbs == 2;
    if (queries == 1) wide ? gpu.attend1_wide(launch, args) : gpu.attend1(launch, args);
    if (queries == 2) wide ? gpu.attend2_wide(launch, args) : gpu.attend2(launch, args);
    if (queries == 4) wide ? gpu.attend4_wide(launch, args) : gpu.attend4(launch, args);
    if (queries == 8) wide ? gpu.attend8_wide(launch, args) : gpu.attend8(launch, args);
    EXPECT_TRUE(same_bits(out, expected)) << (steps ? "one by one" : "together");
    for (int row = 0; row < total; ++row) {
      EXPECT_EQ(bad[row] != 0, range[row] != 0) << row;
      uint32_t most = 0;
      for (int i = 0; i < c.heads * c.d; ++i) most = std::max(most, lane::magnitude(out[static_cast<size_t>(row) * c.heads * c.d + i]));
      EXPECT_EQ(largest[row], most);
    }
  }
}

TEST_P(KernelTest, Attends) {
  const AttentionCase cases[] = {
      {4, 4, 16, 0, 8, 0, 40, Mix::normal, false, true, false},   {6, 2, 24, 0, 8, 130, 9, Mix::outliers, false, true, true},
      {4, 1, 64, 7, 8, 150, 5, Mix::normal, true, false, false},  {1, 1, 8, 0, 16, 0, 33, Mix::normal, false, false, true},
      {6, 2, 24, 5, 16, 20, 11, Mix::outliers, true, true, false}, {9, 1, 16, 0, 8, 0, 12, Mix::normal, false, false, false},
      {2, 1, 128, 0, 16, 0, 6, Mix::zeros, false, false, false},  {2, 2, 256, 0, 8, 0, 6, Mix::tiny_border, false, false, false},
      {4, 2, 16, 0, 8, 0, 20, Mix::huge, false, false, false},    {4, 2, 16, 0, 16, 0, 20, Mix::all_equal, false, true, false},
      {4, 2, 32, 0, 8, 0, 20, Mix::denormals, false, true, false}};
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(::testing::Message() << c.heads << " heads of " << c.d << ", " << c.kv_bits << " bits, mix " << static_cast<int>(c.mix));
    attention_case(gpu(), c);
  }
}

TEST_P(KernelTest, AnswersWithoutATable) {
  for (const int real : {5, 256, 700, 8500}) {
    for (const int escape : {0, 1}) {
      for (const Mix mix : {Mix::normal, Mix::outliers, Mix::all_equal, Mix::zeros}) {
        const int symbols = real + escape, groups = (symbols + cuda::kGroup - 1) / cuda::kGroup;
        const std::vector<float> logits = floats(real, mix, real);
        std::vector<float> t(real);
        std::vector<uint32_t> w(symbols);
        std::vector<uint64_t> block(frequency_blocks(symbols));
        Frequencies f{real, symbols, t.data(), w.data(), block.data(), 0};
        ASSERT_TRUE(scalar().frequencies(logits.data(), &f));

        // One row of questions: a symbol's interval, its rank, and what a range decoder finds there.
        const int rows = 3;
        Random random(real + escape);
        std::vector<int32_t> alive(rows, 0), wanted(rows);
        std::vector<cuda::RangeState> states(rows);
        std::vector<float> all;
        for (int i = 0; i < rows; ++i) {
          wanted[i] = i == 0 ? symbols - 1 : random.below(symbols);
          states[i].range = random.next() | uint64_t{1} << 56;
          states[i].code = i == 1 ? states[i].range - 1 : random.next() % states[i].range;
          all.insert(all.end(), logits.begin(), logits.end());
        }
        std::vector<uint32_t> peaks(2 * rows), bad(rows), orders(rows);
        std::vector<uint64_t> totals(rows, 5), sums(static_cast<size_t>(rows) * groups);
        std::vector<cuda::Answer> answers(rows);
        const size_t ld = real;
        gpu().peak({rows, 1, 256, cuda::kReductionBytes}, {alive.data(), all.data(), ld, real, rows, 1, peaks.data(), totals.data()});
        gpu().weigh({static_cast<unsigned>((groups + 7) / 8), rows, cuda::kWeighThreads, 0},
                    {alive.data(), all.data(), ld, real, symbols, rows, 0, peaks.data(), sums.data(), groups, totals.data(), {bad.data(), 1}});
        for (const bool search : {false, true}) {
          gpu().answer({1, 1, 128, 0}, {alive.data(), all.data(), ld, real, symbols, rows, 0, groups, 0, 1, peaks.data(), sums.data(),
                                        totals.data(), wanted.data(), search ? states.data() : nullptr, answers.data()});
          for (int i = 0; i < rows; ++i) {
            const uint64_t target = std::min(states[i].code / (states[i].range / f.total), f.total - 1);
            const int symbol = search ? scalar().find(f, target) : wanted[i];
            const SymbolInterval interval = scalar().interval(f, symbol);
            EXPECT_EQ(answers[i].symbol, static_cast<uint64_t>(symbol));
            EXPECT_EQ(answers[i].cum, interval.cum);
            EXPECT_EQ(answers[i].weight, interval.w);
            EXPECT_EQ(answers[i].total, f.total);
          }
        }
        // And the way down a tree to it; sums and totals come with that too.
        int depth = 0;
        while (1 << depth < symbols) ++depth;
        std::vector<uint32_t> leaf_of(symbols), paths(static_cast<size_t>(rows) * depth);
        for (int s = 0; s < symbols; ++s) leaf_of[s] = static_cast<uint32_t>((static_cast<uint64_t>(s) * 7919 + 3) % symbols);
        std::vector<uint64_t> branches(static_cast<size_t>(rows) * cuda::kBranches), groups_before = sums;
        std::fill(sums.begin(), sums.end(), 1);
        std::fill(totals.begin(), totals.end(), 0);
        gpu().weigh_branches({rows, 1, cuda::kWeighThreads, cuda::kBranchBytes},
                             {{alive.data(), all.data(), ld, real, symbols, rows, 0, peaks.data(), sums.data(), groups, totals.data(), {bad.data(), 1}},
                              wanted.data(), leaf_of.data(), 0, branches.data()});
        EXPECT_EQ(sums, groups_before);
        cuda::AnswerArgs path{alive.data(), all.data(), ld, real, symbols, rows, 0, groups, 0, 1, peaks.data(), sums.data(),
                              totals.data(), wanted.data(), nullptr, answers.data()};
        path.branches = branches.data();
        path.leaf_of = leaf_of.data();
        path.paths = paths.data();
        path.depth = depth;
        path.leaves = symbols;
        gpu().answer({1, 1, 128, 0}, path);
        for (int i = 0; i < rows; ++i) {
          EXPECT_EQ(answers[i].cum, scalar().interval(f, wanted[i]).cum);
          EXPECT_EQ(answers[i].total, f.total);
          for (int d = 0; d < depth; ++d) {
            const uint32_t node = (leaf_of[wanted[i]] >> (depth - d)) << (depth - d), mid = node + (1u << (depth - d - 1));
            uint64_t left = 0, right = 0;
            for (int s = 0; s < symbols; ++s) {
              if (leaf_of[s] >> (depth - d) == node >> (depth - d)) (leaf_of[s] < mid ? left : right) += w[s];
            }
            ASSERT_EQ(paths[i * depth + d], mid < static_cast<uint32_t>(symbols) ? chance_of(right, left + right) : 0) << real << " " << d;
          }
        }
        // All leaves in order.
        std::vector<uint32_t> symbol_of(symbols), weights(static_cast<size_t>(rows) * symbols, 7);
        for (int s = 0; s < symbols; ++s) symbol_of[leaf_of[s]] = s;
        const size_t blocks = leaf_blocks(symbols);
        std::vector<uint64_t> leaf_sums(rows * blocks, 7);
        gpu().weigh_leaves({static_cast<unsigned>((blocks + 31) / 32), rows, cuda::kWeighThreads, 0},
                           {alive.data(), all.data(), ld, real, symbols, rows, 0, symbols, peaks.data(), symbol_of.data(),
                            weights.data(), leaf_sums.data(), {bad.data(), 1}});
        for (int i = 0; i < rows; ++i) {
          for (int s = 0; s < symbols; ++s) {
            ASSERT_EQ(weights[static_cast<size_t>(i) * symbols + leaf_of[s]], w[s]);
            leaf_sums[i * blocks + leaf_of[s] / leaf_block] -= w[s];
          }
        }
        EXPECT_EQ(leaf_sums, std::vector<uint64_t>(rows * blocks));
        const cuda::RankArgs rank{alive.data(), all.data(), ld, real, 0, wanted.data(), orders.data(), answers.data()};
        gpu().find_order({rows, 1, 32, 0}, rank);
        gpu().rank({rows, 1, 256, cuda::kReductionBytes}, rank);
        for (int i = 0; i < rows; ++i) {
          EXPECT_EQ(answers[i].symbol, static_cast<uint64_t>(scalar().rank(f, wanted[i]))) << real << " " << wanted[i];
          EXPECT_EQ(bad[i], 0u);
        }
      }
    }
  }
}

// The functions of one float against the specification's: every 4,093rd bit pattern, all of them in the long tier.
TEST(Arithmetic, FollowsTheSpecificationForEveryFloat) {
  const FloatState exact;
  const uint64_t step = std::getenv("LLMC_LONG") ? 1 : 4093;
  const auto same = [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (a != a && b != b); };
  for (uint64_t bits = 0; bits <= 0xFFFFFFFF; bits += step) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (x <= 0.0f) {
      ASSERT_TRUE(same(lane::exp2(x), spec::exp2(x))) << std::hex << bits;
    }
    ASSERT_TRUE(same(lane::silu(x), spec::silu(x))) << std::hex << bits;
    ASSERT_TRUE(same(lane::gelu_erf(x), spec::gelu_erf(x))) << std::hex << bits;
    ASSERT_TRUE(same(lane::gelu_tanh(x), spec::gelu_tanh(x))) << std::hex << bits;
    if (x == x) {
      ASSERT_EQ(lane::rint_clamped(x, 32512), spec::rint_clamped(x, 32512)) << std::hex << bits;
      ASSERT_TRUE(same(lane::float_at(lane::order_of(x)), x)) << std::hex << bits;
    }
  }
  for (int q = -32512; q <= 32512; ++q) {
    ASSERT_EQ(lane::high_limb(q) * 256 + lane::low_limb(q), q);
    ASSERT_LE(std::abs(lane::high_limb(q)), 127);
    ASSERT_TRUE(lane::low_limb(q) >= -128 && lane::low_limb(q) <= 127);
  }
}

}  // namespace
}  // namespace llmc
