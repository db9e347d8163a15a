#!/usr/bin/env bash
# Instructions per command of the hot path, counted by callgrind: GET and SET, pipeline 16, in-process, journal off and on.
#
# Each kind of work runs twice, with N and with 2N batches; the difference, divided by the commands, is free of the start
# and of the fill. Hashers have fixed keys and no other thread comes between, so that counts repeat within a few
# instructions. A count that seems too high is taken again, three times in all, and the lowest holds. Fails when that is
# more than 1 % above the one recorded in benches/instructions.txt. UPDATE=1 records the median of three.
# Usage: scripts/instructions.sh [PROFILE]   with the cargo profile that the program is built in: quick, or bench, which is
# the release's and takes long to build. Counts of two profiles are two things, and recorded by profile.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
profile=${1:-quick}
recorded=$root/benches/instructions.txt
batches=2000
pipeline=16
attempts=3
# By how many percent a count may lie above the recorded one.
tolerance=1

command -v valgrind >/dev/null || { echo "instructions: valgrind is not installed (make oracles)" >&2; exit 1; }

# The program's path is in cargo's last message.
program=$(cd "$root" && cargo bench --profile "$profile" --bench load --no-run 2>&1 | tee >(cat >&2) |
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

recorded_of() {
    sed -n "s/^$profile $1 //p" "$recorded"
}

# Count, recorded count.
is_above() {
    [ $(($1 * 100)) -gt $(($2 * (100 + tolerance))) ]
}

status=0
found=$(mktemp)
trap 'rm -f "$found"' EXIT

record() {
    local name=$1
    shift
    local counts=()
    while [ ${#counts[@]} -lt $attempts ]; do counts+=("$(per_command "$@")"); done
    echo "$profile $name $(printf '%s\n' "${counts[@]}" | sort -n | sed -n $(((attempts + 1) / 2))p)" | tee -a "$found"
}

check() {
    local name=$1 was count lowest
    shift
    was=$(recorded_of "$name")
    [ -n "$was" ] || { echo "$name: not recorded"; status=1; return; }
    lowest=$(per_command "$@")
    for _ in $(seq 2 $attempts); do
        is_above "$lowest" "$was" || break
        count=$(per_command "$@")
        [ "$count" -ge "$lowest" ] || lowest=$count
    done
    if is_above "$lowest" "$was"; then
        echo "$name $lowest: more than $tolerance % above the recorded $was"
        status=1
    else
        echo "$name $lowest, recorded $was"
    fi
}

each() {
    "$1" GET 'GET key:{key}'
    "$1" GET-journal 'GET key:{key}' --journal
    "$1" SET 'SET key:{key} {value}'
    "$1" SET-journal 'SET key:{key} {value}' --journal
}

if [ "${UPDATE:-}" != 1 ]; then
    each check
    exit $status
fi
each record
others=$(grep -v -e '^#' -e "^$profile " "$recorded" 2>/dev/null || true)
{
    echo "# Profile, work, instructions per command; written by UPDATE=1 scripts/instructions.sh"
    [ -z "$others" ] || echo "$others"
    cat "$found"
} >"$recorded"
