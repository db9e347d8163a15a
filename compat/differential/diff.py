#!/usr/bin/env python3
"""Random command sequences on a server and on real ones, reply bytes compared, a difference shrunk and printed.

  diff.py --server PATH [--peers 7.0,8.2] [--seconds 60] [--seed 1] [--families strings,keys]
  diff.py --server PATH --replay SEED:ROUND        one sequence again, printed whole

Round N of seed S is always the same sequence for the same set of commands. In front of the search stand the sequences
that once differed (found.txt). Prints a transcript per difference
(`> COMMAND`, then each server's reply where they differ) and at the end `N passed, N failed` in sequences.
Exit 1 when the server under test agrees with no peer somewhere. Neither the encoder nor the decoder is a client
library: what is compared is what came over the wire.
"""

import argparse
import ast
import re
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import transcript  # noqa: E402
from play import Difference, Result, Stage  # noqa: E402
from shrink import shrink  # noqa: E402
from steps import CONNECTIONS, Generator, Step  # noqa: E402

FOUND = Path(__file__).with_name("found.txt")
FOUND_LINE = re.compile(r"\[(\d)\] > (.*)|raw> (.*)")
DIFFERENCES_MAX = 20  # after this many the list says no more
LOOKS_MAX = 2  # failures that look alike are shrunk this often, then only counted
CONFIRMATIONS = 2  # a difference must come again this often, or it was timing


def main() -> int:
    options = arguments()
    stage = Stage(options.server, options.peers)
    try:
        common = stage.commands()
        generator = Generator(common, options.families)
        used = sum(len(table) for _, table in generator.tables)
        print(f"{options.server} with {', '.join(options.peers)}: {len(common)} commands in common, {used} with a grammar", flush=True)
        if options.replay:
            return replay(stage, generator, options.replay)
        return Search(stage, generator, options).run()
    finally:
        stage.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0, 8.2, valkey)")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2"], help="real servers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", type=lambda text: text.split(","), help="only these")
    parser.add_argument("--max", type=int, default=DIFFERENCES_MAX, help="stop after this many differences")
    parser.add_argument("--versions", action="store_true", help="show what differs between the peers too")
    parser.add_argument("--replay", metavar="SEED:ROUND")
    return parser.parse_args()


class Search:
    """Rounds until the time is over."""

    def __init__(self, stage: Stage, generator: Generator, options: argparse.Namespace):
        self.stage, self.generator, self.options = stage, generator, options
        self.covered, self.versions = Counter(), Counter()
        self.looks = Counter()  # what failures look like before they are shrunk
        self.failures: list[str] = []
        self.again = Counter()  # a failure's commands -> how often; printed the first time only
        self.flaky = Counter()
        self.rounds = self.steps = 0

    def run(self) -> int:
        known = found_before()
        for steps in known:
            result = self.stage.play(steps)
            self.steps += result.steps
            if result.difference:
                self.failures.append(show(self.stage, steps, result))
                self.again["found before"] += 1
                print(f"\n--- found before, and again\n{self.failures[-1]}", flush=True)
        self.rounds += len(known)
        deadline = time.monotonic() + self.options.seconds
        while time.monotonic() < deadline and len(self.failures) < self.options.max:
            number = self.rounds - len(known)
            steps = self.generator.sequence(f"{self.options.seed}:{number}")
            result = self.stage.play(steps)
            self.steps += result.steps
            self.covered.update(result.covered)
            if result.difference:
                self.found(steps, result, f"{self.options.seed}:{number}")
            self.rounds += 1
        return self.report()

    def found(self, steps: list[Step], result: Result, which: str) -> None:
        """Confirms, classifies and, for a real one, shrinks."""
        name = step_name(steps, result.difference)
        if result.difference.as_peer:
            self.versions[f"{name}: as {result.difference.as_peer}"] += 1
            if self.options.versions:
                print(f"\n--- versions differ, --replay {which}\n{show(self.stage, steps, result)}", flush=True)
            return
        first_look = f"{name}: {replies_outline(result.difference)}"
        self.looks[first_look] += 1
        if self.looks[first_look] > LOOKS_MAX:
            self.again[first_look] += 1
            return
        if not all(self.failing(steps) for _ in range(CONFIRMATIONS)):
            self.flaky[name] += 1
            return
        small = shrink(steps, self.failing)
        final = self.stage.play(small)
        if not final.difference:
            self.flaky[name] += 1
            return
        text = show(self.stage, small, final)
        what = " ".join(map(repr, final.difference.argv[:2])) or replies_outline(final.difference)
        signature = f"{' '.join(step.name() for step in small)}: {what}"
        self.again[signature] += 1
        if self.again[signature] > 1:
            return
        self.failures.append(text)
        print(f"\n--- difference {len(self.failures)}, --replay {which}\n{text}", flush=True)

    def failing(self, steps: list[Step]) -> bool:
        difference = self.stage.play(steps).difference
        return difference is not None and not difference.as_peer

    def report(self) -> int:
        print(f"\n{self.rounds} sequences, {self.steps} replies compared, {self.flaky.total()} not reproduced {dict(self.flaky) or ''}")
        for reason, times in self.covered.most_common():
            print(f"  known, {times} times: {reason}")
        for name, times in self.versions.most_common():
            print(f"  versions differ, {times} times: {name}")
        for signature, times in self.again.most_common():
            print(f"  DIFFERS, {times} times: {signature}")
        failed = self.again.total()
        print(f"{self.rounds - failed} passed, {failed} failed")
        return 1 if self.failures else 0


def found_before() -> list[list[Step]]:
    """The sequences of found.txt."""
    sequences: list[list[Step]] = [[]]
    for line in FOUND.read_text().splitlines():
        if match := FOUND_LINE.fullmatch(line):
            connection, command, raw = match.groups()
            step = Step(0, raw=ast.literal_eval(raw)) if raw else Step(int(connection), tuple(transcript.words(command)))
            sequences[-1].append(step)
        elif not line:
            sequences.append([])
        elif not line.startswith("#"):
            raise ValueError(f"{FOUND}: {line!r}")
    return [steps for steps in sequences if steps]


def replies_outline(difference: Difference) -> str:
    """The first lines of the replies without their numbers: enough to know a failure that was seen before."""
    texts = (str(tree[1])[:60] if tree[0] in "-+" or tree[0] == "raw" else tree[0] for _, tree in difference.replies)
    return " | ".join(re.sub(r"\d+|'[^']*'", "N", text) for text in texts)


def step_name(steps: list[Step], difference: Difference) -> str:
    if difference.at >= len(steps):
        return "the data at the end, " + transcript.command(list(difference.argv[:1]))
    return steps[difference.at].name() or "malformed request"


def show(stage: Stage, steps: list[Step], result: Result) -> str:
    """The transcript: replies on which all agree once, others per server."""
    lines = []
    several = len({step.connection for step in steps}) > 1
    for number, (step, replies) in enumerate(zip(steps, result.replies)):
        mark = f"[{step.connection}] " if several else ""
        mark += "(same write) " if step.joined else ""
        lines.append(f"{mark}> {transcript.command(list(step.argv))}" if step.argv else f"raw> {step.raw[:200]!r}")
        lines += outcomes(stage, replies) if replies else ["(not sent: the connection waits)"]
        if step.pause_ms:
            lines.append(f"(wait {step.pause_ms} ms)")
        for connection, answers in result.served.get(number, []):
            lines += [f"[{connection}] is served", *outcomes(stage, answers)]
    difference = result.difference
    if difference and difference.at >= len(steps):
        lines.append(f"at the end> {transcript.command(list(difference.argv))}")
        lines += outcomes(stage, difference.replies)
    return "\n".join(lines)


def outcomes(stage: Stage, replies: list) -> list[str]:
    texts = [tree[1].decode("latin-1") if tree[0] == "raw" else transcript.reply(tree) for _, tree in replies]
    raws = {raw for raw, _ in replies}
    if len(raws) == 1 and len(set(texts)) == 1:
        return [texts[0]]
    width = max(len(player.label) for player in stage.players)
    out = []
    for player, text, (raw, _) in zip(stage.players, texts, replies):
        # Two forms of one text (a RESP2 null and a RESP3 one) differ only on the wire.
        shown = text if len(set(texts)) > 1 else f"{text}   {raw[:120]!r}"
        out.append(f"  {player.label:>{width}} | " + shown.replace("\n", "\n" + " " * (width + 5)))
    return out


def replay(stage: Stage, generator: Generator, which: str) -> int:
    steps = generator.sequence(which)
    result = stage.play(steps)
    print(show(stage, steps[:len(result.replies)], result))
    return 1 if result.difference else 0


if __name__ == "__main__":
    sys.exit(main())
