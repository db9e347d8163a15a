#!/usr/bin/env python3
"""kill -9 at a random moment, again and again, with a ledger of every write: what was acknowledged must be there.

  loop.py --server PATH [--kills 200] [--seed 1] [--fsync always,everysec] [--clients 4]

Each round starts the server on the same directory, lets clients write (single commands, pipelines, transactions, now
and then a BGREWRITEAOF in the middle), kills it, and then asks four questions:
  1. does redis-check-aof accept the directory, but for a torn tail of the last file?
  2. does a real redis-server 7.0.15 load a copy of it?
  3. does the server, started again, hold for every client exactly a prefix of its operations that has all
     acknowledged ones in it, transactions whole?
  4. do both hold the same data and deadlines?
Every tenth round ends with SIGTERM instead. The seed decides operations and moments; the scheduler decides the rest.
redis-server itself loses writes now and then under everysec: while an fsync is slow it keeps what it acknowledged in
its own memory for up to two seconds. With `--fsync always` it passes.
Prints counts and `N passed, N failed` in rounds; keeps the directory of a failed round.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from book import KINDS, Book  # noqa: E402
from disk import Copy, contents, deadlines, wait_loaded  # noqa: E402
from harness.resp import EOF, SILENT, Connection, encode  # noqa: E402
from harness.server import Server  # noqa: E402

RUN_MS = (20, 500)  # the server lives this long under load before it is killed
PIPELINE_MAX = 30
FRESH_EVERY = 25  # rounds after which the data is thrown away, so that a run of 200 does not grow without end
TERM_EVERY = 10
REWRITE_SHARE = 0.3
FAILURES_MAX = 3
PEER = "7.0"


def main() -> int:
    options = arguments()
    home = Path(tempfile.mkdtemp(prefix="memkv-crash-"))
    loop = Loop(options, home)
    try:
        for number in range(options.kills):
            if not loop.round(number) and loop.failed >= FAILURES_MAX:
                break
    finally:
        loop.server.kill()
        if not loop.failed:
            shutil.rmtree(home, ignore_errors=True)
    print(", ".join(f"{name} {count}" for name, count in loop.counts.items()))
    print(f"{loop.passed} passed, {loop.failed} failed")
    return 1 if loop.failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to kill (or 7.0, 8.2, valkey)")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fsync", type=lambda text: text.split(","), default=["always", "everysec"], help="policies, in turn")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--quiet", action="store_true", help="no line per round")
    return parser.parse_args()


class Loop:
    """The rounds over one directory."""

    def __init__(self, options: argparse.Namespace, home: Path):
        self.options, self.home = options, home
        self.data = home / "data"
        self.random = random.Random(options.seed)
        self.counts = Counter()
        self.passed = self.failed = 0
        self.fresh()
        self.start("always")
        control = Connection(self.server.port)
        have = {row[1][0][1].decode().upper() for row in control.call("COMMAND")[1]}
        self.kinds = {kind: weight for kind, (weight, command) in KINDS.items() if command in have}
        control.close()
        self.server.kill()

    def fresh(self) -> None:
        """An empty directory and empty ledgers."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        self.books = [Book(client) for client in range(self.options.clients)]

    def directives(self, fsync: str) -> dict[str, str]:
        # Rewrites happen when the loop asks, so that the seed decides and no base file hides an incr file's flaw.
        return {"appendonly": "yes", "appendfsync": fsync, "auto-aof-rewrite-percentage": "0"}

    def start(self, fsync: str) -> None:
        self.server = Server(self.options.server, self.directives(fsync), self.data)
        self.server.start()

    def round(self, number: int) -> bool:
        """One life and death; True when all four questions were answered well."""
        if number % FRESH_EVERY == 0:
            self.fresh()
        fsync = self.options.fsync[number % len(self.options.fsync)]
        started = time.monotonic()
        self.start(fsync)
        errors = self.live(number)
        problems = errors + self.judge(number, fsync)
        took = time.monotonic() - started
        if not self.options.quiet:
            print(f"[{number + 1}/{self.options.kills}] {fsync}: {self.summary}{'' if not problems else '  FAILED'} ({took:.1f} s)", flush=True)
        for problem in problems:
            print(f"    {problem}", flush=True)
        self.passed += not problems
        self.failed += bool(problems)
        if problems:
            shutil.copytree(self.data, self.home / f"failed-{number + 1}", dirs_exist_ok=True)
            print(f"    kept: {self.home}/failed-{number + 1} (as restarted) and copy-{number + 1} (as the crash left it)")
            self.fresh()
        return not problems

    def live(self, number: int) -> list[str]:
        """Clients write until the server is gone; returns replies that were errors."""
        errors: list[str] = []
        threads = [threading.Thread(target=write, args=(book, self.server.port, f"{self.options.seed}:{number}:{book.client}", self.kinds, errors))
                   for book in self.books]
        life_s = self.random.uniform(*RUN_MS) / 1000
        rewrite_s = self.random.uniform(0, life_s) if self.random.random() < REWRITE_SHARE else None
        gentle = (number + 1) % TERM_EVERY == 0
        for thread in threads:
            thread.start()
        if rewrite_s is not None:
            time.sleep(rewrite_s)
            control = Connection(self.server.port)
            control.call("BGREWRITEAOF")
            control.close()
            self.counts["rewrites"] += 1
        time.sleep(life_s - (rewrite_s or 0))
        if gentle:
            self.counts["terminated"] += 1
            code = self.server.terminate()
            if code != 0:
                errors.append(f"SIGTERM: exit code {code}")
        else:
            self.counts["killed"] += 1
            self.server.kill()
        for thread in threads:
            thread.join()
        return errors

    def judge(self, number: int, fsync: str) -> list[str]:
        """The four questions."""
        copy = Copy(self.data, self.home / f"copy-{number + 1}")
        complaint, torn = copy.check()
        self.counts["torn tails"] += torn
        problems = [complaint] if complaint else []
        copy = Copy(self.data, copy.directory)  # the check may have mended the first one
        theirs = their_deadlines = None
        try:
            theirs, their_deadlines = copy.load(PEER, self.directives("no"))
        except (RuntimeError, OSError) as error:
            problems.append(f"redis-server {PEER} does not load it: {error}")
        # The peer truncates a torn tail as it loads; a failed round shows what the crash left.
        copy = Copy(self.data, copy.directory)
        try:
            self.start(fsync)
        except RuntimeError as error:
            self.summary = "did not start again"
            return [*problems, str(error)]
        problems += self.compare(theirs, their_deadlines)
        self.server.kill()
        if not problems:
            copy.remove()
        return problems

    def compare(self, theirs: dict | None, their_deadlines: dict | None) -> list[str]:
        connection = Connection(self.server.port)
        wait_loaded(connection)
        found = contents(connection)
        problems, in_doubt, kept_in_doubt = [], 0, 0
        acknowledged = sum(book.acknowledged for book in self.books)
        for book in self.books:
            doubtful, sure = len(book.sent) - book.acknowledged, book.acknowledged
            kept, story = book.settle(found)
            if story:
                problems.append(story)
            in_doubt += doubtful
            kept_in_doubt += (kept or sure) - sure
        if theirs is not None and theirs != found:
            keys = [key.decode() for key in sorted(theirs.keys() | found.keys()) if theirs.get(key) != found.get(key)]
            problems.append(f"redis-server {PEER} loads other data: {', '.join(keys[:10])}")
        elif theirs is not None and their_deadlines != deadlines(connection, found):
            problems.append(f"redis-server {PEER} loads other deadlines")
        self.counts["acknowledged"] += acknowledged
        self.counts["in doubt"] += in_doubt
        self.counts["in doubt and kept"] += kept_in_doubt
        self.counts["compared with a real load"] += theirs is not None
        self.summary = f"{acknowledged} acknowledged, {in_doubt} in doubt, {kept_in_doubt} of them kept, {len(found)} keys"
        connection.close()
        return problems


def write(book: Book, port: int, seed: str, kinds: dict[str, int], errors: list[str]) -> None:
    """One client: sends operations, some in pipelines, until the connection breaks; notes each acknowledgement."""
    source = random.Random(seed)
    try:
        connection = Connection(port)
    except OSError:
        return
    while True:
        size = source.randint(2, PIPELINE_MAX) if source.random() < 0.3 else 1
        batch = [book.draw(source, kinds) for _ in range(size)]
        commands = [command for operation in batch for command in operation.commands(book.client)]
        for chunk in (commands[at:at + 64] for at in range(0, len(commands), 64)):
            connection.send_raw(b"".join(map(encode, chunk)))
        for operation in batch:
            for _ in operation.commands(book.client):
                _, tree = connection.read()
                if tree in (EOF, SILENT):
                    if tree == SILENT:
                        errors.append(f"client {book.client}: no reply")
                    connection.close()
                    return
                if tree[0] == "-" and not tree[1].startswith(b"LOADING"):
                    errors.append(f"client {book.client}: {tree[1].decode()}")
                    connection.close()
                    return
            book.acknowledged += 1


if __name__ == "__main__":
    sys.exit(main())
