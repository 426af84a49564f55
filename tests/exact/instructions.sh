#!/bin/sh
# instructions.sh OBJDUMP NM LIBRARY: what must never be in the numeric objects.
#   - fused multiply-add, reciprocal approximations, saturating integer dot products;
#   - vector instructions beyond the baseline outside the files that are chosen at run time;
#   - symbols that the linker may share (weak) in those files: it could keep their copy for all.
# Exit 77: not run.
objdump=$1 nm=$2 library=$3
command -v "$objdump" >/dev/null && command -v "$nm" >/dev/null || { echo "not run: no objdump or nm"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
"$objdump" -d --no-show-raw-insn "$library" > "$work/code" || exit 1

bad='vfn?m(add|sub)|v?rcp(14|28)?[ps]s|v?rsqrt|vpmaddubsw|vpdp(bus|wss)ds|\b(fmadd|fmsub|fnmadd|fnmsub|fmla|fmls)\b'
# GNU writes "scalar.cpp.o:  file format", LLVM "libllmc_exact.a(scalar.cpp.o):  file format".
sed 's/^[^ ]*(\(.*\)):/\1:/' "$work/code" |
  awk '/file format/ {file = $1} {print file "\t" $0}' > "$work/lines"
grep -q '^scalar.cpp.o:.*mulss' "$work/lines" || [ "$(uname -m)" != x86_64 ] ||
  { echo "FAILED: no code of scalar.cpp found in $library"; exit 1; }
status=0
if grep -E "	[^	]*	.*($bad)" "$work/lines" | head -5 | grep .; then
  echo "FAILED: fused, approximate or saturating instructions in exact arithmetic"
  status=1
fi
if grep -v '^avx' "$work/lines" | grep -E '%[yz]mm' | head -5 | grep .; then
  echo "FAILED: instructions beyond the baseline in files that every processor runs"
  status=1
fi
if "$nm" -C "$library" | awk '/^[^ ]*\.o:$/ {file = $1} / [WVu] / && file ~ /^avx/ {print file, $0}' | head -5 | grep .; then
  echo "FAILED: shared symbols in files compiled for one instruction set"
  status=1
fi
exit $status
