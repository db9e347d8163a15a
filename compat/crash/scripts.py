#!/usr/bin/env python3
"""Random scripts and inputs of cjson, cmsgpack and struct: the server lives, and answers as redis-server does.

  scripts.py --server PATH [--seed 1] [--seconds 60 | --scripts N] [--alone] [--only N]

Each script runs on empty databases, from a seed of its own (`lua.py` makes it); half speak RESP3. After each batch the server
must answer PING on a new connection, and its memory must be bounded. A script that gets no answer must be one that SCRIPT
KILL ends. A reply must be that of 7.0.15 or, where Redis has changed its mind since, that of 8.2.3; a script that gets
another is made smaller, line by line, and printed. A script that ends one real server is judged by
the other one; a script that freezes one is not judged.
`--scripts N` runs N scripts without a time limit; `--only N` runs the script of that number and prints it; `--alone`
asks no real server. Prints `N passed, N failed`, counted in scripts.
"""

import argparse
import random
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.resp import EOF, SILENT, Connection  # noqa: E402
from harness.server import Server  # noqa: E402
from lua import Lua  # noqa: E402

PEERS = ("7.0", "8.2")
sys.setrecursionlimit(50_000)  # replies are as deep as scripts make them
BATCH = 100
FAILURES_MAX = 10
REPLY_MAX_S = 20
MEMORY_MAX_MB = 700  # a script's own strings and tables are a few megabytes, of several at most
SHOWN_MAX = 600
ADDRESS = re.compile(rb"0x[0-9a-f]{6,16}")


class Side:
    """A server that is asked."""

    def __init__(self, binary: str):
        self.binary = binary
        self.server = Server(binary).start()
        self.connections = {}

    def connection(self, protocol: int) -> Connection:
        if protocol not in self.connections:
            self.connections[protocol] = Connection(self.server.port)
            self.connections[protocol].call("HELLO", protocol)
        return self.connections[protocol]

    def run(self, script: bytes, words: list[bytes], protocol: int) -> tuple:
        """What EVAL answers on empty databases."""
        connection = self.connection(protocol)
        connection.send([b"SELECT", b"0"])
        connection.send([b"FLUSHALL"])
        connection.send([b"EVAL", script, *words])
        connection.read(REPLY_MAX_S)
        connection.read(REPLY_MAX_S)
        tree = connection.read(REPLY_MAX_S)[1]
        if tree in (SILENT, EOF):
            connection.close()
            del self.connections[protocol]
        return tree

    def ends(self) -> bool:
        """Whether SCRIPT KILL ends what runs."""
        connection = Connection(self.server.port)
        for _ in range(REPLY_MAX_S * 10):
            connection.call("SCRIPT", "KILL")
            if connection.call("PING") == ("+", b"PONG"):
                return True
            time.sleep(0.1)
        return False

    def well(self) -> str:
        """What is wrong with it, or nothing."""
        if not self.server.alive():
            return f"the server died: {self.server.tail()}"
        if Connection(self.server.port).call("PING") != ("+", b"PONG"):
            return "no answer to PING"
        if (used := self.resident_mb()) > MEMORY_MAX_MB:
            return f"{used} MB are resident"
        return ""

    def resident_mb(self) -> int:
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) >> 10

    def again(self) -> None:
        self.server.stop()
        self.server, self.connections = Server(self.binary).start(), {}

    def commands(self) -> set[str]:
        return {name.decode().upper() for _, name in Connection(self.server.port).call("COMMAND", "LIST")[1]}


def settled(tree: tuple) -> tuple:
    """A reply without the addresses in it; the order of RESP3's maps is open."""
    kind, payload = tree
    if isinstance(payload, bytes):
        return kind, ADDRESS.sub(b"0x", payload)
    if kind == "%":
        return kind, sorted((repr((settled(key), settled(value))) for key, value in payload))
    if kind == "~":
        return kind, sorted(repr(settled(item)) for item in payload)
    return (kind, [settled(item) for item in payload]) if payload is not None else tree


class Search:
    """The run: scripts one by one, and what came of them."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.ours = Side(options.server)
        self.peers = [] if options.alone else [Side(peer) for peer in PEERS]
        self.commands = set.intersection(*(side.commands() for side in (self.ours, *self.peers)))
        self.passed = self.skipped = 0
        self.failures = []

    def go(self) -> None:
        deadline, number = time.monotonic() + self.options.seconds, 0
        wanted = self.options.scripts
        more = lambda: number < wanted if wanted else time.monotonic() < deadline  # noqa: E731
        while more() and len(self.failures) < FAILURES_MAX:
            for number in range(number, number + BATCH):
                self.one(number)
            number += 1
            if wrong := self.ours.well():
                self.fail(number, f"after this batch of {BATCH}: {wrong}")

    def made(self, number: int) -> tuple[list[bytes], list[bytes], int]:
        source = random.Random(f"{self.options.seed}:{number}")
        lua = Lua(source, self.commands)
        return lua.script(), lua.words_of_call(), source.choice([2, 3])

    def one(self, number: int) -> None:
        lines, words, protocol = self.made(number)
        wrong = self.wrong(lines, words, protocol)
        if not wrong:
            self.passed += 1
            return
        lines = self.smaller(lines, words, protocol)
        self.fail(number, f"{self.wrong(lines, words, protocol) or wrong}\n" + show(lines, words, protocol))

    def wrong(self, lines: list[bytes], words: list[bytes], protocol: int) -> str:
        """What is wrong with the server's answer, or nothing."""
        script = b"\n".join(lines)
        own = self.ours.run(script, words, protocol)
        if own == EOF and self.ours.well():
            wrong = f"the server died: {self.ours.server.tail()}"
            self.ours.again()
            return wrong
        if own == SILENT:
            stopped = self.ours.ends()
            if not stopped:
                self.ours.again()
            frozen = stopped and any(self.theirs(peer, script, words, protocol) in (SILENT, EOF) for peer in self.peers)
            return "" if frozen else f"no answer in {REPLY_MAX_S} s, SCRIPT KILL {'helps' if stopped else 'does not help'}"
        answers = []
        for name, peer in zip(PEERS, self.peers):
            theirs = self.theirs(peer, script, words, protocol)
            if theirs == EOF:
                continue
            if theirs == SILENT or settled(own) == settled(theirs):
                return ""
            answers.append(f"{name}:  {cut(theirs)}")
        return "\n".join([f"ours: {cut(own)}", *answers]) if answers else ""

    def theirs(self, peer: Side, script: bytes, words: list[bytes], protocol: int) -> tuple:
        """A real server's answer. It is started anew where the script froze or ended it."""
        tree = peer.run(script, words, protocol)
        if tree in (SILENT, EOF):
            self.skipped += 1
            peer.again()
        return tree

    def smaller(self, lines: list[bytes], words: list[bytes], protocol: int) -> list[bytes]:
        """Without the lines that the failure does not need."""
        at = 0
        while at < len(lines):
            fewer = lines[:at] + lines[at + 1:]
            if self.wrong(fewer, words, protocol):
                lines = fewer
            else:
                at += 1
        return lines

    def fail(self, number: int, story: str) -> None:
        self.failures.append(number)
        print(f"[{self.options.seed}:{number}] {story}\n", flush=True)


def cut(tree: tuple) -> str:
    text = repr(settled(tree))
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def show(lines: list[bytes], words: list[bytes], protocol: int) -> str:
    return f"RESP{protocol}, {words}\n" + "\n".join(f"    {line.decode('latin-1')[:SHOWN_MAX * 4]}" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0, 8.2, valkey)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--scripts", type=int, metavar="N", help=f"a number of scripts instead, in batches of {BATCH}")
    parser.add_argument("--alone", action="store_true", help="ask no real server")
    parser.add_argument("--only", type=int, metavar="N", help="this script of the seed")
    options = parser.parse_args()
    search = Search(options)
    if options.only is not None:
        print(show(*search.made(options.only)))
        search.one(options.only)
    else:
        search.go()
    if search.skipped:
        print(f"{search.skipped} times a script froze or ended a real server")
    print(f"{search.passed} passed, {len(search.failures)} failed")
    return 1 if search.failures or not search.passed else 0


if __name__ == "__main__":
    sys.exit(main())
