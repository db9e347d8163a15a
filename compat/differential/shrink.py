"""Makes a failing sequence small: fewer steps, then fewer and simpler words, as long as it still fails.

Delta debugging: drop halves, then quarters, … then single steps; then per command drop optional words and replace
words by plain ones; then one connection instead of several and no pipelining. `fails` plays a candidate from a clean
state. Bounded by time, because a flaky failure would go on for ever.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from steps import Step

PLAIN_WORDS = (b"a", b"1", b"s1")
SHRINK_MAX_S = 8.0
RAW_SHORT = 60  # bytes of a malformed request that a person reads at a glance


def shrink(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """The smallest sequence found within the time."""
    deadline = time.monotonic() + SHRINK_MAX_S
    before = None
    while before != steps and time.monotonic() < deadline:
        before = steps
        steps = fewer_steps(steps, fails, deadline)
        steps = simpler(steps, fails, deadline)
    return steps


def fewer_steps(steps: list[Step], fails: Callable, deadline: float) -> list[Step]:
    size = max(1, len(steps) // 2)
    while time.monotonic() < deadline:
        at, shorter = 0, False
        while at < len(steps) and time.monotonic() < deadline:
            candidate = steps[:at] + steps[at + size:]
            if candidate and fails(candidate):
                steps, shorter = candidate, True
            else:
                at += size
        if size == 1 and not shorter:
            return steps
        size = max(1, size // 2)
    return steps


def simpler(steps: list[Step], fails: Callable, deadline: float) -> list[Step]:
    """Tries each simplification of each step, keeping those that still fail."""
    for at in range(len(steps)):
        done = False
        while not done and time.monotonic() < deadline:
            done = True
            for candidate in variants(steps[at]):
                trial = steps[:at] + [candidate] + steps[at + 1:]
                if fails(trial):
                    steps, done = trial, False
                    break
    return steps


def variants(step: Step) -> list[Step]:
    """Simpler forms of one step, the most drastic first."""
    out = []
    if step.joined:
        out.append(replace(step, joined=False))
    if step.connection:
        out.append(replace(step, connection=0))
    if step.raw:
        # Each try waits for silence, so a short request stays as it is and a long one loses halves and quarters.
        parts = [len(step.raw) // 2, len(step.raw) // 4] if len(step.raw) > RAW_SHORT else []
        return out + [replace(step, raw=step.raw[:at] + step.raw[at + size:]) for size in parts for at in range(0, len(step.raw), size)]
    argv = step.argv
    out += [replace(step, argv=argv[:at] + argv[at + 1:]) for at in range(len(argv) - 1, 0, -1)]
    for at in range(1, len(argv)):
        out += [replace(step, argv=argv[:at] + (word,) + argv[at + 1:])
                for word in PLAIN_WORDS if argv[at] not in PLAIN_WORDS and len(argv[at]) > len(word)]
    if argv[0] != argv[0].upper():
        out.append(replace(step, argv=(argv[0].upper(),) + argv[1:]))
    return out
