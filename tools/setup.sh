#!/usr/bin/env bash
# Installs what is missing and builds. Called alone ("tools/setup.sh [--light]") it does the set-up and stops;
# demo.sh and test.sh source it for the functions.
#
# Environment:
#   LLMC_TORCH=DIR  an existing libtorch, or the folder of an installed Python package torch: nothing is downloaded
#   LLMC_DEPS=DIR   where the private Python environment lives (default ~/.cache/llmc-batch), shared by all clones
#   LLMC_JOBS=N     compile jobs (default: one per core, fewer where memory is short)

export LC_ALL=C.UTF-8
umask 022
llmc_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
llmc_began=$SECONDS

# Open MPI: let root and more ranks than cores through, keep waiting ranks and pinning from starving threads.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_hwloc_base_binding_policy=none

say() { printf '[set-up] %s\n' "$*"; }
fail() {
  printf '[set-up] error: %s\n' "$*" >&2
  exit 1
}

# quietly WHAT COMMAND...: one progress line; the output goes to the log and is shown where the command fails.
quietly() {
  local what=$1 began=$SECONDS part status=0
  shift
  say "$what ..."
  mkdir -p "$(dirname "$llmc_log")"
  part=$(mktemp "$llmc_log.XXXXXX")
  "$@" >"$part" 2>&1 </dev/null || status=$?
  { printf '== %s: %s\n' "$what" "$*"; cat "$part"; } >>"$llmc_log"
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$part" >&2
    rm -f "$part"
    printf '[set-up] %s: failed after %d s (exit %d); all of the output is in %s\n' \
      "$what" $((SECONDS - began)) "$status" "$llmc_log" >&2
    return "$status"
  fi
  rm -f "$part"
  say "$what: $((SECONDS - began)) s"
}

needed_packages='build-essential cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools
  libboost-program-options-dev libgtest-dev libarchive-dev libzstd-dev zlib1g-dev libssl-dev libspdlog-dev libfmt-dev
  nlohmann-json3-dev libisal-dev python3'
# Only for comparison: without them the table shows "-".
peer_packages='xz-utils zstd zpaq p7zip-full brotli'
# Only for tests, which say "not run" without them.
test_packages='python3-h5py faketime'
# Only for the long tests: fuzzers, another processor, a Slurm and several hosts on this machine.
long_packages='clang libclang-rt-dev g++-aarch64-linux-gnu qemu-user-static iproute2 munge slurmctld slurmd slurm-client
  slurm-wlm-basic-plugins'
# torch alone, without the 3 GB of CUDA libraries that only its GPU half opens; libtorch_cpu.so needs these two.
torch_version=2.11.0
torch_cpu_wheels="torch==$torch_version nvidia-cuda-cupti==13.0.* nvidia-cuda-runtime==13.0.*"
test_wheels='numpy==2.4.6 tokenizers==0.23.3 h5py==3.16.0 safetensors==0.8.0 brotli==1.2.1 zstandard==0.25.0
  sentencepiece==0.2.3 tiktoken==0.14.0'

missing_packages() {
  local package
  for package in "$@"; do
    case $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null) in
      ?i*) ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# Debian packages: $1 "needed" ones stop the set-up where they cannot be had, "optional" ones do not.
install_packages() {
  local kind=$1 missing as_root=()
  shift
  missing=$(missing_packages "$@")
  missing=${missing% }
  [ -n "$missing" ] || return 0
  local advice="apt-get update && apt-get install $missing"
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      [ "$kind" = optional ] && return 0
      fail "packages are missing and neither root nor sudo is at hand. As root: $advice"
    fi
    if sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    elif [ -t 0 ] && [ -t 2 ]; then
      [ "$kind" = optional ] && return 0
      say "packages are missing; sudo may ask for a password: $missing"
      sudo -v || fail "sudo was refused. As root: $advice"
      as_root=(sudo -n)
    else
      [ "$kind" = optional ] && return 0
      fail "packages are missing and sudo wants a password that nobody can type here. As root: $advice"
    fi
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o APT::Install-Recommends=false)
  if [ -z "${llmc_apt_updated:-}" ]; then
    quietly "list of Debian packages" "${apt[@]}" update || say "apt-get update failed; going on with the old list"
    llmc_apt_updated=1
  fi
  # shellcheck disable=SC2086
  if ! quietly "Debian packages: $missing" "${apt[@]}" install $missing; then
    [ "$kind" = optional ] && { say "going on without: $missing"; return 0; }
    fail "apt-get could not install what is missing. By hand: $advice"
  fi
}

# setup_packages venv|no-venv [tests|long-tests]
setup_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    say "not a Debian system; expecting the equivalents of: ${needed_packages//$'\n' /}"
    return 0
  fi
  # One run of apt-get for all where nothing stands against it.
  local venv=
  [ "$1" = venv ] && venv=python3-venv
  # shellcheck disable=SC2086
  if [ -n "$(missing_packages $needed_packages $venv)" ]; then
    install_packages needed $needed_packages $venv
  fi
  # Tried once per build folder: a machine without network need not wait for this at every call.
  if [ ! -e "$llmc_build/.llmc-peers-tried" ]; then
    # shellcheck disable=SC2086
    install_packages optional $peer_packages
    touch "$llmc_build/.llmc-peers-tried"
  fi
  if [ -n "${2:-}" ] && [ ! -e "$llmc_build/.llmc-test-packages-tried" ]; then
    # shellcheck disable=SC2086
    install_packages optional $test_packages
    touch "$llmc_build/.llmc-test-packages-tried"
  fi
  if [ "${2:-}" = long-tests ]; then
    # shellcheck disable=SC2086
    install_packages optional $long_packages
  fi
}

gpu_here() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# pip_once NAME WHEELS: installs into the private environment unless its stamp says that it was done.
pip_once() {
  local name=$1 stamp
  shift
  stamp="$llmc_venv/.llmc-$name-$(printf '%s\n' "$*" | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && [ -x "$llmc_venv/bin/python" ] && return 0
  mkdir -p "$llmc_deps"
  exec 9>"$llmc_deps/lock"
  flock 9 # another clone may be installing the same
  if [ ! -e "$stamp" ] || [ ! -x "$llmc_venv/bin/python" ]; then
    if [ ! -x "$llmc_venv/bin/pip" ]; then
      quietly "Python environment $llmc_venv" python3 -m venv "$llmc_venv" ||
        fail "python3 -m venv failed; is the package python3-venv installed?"
    fi
    quietly "Python packages: $*" "$llmc_venv/bin/pip" install -q --disable-pip-version-check --no-input --retries 5 \
      --no-compile --no-cache-dir "$@" ||
      fail "pip could not install $name into $llmc_venv. Without it: --light, or LLMC_TORCH=DIR for a libtorch that you have"
    touch "$stamp"
  fi
  exec 9>&-
}

# setup [--light] [--tests | --long-tests]: afterwards llmc_build is the build folder, llmc_preset its preset, llmc_torch_dir torch.
setup() {
  local light=0 tests=0 word with_tests=
  for word in "$@"; do
    case $word in
      --light) light=1 ;;
      --tests | --long-tests) tests=1 with_tests=${word#--} ;;
      *) fail "setup: unknown word '$word'" ;;
    esac
  done
  llmc_deps=${LLMC_DEPS:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/llmc-batch}
  llmc_venv=$llmc_deps/venv-$torch_version
  llmc_torch_dir=
  if [ $light = 1 ]; then
    llmc_preset=light llmc_build=$llmc_root/build-light
  else
    llmc_preset=release llmc_build=$llmc_root/build
  fi
  llmc_log=$llmc_build/setup.log
  mkdir -p "$llmc_build"
  : >"$llmc_log"

  if [ -n "${LLMC_TORCH:-}" ] && [ ! -e "$LLMC_TORCH/lib/libtorch_cpu.so" ]; then
    fail "LLMC_TORCH=$LLMC_TORCH: no lib/libtorch_cpu.so in it; it must be libtorch's folder or that of the Python package torch"
  fi
  if [ $light = 1 ]; then
    setup_packages no-venv ${with_tests:-}
    # Tests that want the reference implementations say "not run" where the environment is not there.
    [ -x "$llmc_venv/bin/python" ] && export LLMC_PYTHON=${LLMC_PYTHON:-$llmc_venv/bin/python}
    return 0
  fi
  setup_packages venv ${with_tests:-}
  if [ -n "${LLMC_TORCH:-}" ]; then
    llmc_torch_dir=$(cd -- "$LLMC_TORCH" && pwd)
  else
    if gpu_here; then
      pip_once torch-gpu "torch==$torch_version"
    else
      # shellcheck disable=SC2086
      pip_once torch --no-deps $torch_cpu_wheels
    fi
    llmc_torch_dir=$(echo "$llmc_venv"/lib/python3*/site-packages/torch)
  fi
  if [ $tests = 1 ]; then
    # shellcheck disable=SC2086
    pip_once tests $test_wheels
    export LLMC_PYTHON=${LLMC_PYTHON:-$llmc_venv/bin/python}
  fi
}

# One compile job per core, but not more than memory carries (about 1.5 GB for a file that includes torch).
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ { print int($2 / 1500000) }' /proc/meminfo 2>/dev/null)
  [ "${memory:-0}" -ge 1 ] || memory=1
  echo "${LLMC_JOBS:-$((cores < memory ? cores : memory))}"
}

# build TARGET...: configures where something changed, then compiles.
build() {
  local arguments=(-S "$llmc_root" --preset "$llmc_preset") key
  [ -n "$llmc_torch_dir" ] && arguments+=("-DLLMC_TORCH_DIR=$llmc_torch_dir")
  key=$(printf '%s\n' "$llmc_build" "${arguments[@]}")
  if [ ! -e "$llmc_build/build.ninja" ] || [ "$(cat "$llmc_build/.llmc-configured" 2>/dev/null)" != "$key" ]; then
    # A build folder that was copied or moved with its clone names other paths: begin anew.
    rm -rf "$llmc_build/CMakeCache.txt" "$llmc_build/CMakeFiles" "$llmc_build/.llmc-configured"
    quietly "configure $(basename "$llmc_build")" cmake "${arguments[@]}" || fail "configuring failed"
    printf '%s\n' "$key" >"$llmc_build/.llmc-configured"
  fi
  quietly "compile with $(build_jobs) jobs" cmake --build "$llmc_build" -j "$(build_jobs)" --target "$@" ||
    fail "compiling failed"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  setup "$@"
  say "ready after $((SECONDS - llmc_began)) s"
  say "build: cmake --preset $llmc_preset${llmc_torch_dir:+ -DLLMC_TORCH_DIR=$llmc_torch_dir} && cmake --build --preset $llmc_preset"
fi
