#!/bin/sh
# Fuzzes each target for so many seconds, from the seeds in seeds/. Fails if one of them fell or hung, and says on what.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
export CARGO_TARGET_DIR=target AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1
cargo afl build --release --locked --quiet

found=
for target in heads bodies proxy config; do
  rm -rf "out/$target"
  mkdir -p out
  log=$(mktemp)
  cargo afl fuzz -V "$seconds" -t 2000 -i "seeds/$target" -o "out/$target" "target/release/$target" >"$log" 2>&1 \
    || { cat "$log" >&2; rm "$log"; exit 1; }
  rm "$log"
  value() { sed -n "s/^$1 *: //p" "out/$target/default/fuzzer_stats"; }
  echo "$target: $(value execs_done) runs, $(value corpus_count) inputs that reach something new, $(value saved_crashes) crashes, $(value saved_hangs) hangs"
  for input in "out/$target"/default/crashes/id* "out/$target"/default/hangs/id*; do
    [ -e "$input" ] && found="$found fuzz/$input"
  done
done
[ -z "$found" ] || { echo "see:$found" >&2; exit 1; }
