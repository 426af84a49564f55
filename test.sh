#!/usr/bin/env bash
# Sets up, builds everything and runs the tests. The last line is "N passed, N failed", with ", N skipped" where some were.
#
# usage: test.sh [--all] [--light] [-R REGEX]
#   --all     the long tests too (LLMC_LONG=1; LLMC_EVAL=DIR adds the texts in DIR), then the fast ones in a build with
#             AddressSanitizer and UndefinedBehaviorSanitizer, and libFuzzer, a minute for each parser; installs clang, a cross
#             compiler, QEMU and Slurm. About two hours on two cores
#   --light   Debian packages only: no libtorch, no Python packages; what needs them says "not run"
#   -R REGEX  only tests whose name matches
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
light=
all=0
only=()
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 ;;
    --light) light=--light ;;
    -R)
      [ $# -ge 2 ] || { echo "test.sh: -R needs a regular expression" >&2; exit 2; }
      only=(-R "$2")
      shift
      ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "test.sh: unknown option '$1'; known: --all, --light, -R REGEX, --help" >&2; exit 2 ;;
  esac
  shift
done

# shellcheck source=tools/setup.sh
. "$here/tools/setup.sh"
# A stop anywhere on the way is one failed test, not silence.
trap 'status=$?; [ $status -eq 0 ] || [ -n "${summed_up:-}" ] || echo "0 passed, 1 failed"; exit $status' EXIT
if [ $all = 1 ]; then setup $light --long-tests; else setup $light --tests; fi
build all
say "ready after $((SECONDS - llmc_began)) s"

tier=(-LE '^long$')
if [ $all = 1 ]; then
  export LLMC_LONG=1
  tier=()
fi
report=$llmc_build/test-report.xml
rm -f "$report"
status=0
# MPI tests declare how many cores they take (PROCESSORS), so that -j does not pile them up.
ctest --test-dir "$llmc_build" -j "$(nproc)" --output-on-failure --no-tests=error --output-junit "$report" \
  --test-output-size-passed 8192 "${tier[@]}" "${only[@]}" || status=$?

number() { sed -n "s/^.*[[:space:]]$1=\"\([0-9]*\)\".*$/\1/p" "${2:-$report}" 2>/dev/null | head -n 1; }

# Everything once more under the sanitizers, and every parser under libFuzzer. What fails here counts as failed.
more_failed=0 not_run=0
if [ $all = 1 ] && [ ${#only[@]} -eq 0 ]; then
  quietly "configure build-asan" cmake -S "$llmc_root" --preset asan
  quietly "compile build-asan" cmake --build "$llmc_root/build-asan" -j "$(build_jobs)"
  asan_report=$llmc_root/build-asan/test-report.xml
  rm -f "$asan_report"
  env -u LLMC_LONG ASAN_OPTIONS=detect_leaks=0 ctest --test-dir "$llmc_root/build-asan" -j "$(nproc)" --output-on-failure \
    --no-tests=error -LE '^long$' --timeout 1200 --output-junit "$asan_report" || more_failed=1
  echo "sanitizers: $(number tests "$asan_report") tests, $(number failures "$asan_report") failed, $(number skipped "$asan_report") skipped"
  if command -v clang++ >/dev/null 2>&1 && clang++ -fsanitize=fuzzer-no-link -x c++ -c -o /dev/null /dev/null 2>/dev/null; then
    quietly "configure build-fuzz" cmake -S "$llmc_root" --preset fuzz
    quietly "compile build-fuzz" cmake --build "$llmc_root/build-fuzz" -j "$(build_jobs)" --target fuzzers
    for corpus in "$llmc_root"/tests/fuzz/corpus/*/; do
      parser=$(basename "$corpus")
      new=$(mktemp -d)
      "$llmc_root/build-fuzz/fuzz_$parser" -max_total_time=60 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$llmc_root/build-fuzz/" \
        "$new" "$corpus" >"$llmc_root/build-fuzz/$parser.log" 2>&1 || { tail -n 30 "$llmc_root/build-fuzz/$parser.log"; more_failed=1; }
      echo "fuzz $parser: $(sed -n 's/^stat::number_of_executed_units: *//p' "$llmc_root/build-fuzz/$parser.log") executions"
      rm -rf "$new"
    done
  else
    echo "not run: libFuzzer, no clang here"
    not_run=1
  fi
fi

tests=$(number tests) failed=$(number failures) skipped=$(number skipped)
[ -n "$tests" ] || exit 1
if [ $all = 1 ]; then # what the sweeps have done: kills, flips, cuts, executions
  sed -n '/testcase name=/{s/.*testcase name="\([^"]*\)".*/\1/;s/  # GetParam.*//;p};s/.*tally: \([^<]*\).*/    \1/p' "$report" |
    grep -B 1 '^    ' | grep -v '^--' || true
fi
if [ "$skipped" -gt 0 ]; then
  grep -o 'not run: [^<&]*' "$report" | sort | uniq -c | sort -rn || true
fi
echo "Tests took $((SECONDS - llmc_began)) s with set-up and build."
summed_up=1
# ctest fails for more than failed tests (no tests at all, a broken build folder): never green then.
[ $status -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
failed=$((failed + more_failed))
[ $more_failed = 1 ] && tests=$((tests + 1))
tests=$((tests + not_run)) skipped=$((skipped + not_run))
line="$((tests - failed - skipped)) passed, $failed failed"
[ "$skipped" -gt 0 ] && line="$line, $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ]
