// Tables of rotary position embeddings (Su et al., "RoFormer", arXiv:2104.09864), made once at import.
//
// Only correctly rounded binary64 + - * / and floor are used, in the order that docs/MODEL.md
// states, so that any IEEE-754 machine, and a few lines of Python, make the same bits. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

namespace llmc {

struct RopeTable {
  std::vector<float> cos, sin;  // [position][rotary / 2]
};

// How a checkpoint changes the frequencies theta^(-2i / rotary) for contexts longer than it was trained for.
struct RopeScaling {
  enum class Kind : uint8_t { none, linear, llama3, divisors };
  Kind kind = Kind::none;
  double factor = 1;                       // linear, llama3
  double low = 1, high = 4, context = 8192;  // llama3: low_freq_factor, high_freq_factor, the former context
  std::vector<double> divisors;            // one per frequency
};

// theta >= 1; rotary even; positions <= 2^20.
RopeTable make_rope_table(double theta, int rotary, int positions, const RopeScaling& scaling = {});

// 2^x for x <= 0, and log2(x) for x >= 1, by the stated algorithm: about 1e-15 off.
double stated_exp2(double x);
double stated_log2(double x);

// The softmax scale in base 2: log2(e) / sqrt(head_dim), in binary64, rounded once to binary32.
float attention_scale(int head_dim);

}  // namespace llmc
