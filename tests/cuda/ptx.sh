#!/bin/sh
# ptx.sh NVCC SOURCE_DIR FLAG...: what nvcc makes of the kernels, read as PTX. Exit 77: not run.
#   - each sum, product, quotient and root of floats says .rn and nothing else: an operation without it may be fused by ptxas;
#   - nothing is fused (fma, mad on floats), approximate or flushed to zero;
#   - no other function of floats: no ex2, lg2, sin, rcp, rsqrt; min and max only against a constant that is not zero, which
#     is what `x < c ? x : c` means for every x, NaN included.
nvcc=$1 source=$2
shift 2
[ -n "$nvcc" ] && [ -x "$nvcc" ] || { echo "not run: no nvcc"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"$nvcc" "$@" -arch=compute_80 -ptx -I"$source/src" "$source/src/cuda/kernels.cu" -o "$work/kernels.ptx" || exit 1
status=0
complain() {
  echo "FAILED: $1"
  head -5 "$work/found"
  status=1
}
instructions='^[[:space:]]*(@!?%p[0-9]+[[:space:]]+)?'
# Every instruction on f32 or f64, but for moves, loads, stores, selections and comparisons.
grep -nE "$instructions[a-z0-9_.]+\.f(32|64)" "$work/kernels.ptx" |
  grep -vE "[[:space:]](mov|ld|st|selp|setp|neg)(\.[a-z0-9_]+)*\.f32" > "$work/floats"
count=$(wc -l < "$work/floats")
[ "$count" -ge 100 ] || { echo "FAILED: only $count operations on floats were found"; status=1; }
grep -vE "[[:space:]](add|sub|mul|div|sqrt)\.rn\.f32[[:space:]]" "$work/floats" |
  grep -vE "[[:space:]]cvt\.(rn\.f32\.[su](32|64)|rzi\.[su](32|64)\.f32|rn\.f32\.s(8|16))[[:space:]]" |
  grep -vE "[[:space:]](min|max)\.f32[[:space:]]+%f[0-9]+, %f[0-9]+, 0f[0-9A-F]*[1-9A-F][0-9A-F]*;" > "$work/found"
[ ! -s "$work/found" ] || complain "float operations that are not correctly rounded by name"
grep -nE "^[[:space:]]*[a-z0-9_.]*\.(ftz|approx|full|f64)" "$work/kernels.ptx" > "$work/found"
[ ! -s "$work/found" ] || complain "flushing, approximate or double operations"
grep -nE "(fma|mad)(\.[a-z0-9]+)*\.f32" "$work/kernels.ptx" > "$work/found"
[ ! -s "$work/found" ] || complain "fused operations"
grep -q "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32" "$work/kernels.ptx" || { echo "FAILED: no integer matrix products"; status=1; }
[ $status = 0 ] && echo "$count operations on floats, all rounded to nearest by name"
exit $status
