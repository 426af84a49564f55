#!/usr/bin/env bash
# Another processor, the same bytes: cross-compiles the program for aarch64 and runs it here under qemu-user. It decodes the
# committed archives, passes the tests of the arithmetic, and makes the same archive as this machine's own program.
#
# usage: run.sh [--here BINARY] [--work DIR]
#   --here BINARY  this machine's program (default: build/llmc-batch, then build-light/llmc-batch)
#   --work DIR     where packages, build and results go (default: build-aarch64)
# Needs Debian, its packages g++-aarch64-linux-gnu and qemu-user-static, and network the first time: the libraries' arm64
# packages are unpacked into DIR/sysroot, nothing is installed. Without them: one line "not run: ...", exit 77.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
work=$root/build-aarch64
binary=
while [ $# -gt 0 ]; do
  case $1 in
    --here) binary=$(realpath -- "${2:?--here needs a program}"); shift ;;
    --work) work=$(realpath -m -- "${2:?--work needs a folder}"); shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "run.sh: unknown option '$1'; known: --here, --work, --help" >&2; exit 2 ;;
  esac
  shift
done
for candidate in "$root/build/llmc-batch" "$root/build-light/llmc-batch"; do
  [ -n "$binary" ] || [ ! -x "$candidate" ] || binary=$candidate
done
skip() { echo "not run: $1"; exit 77; }
for tool in aarch64-linux-gnu-g++ qemu-aarch64-static apt-get dpkg cmake ninja; do
  command -v $tool >/dev/null || skip "no $tool"
done
[ -n "$binary" ] || skip "no llmc-batch of this machine; build it or name it with --here"

sysroot=$work/sysroot
if [ ! -e "$sysroot/.complete" ]; then
  # apt with folders of its own: it knows nothing as installed, so it downloads all that the libraries need.
  apt=$work/apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial} "$sysroot"
  : >"$apt/status"
  options=(-o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$apt" -o Dir::State::lists="$apt/lists"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o Dir::Cache::archives="$apt/cache/archives"
    -o APT::Install-Recommends=false -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root -o Debug::NoLocking=true
    -o DPkg::Post-Invoke::= -o APT::Update::Post-Invoke::= -o Acquire::Languages=none)
  apt-get "${options[@]}" -qq update >"$work/apt.log" 2>&1 || skip "the arm64 package lists cannot be had (apt.log in $work)"
  apt-get "${options[@]}" -qq -y --download-only install libc6-dev libstdc++-12-dev libopenmpi-dev libhdf5-dev \
    libboost-program-options-dev libgtest-dev libarchive-dev libzstd-dev zlib1g-dev libssl-dev libspdlog-dev libfmt-dev \
    nlohmann-json3-dev libisal-dev >>"$work/apt.log" 2>&1 || skip "the arm64 packages cannot be had (apt.log in $work)"
  for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$sysroot"; done
  touch "$sysroot/.complete"
fi

library=$sysroot/usr/lib/aarch64-linux-gnu
PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_LIBDIR=$library/pkgconfig:$sysroot/usr/share/pkgconfig \
  cmake -S "$root" -B "$work/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$here/toolchain.cmake" -DLLMC_SYSROOT="$sysroot" \
  -DCMAKE_BUILD_TYPE=Release -DLLMC_UNITY=ON -DLLMC_TORCH=OFF -DLLMC_CUDA=OFF >"$work/configure.log" 2>&1 ||
  { tail -n 20 "$work/configure.log"; exit 1; }
programs=(test_exact test_coder test_frame)
cmake --build "$work/build" --target llmc-batch "${programs[@]}" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }

emulated() { qemu-aarch64-static -L "$sysroot" "$work/build/$1" "${@:2}"; }
count=0
passed() { count=$((count + 1)); echo "ok: $1"; }
for program in "${programs[@]}"; do
  emulated "$program" --gtest_brief=1 >"$work/$program.log" 2>&1 || { tail -n 30 "$work/$program.log"; exit 1; }
  passed "$program: $(grep -o '^\[  PASSED  \] [0-9]* tests' "$work/$program.log" | grep -o '[0-9]* tests')"
done

text=$work/text
rm -rf "$text" "$work"/there* "$work"/own*
mkdir -p "$text"
head -c 2500 "$root/tests/data/text/alice29.txt" >"$text/alice.txt"
head -c 2500 "$root/tests/data/text/code.txt" >"$text/code.txt"
for codec in mix range rank; do
  "$binary" compress "$text" -o "$work/own-$codec.h5" --codec $codec --chunk 2K --quiet
  emulated llmc-batch compress "$text" -o "$work/there-$codec.h5" --codec $codec --chunk 2K --quiet --verify none
  cmp "$work/own-$codec.h5" "$work/there-$codec.h5"
  emulated llmc-batch extract "$work/own-$codec.h5" -o "$work/there-$codec" --quiet
  diff -r "$text" "$work/there-$codec/text"
  passed "$codec: the same archive, and it opens there"
done
for archive in "$root"/tests/reference/archives/*.h5; do
  emulated llmc-batch verify --data "$archive" --quiet >"$work/verify.log" 2>&1 || { cat "$work/verify.log"; exit 1; }
  passed "$(basename "$archive") opens there"
done
echo "aarch64 under qemu-user: $count checks passed"
