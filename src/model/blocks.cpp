#include "model/blocks.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace llmc {

namespace {

uint16_t word(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }

float half(uint16_t h) {
  const int exponent = (h >> 10) & 31, mantissa = h & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                           : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}
float half(const uint8_t* p) { return half(word(p)); }

void decode_f32(const uint8_t* in, uint64_t blocks, float* out) { std::memcpy(out, in, blocks * 4); }

void decode_f16(const uint8_t* in, uint64_t blocks, float* out) {
  for (uint64_t i = 0; i < blocks; ++i) out[i] = half(in + 2 * i);
}

void decode_bf16(const uint8_t* in, uint64_t blocks, float* out) {
  for (uint64_t i = 0; i < blocks; ++i) out[i] = std::bit_cast<float>(static_cast<uint32_t>(word(in + 2 * i)) << 16);
}

// d, 32 int8.
void decode_q8_0(const uint8_t* in, uint64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 34, out += 32) {
    const float d = half(in);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(in[2 + i]));
  }
}

// Blocks of 32 with four bits each: the low ones of 16 bytes, then the high ones. kHigh: a fifth bit from a
// word of 32; kOffset: d and a least value, otherwise d alone and the numbers around zero.
template <bool kHigh, bool kOffset>
void decode_32(const uint8_t* in, uint64_t blocks, float* out) {
  constexpr int kStart = kOffset ? 4 : 2;
  constexpr int kBytes = kStart + (kHigh ? 4 : 0) + 16;
  constexpr int kMiddle = kOffset ? 0 : (kHigh ? 16 : 8);
  for (; blocks > 0; --blocks, in += kBytes, out += 32) {
    const float d = half(in);
    const float least = kOffset ? half(in + 2) : 0.0f;
    uint32_t high = 0;
    if (kHigh) std::memcpy(&high, in + kStart, 4);
    const uint8_t* quads = in + kStart + (kHigh ? 4 : 0);
    for (int i = 0; i < 32; ++i) {
      int q = i < 16 ? quads[i] & 15 : quads[i - 16] >> 4;
      if (kHigh) q |= static_cast<int>(high >> i & 1) << 4;
      const float v = d * static_cast<float>(q - kMiddle);
      out[i] = kOffset ? v + least : v;
    }
  }
}

// Six-bit scales and minima of the eight parts of 32 of a superblock, packed into 12 bytes.
void scale_and_least(const uint8_t* p, int part, int* scale, int* least) {
  if (part < 4) {
    *scale = p[part] & 63;
    *least = p[part + 4] & 63;
  } else {
    *scale = (p[part + 4] & 15) | (p[part - 4] >> 6) << 4;
    *least = (p[part + 4] >> 4) | (p[part] >> 6) << 4;
  }
}

// Superblocks of 256: d, least d, scales, [a fifth bit each in 32 bytes,] four bits each in 128 bytes.
template <bool kHigh>
void decode_k(const uint8_t* in, uint64_t blocks, float* out) {
  constexpr int kBytes = 4 + 12 + (kHigh ? 32 : 0) + 128;
  for (; blocks > 0; --blocks, in += kBytes, out += 256) {
    const float d = half(in), least_d = half(in + 2);
    const uint8_t* high = in + 16;
    const uint8_t* quads = high + (kHigh ? 32 : 0);
    for (int part = 0; part < 8; ++part) {
      int scale, least;
      scale_and_least(in + 4, part, &scale, &least);
      const float step = d * static_cast<float>(scale), offset = least_d * static_cast<float>(least);
      for (int i = 0; i < 32; ++i) {
        const uint8_t pair = quads[part / 2 * 32 + i];
        int q = part % 2 ? pair >> 4 : pair & 15;
        if (kHigh) q |= (high[i] >> part & 1) << 4;
        out[part * 32 + i] = step * static_cast<float>(q) - offset;
      }
    }
  }
}

// Superblocks of 256: four low bits each in 128 bytes, two high ones in 64, 16 int8 scales, d.
void decode_q6_k(const uint8_t* in, uint64_t blocks, float* out) {
  for (; blocks > 0; --blocks, in += 210, out += 256) {
    const float d = half(in + 208);
    for (int i = 0; i < 256; ++i) {
      const int side = i / 128, quarter = i % 128 / 32, at = i % 32;
      const uint8_t pair = in[side * 64 + quarter % 2 * 32 + at];
      const int low = quarter < 2 ? pair & 15 : pair >> 4;
      const int high = in[128 + side * 32 + at] >> (2 * quarter) & 3;
      const auto scale = static_cast<int8_t>(in[192 + i / 16]);
      out[i] = (d * static_cast<float>(scale)) * static_cast<float>((low | high << 4) - 32);
    }
  }
}

struct Known {
  uint32_t type;
  BlockFormat format;
};
constexpr Known kKnown[] = {{0, {"F32", 1, 4, decode_f32}},
                            {1, {"F16", 1, 2, decode_f16}},
                            {2, {"Q4_0", 32, 18, decode_32<false, false>}},
                            {3, {"Q4_1", 32, 20, decode_32<false, true>}},
                            {6, {"Q5_0", 32, 22, decode_32<true, false>}},
                            {7, {"Q5_1", 32, 24, decode_32<true, true>}},
                            {8, {"Q8_0", 32, 34, decode_q8_0}},
                            {12, {"Q4_K", 256, 144, decode_k<false>}},
                            {13, {"Q5_K", 256, 176, decode_k<true>}},
                            {14, {"Q6_K", 256, 210, decode_q6_k}},
                            {30, {"BF16", 1, 2, decode_bf16}}};

constexpr struct {
  uint32_t type;
  const char* name;
} kUnread[] = {{9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},  {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"},
               {18, "IQ3_XXS"}, {19, "IQ1_S"},  {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
               {24, "I8"},      {25, "I16"},    {26, "I32"},   {27, "I64"},    {28, "F64"},     {29, "IQ1_M"},
               {34, "TQ1_0"},   {35, "TQ2_0"},  {39, "MXFP4"}};

}  // namespace

const BlockFormat kFormatF32 = {"F32", 1, 4, decode_f32};
const BlockFormat kFormatF16 = {"F16", 1, 2, decode_f16};
const BlockFormat kFormatBf16 = {"BF16", 1, 2, decode_bf16};

const BlockFormat* gguf_format(uint32_t type) {
  for (const Known& known : kKnown) {
    if (known.type == type) return &known.format;
  }
  return nullptr;
}

std::string_view gguf_type_name(uint32_t type) {
  if (const BlockFormat* format = gguf_format(type)) return format->name;
  for (const auto& unread : kUnread) {
    if (unread.type == type) return unread.name;
  }
  return "of an unknown type";
}

}  // namespace llmc
