#!/usr/bin/env python3
"""A configuration that Redis or Valkey has rewritten starts a server: `rewritten.py --server PATH`.

Each peer runs on Debian's redis.conf (a small one where there is none), is given a password, users, save points, a primary and
other directives of every kind, and writes its file with CONFIG REWRITE. The server must start on it with the same values and
the same users, and write a file that the peer starts on. Prints `ok - NAME` or `not ok - NAME: why`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.promises import Skipped, kept  # noqa: E402
from harness.resp import Connection  # noqa: E402
from harness.server import PEERS, free_port  # noqa: E402

SETTINGS = [
    ("save", "900 1 300 10"),
    ("maxmemory", "100mb"),
    ("maxmemory-policy", "allkeys-lru"),
    ("client-output-buffer-limit", "pubsub 1mb 1mb 1"),
    ("notify-keyspace-events", "KEA"),
    ("oom-score-adj-values", "0 1 2"),
    ("latency-tracking-info-percentiles", "50 90"),
    ("requirepass", "secret word"),
    ("masterauth", "of primary"),
    ("masteruser", "repl"),
    ("appendonly", "yes"),
    ("shutdown-on-sigterm", "nosave now"),
]
USERS = [
    ["alice", "on", ">pw", "~k:*", "&ch*", "+@read", "-@dangerous", "+config|get"],
    ["bob", "(+get ~x)", "resetchannels"],
    ["carol", "on", "nopass", "%R~a*", "%W~b*", "+set", "+get"],
    ["dora", "off", "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", "allkeys", "allcommands", "allchannels"],
]
DEBIAN = Path("/etc/redis/redis.conf")
SITE = ("daemonize", "supervised", "pidfile", "logfile", "dir", "port", "bind", "unixsocket")


def ask(client: Connection, *words: str):
    """The reply as bytes, or as a list."""
    def plain(tree):
        return [plain(element) for element in tree[1]] if isinstance(tree[1], list) else tree[1]
    return plain(client.call(*words))


class Process:
    """A server on a file of its own in a directory of its own."""

    def __init__(self, binary: str, conf: Path):
        self.conf, self.port = conf, free_port()
        command = [binary, str(conf), "--port", str(self.port), "--dir", str(conf.parent), "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def connect(self, password: str = "") -> Connection:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                client = Connection(self.port)
                if password:
                    ask(client, "AUTH", password)
                if not ask(client, "PING").startswith(b"LOADING"):
                    return client
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"{self.process.args[0]} does not start: {self.end()[-600:]}")

    def end(self) -> str:
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate()[0]


def values(client: Connection) -> list:
    return [ask(client, "CONFIG", "GET", name) for name, _ in SETTINGS]


def words_of(users: list) -> list:
    """Redis 8 tells a flag more, and Redis 7.0 tells commands in any order."""
    return sorted(sorted(word for word in line.decode().split() if word != "sanitize-payload") for line in users)


def is_taken_over(peer: str, server: str, replica: bool) -> None:
    if not shutil.which(peer):
        raise Skipped(f"there is no {peer}")
    with tempfile.TemporaryDirectory(prefix="memkv-rewritten-") as directory:
        conf = Path(directory) / "redis.conf"
        lines = DEBIAN.read_text().splitlines() if DEBIAN.exists() else []
        conf.write_text("".join(f"{line}\n" for line in lines if not line.startswith(SITE)))
        before = Process(peer, conf)
        try:
            client = before.connect()
            if replica:
                ask(client, "REPLICAOF", "127.0.0.1", "1")
            for words in USERS:
                assert ask(client, "ACL", "SETUSER", *words) == b"OK", words
            for name, value in SETTINGS:
                assert ask(client, "CONFIG", "SET", name, value) == b"OK", name
            client = before.connect("secret word")
            # The log that was turned on is being begun.
            deadline = time.monotonic() + 20
            while b"aof_rewrite_in_progress:1" in ask(client, "INFO", "persistence") and time.monotonic() < deadline:
                time.sleep(0.05)
            expected = values(client), words_of(ask(client, "ACL", "LIST"))
            ask(client, "CONFIG", "REWRITE")
        finally:
            before.end()
        for binary in (server, peer):
            after = Process(binary, conf)
            try:
                client = after.connect("secret word")
                found = values(client), words_of(ask(client, "ACL", "LIST"))
                assert found == expected, f"{binary}: {found} in place of {expected}"
                role = ask(client, "ROLE")[0]
                assert role == (b"slave" if replica else b"master"), role
                ask(client, "CONFIG", "REWRITE")
            finally:
                after.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    server = str(Path(parser.parse_args().server).absolute())
    cases = [(f"a file of {name}{', a replica,' if replica else ''} is taken over", peer, replica)
             for name, peer in PEERS.items() for replica in (False, True)]
    return 0 if all([kept(name, is_taken_over, peer, server, replica) for name, peer, replica in cases]) else 1


if __name__ == "__main__":
    sys.exit(main())
