#!/usr/bin/env python3
"""What commands tell others: keyspace events and invalidations of random commands on a server and on real ones.

  events.py --server PATH [--peers 7.0,8.2] [--seconds 30] [--seed 1]

Each step runs on all servers over one connection. Beside it listen a subscriber of all keyspace events (`KEA`, `n` and
`m` left to the transcripts in tests), a client that tracks what it reads (CLIENT TRACKING, reading each key that a step
names before it runs) and one that tracks in broadcasting mode. After each step all that they heard must be equal, in
order, to what one peer's listeners heard. Prints transcripts of differences and `N passed, N failed` in sequences.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import transcript  # noqa: E402
from harness.resp import EOF, SILENT, Connection  # noqa: E402
from harness.server import Server  # noqa: E402
from steps import Generator, authenticates, may_wait  # noqa: E402

SKIPPED = {"SWAPDB", "FLUSHALL", "FLUSHDB", "MULTI", "EXEC", "WATCH", "RESET", "QUIT", "HELLO", "AUTH", "CLIENT", "SUBSCRIBE",
           "PSUBSCRIBE", "SSUBSCRIBE", "CONFIG", "DEBUG", "SHUTDOWN", "MONITOR", "SELECT", "RESTORE", "SPOP", "SRANDMEMBER"}
DIFFERENCES_MAX = 12
# What differs on purpose: BITFIELD tells that the string grew though every step failed, since a log without that would
# differ from the data; PFDEBUG tells that it changed the encoding.
KNOWN = {"BITFIELD", "PFDEBUG"}
WORDS_READ = 8  # of a command; those that are keys become tracked


class Side:
    """One server with its listeners."""

    def __init__(self, label: str, binary: str):
        self.label = label
        self.server = Server(binary, {"notify-keyspace-events": "KEA"}).start()
        self.run, self.events, self.tracker, self.broadcast = (Connection(self.server.port) for _ in range(4))
        self.events.call("PSUBSCRIBE", "__key*")
        for connection, options in ((self.tracker, ["NOLOOP"]), (self.broadcast, ["BCAST"])):
            connection.call("HELLO", "3")
            connection.call("CLIENT", "TRACKING", "ON", *options)

    def fresh(self) -> None:
        self.run.call("FLUSHALL")
        self.heard([])

    def step(self, argv: list[bytes], pause_ms: int) -> tuple:
        reply = self.run.call(*argv)
        time.sleep(pause_ms / 1000)
        return reply

    def heard(self, touched: list[bytes]) -> list:
        """What the listeners heard since they were last asked; the tracker then reads the keys of the next step."""
        told = [("event", self.until_pong(self.events))]
        for name, connection in (("invalid", self.tracker), ("broadcast", self.broadcast)):
            told.append((name, self.until_pong(connection)))
        for key in touched:
            self.tracker.call("EXISTS", key)
        return told

    @staticmethod
    def until_pong(connection: Connection) -> list:
        connection.send([b"PING"])
        told = []
        while True:
            tree = connection.read()[1]
            if tree in (EOF, SILENT):
                return [*told, ("lost", None)]
            if tree[0] == "+" or tree[0] == "*" and tree[1][0][1] == b"pong":
                return told
            told.append(shown(tree))


def shown(tree: tuple) -> str:
    """An event as `channel message`, an invalidation as its keys."""
    words = [item[1] for item in tree[1]]
    if words[0] == b"pmessage":
        return b" ".join(words[2:]).decode("latin-1")
    keys = words[1]
    return "all" if keys is None else " ".join(sorted(key[1].decode("latin-1") for key in keys))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2"])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sides = [Side(name, name) for name in [options.server, *options.peers]]
    commands = [{row[1][0][1].decode().upper() for row in side.run.call("COMMAND")[1]} for side in sides]
    generator = Generator(set.intersection(*commands))
    passed, failures, number = 0, Counter(), 0
    deadline = time.monotonic() + options.seconds
    while time.monotonic() < deadline and len(failures) < DIFFERENCES_MAX:
        story = sequence(sides, generator.sequence(f"events:{options.seed}:{number}"))
        number += 1
        if not story:
            passed += 1
            continue
        what, text = story
        failures[what] += 1
        if failures[what] == 1:
            print(text, flush=True)
    for side in sides:
        side.server.stop()
    for what, times in failures.most_common():
        print(f"  DIFFERS, {times} times: {what}")
    print(f"{passed} passed, {failures.total()} failed")
    return 1 if failures else 0


def sequence(sides: list[Side], steps: list) -> tuple[str, str] | None:
    """Plays it; what differs and its story, or nothing."""
    [side.fresh() for side in sides]
    lines = []
    for step in steps:
        if not step.argv or step.name() in SKIPPED or may_wait(step.argv) or authenticates(step.argv):
            continue
        touched = list(step.argv[1:WORDS_READ + 1])
        for side in sides:
            side.heard(touched)
        replies = [side.step(list(step.argv), step.pause_ms) for side in sides]
        told = [side.heard([]) for side in sides]
        lines.append(f"> {transcript.command(list(step.argv))}")
        if any(reply != replies[0] for reply in replies[1:]):
            return None  # another tool's subject
        # When a key that is due is removed, and so told, is each server's own affair.
        if step.pause_ms or any("expired" in line for parts in told for line in parts[0][1]):
            continue
        if told[0] not in told[1:] and step.name() not in KNOWN:
            lines += [f"  {side.label[-12:]:>12} | {part}" for side, parts in zip(sides, told) for part in parts
                      if any(part not in other for other in told)]
            return step.name(), "\n".join([f"\n--- {step.name()}", *lines[-8:]])
    return None


if __name__ == "__main__":
    sys.exit(main())
