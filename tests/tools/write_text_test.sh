#!/bin/sh
# write_text_test.sh WRITE_TEXT: a model's own text is a function of prompt, temperature and seed, whatever is written beside it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$1" --out "$work/all" --prompt "The history of" --prompt "int main() {" --temperature 0.3 --temperature 1 --bytes 1500 --seed 7
"$1" --out "$work/one" --prompt "The history of" --temperature 0.3 --bytes 1500 --seed 7
"$1" --out "$work/other" --prompt "The history of" --temperature 0.3 --temperature 1 --bytes 1500 --seed 8
cmp "$work/all/t0.3-1.txt" "$work/one/t0.3-1.txt"
! cmp -s "$work/all/t1-1.txt" "$work/other/t1-1.txt"
for text in "$work"/all/*; do
  size=$(wc -c <"$text")
  [ "$size" -ge 1500 ] && [ "$size" -lt 1600 ]
done
head -c 14 "$work/all/t1-1.txt" | grep -q '^The history of$'
# Cold text repeats itself: it packs better.
[ "$(gzip -9 <"$work/all/t0.3-1.txt" | wc -c)" -lt "$(gzip -9 <"$work/all/t1-1.txt" | wc -c)" ]
