// The kernel tables that select.cpp chooses from, and what they share. Private to this folder.
#pragma once

#include "exact/kernels.h"

namespace llmc::exact {

const Kernels& scalar_kernels();
#ifdef LLMC_X86
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512vnni_kernels();
#endif

// Lookups in finished frequencies; the same code for every table.
SymbolInterval interval(const Frequencies& f, int symbol);
int find(const Frequencies& f, uint64_t target);
// count_greater: how many of t[0..n) are greater than bound; max_less: the largest below it, or -infinity.
int symbol_of_rank(const Frequencies& f, int rank, int (*count_greater)(const float* t, int n, float bound),
                   float (*max_less)(const float* t, int n, float bound));

}  // namespace llmc::exact
