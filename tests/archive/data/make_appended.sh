#!/usr/bin/env bash
# Made version1-appended, once: a set of two shards, then a third by append, with parity and an index of names.
# What it writes with a later version or other libraries is for comparing; the committed bytes never change.
#
# usage: make_appended.sh LLMC_BATCH OUT
set -euo pipefail
program=$(realpath "$1") out=$(realpath -m "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
umask 022
mkdir -p in/folder new/folder
seq 1 150 >in/a.txt
seq 900 -1 800 >in/folder/b.txt
: >in/folder/empty
seq 2000 3 2400 >new/c.txt
printf 'A short file.\r\n\0 With a NUL.' >$'new/folder/names \xc3\xa9\xff\n'
ln -s c.txt new/link
find . -exec touch -h -d '2023-11-14 22:13:20 UTC' {} +
"$program" compress in -o "$out" --codec zstd --chunk 256 --shard 500 --parity 10% --bare -q
"$program" append new -o "$out" -q
