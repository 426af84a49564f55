#!/usr/bin/env bash
# What a machine with a GPU has to show: builds the CUDA back end, runs its tests, decodes archives of the CPU on the GPU and
# the other way round, and measures. Needs no network. Ten minutes on a machine with 16 cores.
#
#   tools/gpu_check.sh                 build and run here
#   tools/gpu_check.sh pack DIR        build here, without a GPU, and put into DIR what a GPU machine needs that lacks this
#                                      project's packages (it needs libtorch with CUDA, no compiler)
#   tools/gpu_check.sh run DIR         run there
#
# Environment: LLMC_TORCH=DIR libtorch or the Python package torch (default: that of python3, or the one of tools/setup.sh);
# OUT=DIR for the results (default build-gpu/results); LLMC_GPU_MODEL=FILE another model to measure besides the embedded one;
# LLMC_CUDA_ARCHS (default: 90 to build here, all to pack).
set -uo pipefail
export LC_ALL=C.UTF-8
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
verb=${1:-here}
build=$root/build-gpu
status=0

fail() { printf 'gpu_check: %s\n' "$*" >&2; exit 1; }

find_torch() {
  if [ -n "${LLMC_TORCH:-}" ]; then echo "$LLMC_TORCH"; return; fi
  python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null |
    grep . || ls -d "${LLMC_DEPS:-$HOME/.cache/llmc-batch}"/venv-*/lib/python3*/site-packages/torch 2>/dev/null | tail -1
}

compile() { # archs
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLMC_TORCH_DIR="$torch" -DLLMC_CUDA=ON \
    "-DLLMC_CUDA_ARCHS=$1" >"$build.log" 2>&1 || { tail -20 "$build.log"; fail "configuring failed"; }
  grep -E '^--   (CUDA|torch)' "$build.log"
  cmake --build "$build" --target llmc-batch llmc_torch llmc_torch_cuda test_torch_cuda >>"$build.log" 2>&1 ||
    { grep -E 'error|FAILED' "$build.log" | tail -20; fail "compiling failed; see $build.log"; }
}

# What the programs load that is neither of the C library nor of libtorch and CUDA.
pack() {
  mkdir -p "$1/lib"
  local programs=(llmc-batch test_torch_cuda libllmc_torch.so libllmc_torch_cuda.so) name
  for name in "${programs[@]}"; do strip -o "$1/$name" "$build/$name" || cp "$build/$name" "$1/"; done
  for name in llmc-batch test_torch_cuda; do
    ldd "$build/$name" | awk '$3 ~ /^\// {print $3}'
  done | sort -u | grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|ld-linux[^/]*|libtorch[^/]*|libc10[^/]*|libcu[^/]*)\.so' |
    xargs -r cp -Lt "$1/lib"
  du -sh "$1"
}

# Ours alone: the libraries that came along may be others than the machine's own programs expect.
ours() { LD_LIBRARY_PATH=$library_path "$here/$1" "${@:2}"; }

step() { # name, seconds, function or "ours", arguments...: the output goes to OUT, the verdict to the table
  local name=$1 limit=$2 began=$SECONDS code=0
  shift 2
  timeout -k 10 "$limit" bash -c '"$@"' step "$@" >"$OUT/$name.txt" 2>&1 </dev/null || code=$?
  local verdict=ok
  [ $code -eq 0 ] || { verdict="FAILED (exit $code)"; status=1; }
  printf '%-28s %-18s %4d s\n' "$name" "$verdict" $((SECONDS - began)) | tee -a "$OUT/summary.txt"
  [ $code -eq 0 ] || tail -15 "$OUT/$name.txt"
}

same_archive() { # codec: compress on both devices: the same bytes
  ours llmc-batch compress "$sample" -o "$work/cpu-$1.set" --codec "$1" --device cpu --engine native --quiet &&
    ours llmc-batch compress "$sample" -o "$work/gpu-$1.set" --codec "$1" --device cuda --quiet &&
    diff -r "$work/cpu-$1.set" "$work/gpu-$1.set"
}
extracted() { # archive, option...: all of it, and every byte right
  ours llmc-batch extract "$work/$1" -o "$work/out" --quiet "${@:2}" && diff -r "$work/out/text" "$sample" && rm -rf "$work/out"
}
gpu_reads_cpu() { extracted "cpu-$1.set" --device cuda; }
cpu_reads_gpu() { extracted "gpu-$1.set" --device cpu --engine native; }
speed() { # of whole runs on the GPU with each codec, start-up included
  local codec began size
  while [ "$(cat "$work/big" 2>/dev/null | wc -c)" -lt 8000000 ]; do cat "$sample"/* >>"$work/big" || return 1; done
  size=$(wc -c <"$work/big")
  says() { awk -v ns=$(($(date +%s%N) - began)) -v size="$size" -v what="$*" 'BEGIN { printf "%-16s %8.0f KB/s\n", what, size / ns * 1e6 }'; }
  for codec in range mix; do
    began=$(date +%s%N)
    ours llmc-batch compress "$work/big" -o "$work/big.set" --codec $codec --device cuda --quiet || return 1
    says $codec compress
    began=$(date +%s%N)
    ours llmc-batch extract "$work/big.set" -o "$work/out" --device cuda --quiet || return 1
    says $codec extract
    cmp "$work/big" "$work/out/big" && rm -rf "$work/out" "$work/big.set" || return 1
  done
}

run() { # folder of the programs
  here=$1
  OUT=${OUT:-$build/results}
  mkdir -p "$OUT"
  : >"$OUT/summary.txt"
  local folder codec
  library_path=
  for folder in "$here/lib" "$torch/lib" "$torch"/../nvidia/*/lib; do
    [ -d "$folder" ] && library_path=${library_path:+$library_path:}$folder
  done
  library_path=$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LLMC_TORCH_LIBRARY=$here/libllmc_torch.so LLMC_TORCH_CUDA_LIBRARY=$here/libllmc_torch_cuda.so
  export LLMC_SOURCE_DIR=$root OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  { date -u; git -C "$root" log -1 --format=%H 2>/dev/null; nvidia-smi; nvcc --version; ours llmc-batch --version; } >"$OUT/machine.txt" 2>&1
  grep -E '^(cuda|engines)' "$OUT/machine.txt"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  sample=$root/tests/data/text
  export here library_path work sample
  export -f ours same_archive extracted gpu_reads_cpu cpu_reads_gpu speed

  step tests 240 ours test_torch_cuda
  grep -q '  SKIPPED ' "$OUT/tests.txt" && { echo "the tests were not run: no CUDA device"; status=1; }
  step selftest 120 ours llmc-batch selftest
  for codec in range mix; do
    step same_archive_$codec 120 same_archive $codec
    step gpu_reads_cpu_$codec 120 gpu_reads_cpu $codec
    step cpu_reads_gpu_$codec 120 cpu_reads_gpu $codec
  done
  step bench_codecs 300 speed
  step bench_embedded 150 ours llmc-batch bench --device cuda --seconds 3 --text "$sample/lcet10.txt"
  step bench_135m 150 ours llmc-batch bench --shape smollm2-135m --device cuda --seconds 3
  step bench_8b 400 ours llmc-batch bench --shape llama-8b --device cuda --seconds 5
  if [ -n "${LLMC_GPU_MODEL:-}" ]; then
    step bench_model 150 ours llmc-batch bench --model "$LLMC_GPU_MODEL" --device cuda --seconds 3 --text "$sample/lcet10.txt"
  fi
  cat "$OUT"/bench_*.txt
  [ $status -eq 0 ] && echo "all well; results in $OUT" || echo "something failed; results in $OUT"
}

torch=$(find_torch)
[ -n "$torch" ] && [ -e "$torch/lib/libtorch_cuda.so" ] || fail "no libtorch with CUDA; set LLMC_TORCH to its folder"
case $verb in
  here) compile "${LLMC_CUDA_ARCHS:-90}"; run "$build" ;;
  pack) [ $# -eq 2 ] || fail "pack: name a folder"; compile "${LLMC_CUDA_ARCHS:-80;90;100}"; pack "$2" ;;
  run) [ $# -eq 2 ] && [ -x "$2/llmc-batch" ] || fail "run: name the folder that pack has filled"; run "$(cd -- "$2" && pwd)" ;;
  *) fail "unknown word '$verb'; see the head of this file" ;;
esac
exit $status
