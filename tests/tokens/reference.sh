#!/bin/sh
# reference.sh PYTHON TOKENIZE: ids equal to the library's on the files of LLMC_EVAL (or of tests/data/text),
# on all code points and on 10,000 hostile strings; and the Unicode tables equal to what it says.
set -eu
python=${1:-${LLMC_PYTHON:-}} tokenize=$2
if [ -z "$python" ]; then
  echo "not run: LLMC_PYTHON (CMake or environment) names no Python with the module tokenizers"
  exit 77
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
"$python" "$root/tools/tokens/reference.py" compare "$tokenize" "$root/models/e0-hf/tokenizer.json" \
  "$root/tests/data/tokenizers/smollm2.json" "$root/tests/tokens/sentencepiece.model" "$root/tests/tokens/small.tiktoken" --texts "${LLMC_EVAL:-$root/tests/data/text}"
"$python" "$root/tools/tokens/make_unicode_tables.py" --check "$root/src/tokens/unicode_tables.cpp"
