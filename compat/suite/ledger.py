"""What is expected: the tests a real server passes, and the failures we know of, with their reasons.

`expected.json`: runner -> file -> {"seconds", "longest_ms", "tests": {name: how often}}, recorded from runs on
redis-server 7.0.15, and on valkey-server 9.1.2 for its own suite. `known-failures.txt` and `valkey-known-failures.txt`:
lines `file :: test name :: reason`; `file :: [abort] :: reason` for a file whose run ends early, which then stands for
every test not reached; `file :: [file] :: reason` for a file, or files (`unit/cluster/*`), that a full run leaves out.
`score.json`: the last full run's counts, which the README tells. Invariant: a verdict compares multisets, so a test
that vanishes counts as much as one that fails.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from output import Outcome

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.json"
SCORE = HERE / "score.json"
FAST = HERE / "fast.txt"
# How a reason begins; the header of known-failures.txt says what each means.
SOMETIMES = "sometimes: "
KINDS = ("needs ", "not built: ", "cannot apply: ", "differs: ", SOMETIMES, "fault: ")
CANNOT_APPLY_MAX = 24
ABORT = "[abort]"
FILE = "[file]"
SEPARATOR = " :: "
# These files repeat a test until a time is over; how often says nothing, so each of their names counts once.
BY_THE_CLOCK = {"integration/psync2", "integration/psync2-reg"}


@dataclass
class Verdict:
    """One file judged: counts out of what the real server passes, and what differs from the known failures."""

    total: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    missed: dict[str, str] = field(default_factory=dict)  # every expected test that did not pass -> why
    surprises: list[str] = field(default_factory=list)  # failing, not listed
    recovered: list[str] = field(default_factory=list)  # listed, passing


def expected(runner: str) -> dict[str, dict]:
    """File -> what the real server did there; empty before the first recording."""
    return json.loads(EXPECTED.read_text()).get(runner, {}) if EXPECTED.exists() else {}


def record(runner: str, files: dict[str, dict]) -> None:
    """Adds a run to expected.json. A test counts as often as in the run that had it least: some files loop against
    the clock. Times are the longest seen. Other runners and files stay as they are."""
    whole = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    mine = whole.setdefault(runner, {})
    for file, entry in files.items():
        if before := mine.get(file):
            tests = {name: min(times, before["tests"][name]) for name, times in entry["tests"].items() if name in before["tests"]}
            entry = {"seconds": max(entry["seconds"], before["seconds"]),
                     "longest_ms": max(entry["longest_ms"], before["longest_ms"]), "tests": tests}
        if file in BY_THE_CLOCK:
            entry["tests"] = dict.fromkeys(entry["tests"], 1)
        mine[file] = entry
    whole[runner] = dict(sorted(mine.items()))
    EXPECTED.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


def known(path: Path) -> dict[str, dict[str, str]]:
    """File -> {test name, [abort] or [file]: reason}."""
    lists: dict[str, dict[str, str]] = {}
    if not path.exists():
        return lists
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        file, _, rest = line.partition(SEPARATOR)
        name, _, reason = rest.rpartition(SEPARATOR)
        if not (file and name and reason):
            raise ValueError(f"{path.name}:{number}: not `file :: test name :: reason`")
        if name in lists.setdefault(file, {}):
            raise ValueError(f"{path.name}:{number}: listed twice")
        lists[file][name] = reason
    unknown = [reason for names in lists.values() for reason in names.values() if not reason.startswith(KINDS)]
    if unknown:
        raise ValueError(f"{path.name}: {len(unknown)} reasons of no known kind, the first: {unknown[0]}")
    if (cannot := kinds(lists)["cannot apply"]) > CANNOT_APPLY_MAX:
        raise ValueError(f"{path.name}: {cannot} tests cannot apply; at most {CANNOT_APPLY_MAX} may be given up so")
    return lists


def left_out(file: str, lists: dict[str, dict[str, str]]) -> bool:
    """Whether a full run does without the file."""
    return any(FILE in names and fnmatch(file, pattern) for pattern, names in lists.items())


def spoilers(names: dict[str, str]) -> list[str]:
    """One file's tests that are left out, because they leave a state in which those behind them fail."""
    return [name for name, why in names.items() if why.endswith(SPOILS)]


def kinds(lists: dict[str, dict[str, str]]) -> Counter:
    """How many lines there are of each kind of reason."""
    reasons = (reason for names in lists.values() for reason in names.values())
    return Counter(next(kind for kind in KINDS if reason.startswith(kind)).strip(" :") for reason in reasons)


def fast() -> list[str]:
    """The files that every change runs: green, and soon over."""
    return [line for line in FAST.read_text().splitlines() if line and not line.startswith("#")]


def judge(tests: dict[str, int], outcome: Outcome, listed: dict[str, str]) -> Verdict:
    """Compares one file's outcome with the real server's tests and with our list of failures."""
    verdict = Verdict(total=sum(tests.values()))
    seen = Counter(outcome.passed)
    for name, times in tests.items():
        passed = min(times, seen[name])
        verdict.passed += passed
        if passed == times:
            continue
        why, count = reason(name, outcome), times - passed
        verdict.missed[name] = why
        if why == IGNORED:
            verdict.skipped += count
        else:
            verdict.failed += count
        unreached = why not in (IGNORED,) and name not in outcome.failed and bool(outcome.aborted)
        if name not in listed and not (unreached and ABORT in listed):
            verdict.surprises.append(name)
    if outcome.aborted and ABORT not in listed:
        verdict.surprises.append(ABORT)
    verdict.recovered = [name for name, why in listed.items()
                         if not why.startswith(SOMETIMES) and recovered(name, tests, outcome, verdict)]
    return verdict


def reason(name: str, outcome: Outcome) -> str:
    """Why an expected test did not pass."""
    if name in outcome.failed:
        return outcome.failed[name] or "failed"
    if any(name == text or text.startswith(name + ": ") for text in outcome.ignored):
        return IGNORED
    if outcome.aborted:
        return f"not reached: {outcome.aborted}"
    if outcome.outside:
        return f"not reached: {outcome.outside[0]}"
    return "not run"


def recovered(name: str, tests: dict[str, int], outcome: Outcome, verdict: Verdict) -> bool:
    """A listed failure that no longer is one: it passes, or the suite has no such test any more."""
    if name == FILE:
        return False
    if name == ABORT:
        return not outcome.aborted
    return name not in verdict.missed


IGNORED = "ignored by the suite"
SPOILS = "; left out: it spoils those behind it"
