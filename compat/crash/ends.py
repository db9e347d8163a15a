#!/usr/bin/env python3
"""Orderly ends in every state: SIGTERM, SIGINT and SHUTDOWN while the server is idle, loads, saves, rewrites or is busy.

  ends.py --server PATH [--rounds 200] [--seed 1] [--only TEXT]

Each round starts a server on data of its own, brings it into a state, ends it, and asks:
  1. does it end, with Redis's exit code, or refuse with Redis's words where ending would lose the data?
  2. does it start again, with everything acknowledged that the configuration promises? An end without a promise
     (NOSAVE, a second SIGINT, no save points) must leave at least what the files held before.
  3. is nothing left behind: no temporary file, no increment outside the manifest?
The seed chooses the order of states and ends and the moments; a run of as many rounds as there are combinations has each
once. redis-server 7.0.15 passes (`--server 7.0`). Prints `N passed, N failed`.
"""

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from book import KINDS, Book  # noqa: E402
from disk import contents, wait_loaded  # noqa: E402
from harness.resp import EOF, SILENT, Connection, encode  # noqa: E402
from harness.server import Server  # noqa: E402
from loop import write  # noqa: E402

BASE_KEYS = 1500
BIG_FIELDS = 60_000
DELAY_US = "400"  # a key; makes a walk over the base keys last 0.6 s
LONG_DELAY_US = "4000"  # and one that no end waits for
END_WAIT_S = 40
CLIENTS = 3
REPEAT_S = 0.15

MODES = {
    "rdb": {"save": "3600 100000000"},
    "aof": {"save": "", "appendonly": "yes"},
    "both": {"save": "3600 100000000", "appendonly": "yes"},
    "none": {"save": ""},
}
STATES = {
    "idle": MODES.keys(), "load": MODES.keys(), "loading": MODES.keys(), "saving": MODES.keys(), "saving big": ["rdb"],
    "rewriting": ["aof", "both"], "first rewrite": ["rdb", "none"], "scheduled": ["aof", "both"], "failing": ["rdb", "both"],
    "saving under load": ["rdb", "both"], "rewriting under load": ["aof", "both"],
}
ENDS = ["TERM", "TERM again", "INT", "INT twice", "SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE", "SHUTDOWN NOW", "SHUTDOWN FORCE"]
WEIGHTS = {kind: weight for kind, (weight, _) in KINDS.items()}
REFUSED = b"ERR Errors trying to SHUTDOWN. Check logs."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to end (or 7.0, 8.2, valkey)")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="combinations with this text: \"saving big, rdb, TERM again\"")
    options = parser.parse_args()
    every = [(state, mode, end) for state, modes in STATES.items() for mode in modes for end in ENDS]
    every = [one for one in every if options.only in ", ".join(one)]
    source = random.Random(options.seed)
    source.shuffle(every)
    passed = failed = 0
    for number, (state, mode, end) in enumerate(itertools.islice(itertools.cycle(every), options.rounds)):
        story = Round(options.server, state, mode, end, f"{options.seed}:{number}").run()
        passed, failed = passed + (not story), failed + bool(story)
        if story:
            print(f"[{number + 1}] {state}, {mode}, {end}: FAILED\n    {story}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


class Round:
    """One server, one state, one end."""

    def __init__(self, binary: str, state: str, mode: str, end: str, seed: str):
        self.binary, self.state, self.mode, self.end = binary, state, mode, end
        self.random = random.Random(seed)
        self.directory = Path(tempfile.mkdtemp(prefix="memkv-ends-"))
        self.directives = {**MODES[mode], "enable-protected-configs": "yes"}
        self.books = [Book(client) for client in range(CLIENTS)]
        self.writers: list[threading.Thread] = []
        self.errors: list[str] = []
        self.held = {}  # what the files held before the end

    def run(self) -> str:
        """The story of what went wrong, or nothing."""
        server = Server(self.binary, self.directives, self.directory)
        try:
            server.start()
            self.fill(server)
            server = self.enter(server)
            story = self.finish(server) or self.judge()
        except (OSError, RuntimeError, AssertionError) as error:
            story = f"{type(error).__name__}: {error}"
        finally:
            server.kill()
            [thread.join() for thread in self.writers]
        if story:
            return f"{story}; kept: {self.directory}"
        shutil.rmtree(self.directory, ignore_errors=True)
        return ""

    def fill(self, server: Server) -> None:
        """The base data, on disk unless nothing is ever saved."""
        c = Connection(server.port)
        base = [[b"SET", b"base-%d" % i, b"v%d" % i] for i in range(BASE_KEYS)]
        if self.state == "saving big":
            base += [[b"HSET", b"big", *[x for i in range(at, at + 500) for x in (b"field:%d" % i, b"value:%d" % i)]]
                     for at in range(0, BIG_FIELDS, 500)]
        c.send_raw(b"".join(map(encode, base)))
        for _ in base:
            c.read()
        assert c.call("SAVE")[1] == b"OK"
        self.held = contents(c)
        c.close()

    def enter(self, server: Server) -> Server:
        """Brings the server into the state."""
        c = Connection(server.port)
        if "load" in self.state.split():
            for book in self.books:
                seed = f"{self.random.random()}"
                self.writers.append(threading.Thread(target=write, args=(book, server.port, seed, WEIGHTS, self.errors)))
                self.writers[-1].start()
            time.sleep(self.random.uniform(0.02, 0.2))
        delay = LONG_DELAY_US if "SHUTDOWN" not in self.end and self.random.random() < 0.3 else DELAY_US
        if self.state != "idle" and self.state != "load":
            c.call("CONFIG", "SET", "rdb-key-save-delay", delay)
        if self.state.startswith("saving"):
            assert c.call("BGSAVE")[0] == "+"
        elif self.state.startswith("rewriting"):
            assert c.call("BGREWRITEAOF")[0] == "+"
        elif self.state == "scheduled":
            assert c.call("BGSAVE")[0] == "+"
            assert c.call("BGREWRITEAOF")[1] == b"Background append only file rewriting scheduled"
        elif self.state == "first rewrite":
            assert c.call("CONFIG", "SET", "appendonly", "yes")[1] == b"OK"
        elif self.state == "failing":
            (self.directory / "bad").mkdir()
            assert c.call("CONFIG", "SET", "dbfilename", "bad")[1] == b"OK"
        elif self.state == "loading":
            server.kill()
            server = Server(self.binary, {**self.directives, "key-load-delay": "2000"}, self.directory)
            server.start(ready=False)
        time.sleep(self.random.uniform(0.0, 0.25))
        c.close()
        return server

    def finish(self, server: Server) -> str:
        """Ends the server; a story when it does not end as it must."""
        replies = self.send_end(server)
        if self.must_refuse():
            deadline = time.monotonic() + 3
            while not replies and time.monotonic() < deadline and "SHUTDOWN" in self.end:
                time.sleep(0.01)
            time.sleep(0.3)
            if not server.alive():
                # Of several signals a later one may come when the first base is in force.
                return "" if self.has_log() else "it ended, and what the log held is in no file"
            if "SHUTDOWN" in self.end and replies != [("-", REFUSED)]:
                return f"SHUTDOWN answered {replies}"
            server.kill()
            return ""
        try:
            code = server.process.wait(END_WAIT_S)
        except Exception:
            return f"it did not end: {server.tail(6)}"
        # A second SIGINT may find the process gone already.
        if code != 0 and not (self.end == "INT twice" and code == 1):
            return f"exit code {code}: {server.tail(6)}"
        self.insisted = code == 1
        return ""

    insisted = False

    def must_refuse(self) -> bool:
        """Whether ending would lose the data."""
        if "FORCE" in self.end:
            return False
        if self.state == "first rewrite":
            return True
        saves = self.mode != "aof" and self.mode != "none" or "SHUTDOWN SAVE" in self.end
        return self.state == "failing" and saves and "NOSAVE" not in self.end and self.end != "INT twice"

    def has_log(self) -> bool:
        return bool(list(self.directory.glob("appendonlydir/*.manifest")))

    def send_end(self, server: Server) -> list:
        """Sends the signals, or the command, whose reply, if one comes, is in the list."""
        replies: list = []
        if self.end.startswith("SHUTDOWN"):
            def ask():
                try:
                    c = Connection(server.port)
                    tree = c.call(*self.end.split())
                    while tree[0] == "-" and tree[1].startswith(b"LOADING"):
                        tree = c.call(*self.end.split())
                    if tree not in (EOF, SILENT):
                        replies.append(tree)
                except OSError:
                    pass
            self.writers.append(threading.Thread(target=ask))
            self.writers[-1].start()
            return replies
        number = signal.SIGTERM if "TERM" in self.end else signal.SIGINT
        for _ in range({"TERM again": 8, "INT twice": 2}.get(self.end, 1)):
            if server.alive():
                server.process.send_signal(number)
                time.sleep(REPEAT_S)
        return replies

    def judge(self) -> str:
        """Starts again and compares."""
        [thread.join() for thread in self.writers]
        left = self.left_behind()
        again = Server(self.binary, {**self.directives, **self.after()}, self.directory)
        again.start()
        c = Connection(again.port)
        wait_loaded(c)
        found = contents(c)
        c.close()
        again.kill()
        lacking = [key for key in self.held if key not in found]
        if lacking and (self.mode != "none" or self.state != "load"):
            return f"{len(lacking)} of {len(self.held)} keys that the files held are gone: {lacking[:3]}"
        if self.promises():
            for book in self.books:
                _, story = book.settle(found)
                if story:
                    return story
        # A second SIGINT ends the process wherever it is.
        return f"left behind: {left}" if left and not self.must_refuse() and not self.insisted else ""

    def after(self) -> dict[str, str]:
        """How the next start differs: a log that was being turned on is on if it came to be."""
        if self.state == "first rewrite" and self.has_log():
            return {"appendonly": "yes"}
        return {}

    def promises(self) -> bool:
        """Whether all that was acknowledged must be there."""
        if self.state in ("failing", "first rewrite") or self.insisted and self.mode == "rdb":
            return self.mode in ("aof", "both")
        return self.mode in ("aof", "both") or self.end == "SHUTDOWN SAVE" or self.mode == "rdb" and "NOSAVE" not in self.end

    def left_behind(self) -> list[str]:
        files = [path.relative_to(self.directory) for path in self.directory.rglob("*") if path.is_file()]
        left = [str(path) for path in files if path.name.startswith("temp-")]
        manifest = list(self.directory.glob("appendonlydir/*.manifest"))
        named = manifest[0].read_text() if manifest else ""
        return left + [str(path) for path in files if ".incr." in path.name and path.name not in named]


if __name__ == "__main__":
    sys.exit(main())
