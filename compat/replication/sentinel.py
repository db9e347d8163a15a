"""Debian's own Sentinel, unmodified, three of them, over groups of SERVERs and over mixed ones."""

import shutil
import signal
import subprocess
import threading
import time

from harness.resp import EOF, SILENT, Connection
from kit import Kind, Node, Trial, check, wait_for
from work import Load

NAME = "group"
DOWN_MS = 1000
PROMOTED_S = 25  # a vote that is split is repeated after twice the failover-timeout
FAILOVER_MS = 4000
STEADY_S = 3


class Sentinel(Node):
    """A Sentinel is a server under another name with a file of its own."""

    def __init__(self, what: Kind, directory, monitored: int, more: tuple[str, ...]):
        super().__init__(what, directory, {})
        found = shutil.which("redis-sentinel")
        self.command = [found, str(self.config)] if found else [shutil.which("redis-server"), str(self.config), "--sentinel"]
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {directory}", f"sentinel monitor {NAME} 127.0.0.1 {monitored} 2", f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
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
    """A primary, its replicas, and three Sentinels that know each other and all of them."""

    def __init__(self, t: Trial, kinds: list[Kind], more: tuple[str, ...] = (), priorities: tuple = (), **directives):
        for what in kinds:
            for other in kinds:
                t.needs(what, other)
        self.t = t
        self.nodes = [t.node(what, repl_timeout=10, **directives) for what in kinds]
        for node, priority in zip(self.nodes, priorities):
            node.set("replica-priority", priority)
            node.done("CONFIG", "REWRITE")
        for node in self.nodes[1:]:
            node.follow(self.nodes[0])
        for node in self.nodes[1:]:
            t.in_step(self.nodes[0], node)
        self.sentinels = []
        for n in range(3):
            sentinel = Sentinel(t.server, t.home / f"sentinel-{n}", self.nodes[0].port, more)
            t.nodes.append(sentinel)
            self.sentinels.append(sentinel.start())
        try:
            wait_for("the Sentinels know each other and the replicas", lambda: all(len(one.of("REPLICAS")) == len(kinds) - 1 and len(one.of("SENTINELS")) == 2 for one in self.sentinels), 30)
            wait_for("the replicas are fit", lambda: all(replica[b"flags"] == b"slave" and replica[b"master-link-status"] == b"ok" for one in self.sentinels for replica in one.of("REPLICAS")), 20)
        except Exception:
            t.faults.append(str([one.of("REPLICAS") for one in self.sentinels[:1]])[:1500])
            raise

    def primary(self) -> Node:
        port = self.sentinels[0].primary()
        return next(node for node in self.nodes if node.port == port)

    def lost(self, begin) -> tuple[Node, Node]:
        """Takes the primary away by `begin` and waits for another; both."""
        old, started = self.primary(), time.monotonic()
        begin(old)
        wait_for("another primary is told", lambda: all(one.primary() != old.port for one in self.sentinels) and self.primary().role() == "master", PROMOTED_S)
        self.t.notes.append(f"{old.kind.name} lost, {self.primary().kind.name} promoted after {time.monotonic() - started:.1f} s")
        # A Sentinel that was late may begin a second election; the group is told from once they agree for a while.
        told, since, deadline = None, time.monotonic(), time.monotonic() + PROMOTED_S
        while time.monotonic() < deadline and time.monotonic() - since < STEADY_S:
            now = {one.primary() for one in self.sentinels}
            if now != told or len(now) > 1 or self.primary().role() != "master":
                told, since = now, time.monotonic()
            time.sleep(0.1)
        return old, self.primary()

    def whole(self, primary: Node) -> None:
        """Waits until all nodes follow this one and are equal to it."""
        for node in self.nodes:
            if node is not primary:
                wait_for(f"{node} follows {primary}", lambda node=node: node.info().get("master_port") == str(primary.port) and node.linked(), 40)
        for node in self.nodes:
            if node is not primary:
                self.t.in_step(primary, node)
                self.t.alike(primary, node)


class Ledger(threading.Thread):
    """Writes numbers wherever the Sentinels say, each acknowledged by a replica too (WAIT 1)."""

    def __init__(self, group: Group):
        super().__init__(daemon=True)
        self.group, self.ending = group, threading.Event()
        self.plain, self.waited = set(), set()
        self.number = 0
        self.start()

    def run(self) -> None:
        connection = asked = None
        while not self.ending.is_set():
            try:
                asked = asked or Connection(self.group.sentinels[1].port)
                if connection is None:
                    said = asked.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
                    connection = Connection(int(said[1][1][1]))
                    connection.socket.settimeout(1)
                self.number += 1
                connection.send([b"SADD", b"ledger", b"%d" % self.number])
                said = connection.read(1)[1]
                if said[0] == ":":
                    self.plain.add(self.number)
                    connection.send([b"WAIT", b"1", b"500"])
                    said = connection.read(1)[1]
                    if said[0] == ":" and said[1] != b"0":
                        self.waited.add(self.number)
                if said in (EOF, SILENT) or said[0] == "-":
                    connection = connection.close()
                    time.sleep(0.05)
            except OSError:
                connection = None
                time.sleep(0.05)
            time.sleep(0.002)

    def stop(self) -> None:
        self.ending.set()
        self.join(10)

    def judge(self, t: Trial, node: Node) -> None:
        have = {int(item[1]) for item in node.done("SMEMBERS", "ledger")[1]}
        lost = self.waited - have
        t.expect(not lost, f"{len(lost)} of {len(self.waited)} writes that a replica had acknowledged are lost: {sorted(lost)[:5]}")
        t.expect(len(self.waited) > 100, f"only {len(self.waited)} writes")
        t.notes.append(f"{len(self.waited)} writes acknowledged by a replica, none lost; of {len(self.plain)} others and these {len(self.plain - have)} lost")


def stop_for(seconds: float):
    """Holds a node for so long, which nobody can tell from death."""
    def go(node: Node) -> None:
        node.process.send_signal(signal.SIGSTOP)
        threading.Timer(seconds, lambda: node.process.send_signal(signal.SIGCONT)).start()
    return go


def killed_and_back(t: Trial, group: Group) -> None:
    """kill -9 of the primary, promotion, the old one comes back as a replica, files say so."""
    before = {node.port: node.syncs()[0] for node in group.nodes}
    old, new = group.lost(lambda node: node.kill())
    new.done("SET", "written", f"at {new.port}")
    t.expect("replicaof" not in rows(new), f"{new}: its file says replicaof")
    for node in group.nodes:
        if node not in (old, new):
            wait_for(f"{node}'s file says its new primary", lambda node=node: f"replicaof 127.0.0.1 {new.port}" in rows(node), 20)
            wait_for(f"{node} has its link up", node.linked)
    # A brother that had read more than the promoted one needs a full sync, which no server can help.
    t.notes.append(f"{new.syncs()[0] - before.get(new.port, 0)} full syncs given to the brothers")
    old.start()
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", 30)
    group.whole(new)
    wait_for(f"{old}'s file says its new primary", lambda: f"replicaof 127.0.0.1 {new.port}" in rows(old), 20)


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
    """Three SERVERs: the primary is stopped for eight seconds, another is promoted, the old one turns when it wakes."""
    group = Group(t, [t.server] * 3)
    ledger = t.also(Ledger(group))
    time.sleep(1)
    old, new = group.lost(stop_for(8))
    wait_for(f"{old} is a replica", lambda: time.sleep(0.2) or old.role() == "slave", 40)
    ledger.stop()
    group.whole(new)
    ledger.judge(t, new)


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
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", 30)
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
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", 30)
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
    wait_for(f"{old} is a replica", lambda: old.role() == "slave", 30)
    group.whole(new)


@check()
def nothing_acknowledged_is_lost(t: Trial) -> None:
    """With WAIT 1 and min-replicas-to-write 1 no acknowledged write is lost over kills and holds in turn."""
    group = Group(t, [t.server] * 3, min_replicas_to_write=1, min_replicas_max_lag=3)
    ledger = t.also(Ledger(group))
    time.sleep(1)
    for turn in range(3):
        old, new = group.lost(stop_for(6) if turn == 1 else lambda node: node.kill())
        time.sleep(0.5)
        if not old.alive():
            old.start()
        wait_for(f"{old} is a replica", lambda: old.role() == "slave", 40)
        for node in group.nodes:
            if node is not new:
                wait_for(f"{node} has its link up", lambda node=node: node.linked() and node.info()["master_port"] == str(new.port), 40)
        # A Sentinel does not begin again before twice the timeout is over.
        time.sleep(1)
    ledger.stop()
    group.whole(group.primary())
    ledger.judge(t, group.primary())
