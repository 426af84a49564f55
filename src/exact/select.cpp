#include <cstdlib>

#include "exact/tables.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace llmc {
namespace {

struct Isa {
  const char* name;
  bool built;      // for this processor family
  bool available;  // on this processor and operating system
  const Kernels& (*table)();
};

// Slowest first. __builtin_cpu_supports also asks whether the system saves the registers.
std::vector<Isa> isas() {
  std::vector<Isa> all = {{"scalar", true, true, exact::scalar_kernels}};
#ifdef LLMC_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  all.push_back({"avx2", true, avx2, exact::avx2_kernels});
  all.push_back({"avx512", true, avx512, exact::avx512_kernels});
  all.push_back({"avx512vnni", true, vnni, exact::avx512vnni_kernels});
#else
  for (const char* name : {"avx2", "avx512", "avx512vnni"}) all.push_back({name, false, false, nullptr});
#endif
  return all;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) {
    if (isa.available) names.push_back(isa.name);
  }
  return names;
}

Result<const Kernels*> select_kernels(std::string_view isa) {
  const char* variable = std::getenv("LLMC_ISA");
  const bool from_variable = isa.empty() && variable && *variable;
  if (from_variable) isa = variable;
  const std::vector<Isa> all = isas();
  if (isa.empty()) {
    const Kernels* best = nullptr;
    for (const Isa& one : all) {
      if (one.available) best = &one.table();
    }
    return best;
  }
  std::string usable;
  for (const Isa& one : all) {
    if (one.available && isa == one.name) return &one.table();
    if (one.available) usable += std::string(usable.empty() ? "" : ", ") + one.name;
  }
  const std::string source = from_variable ? "LLMC_ISA=" : "instruction set ";
  for (const Isa& one : all) {
    if (isa == one.name) {
      return Status(Code::usage, source + std::string(isa) + " cannot run on this processor; choose one of " + usable);
    }
  }
  return Status(Code::usage, source + std::string(isa) + " is unknown; choose one of " + usable);
}

#if defined(__x86_64__)
FloatState::FloatState() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }
FloatState::~FloatState() { _mm_setcsr(static_cast<unsigned>(saved_)); }
#elif defined(__aarch64__)
FloatState::FloatState() {
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
}
FloatState::~FloatState() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }
#else
#error "FloatState has to be written for this processor"
#endif

}  // namespace llmc
