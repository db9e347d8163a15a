"""What every check uses: the kinds of servers, nodes that keep their port and their files, waiting, and comparing data.

A `Trial` is one run of one check: it starts nodes, collects what was not as promised, and ends everything it started.
Not here: what is promised (the check files), load (work.py), what stands between two nodes (link.py).
"""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COMPAT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(COMPAT)]
sys.path += [str(COMPAT / "exchange"), str(COMPAT / "differential")]

from harness.resp import EOF, SILENT, Connection, encode  # noqa: E402
from harness.server import WORK, Server, free_port  # noqa: E402
from hosts import Host  # noqa: E402

PEERS = {
    "redis-7.0": shutil.which("redis-server") or "redis-server", "redis-8.2": str(WORK / "bin" / "redis-8.2"),
    "valkey-9.1": str(WORK / "bin" / "valkey-9.1"), "redis-6.2": str(WORK / "bin" / "redis-6.2"),
}
SETTLE_S = 30
KEYS_TOLD = 6
KEYS_AT_ONCE = 1000  # keys whose remaining time is asked for in one request
TTL_SLACK_MS = 60_000  # 6.2 tells a deadline as what is left of it, and a replica counts from when it reads that, after a cut too


class Failure(Exception):
    """A promise broken so that the check cannot go on."""


class Skip(Exception):
    """The servers of this run cannot be in the roles that the check needs."""


@dataclass(frozen=True)
class Kind:
    """A server's binary and what is known of it before it runs."""

    path: str
    family: str  # redis, valkey or memkv
    version: tuple[int, int]

    @property
    def name(self) -> str:
        return self.family if self.family == "memkv" else f"{self.family} {self.version[0]}.{self.version[1]}"

    @property
    def ours(self) -> bool:
        return self.family == "memkv"

    @property
    def modern(self) -> bool:
        """Of the time of 7.0 and later: functions, multi-part logs, closed DEBUG."""
        return self.ours or self.version >= (7, 0)

    def follows(self, primary: "Kind") -> bool:
        """Whether the primary's snapshots are of a version this one reads. Valkey 9 writes 11 for a replica that tells no version."""
        if self.ours or primary.ours:
            return True
        writes = {"redis": {6: 9, 7: 10, 8: 12}, "valkey": {9: 11}}[primary.family][primary.version[0]]
        reads = {"redis": {6: 9, 7: 10, 8: 12}, "valkey": {9: 11}}[self.family][self.version[0]]
        return writes <= reads or self == primary


@cache
def kind(path: str) -> Kind:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    major, minor = map(int, re.search(r"v=(\d+)\.(\d+)", said).groups())
    family = "memkv" if "memkv=" in said else "valkey" if said.startswith("Valkey") else "redis"
    return Kind(path, family, (major, minor))


def wait_for(story: str, test, seconds: float = SETTLE_S, pause_s: float = 0.05):
    """Asks until the answer is true and returns it; what it said last becomes part of the story."""
    deadline, said = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            said = test()
            if said:
                return said
        except OSError as error:
            said = error
        time.sleep(pause_s)
    raise Failure(f"not within {seconds:g} s: {story}" + (f" ({said})" if said else ""))


class Node(Server):
    """A server with a configuration file, which keeps its port and its directory over restarts."""

    def __init__(self, what: Kind, directory: Path, directives: dict, at: Host | None = None):
        directory.mkdir()
        super().__init__(what.path, None, directory)
        self.kind, self.port, self.at = what, free_port(), at
        self.host, self.within = (at.address, at.within) if at else (Server.host, [])
        # A sync that waits for more replicas only makes the checks slow.
        base = {"port": self.port, "bind": self.host, "dir": str(directory), "save": '""', "appendonly": "no", "repl-diskless-sync-delay": 0}
        if what.modern:
            base["enable-debug-command"] = "yes"
        if at:
            base |= {"bind": f"{self.host} {Server.host}", "protected-mode": "no"}
        self.password = directives.get("requirepass")
        self.config = directory / "node.conf"
        lines = []
        for name, value in {**base, **directives}.items():
            lines += [f"{name} {one}" for one in (value if isinstance(value, list) else [value])]
        self.config.write_text("\n".join(lines) + "\n")
        self.connection = None

    def start(self, ready: bool = True) -> "Node":
        """Starts; with `ready` waits until it says something else than LOADING."""
        from harness import server as harness
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.within, self.binary, str(self.config)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=self.directory)
        harness._alive.add(self)
        self._wait_ready(b"")
        self.connection = None
        if ready:
            wait_for(f"{self} is ready", lambda: not self.call("PING")[1].startswith(b"LOADING"))
        return self

    def __str__(self) -> str:
        return f"{self.kind.name} at {self.port}"

    def open(self) -> Connection:
        """A connection of one's own, authenticated."""
        connection = Connection(self.port, self.host)
        if self.password:
            connection.call("AUTH", self.password)
        return connection

    def call(self, *words) -> tuple:
        """One command on the node's own connection, which is made anew when it was lost."""
        for _ in range(2):
            if self.connection is None:
                self.connection = self.open()
            said = self.connection.call(*words)
            if said != EOF:
                return said
            self.connection.close()
            self.connection = None
        raise ConnectionError(f"{self} closes the connection on {words[0]}")

    def many(self, commands: list[list]) -> list[tuple]:
        """Commands in one go; their replies."""
        connection = self.open()
        out = []
        for at in range(0, len(commands), 200):
            part = commands[at:at + 200]
            connection.send_raw(b"".join(encode([word if isinstance(word, bytes) else str(word).encode() for word in words]) for words in part))
            out += [connection.read()[1] for _ in part]
        connection.close()
        return out

    def done(self, *words) -> tuple:
        """A command that must not fail."""
        said = self.call(*words)
        if said[0] in "-!" or said in (EOF, SILENT):
            raise Failure(f"{self}: {' '.join(map(str, words))[:120]} says {said}")
        return said

    def info(self, section: str = "replication") -> dict[str, str]:
        said = self.done("INFO", section)[1].decode()
        return dict(line.split(":", 1) for line in said.splitlines() if ":" in line)

    def role(self) -> str:
        return self.done("ROLE")[1][0][1].decode()

    def set(self, name: str, value) -> None:
        self.done("CONFIG", "SET", name, value)

    def follow(self, primary) -> None:
        """REPLICAOF a node, or a port between."""
        host, port = (Server.host, primary) if isinstance(primary, int) else (primary.host, primary.port)
        self.done("REPLICAOF", host, port)

    def linked(self) -> bool:
        return self.info().get("master_link_status") == "up"

    def knows(self, command: str) -> bool:
        said = self.call("COMMAND", "INFO", command)
        return said[0] == "*" and said[1][0][1] is not None

    def syncs(self) -> tuple[int, int]:
        """Full and partial syncs it has given."""
        stats = self.info("stats")
        return int(stats["sync_full"]), int(stats["sync_partial_ok"])

    def resident(self) -> int:
        """Bytes of memory it has now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        return 0


class Trial:
    """One run of one check. `server` is under test, `peer` is the real one beside it."""

    def __init__(self, server: Kind, peer: Kind, home: Path, options):
        self.server, self.peer, self.home, self.options = server, peer, home, options
        self.nodes: list[Node] = []
        self.others: list = []  # threads and links, with a `stop`
        self.faults: list[str] = []
        self.notes: list[str] = []

    def node(self, what: Kind, start: bool = True, at: Host | None = None, **directives) -> Node:
        """A running node, on a host of its own if that is given; `_` in a directive's name stands for `-`."""
        words = {name.replace("_", "-"): value for name, value in directives.items()}
        node = Node(what, self.home / f"{what.name.replace(' ', '-')}-{len(self.nodes)}", words, at)
        self.nodes.append(node)
        return node.start() if start else node

    def also(self, thing):
        """Something to stop at the end."""
        self.others.append(thing)
        return thing

    def needs(self, replica: Kind, primary: Kind) -> None:
        if not replica.follows(primary):
            raise Skip(f"{replica.name} does not read what {primary.name} writes")

    def expect(self, good, story: str) -> bool:
        if not good:
            self.faults.append(story)
        return bool(good)

    def same(self, got, want, what: str) -> bool:
        return self.expect(got == want, f"{what}: expected {want!r}, got {got!r}")

    def need(self, good, story: str) -> None:
        if not good:
            raise Failure(story)

    def in_step(self, primary: Node, replica: Node, seconds: float = SETTLE_S) -> None:
        """Waits until the link is up and the offsets are equal, which they become when no client writes."""
        def equal():
            theirs, mine = primary.info(), replica.info()
            up = mine.get("master_link_status") == "up" and mine.get("slave_repl_offset") == theirs.get("master_repl_offset")
            if not up:
                equal.last = {name: mine.get(name) for name in ("role", "master_link_status", "slave_repl_offset", "master_sync_in_progress")}
                equal.last["primary"] = theirs.get("master_repl_offset")
            return up
        equal.last = None
        try:
            wait_for(f"{replica} in step with {primary}", equal, seconds)
        except Failure as error:
            raise Failure(f"{error}: {equal.last}") from None

    def alike(self, one: Node, two: Node, seconds: float = 10) -> None:
        """Equal data, after what is due soon is gone."""
        deadline = time.monotonic() + seconds
        while True:
            differing = differences(one, two)
            if not differing or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        self.expect(not differing, f"{one} and {two} differ in {len(differing)}: {'; '.join(differing[:KEYS_TOLD])}")

    def end(self) -> None:
        for thing in reversed(self.others):
            thing.stop()
        for node in self.nodes:
            node.kill()


def differences(one: Node, two: Node) -> list[str]:
    """What differs between the data of two nodes. A digest that is equal says all; else key by key, in a form equal everywhere."""
    if one.call("DEBUG", "DIGEST") == two.call("DEBUG", "DIGEST") and functions(one) == functions(two):
        return []
    form = Form(one, two)
    mine, theirs = form.contents(one), form.contents(two)
    out = []
    for place in sorted(mine.keys() | theirs.keys()):
        if not form.equal(mine.get(place), theirs.get(place)):
            out.append(f"db {place[0]} {place[1]!r}: {apart(str(mine.get(place)), str(theirs.get(place)))}")
    if one.kind.modern and two.kind.modern and functions(one) != functions(two):
        out.append("functions")
    return out


def apart(one: str, two: str) -> str:
    """Two texts where they begin to differ."""
    at = next((n for n, (a, b) in enumerate(zip(one, two)) if a != b), min(len(one), len(two)))
    at = max(0, at - 60)
    return f"…{one[at:at + 180]}… / …{two[at:at + 180]}…"


def functions(node: Node):
    """The libraries' codes by name."""
    if not node.kind.modern:
        return None
    said = node.call("FUNCTION", "LIST", "WITHCODE")
    if said[0] != "*":
        return said
    return sorted((item[1][1][1], item[1][-1][1]) for item in said[1])


class Form:
    """How to tell a value so that two kinds of servers tell it alike."""

    def __init__(self, one: Node, two: Node):
        self.timed = one.knows("HPEXPIRETIME") and two.knows("HPEXPIRETIME")
        # 6.2 has no EXPIRETIME.
        self.exact = one.kind.modern and two.kind.modern
        # A stream's counters and times came with 7.0 and 7.2.
        self.groups = self.exact

    def contents(self, node: Node) -> dict[tuple, tuple]:
        out = {}
        for name in node.info("keyspace"):
            if not name.startswith("db"):
                continue
            database = int(name[2:])
            keys = [item[1] for item in node.many([["SELECT", database], ["KEYS", "*"]])[1][1]]
            for at in range(0, len(keys), KEYS_AT_ONCE):
                part = keys[at:at + KEYS_AT_ONCE]
                out |= {(database, key): value for key, value in zip(part, self.values(node, database, part))}
        return out

    def values(self, node: Node, database: int, keys: list[bytes]) -> list[tuple]:
        select = [["SELECT", database]]
        kinds = node.many(select + [["TYPE", key] for key in keys])[1:]
        now = 0 if self.exact else int(time.time() * 1000)
        deadlines = node.many(select + [["PEXPIRETIME" if self.exact else "PTTL", key] for key in keys])[1:]
        whats = node.many(select + [self.question(key, what[1]) for key, what in zip(keys, kinds)])[1:]
        values = []
        for key, what, deadline, value in zip(keys, kinds, deadlines, whats):
            at = int(deadline[1] or 0)
            values.append((what[1], self.canonical(node, database, key, what[1], value), at + now if at > 0 else at))
        return values

    def question(self, key: bytes, what: bytes) -> list:
        if what == b"zset":
            return ["ZRANGE", key, 0, -1, "WITHSCORES"]
        if what == b"hash":
            return ["HGETALL", key]
        return ["DEBUG", "DIGEST-VALUE", key]

    def canonical(self, node: Node, database: int, key: bytes, what: bytes, value: tuple):
        if what == b"zset":
            flat = [item[1] for item in value[1]]
            return tuple(zip(flat[::2], map(float, flat[1::2])))
        if what == b"hash":
            flat = [item[1] for item in value[1]]
            fields = tuple(sorted(zip(flat[::2], flat[1::2])))
            if not self.timed or not fields:
                return fields
            said = node.many([["SELECT", database], ["HPEXPIRETIME", key, "FIELDS", len(fields), *[field for field, _ in fields]]])[1]
            return fields, str(said)
        if what == b"stream" and self.groups:
            return value, groups(node, database, key)
        return value

    def equal(self, one, two) -> bool:
        if self.exact or one is None or two is None:
            return one == two
        return one[:2] == two[:2] and (one[2] == two[2] or min(one[2], two[2]) > 0 and abs(one[2] - two[2]) < TTL_SLACK_MS)


# Of a stream, what not all versions have or know as well; seen-time is told to no replica by a read that found nothing.
UNEVEN = {b"entries", b"radix-tree-keys", b"radix-tree-nodes", b"active-time", b"seen-time", b"lag", b"entries-read", b"idmp-duration", b"idmp-maxsize"}


def groups(node: Node, database: int, key: bytes) -> str:
    """A stream's counters, its groups, and the entries pending for each consumer."""
    about = node.many([["SELECT", database], ["XINFO", "STREAM", key, "FULL", "COUNT", 0]])[1]
    return repr(_plain(about))


def _plain(tree: tuple):
    what, payload = tree
    if not isinstance(payload, list):
        return payload
    items = [_plain(item) for item in payload]
    # Redis tells its replicas nothing of a consumer whose first read found nothing.
    items = [item for item in items if not (isinstance(item, list) and (b"pel-count", b"0") in item and not any(name == b"consumers" for name, *_ in item))]
    if len(items) % 2 == 0 and items and isinstance(items[0], bytes):
        return [pair for pair in zip(items[::2], items[1::2]) if not (isinstance(pair[0], bytes) and pair[0] in UNEVEN)]
    return items


CHECKS: list = []


@dataclass(frozen=True)
class Check:
    """`group` is the file it stands in; `fast`: short enough for every change."""

    group: str
    name: str
    promise: str
    run: object
    fast: bool


def check(fast: bool = False):
    """A function of a trial, whose first line is its promise."""
    def keep(function):
        group = function.__module__.replace("_", "-")
        CHECKS.append(Check(group, function.__name__.replace("_", "-"), function.__doc__.splitlines()[0], function, fast))
        return function
    return keep
