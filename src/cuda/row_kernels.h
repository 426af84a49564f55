// Kernels that turn rows into rows: embedding, norm and quantisation, SiLU. One block a row.
#pragma once

#include "cuda/arithmetic.h"
#include "cuda/kernels.h"

namespace llmc::cuda {

using namespace lane;

LLMC_LANE void mark_bad(const Marks& marks, int row) { atomic_max(marks.bad + row, marks.mark); }

LLMC_LANE void embed(const EmbedArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  const int id = a.ids[row];
  const float scale = a.scale[id];
  const int8_t* w = a.w + static_cast<size_t>(id) * a.w_stride;
  float* x = a.x + row * a.x_stride;
  for (int i = static_cast<int>(thread()); i < a.width; i += static_cast<int>(threads())) {
    float v = mul(f32(static_cast<int32_t>(w[i])), scale);
    if (a.learned) v = add(v, a.learned[static_cast<size_t>(a.positions[row]) * a.width + i]);
    x[i] = v;
  }
}

LLMC_LANE void copy_rows(const CopyArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.rows[row] < 0) return;
  const float* from = a.from + a.rows[row] * a.stride;
  float* to = a.to + row * a.stride;
  for (int i = static_cast<int>(thread()); i < a.width; i += static_cast<int>(threads())) to[i] = from[i];
}

LLMC_LANE void write_limbs(const Quantised& out, size_t at, int q) {
  if (out.limbs == 1) {
    out.q[at] = static_cast<int8_t>(q);
  } else {
    out.q[at] = static_cast<int8_t>(high_limb(q));
    out.q[out.plane + at] = static_cast<int8_t>(low_limb(q));
  }
}

// value(i) for i < width, quantised with the given maximum, and zeros up to the stride.
template <class Value>
LLMC_LANE void write_row(const Quantised& out, int row, int width, uint32_t largest, const Value& value) {
  const Quantiser q = quantiser(largest, out.limbs);
  const size_t at = static_cast<size_t>(row) * out.stride;
  for (int i = static_cast<int>(thread()); i < out.stride; i += static_cast<int>(threads())) {
    write_limbs(out, at + i, i < width ? quantised(q, value(i)) : 0);
  }
  if (thread() == 0) out.scale[row] = q.scale;
}

// A norm (3.5, 3.6), then quantised (3.3). The normalised values are computed where they are needed, twice: the same
// operations give the same bits.
LLMC_LANE void norm_quantise(const NormArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  const int first = static_cast<int>(thread()), step = static_cast<int>(threads());
  const float* x = a.x + row * a.x_stride;

  uint32_t largest = 0;
  for (int i = first; i < a.width; i += step) {
    const uint32_t m = magnitude(x[i]);
    largest = m > largest ? m : largest;
  }
  largest = block_max(largest);
  const bool lost = out_of_range(largest);

  int64_t middle = 0;
  float mean = 0.0f;
  if (a.b) {
    int64_t sum = 0;
    for (int i = first; i < a.width && !lost; i += step) sum += norm_integer(largest, x[i]);
    sum = static_cast<int64_t>(block_add64(static_cast<uint64_t>(sum)));
    middle = floor_divide(2 * sum + a.width, 2 * static_cast<int64_t>(a.width));
    if (largest >= spec::kTinyNormBits && !lost) {
      mean = mul(div(f32(sum), f32(a.width)), power_of_two(exponent(largest) - 17));
    }
  }
  int64_t squares = 0;
  for (int i = first; i < a.width && !lost; i += step) {
    const int64_t t = norm_integer(largest, x[i]) - middle;
    squares += t * t;
  }
  squares = static_cast<int64_t>(block_add64(static_cast<uint64_t>(squares)));
  const float factor = lost ? 0.0f : norm_factor(largest, squares, a.width, a.eps);
  const auto normed = [&](int i) {
    if (lost) return 0.0f;
    return a.b ? add(mul(mul(sub(x[i], mean), factor), a.g[i]), a.b[i]) : mul(mul(x[i], factor), a.g[i]);
  };

  uint32_t peak = 0;
  for (int i = first; i < a.width; i += step) {
    const uint32_t m = magnitude(normed(i));
    peak = m > peak ? m : peak;
  }
  peak = block_max(peak);
  write_row(a.out, row, a.width, peak, normed);
  if (thread() == 0 && (lost || out_of_range(peak))) mark_bad(a.marks, row);
}

LLMC_LANE void quantise(const QuantiseArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  const float* x = a.x + row * a.x_stride;
  const uint32_t largest = a.largest[row];
  write_row(a.out, row, a.width, largest, [&](int i) { return x[i]; });
  if (thread() == 0 && out_of_range(largest)) mark_bad(a.marks, row);
}

LLMC_LANE void activate(const ActivateArgs& a) {
  const int row = static_cast<int>(block_x());
  if (a.alive[row] < 0) return;
  const float* gate = a.gate_up + row * a.stride;
  const float* up = gate + a.width;
  float* y = a.y + row * a.y_stride;
  uint32_t largest = 0;
  for (int i = static_cast<int>(thread()); i < a.width; i += static_cast<int>(threads())) {
    const float g = gate[i];
    float v = a.function == ActivateArgs::silu       ? silu(g)
              : a.function == ActivateArgs::gelu_erf ? gelu_erf(g)
                                                     : gelu_tanh(g);
    if (a.gated) v = mul(v, up[i]);
    y[i] = v;
    const uint32_t m = magnitude(v);
    largest = m > largest ? m : largest;
  }
  largest = block_max(largest);
  if (thread() == 0) a.largest[row] = largest;
}

}  // namespace llmc::cuda
