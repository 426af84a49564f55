#!/bin/sh
# mutants.sh CXX SOURCE_DIR CUDA_MUTANT TEST_CUDA: the start-up check of a GPU notices the mistakes that its kernels could
# make. Each line below changes the kernels in one place; the emulated GPU that runs them must then be refused. Mistakes that
# show too seldom for a few dozen tokens are for KernelTest to find.
# Minutes of compiling, so it runs with LLMC_LONG=1 only. Exit 77: not run.
[ -n "$LLMC_LONG" ] || { echo "not run: set LLMC_LONG=1"; exit 77; }
cxx=$1 source=$2 program=$3 tests=$4
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
status=0
cat > "$work/make.cpp" <<'END'
#include "emulator.cpp"
llmc::FloatState::FloatState() {} // the program's own holds
llmc::FloatState::~FloatState() {}
extern "C" llmc::Device* make_mutant() { return llmc::test::make_emulator({}).release(); }
END

started() { "$program" "$work/mutant.so" 2>&1; }
tested() {
  LLMC_MUTANT=$work/mutant.so "$tests" --gtest_brief=1 --gtest_filter='Order/KernelTest.*/up' > "$work/said" 2>&1
  set -- $?
  grep -m 1 '^\[  FAILED  \] Order' "$work/said" || tail -n 1 "$work/said"
  return "$1"
}

# refused HOW NAME FILE SED: HOW is started or tested
refused() {
  rm -rf "$work/src" && mkdir "$work/src" && cp -r "$source/src/base" "$source/src/exact" "$source/src/cuda" "$source/src/model" "$source/src/tokens" "$work/src/" || exit 1
  sed "$4" "$source/src/$3" > "$work/src/$3" || exit 1
  if [ "$2" != unchanged ] && cmp -s "$source/src/$3" "$work/src/$3"; then
    echo "FAILED: $2: the pattern matches nothing in $3"
    status=1
    return
  fi
  "$cxx" -std=c++20 -O2 -w -ffp-contract=off -fPIC -shared -I"$work/src" -I"$source/tests/cuda" "$work/make.cpp" -o "$work/mutant.so" ||
    { echo "FAILED: $2 does not compile"; status=1; return; }
  answer=$($1)
  killed=$?
  echo "$2, $1: $answer"
  case $2:$killed in
    unchanged:0 | *:1 | *:134) ;; # 134: the emulator itself noticed
    *) echo "FAILED: $2"; status=1 ;;
  esac
}
mutant() { refused started "$@"; }

refused tested unchanged cuda/row_kernels.h ''
refused tested "values of zero weight lift the exponent" cuda/attention_kernels.h 's/if (u > 0 \&\& e > exponent/if (e > exponent/'
refused tested "mean truncated" cuda/row_kernels.h 's/middle = floor_divide(2 \* sum + a.width, 2 \* static_cast<int64_t>(a.width))/middle = sum \/ a.width/'
mutant unchanged cuda/row_kernels.h ''
mutant "softmax in 32768 steps" cuda/attention_kernels.h 's/32512\.0f/32768.0f/'
mutant "norm summed in float" cuda/row_kernels.h 's/squares += t \* t/squares = (int64_t)((float)squares + (float)(t * t))/'
mutant "high limb unsigned" cuda/arithmetic.h 's/return (q - low_limb(q)) >> 8/return q >> 8/'
mutant "low limb dropped" cuda/linear_kernel.h 's/total = total \* 256 + sum\[T::limbs - 1\]\[m\]\[n\]\[e\]/total = total * 256/'
mutant "last step of k left out" cuda/linear_kernel.h 's/int steps = a.k_stride \/ kTileK/int steps = (a.k_stride \/ kTileK > 1 ? a.k_stride \/ kTileK - 1 : 1)/'
mutant "stage overwritten too early" cuda/linear_kernel.h 's/fetch<T>(a, row0, column0, step + T::stages - 1)/fetch<T>(a, row0, column0, step + T::stages)/'
mutant "columns of a fragment swapped" cuda/linear_kernel.h "s/l % 4 \* 2 + e % 2;/l % 4 * 2 + 1 - e % 2;/"
mutant "division instead of inverse" cuda/arithmetic.h 's/rint_clamped(mul(x, q.inverse), q.limit)/rint_clamped(div(x, q.scale), q.limit)/'
mutant "gain applied first" cuda/row_kernels.h 's/: mul(mul(x\[i\], factor), a.g\[i\])/: mul(x[i], mul(factor, add(a.g[i], 0x1p-23f)))/'
mutant "scales in another order" cuda/linear_kernel.h 's/mul(f32(sum), mul(a.in.scale\[row\], a.scale\[column\]))/mul(mul(f32(sum), a.in.scale[row]), a.scale[column])/'
mutant "attention scales in another order" cuda/attention_kernels.h 's/mul(dot, mul(state\[i\].scale, key_scale))/mul(mul(dot, state[i].scale), key_scale)/'
mutant "truncated quantisation" cuda/arithmetic.h 's/const float y = rint(x < -0x1p21f/const float y = (float)(int)(x < -0x1p21f/'
mutant "sigmoid divided once" cuda/arithmetic.h 's/return mul(g, sigmoid)/return div(mul(g, g >= 0.0f ? 1.0f : e), add(1.0f, e))/'
mutant "polynomial of degree 5" cuda/arithmetic.h 's/float p = spec::kC6;/float p = 0;/'
mutant "rounded frequencies" cuda/arithmetic.h 's/max)), 0x1p30f))/max)), 0x1p30f) + 0.5)/'
mutant "value exponent" cuda/arithmetic.h 's/e - 6 : e - 5/e - 5 : e - 5/'
mutant "rotation the other way" cuda/attention_kernels.h 's/sub(mul(x0, cos\[i\]), mul(x1, sin\[i\]))/add(mul(x0, cos[i]), mul(x1, sin[i]))/'
mutant "own position not seen" cuda/attention_kernels.h 's/j < state\[i\].first || j > state\[i\].position) continue/j < state[i].first || (j > 0 \&\& j >= state[i].position)) continue/'
mutant "largest of one warp" cuda/arithmetic.h 's/for (unsigned w = 0; w < warps(); ++w) v = part\[w\] > v ? part\[w\] : v;/v = part[0];/'
mutant "prefix without its own lane" cuda/answer_kernels.h 's/result.cum = below + shuffle64(upto, at - 1) - result.weight/result.cum = below + shuffle64(upto, at - 1)/'
mutant "leaf at the level below" cuda/answer_kernels.h 's/bit_length(b.leaf_of\[b.first + v\] ^ goal)/bit_length((b.leaf_of[b.first + v] ^ goal) >> 1)/'
mutant "right taken for left" cuda/answer_kernels.h 's/chance_of_part(right ? node - other : other, node)/chance_of_part(right ? other : node - other, node)/'
mutant "half a block of leaves" cuda/answer_kernels.h 's/i < kLeafBlock; i += 32/i < kLeafBlock - 32; i += 32/'
mutant "bias forgotten" cuda/linear_kernel.h 's/if (a.bias) y = add(y, a.bias\[column\]);//'
exit $status
