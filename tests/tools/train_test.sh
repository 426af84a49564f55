#!/bin/sh
# train_test.sh ROOT BINARY PYTHON: a tiny model is trained, killed on the way, goes on to the very weights of a run that
# was not, is exported, imported and codes text. Exit code 77: no Python with torch here.
set -eu
root=$1 binary=$2 python=${LLMC_TRAIN_PYTHON:-${3:-}}
python=${python:-${LLMC_PYTHON:-}}
if [ -z "$python" ] || ! "$python" -c 'import torch, tokenizers, safetensors' 2>/dev/null; then
  echo "not run: no Python with torch, tokenizers and safetensors (LLMC_TRAIN_PYTHON names one)"
  exit 77
fi
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/texts"
split -b 1500 "$root/tests/data/text/alice29.txt" "$work/texts/"
train="$python $root/tools/train/train.py"
recipe=$root/tools/train/recipes/smoke.json
$train pack "$work/pack.xz" "$work/texts"

$train all --recipe "$recipe" --out "$work/whole" "$work/pack.xz" | tee "$work/whole.log"
grep -q 'int8 in the forward pass from here on' "$work/whole.log"
# The other run learns from the same data; it is stopped twice, and goes on.
mkdir "$work/parts"
cp -r "$work/whole/tokenizer.json" "$work/whole/data" "$work/parts/"
stops=0 status=75
while [ $status = 75 ]; do
  $train all --recipe "$recipe" --out "$work/parts" "$work/pack.xz" >"$work/parts.log" &
  child=$!
  if [ $stops -lt 2 ]; then
    # A line is printed every 20 steps: stop between the first and the last of them.
    until grep -qs "^step [0-9]" "$work/parts.log" || ! kill -0 $child 2>/dev/null; do sleep 0.1; done
    kill -TERM $child 2>/dev/null || true
    stops=$((stops + 1))
  fi
  status=0
  wait $child || status=$?
done
[ $status = 0 ]
grep -q 'going on after step' "$work/parts.log"
cmp "$work/whole/hf/model.safetensors" "$work/parts/hf/model.safetensors"

"$python" - "$work/whole/hf/train.json" <<'END'
import json, math, sys
log = json.load(open(sys.argv[1]))
first, last = log["curve"][0][3], log["curve"][-1][3]
bits = log["held_out_bits_per_byte"]
assert first > 0.9 * math.log(512), first        # nothing known
assert last < first - 1, (first, last)           # something learnt
assert abs(bits["int8"] / bits["binary32"] - 1) < 0.02, bits
END
# What the trainer takes for int8 is what the product computes: the same bits of a text, within 1 %.
"$binary" model import "$work/whole/hf" -o "$work/smoke.model" --activations 8 --kv 8
head -c 20000 "$root/tests/data/text/alice29.txt" >"$work/text"
"$binary" compress "$work/text" -o "$work/text.h5" --codec range --model "$work/smoke.model"
"$binary" extract "$work/text.h5" -o "$work/back" --model "$work/smoke.model"
cmp "$work/text" "$work/back/text"
$train bits --model "$work/whole/hf" --limit 20000 "$work/text" | tee "$work/bits"
frames=$("$binary" info "$work/text.h5" --json | sed -n 's/.*"frame_bytes": \([0-9]*\).*/\1/p')
"$python" -c 'import sys
row = open(sys.argv[2]).read().splitlines()[-1].split("|")
ours, theirs = 8 * int(sys.argv[1]) / 20000, float(row[5])
print(f"product {ours:.4f}, trainer {theirs:.4f} bits per byte")
assert abs(ours / theirs - 1) < 0.01' "$frames" "$work/bits"
