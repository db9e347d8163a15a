#!/usr/bin/env bash
# Instructions per command of the hot path, counted by callgrind: GET and SET, pipeline 16, in-process, journal off and on.
#
# Each kind of work runs twice, with N and with 2N batches; the difference, divided by the commands, is free of the start
# and of the fill. Counts vary by a fraction of a percent, because tables are hashed with a new key in every process.
# Fails when a count is more than 3 % above the one recorded in benches/instructions.txt. UPDATE=1 records what it finds.
# Usage: scripts/instructions.sh [PROFILE]   with the cargo profile that the program is built in: quick, or bench, which is
# the release's and takes long to build. Counts of two profiles are two things, and recorded by profile.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
profile=${1:-quick}
recorded=$root/benches/instructions.txt
batches=2000
pipeline=16
tolerance_percent=3

command -v valgrind >/dev/null || { echo "instructions: valgrind is not installed (make oracles)" >&2; exit 1; }

# The program's path is in cargo's last message.
program=$(cd "$root" && cargo bench --profile "$profile" --bench load --no-run 2>&1 | tee /dev/stderr |
    sed -nE 's/.*Executable.*\((.*)\)$/\1/p')
[ -x "$root/$program" ] || [ -x "$program" ] || { echo "instructions: cargo built no bench" >&2; exit 1; }

# Instructions of one run. A CPU that valgrind knows has no AVX-512, so that counts of one machine hold on others.
collected() {
    (cd "$root" && valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" instructions "$@" 2>&1) |
        sed -nE 's/.*Collected : ([0-9]+).*/\1/p'
}

per_command() {
    local once twice
    once=$(collected "$@" --batches $batches)
    twice=$(collected "$@" --batches $((2 * batches)))
    [ -n "$once" ] && [ -n "$twice" ] || { echo "instructions: callgrind counted nothing for $*" >&2; exit 1; }
    echo $(((twice - once) / (batches * pipeline)))
}

found=$(mktemp)
trap 'rm -f "$found"' EXIT
measure() {
    local name=$1 count
    shift
    count=$(per_command "$@")
    echo "$profile $name $count" >>"$found"
}
measure GET 'GET key:{key}'
measure GET-journal 'GET key:{key}' --journal
measure SET 'SET key:{key} {value}'
measure SET-journal 'SET key:{key} {value}' --journal

if [ "${UPDATE:-}" = 1 ]; then
    others=$(grep -v -e '^#' -e "^$profile " "$recorded" 2>/dev/null || true)
    {
        echo "# Profile, work, instructions per command; written by UPDATE=1 scripts/instructions.sh"
        [ -z "$others" ] || echo "$others"
        cat "$found"
    } >"$recorded"
    cat "$found"
    exit
fi

status=0
while read -r of name count; do
    was=$(sed -n "s/^$of $name //p" "$recorded")
    if [ -z "$was" ]; then
        echo "$name $count: not recorded"
        status=1
    elif [ $((count * 100)) -gt $((was * (100 + tolerance_percent))) ]; then
        echo "$name $count: more than $tolerance_percent % above the recorded $was"
        status=1
    else
        echo "$name $count, recorded $was"
    fi
done <"$found"
exit $status
