#!/usr/bin/env python3
"""Proposes a runner's list of known failures from the last run: `known.py [--runner redis] [--write]`.

Keeps the reason of every line that still fails, drops what passes now, and for a new failure writes what the suite
said, for a person to replace by the real reason. Files that the last run did not include keep their lines. Prints the
new list; `--write` puts it in place, and refuses to add lines unless `--grow` says that this is meant.
"""

import argparse
import json
import re
import sys
from collections import Counter

import ledger
from runners import RUNNERS, WORK

# Which capability a missing command belongs to; the first that matches gives the reason.
CAPABILITIES = (
    ("replication", r"SYNC|PSYNC|REPLICAOF|SLAVEOF|REPLCONF|WAIT|FAILOVER"), ("streams", r"X[A-Z]+"), ("cluster", r"CLUSTER|READONLY|ASKING"),
    ("scripting", r"EVAL\w*|SCRIPT.*|FCALL\w*|FUNCTION.*"), ("pub/sub", r"S?P?(UN)?SUBSCRIBE|S?PUBLISH|PUBSUB.*"), ("ACL", r"ACL.*"),
    ("RDB", r"SAVE|BGSAVE|DUMP|RESTORE|MIGRATE"), ("MONITOR", r"MONITOR"), ("client tracking", r"TRACKING|CACHING|GETREDIR|TRACKINGINFO"),
    ("geo", r"GEO\w+"), ("HyperLogLog", r"PF\w+"), ("bitmaps", r"(SET|GET)BIT|BIT\w+"), ("SORT", r"SORT\w*"), ("modules", r"MODULE.*"),
    ("sorted sets", r"B?Z[A-Z]+"), ("hashes", r"H[A-KM-Z]\w+|HLEN"), ("sets", r"S(ADD|CARD|DIFF|INTER|IS|M|POP|RAND|REM|SCAN|UNION)\w*"),
    ("lists", r"[BLR]\w*(PUSH|POP|MOVE|LEN|RANGE|SET|TRIM|INDEX|INSERT|POS|REM)\w*"),
)
UNKNOWN_COMMAND = re.compile(r"unknown (?:command|subcommand) '([^']+)'", re.I)
REASON_MAX = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runner", choices=RUNNERS, default="redis")
    parser.add_argument("--write", action="store_true", help="replace the list")
    parser.add_argument("--grow", action="store_true", help="lines may be added")
    options = parser.parse_args()
    result = json.loads((WORK / "suite" / options.runner / "result.json").read_text())
    known = RUNNERS[options.runner].known
    before = ledger.known(known)
    after = {file: dict(names) for file, names in before.items() if file not in result["files"]}
    for file, judged in result["files"].items():
        if names := propose(judged, before.get(file, {})):
            after[file] = names
    new = [f"{file} :: {name}" for file, names in after.items() for name in names if name not in before.get(file, {})]
    header = [line for line in known.read_text().splitlines() if line.startswith("#")] if known.exists() else []
    lines = [ledger.SEPARATOR.join((file, name, reason)) for file in sorted(after) for name, reason in after[file].items()]
    text = "\n".join([*header, *lines]) + "\n"
    if not options.write:
        print(text, end="")
        return 0
    if new and before and not options.grow:
        print(f"{len(new)} lines would be added, the first: {new[0]}; --grow if that is meant", file=sys.stderr)
        return 1
    known.write_text(text)
    print(f"{len(lines)} lines, {len(new)} of them new")
    return 0


def propose(judged: dict, before: dict[str, str]) -> dict[str, str]:
    """One file's lines. An abort stands for the tests behind it, unless a line names them already."""
    names = {}
    if judged["aborted"]:
        needs = Counter(text for text in map(reason, judged["missed"].values()) if text.startswith("needs"))
        guess = needs.most_common(1)[0][0] if needs else reason(judged["aborted"])
        names[ledger.ABORT] = before.get(ledger.ABORT, guess)
    for name, why in judged["missed"].items():
        if name in before or not (judged["aborted"] and why.startswith("not reached")):
            names[name] = before.get(name, reason(why))
    return names


def reason(said: str) -> str:
    """The command that is missing, where that is the reason; otherwise the suite's own words."""
    if found := UNKNOWN_COMMAND.search(said):
        command = found[1].upper()
        of = next((name for name, pattern in CAPABILITIES if re.fullmatch(pattern, command)), "")
        return f"needs {command} ({of})" if of else f"needs {command}"
    if "always a primary" in said:
        return "needs REPLICAOF (replication)"
    if "no blocked clients" in said:
        return "needs blocking commands (lists)"
    if "not known in dictionary" in said:
        return "follows an error outside a test"
    # Where in the suite it happened says nothing here, and names this machine's folders.
    said = re.sub(r"pid:\d+|server\.\d+\.\d+|(?:redis|valkey)\.conf\.\d+\.\d+", "…", re.split(r" \(context: | while executing ", said)[0])
    return said.replace(ledger.SEPARATOR, " ")[:REASON_MAX].strip() or "unknown"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted")
