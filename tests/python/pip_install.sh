#!/usr/bin/env bash
# pip install ./python in a fresh environment, and a text read with what it installed.
#
# usage: pip_install.sh PYTHON LLMC_BATCH      exit 77: not run
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)
python=$1 program=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$python" -m venv "$dir/venv" || { echo "not run: no python3-venv"; exit 77; }
"$dir/venv/bin/pip" download -q --no-deps -d "$dir" scikit-build-core >"$dir/log" 2>&1 || { echo "not run: no network for pip"; exit 77; }
"$dir/venv/bin/pip" install -q --disable-pip-version-check "$root/python"
"$program" compress "$root/tests/data/text/alice29.txt" -o "$dir/a.h5" -q
cd "$dir"
"$dir/venv/bin/python" - "$root/tests/data/text/alice29.txt" <<'END'
import sys, llmc
text = open(sys.argv[1], "rb").read()
with llmc.open("a.h5") as archive:
    assert len(archive) == len(text)
    assert archive[70_000:70_100] == text[70_000:70_100]
    assert archive.counters.chunks_decoded == 1
    assert [d.name for d in archive.documents] == ["alice29.txt"]
print("read with", llmc.__file__)
END
