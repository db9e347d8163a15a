"""Reads what the suite's three runners print, line by line, into one `Outcome` per file. Pure: text in, data out.

`runtest` prints `[ok]: NAME (N ms)`, `[err]: NAME in tests/FILE` and then the reason, `[ignore]: …`, and at a file's
abort `[exception]: …` or `[TIMEOUT]: …`. The Sentinel and Cluster runners print `HH:MM:SS> NAME: OK` or
`… NAME: FAILED: reason`. Both repeat their failures after the end; that part is not read.
"""

import re
from dataclasses import dataclass, field

OK = re.compile(r"\[ok\]: (.+) \((\d+) ms\)$")
ERR = re.compile(r"\[err\]: (.*)$")
ERR_TEST = re.compile(r"(.+) in tests/\S+\.tcl$")
IGNORE = re.compile(r"\[(?:ignore|skip)\]: (.+)$")
ABORT = re.compile(r"\[(?:exception|TIMEOUT)\]: (.*)$")
STATE = re.compile(r"=> \((?:IN PROGRESS|SPAWN\w+ SERVER|KILL\w* SERVER|OK|ERR)\) ?(.*)$")
DONE = re.compile(r"\[\d+/\d+ done\]: ")
INSTANCE_OK = re.compile(r"^\d\d:\d\d:\d\d> (.+): OK$")
INSTANCE_FAILED = re.compile(r"^\d\d:\d\d:\d\d> (.+): FAILED: (.*)$")
INSTANCE_CAUGHT = re.compile(r"^(?:FAILED: caught an error in the test|WARNING: Aborting the test)(.*)$")

# These files draw servers or counters by lot and print them in the test's name; so does every file of Sentinel's that
# asks who was elected.
LOTS = {"integration/psync2": re.compile(r"(?<=#)\d+|(?<=x = )\d+")}
ELECTED = re.compile(r"(?<=^New master 127\.0\.0\.1:)\d+")


@dataclass
class Outcome:
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # name -> the suite's reason
    ignored: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)  # errors that belong to no test: a server that did not start
    aborted: str = ""  # why the file ended early; empty: it did not
    finished: bool = False
    longest_ms: int = 0


def read(file: str, text: str) -> Outcome:
    """The outcome of one file's run from everything its runner printed."""
    outcome = Outcome()
    name = naming(file)
    reason_for = None  # the failure whose reason the next lines tell
    for line in text.splitlines():
        if line.strip() in ("The End", "Cleaning up..."):
            outcome.finished = True
            break
        if found := OK.search(line):
            outcome.passed.append(name(found[1]))
            outcome.longest_ms = max(outcome.longest_ms, int(found[2]))
        elif found := INSTANCE_OK.match(line):
            outcome.passed.append(name(found[1]))
        elif found := INSTANCE_FAILED.match(line):
            outcome.failed[name(found[1])] = found[2]
        elif found := ERR.search(line):
            reason_for = error(outcome, name, found[1])
            continue
        elif found := IGNORE.search(line):
            outcome.ignored.append(name(found[1]))
        elif found := ABORT.search(line) or INSTANCE_CAUGHT.match(line):
            outcome.aborted = outcome.aborted or found[1].strip() or line
        elif (found := STATE.search(line)) and "state report" in outcome.aborted:
            outcome.aborted = f"no progress, last state {found[0][3:]}"
        elif not DONE.search(line):
            if reason_for is not None and len(outcome.failed[reason_for]) < REASON_MAX:
                outcome.failed[reason_for] = told(outcome.failed[reason_for], line.strip())
            continue
        reason_for = None
    return outcome


def error(outcome: Outcome, name, text: str):
    """Files one `[err]`; returns the test whose reason follows, or None where the error belongs to no test."""
    if found := ERR_TEST.match(text):
        outcome.failed.setdefault(name(found[1]), "")
        return name(found[1])
    outcome.outside.append(text)
    return None


def told(before: str, line: str) -> str:
    """A reason with one more line. `--durable` prints an error without its first ten characters, then whole."""
    return line if before and line.endswith(before) else f"{before} {line}".strip()


def naming(file: str):
    """How a test of this file is called in our lists."""
    lots = LOTS.get(file, ELECTED)
    return lambda text: lots.sub("N", text)


REASON_MAX = 400  # bytes of a failure's reason kept; a Tcl stack trace is longer and says no more
