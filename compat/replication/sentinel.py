"""Debian's own Sentinel, unmodified, three of them, over groups of SERVERs and over mixed ones."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter

from harness.resp import EOF, SILENT, Connection
from hosts import Host, Hosts, Unavailable
from kit import COMPAT, WORK, Failure, Kind, Node, Skip, Trial, check, wait_for
from work import Load

NAME = "group"
DOWN_MS = 1000
PROMOTED_S = 120  # a vote that is split is repeated after twice the failover-timeout; and as TURNED_S
FAILOVER_MS = 4000
TURNED_S = 300  # a Sentinel that was not run for two seconds, on a busy machine, does nothing for the next thirty
STEADY_S = 3
LAG_MAX_S = 3
RIDDEN_S = 60
BEFORE_S = 1  # before a loss: what may not have reached a replica yet
BESIDE = 10**9  # numbers from here on are of clients beside a primary that was cut off


class Sentinel(Node):
    """A Sentinel is a server under another name with a file of its own."""

    def __init__(self, what: Kind, directory, monitored: Node, at: Host | None, more: tuple[str, ...]):
        super().__init__(what, directory, {}, at)
        found = shutil.which("redis-sentinel")
        self.command = [*self.within, *([found, str(self.config)] if found else [shutil.which("redis-server"), str(self.config), "--sentinel"])]
        lines = [f"port {self.port}", f"bind {self.host}", f"dir {directory}", f"sentinel monitor {NAME} {monitored.host} {monitored.port} 2", f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
                 f"sentinel failover-timeout {NAME} {FAILOVER_MS}", f"sentinel parallel-syncs {NAME} 1", *[line.replace("NAME", NAME) for line in more]]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, ready: bool = True) -> "Sentinel":
        from harness import server as harness
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory)
        harness._alive.add(self)
        self._wait_ready(b"+PONG")
        self.connection = None
        return self

    def primary(self) -> int:
        """The port that it tells clients."""
        return int(self.done("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1][1][1])

    def of(self, words: str) -> list[dict[bytes, bytes]]:
        """SENTINEL REPLICAS or SENTINELS, as tables."""
        return [dict(zip([word for _, word in item[1][::2]], [word for _, word in item[1][1::2]])) for item in self.done("SENTINEL", words, NAME)[1]]


class Group:
    """A primary, its replicas, and three Sentinels that know each other and all of them.

    `apart`: on three hosts, each with a node and a Sentinel, one of which can be cut off from the others and from us.
    """

    def __init__(self, t: Trial, kinds: list[Kind], more: tuple[str, ...] = (), priorities: tuple = (), apart: bool = False, **directives):
        for what in kinds:
            for other in kinds:
                t.needs(what, other)
        self.t, self.apart, self.off = t, apart, None
        try:
            hosts = t.also(Hosts(len(kinds))).hosts if apart else [None] * len(kinds)
        except Unavailable as reason:
            raise Skip(f"no hosts of their own: {reason}") from None
        self.nodes = [t.node(what, at=host, **{"repl_timeout": 10} | directives) for what, host in zip(kinds, hosts)]
        for node, priority in zip(self.nodes, priorities):
            node.set("replica-priority", priority)
            node.done("CONFIG", "REWRITE")
        for node in self.nodes[1:]:
            node.follow(self.nodes[0])
        for node in self.nodes[1:]:
            t.in_step(self.nodes[0], node)
        self.sentinels = []
        for n, host in enumerate(hosts[:3]):
            sentinel = Sentinel(t.server, t.home / f"sentinel-{n}", self.nodes[0], host, more)
            t.nodes.append(sentinel)
            self.sentinels.append(sentinel.start())
        try:
            wait_for("the Sentinels know each other and the replicas", lambda: all(len(one.of("REPLICAS")) == len(kinds) - 1 and len(one.of("SENTINELS")) == 2 for one in self.sentinels), 30)
            wait_for("the replicas are fit", lambda: all(replica[b"flags"] == b"slave" and replica[b"master-link-status"] == b"ok" for one in self.sentinels for replica in one.of("REPLICAS")), 20)
        except Exception:
            t.faults.append(str([one.of("REPLICAS") for one in self.sentinels[:1]])[:1500])
            raise

    def heard(self) -> list[Sentinel]:
        """The Sentinels that we reach."""
        return [one for one in self.sentinels if self.off is None or one.at is not self.off]

    def primary(self) -> Node:
        port = self.heard()[0].primary()
        return next(node for node in self.nodes if node.port == port)

    def lost(self, begin) -> tuple[Node, Node]:
        """Takes the primary away by `begin` and waits for another; both."""
        old, started = self.primary(), time.monotonic()
        begin(old)
        wait_for("another primary is told", lambda: all(one.primary() != old.port for one in self.heard()) and self.primary().role() == "master", PROMOTED_S)
        self.t.notes.append(f"{old.kind.name} lost, {self.primary().kind.name} promoted after {time.monotonic() - started:.1f} s")
        # A Sentinel that was late may begin a second election; the group is told from once they agree for a while.
        told, since, deadline = None, time.monotonic(), time.monotonic() + PROMOTED_S
        while time.monotonic() < deadline and time.monotonic() - since < STEADY_S:
            now = {one.primary() for one in self.heard()}
            if now != told or len(now) > 1 or self.primary().role() != "master":
                told, since = now, time.monotonic()
            time.sleep(0.1)
        return old, self.primary()

    def back(self, old: Node, new: Node) -> None:
        """The lost one comes back, from whatever it was lost by, and all follow the new one."""
        self.joined()
        if old.alive():
            old.process.send_signal(signal.SIGCONT)
        else:
            old.start()
        self.following(new)

    def following(self, primary: Node) -> None:
        for node in self.nodes:
            if node is not primary:
                wait_for(f"{node} follows {primary}", lambda node=node: node.info().get("master_port") == str(primary.port) and node.linked(), TURNED_S)

    def cut_off(self, node: Node) -> None:
        """The node's host is cut off."""
        self.off = node.at
        node.at.cut(True)

    def joined(self) -> None:
        if self.off:
            self.off.cut(False)
            self.off = None

    def ways(self) -> list[str]:
        """How its primary can be lost."""
        return [way for way in LOSSES if self.apart or way != "cut off"]

    def whole(self, primary: Node) -> None:
        """Waits until all nodes follow this one and are equal to it."""
        self.following(primary)
        for node in self.nodes:
            if node is not primary:
                self.t.in_step(primary, node)
                self.t.alike(primary, node)


# How a primary is lost: functions of the group and the node. `Group.back` undoes each.
LOSSES = {"killed": lambda group, node: node.kill(), "held": lambda group, node: node.process.send_signal(signal.SIGSTOP), "cut off": Group.cut_off}


class Ledger(threading.Thread):
    """Adds numbers to a set, and keeps a book of what was acknowledged, and of what a replica has acknowledged too (WAIT 1) if
    it `waits`. It writes wherever the Sentinels say, or on the host of the node it is `beside`."""

    def __init__(self, group: Group, waits: bool = True, beside: Node | None = None, first: int = BESIDE):
        super().__init__(daemon=True)
        self.group, self.waits, self.ending = group, waits, threading.Event()
        self.open = (lambda: beside.at.open(beside.port)) if beside else self.ask
        self.told: dict[int, float] = {}
        self.waited: set[int] = set()
        self.number = first if beside else 0
        self.refused = ""
        self.start()

    def ask(self) -> Connection:
        sentinel = random.choice(self.group.heard())
        asked = Connection(sentinel.port, sentinel.host, 1)
        said = asked.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        asked.close()
        if said[0] != "*" or not said[1]:
            raise ConnectionError(f"a Sentinel tells {said}")
        host, port = (word for _, word in said[1])
        return Connection(int(port), host.decode(), 1)

    def run(self) -> None:
        connection = None
        while not self.ending.wait(0.004):
            try:
                connection = connection or self.open()
                self.number += 1
                connection.send([b"SADD", b"ledger", b"%d" % self.number])
                said = connection.read(1)[1]
                if said[0] == ":":
                    self.told[self.number] = time.monotonic()
                    said = self.wait(connection) if self.waits else said
                if said in (EOF, SILENT) or said[0] == "-":
                    self.refused = said[1].decode() if said[1] else said[0]
                    connection = connection.close()
                    self.ending.wait(0.05)
            except OSError:
                connection = None
                self.ending.wait(0.05)

    def wait(self, connection: Connection) -> tuple:
        connection.send([b"WAIT", b"1", b"500"])
        said = connection.read(1)[1]
        if said[0] == ":" and said[1] != b"0":
            self.waited.add(self.number)
        return said

    def goes_on(self, seconds: float = PROMOTED_S) -> None:
        """Waits until more is acknowledged."""
        book = self.waited if self.waits else self.told
        before = len(book)
        wait_for("writes go on", lambda: len(book) > before + 20, seconds)

    def stop(self) -> None:
        self.ending.set()
        self.join(10)


def members(node: Node) -> set[int]:
    return {int(item[1]) for item in node.done("SMEMBERS", "ledger")[1]}


def judge(t: Trial, node: Node, *ledgers: Ledger) -> None:
    """What a replica had acknowledged is there; of the rest, how much is not is told."""
    have, waited, told = members(node), set().union(*(one.waited for one in ledgers)), set().union(*(one.told for one in ledgers))
    lost = waited - have
    t.expect(not lost, f"{len(lost)} of {len(waited)} writes that a replica had acknowledged are lost: {sorted(lost)[:5]}")
    t.expect(len(waited) > 100, f"only {len(waited)} writes")
    t.notes.append(f"{len(waited)} writes acknowledged by a replica, {len(lost)} lost; of {len(told - waited)} acknowledged by the primary alone {len(told - waited - have)} lost")


def killed_and_back(t: Trial, group: Group) -> None:
    """kill -9 of the primary, promotion, the old one comes back as a replica, files say so."""
    before = {node.port: node.syncs()[0] for node in group.nodes}
    old, new = group.lost(lambda node: node.kill())
    new.done("SET", "written", f"at {new.port}")
    t.expect("replicaof" not in rows(new), f"{new}: its file says replicaof")
    for node in group.nodes:
        if node not in (old, new):
            wait_for(f"{node}'s file says its new primary", lambda node=node: f"replicaof {new.host} {new.port}" in rows(node), 20)
            wait_for(f"{node} has its link up", node.linked)
    # A brother that had read more than the promoted one needs a full sync, which no server can help.
    t.notes.append(f"{new.syncs()[0] - before.get(new.port, 0)} full syncs given to the brothers")
    old.start()
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", TURNED_S)
    group.whole(new)
    wait_for(f"{old}'s file says its new primary", lambda: f"replicaof {new.host} {new.port}" in rows(old), 20)


def rows(node: Node) -> list[str]:
    """The replicaof line of a node's file, by its two names."""
    return [line.replace("slaveof", "replicaof") for line in node.config.read_text().splitlines() if line.startswith(("replicaof ", "slaveof "))]


@check()
def killed(t: Trial) -> None:
    """Three SERVERs: the primary is killed, another is promoted, the old one comes back as its replica; twice."""
    group = Group(t, [t.server] * 3)
    load = t.also(Load(group.nodes[0], f"{t.options.seed}", group.nodes, floods=False))
    time.sleep(1)
    load.stop()
    killed_and_back(t, group)
    killed_and_back(t, group)


@check()
def held(t: Trial) -> None:
    """Three SERVERs: the primary is stopped until another is promoted, and turns when it wakes."""
    group = Group(t, [t.server] * 3)
    ledger = t.also(Ledger(group))
    time.sleep(1)
    old, new = group.lost(lambda node: LOSSES["held"](group, node))
    group.back(old, new)
    ledger.stop()
    group.whole(new)
    judge(t, new, ledger)


@check()
def cut_off(t: Trial) -> None:
    """Three SERVERs on hosts of their own: the primary is cut off with a client, another is promoted; the old one refuses
    writes when no replica answers, and turns when it is heard again."""
    group = Group(t, [t.server] * 3, apart=True, min_replicas_to_write=1, min_replicas_max_lag=LAG_MAX_S)
    outside, beside = t.also(Ledger(group)), []
    time.sleep(1)

    def lose(node: Node) -> None:
        group.cut_off(node)
        beside.append(t.also(Ledger(group, True, node)))
    old, new = group.lost(lose)
    inside = beside[0]
    outside.goes_on()
    wait_for("the old primary refuses writes", lambda: inside.refused.startswith("NOREPLICAS"), LAG_MAX_S + 10)
    t.same(inside.waited, set(), "acknowledged by a replica on the side that has none")
    t.expect(inside.told, "a client beside it was told of no write")
    group.back(old, new)
    inside.stop()
    outside.stop()
    group.whole(new)
    t.expect(not inside.told.keys() & members(new), "writes of the side that lost are mixed in")
    judge(t, new, outside, inside)


@check()
def mixed_from_ours(t: Trial) -> None:
    """SERVER with a real replica and one of its own: whoever is promoted, the others follow; then the other way."""
    group = Group(t, [t.server, t.peer, t.server], priorities=(50, 10, 90))
    killed_and_back(t, group)
    t.same(group.primary().kind, t.peer, "the first to be promoted, by priority")
    killed_and_back(t, group)


@check()
def mixed_from_real(t: Trial) -> None:
    """A real primary with two SERVERs as replicas: one is promoted, and the real one comes back as its replica."""
    group = Group(t, [t.peer, t.server, t.server])
    killed_and_back(t, group)
    t.same(group.primary().kind, t.server, "who is promoted")


@check()
def never(t: Trial) -> None:
    """A replica of priority 0 is never promoted; SENTINEL FAILOVER by hand hands over to the other."""
    group = Group(t, [t.server] * 3, priorities=(100, 0, 100))
    group.nodes[0].done("SET", "k", 1)
    old, new = group.lost(lambda node: group.sentinels[0].done("SENTINEL", "FAILOVER", NAME))
    t.expect(new is group.nodes[2], f"{new} is promoted")
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", TURNED_S)
    group.whole(new)


@check()
def clients(t: Trial) -> None:
    """A promotion ends the connections of ordinary clients, which is how they learn of it, and waiters too."""
    group = Group(t, [t.server] * 3)
    ordinary, waiting, listening = ([node.open() for node in group.nodes] for _ in range(3))
    for one in waiting:
        one.send([b"XREAD", b"BLOCK", b"0", b"STREAMS", b"nosuch", b"$"])
    for one in listening:
        one.call("SUBSCRIBE", "c")
    for one in ordinary:
        one.call("PING")
    old, new = group.lost(lambda node: group.sentinels[0].done("SENTINEL", "FAILOVER", NAME))
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", TURNED_S)
    at = group.nodes.index(new)
    for name, one in (("an ordinary client", ordinary[at]), ("a waiting one", waiting[at]), ("a listening one", listening[at]),
                      ("an ordinary client of the old primary", ordinary[group.nodes.index(old)])):
        t.same(one.read(8)[1], EOF, name)


@check()
def passwords(t: Trial) -> None:
    """With passwords everywhere, and a user of its own for Sentinel, the same holds."""
    group = Group(t, [t.server] * 3, ("sentinel auth-pass NAME secret",), requirepass="secret", masterauth="secret")
    killed_and_back(t, group)


@check()
def restricted_user(t: Trial) -> None:
    """The user that Redis's manual gives to Sentinel is enough for a promotion."""
    rules = "sentinel on >word allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill"
    group = Group(t, [t.server] * 3, ("sentinel auth-user NAME sentinel", "sentinel auth-pass NAME word"), user=rules)
    old, new = group.lost(lambda node: node.kill())
    new.done("SET", "k", 1)
    old.start()
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", TURNED_S)
    group.whole(new)


class Rider(threading.Thread):
    """A client library's own Sentinel support, in a program that writes and reads until it is ended."""

    def __init__(self, t: Trial, group: Group, name: str, command: list[str]):
        super().__init__(daemon=True)
        self.name_of, self.key = name, name.replace(" ", ":")
        self.written: list[int] = []
        self.reads = 0
        self.lost = Counter()
        places = [f"{one.host}:{one.port}" for one in group.sentinels]
        log = open(t.home / f"{self.key}.log", "wb")
        self.process = subprocess.Popen([*command, self.key, *places], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                                        env=os.environ | {"NODE_PATH": str(WORK / "node" / "node_modules")})
        self.start()

    def run(self) -> None:
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "wrote":
                self.written.append(int(rest))
            elif word == "read":
                self.reads += 1
            else:
                self.lost[rest[:60]] += 1

    def goes_on(self) -> None:
        """Waits until it writes and reads again, by itself."""
        written, reads = len(self.written), self.reads
        try:
            wait_for(f"{self.name_of} writes and reads", lambda: len(self.written) > written + 20 and self.reads > reads + 1, RIDDEN_S)
        except Failure as error:
            raise Failure(f"{error}: {len(self.written) - written} writes, {self.reads - reads} reads, {dict(self.lost)}") from None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.join(10)


RIDERS = {
    "redis-py": [str(WORK / "venv" / "bin" / "python"), str(COMPAT / "clients" / "sentinel_rider.py"), "sync"],
    "redis-py asyncio": [str(WORK / "venv" / "bin" / "python"), str(COMPAT / "clients" / "sentinel_rider.py"), "asyncio"],
    "ioredis": ["node", str(COMPAT / "clients" / "sentinel_rider.js")],
}


@check()
def libraries(t: Trial) -> None:
    """redis-py's and ioredis's Sentinel support rides through the loss of a primary that is killed, held, and cut off."""
    group = spread(t)
    riders = [t.also(Rider(t, group, *rider)) for rider in RIDERS.items()]
    for rider in riders:
        rider.goes_on()
    for way in group.ways():
        old, new = group.lost(lambda node: LOSSES[way](group, node))
        for rider in riders:
            rider.goes_on()
        before = {rider: len(rider.written) for rider in riders}
        group.back(old, new)
        for rider in riders:
            rider.goes_on()
            have = {int(item[1]) for item in new.done("SMEMBERS", rider.key)[1]}
            gone = set(rider.written[before[rider]:-1]) - have
            t.expect(not gone, f"{rider.name_of}: {len(gone)} writes went elsewhere than to the new primary after it was there ({way})")
    for rider in riders:
        rider.stop()
        t.notes.append(f"{rider.name_of}: {len(rider.written)} writes, {rider.reads} reads, {dict(rider.lost.most_common(3))}")


def spread(t: Trial, **directives) -> Group:
    """Three SERVERs on hosts of their own, or beside each other if this machine gives none: then nothing is cut off."""
    # Sentinels promote no replica whose link is down for more than ten times what they wait themselves, which they may sleep.
    directives |= {"repl_timeout": 60}
    try:
        return Group(t, [t.server] * 3, apart=True, **directives)
    except Skip as reason:
        t.notes.append(f"nothing is cut off: {reason}")
        return Group(t, [t.server] * 3, **directives)


def rounds(t: Trial, group: Group, waits: bool) -> tuple[list[Ledger], list[tuple[float, float]]]:
    """Primaries are lost in all ways in turn, --rounds times, while clients write on both sides. The clients' books, and
    from when until when a primary was away."""
    ledger = t.also(Ledger(group, waits))
    ledger.goes_on()
    books, spans = [ledger], []
    # The first way is drawn, so that few rounds are not always the same.
    ways, draw, count = group.ways(), random.randrange(len(LOSSES)), t.options.rounds
    for turn in range(1, count + 1):
        way, started = ways[(draw + turn) % len(ways)], time.monotonic()
        beside = []

        def lose(node: Node) -> None:
            LOSSES[way](group, node)
            if way == "cut off":
                beside.append(t.also(Ledger(group, waits, node, turn * BESIDE)))
        old, new = group.lost(lose)
        ledger.goes_on()
        group.back(old, new)
        for one in beside:
            one.stop()
        books += beside
        spans.append((started, time.monotonic()))
        ledger.goes_on()
        gone = len(set().union(*(one.waited for one in books)) - members(new))
        print(f"# {turn} of {count}: {way}: {t.notes.pop()}, whole after {spans[-1][1] - started:.1f} s, of {sum(len(one.waited) for one in books)} waited for {gone} lost", flush=True)
    ledger.stop()
    group.whole(group.primary())
    return books, spans


@check()
def nothing_acknowledged_is_lost(t: Trial) -> None:
    """With WAIT 1 and min-replicas-to-write 1 no acknowledged write is lost when primaries are killed, held and cut off, --rounds times."""
    group = spread(t, min_replicas_to_write=1, min_replicas_max_lag=LAG_MAX_S)
    books, _ = rounds(t, group, True)
    judge(t, group.primary(), *books)


@check()
def what_may_be_lost(t: Trial) -> None:
    """Without them only what was acknowledged from just before a primary was lost until the clients turned can be lost; how much is told."""
    group = spread(t)
    books, spans = rounds(t, group, False)
    have = members(group.primary())
    told = {number: when for one in books for number, when in one.told.items()}
    lost = {number: when for number, when in told.items() if number not in have}
    calm = [number for number, when in lost.items() if not any(since - BEFORE_S < when < until for since, until in spans)]
    t.expect(not calm, f"{len(calm)} writes are lost that were acknowledged while the group was whole: {sorted(calm)[:5]}")
    t.expect(len(told) > 100, f"only {len(told)} writes")
    t.notes.append(f"of {len(told)} acknowledged writes {len(lost)} lost in {len(spans)} failovers, {sum(number > BESIDE for number in lost)} of them beside a primary that was cut off")
