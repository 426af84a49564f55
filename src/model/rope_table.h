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

// theta >= 1; rotary even; positions <= 2^20.
RopeTable make_rope_table(double theta, int rotary, int positions);

// 2^x for x <= 0, and log2(x) for x >= 1, by the stated algorithm: about 1e-15 off.
double stated_exp2(double x);
double stated_log2(double x);

// The softmax scale in base 2: log2(e) / sqrt(head_dim), in binary64, rounded once to binary32.
float attention_scale(int head_dim);

}  // namespace llmc
