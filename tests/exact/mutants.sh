#!/bin/sh
# mutants.sh CXX SOURCE_DIR: the known answers notice the mistakes that ports of LLMC-X1 make. Each
# line below changes the scalar reference in one place; check_arithmetic must then refuse it.
# A minute of compiling, so it runs with LLMC_LONG=1 only. Exit 77: not run.
[ -n "$LLMC_LONG" ] || { echo "not run: set LLMC_LONG=1"; exit 77; }
cxx=$1 source=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cat > "$work/main.cpp" <<'END'
#include <cstdio>
#include "exact/kernels.h"
int main() {
  const llmc::FloatState state;
  const llmc::Status status = llmc::check_arithmetic(**llmc::select_kernels("scalar"));
  std::puts(status.ok() ? "survives" : status.message().c_str());
  return status.ok() ? 0 : 1;
}
END
status=0
flags='-std=c++20 -O2 -w -ffp-contract=off'
(cd "$work" && "$cxx" $flags -I"$source/src" -c main.cpp "$source"/src/exact/select.cpp "$source"/src/exact/examples.cpp \
  "$source"/src/exact/check.cpp "$source"/src/base/status.cpp) || exit 1

# mutant NAME FILE SED [FLAGS]: compiled without LLMC_X86, so with the scalar table alone.
mutant() {
  rm -rf "$work/src" && mkdir "$work/src" && cp -r "$source/src/base" "$source/src/exact" "$work/src/" || exit 1
  sed "$3" "$source/src/exact/$2" > "$work/src/exact/$2" || exit 1
  if [ "$1" != unchanged ] && [ -z "$4" ] && cmp -s "$source/src/exact/$2" "$work/src/exact/$2"; then
    echo "FAILED: $1: the pattern matches nothing in $2"
    status=1
    return
  fi
  "$cxx" $flags $4 -I"$work/src" "$work/src/exact/scalar.cpp" "$work"/*.o -o "$work/mutant" ||
    { echo "FAILED: $1 does not compile"; status=1; return; }
  answer=$("$work/mutant")
  killed=$?
  echo "$1: $answer"
  if [ "$1" = unchanged ]; then expect=0; else expect=1; fi
  [ $killed = $expect ] || { echo "FAILED: $1"; status=1; }
}

mutant unchanged spec.h ''
[ "$(uname -m)" = x86_64 ] && mutant "contracted products" spec.h '' '-mfma -ffp-contract=fast'
mutant "softmax in 32768 steps" scalar.cpp 's/32512\.0f/32768.0f/'
mutant "norm summed in float" scalar.cpp '/void rms_norm_vector/,/^}/ s/int64_t sum = 0/float sum = 0/'
mutant "int16 sums" scalar.cpp 's/sum += static_cast<int32_t>(x\[j\]) \* w\[j\]/sum += static_cast<int16_t>(x[j] * w[j])/'
mutant "division instead of inverse" scalar.cpp 's/x\[i\] \* inv, limit/x[i] \/ (a \/ f32(limit)), limit/'
mutant "gain applied first" scalar.cpp 's/(x\[i\] \* r) \* g\[i\]/x[i] * (r * g[i])/'
mutant "scales in another order" scalar.cpp 's/f32(sum) \* (s\[row\] \* sw\[i\])/(f32(sum) * s[row]) * sw[i]/'
mutant "attention scales in another order" scalar.cpp 's/(sq \* shape.scale) \* cache.key_scale\[j\]/sq * (shape.scale * cache.key_scale[j])/'
mutant "truncated quantisation" spec.h 's/const float r = rint(/const float r = (float)(int)(/'
mutant "ties away from zero" spec.h 's/return (x + 0x1.8p23f) - 0x1.8p23f/return __builtin_roundf(x)/'
mutant "sigmoid divided once" spec.h 's/return g \* sigmoid/return (g >= 0.0f ? g : g * e) \/ (1.0f + e)/'
mutant "polynomial of degree 5" spec.h 's/float p = kC6;/float p = 0;/'
mutant "natural exponent" spec.h 's/kLog2e = 0x1.715476p+0f/kLog2e = 1.0f/'
mutant "rounded frequencies" scalar.cpp 's/static_cast<uint32_t>(spec::exp2(f->t\[v\] - max) \* 0x1p30f)/static_cast<uint32_t>(spec::exp2(f->t[v] - max) * 0x1p30f + 0.5)/'
mutant "values of zero weight lift the exponent" scalar.cpp 's/if (u > 0 \&\& cache/if (cache/'
mutant "value exponent" spec.h 's/e - 6 : e - 5/e - 5 : e - 5/'
mutant "rotation the other way" scalar.cpp 's/(x0 \* c\[i\]) - (x1 \* s\[i\])/(x0 * c[i]) + (x1 * s[i])/'
mutant "mean truncated" scalar.cpp 's/floor_divide(2 \* sum + n, 2 \* n)/(sum \/ n)/'
mutant "ties by descending id" scalar.cpp 's/f.t\[v\] == f.t\[symbol\] \&\& v < symbol/f.t[v] == f.t[symbol] \&\& v > symbol/'
exit $status
