#!/bin/sh
# A set of many shards and parts: look-ups read a few blocks and keep little memory, and the program does with it what it does
# with any other.
# usage: large_set_test.sh large_set llmc-batch SHARDS DOCUMENTS PARTS
set -eu
tool=$1 program=$2 shards=$3 documents=$4 parts=$5
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$tool" make "$dir/set" --shards "$shards" --documents "$documents" --parts "$parts" --with-text 20
"$tool" measure "$dir/set" --most-blocks 3 --most-mib 1024
case $shards in ???) "$tool" measure "$dir/set" --look-ups 500 --most-blocks 2 --most-mib 64 ;; esac

expect() {
  if [ "$2" != "$3" ]; then
    echo "$1: '$2' instead of '$3'" >&2
    exit 1
  fi
}
last=$(printf 'corpus/%04x/part-%03u/document-0000007.txt' $((shards / parts - 1)) $((parts - 1)))
expect "a document of the last part" "$("$program" extract "$dir/set" -o - -q --document "$last")" \
  "$(printf '%03u%06u%06u' $((parts - 1)) $((shards / parts - 1)) 7)"
command -v /usr/bin/time >/dev/null && measure='/usr/bin/time -f %es,%MKiB' || measure=
$measure "$program" info "$dir/set" --json >"$dir/info"
expect "documents" "$(grep -c "\"entries\": $((shards * documents))," "$dir/info")" 1
expect "parts" "$(grep -c "\"parts\": $parts," "$dir/info")" 1
echo new >"$dir/new"
$measure "$program" append "$dir/new" -o "$dir/set" -q
expect "what was appended" "$("$program" extract "$dir/set" -o - -q --document new)" new
"$tool" measure "$dir/set" --look-ups 500 --most-blocks 6
if "$program" append "$dir/new" -o "$dir/set" -q 2>"$dir/said"; then
  echo "a name was taken twice" >&2
  exit 1
fi
# Not for the largest: it reads everything.
case $shards in ???) "$program" verify "$dir/set" ;; esac
