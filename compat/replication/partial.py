"""Links that break: the stream goes on where it stopped, along chains too, and a full sync comes only when it must."""

import signal
import time

from harness.resp import Connection
from kit import Node, Trial, check, wait_for
from link import Link
from raw import Replica
from work import Load, fill

CUT_EVERY_S = 2
BACKLOG = "16mb"  # more than the load writes while a link is down


def broken(t: Trial, primary: Node, replica: Node, seconds: float) -> None:
    """Cuts the link again and again under load: partial syncs only, and equal data."""
    link = t.also(Link(primary.port))
    replica.follow(link.port)
    t.in_step(primary, replica)
    full, before = primary.syncs()
    load = t.also(Load(primary, f"{t.options.seed}", [primary, replica]))
    link.every(CUT_EVERY_S)
    time.sleep(seconds)
    load.stop()
    link.calm()
    cuts = link.cuts
    t.in_step(primary, replica)
    t.alike(primary, replica)
    now, partial = primary.syncs()
    t.same(now - full, 0, "full syncs")
    t.expect(partial - before >= cuts - 1 > 0, f"{partial - before} partial syncs after {cuts} cuts")
    t.notes.append(f"{cuts} cuts, {partial - before} partial syncs, {load.commands} commands")


@check()
def in_broken(t: Trial) -> None:
    """SERVER's link to a real primary is cut every two seconds under load: always partial."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer, repl_backlog_size=BACKLOG), t.node(t.server)
    fill(one, f"{t.options.seed}", 80, [two])
    broken(t, one, two, 9)


@check()
def out_broken(t: Trial) -> None:
    """A real replica's link to SERVER is cut every two seconds under load: always partial."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, repl_backlog_size=BACKLOG), t.node(t.peer)
    fill(one, f"{t.options.seed}", 80, [two])
    broken(t, one, two, 9)


@check(fast=True)
def quick_cuts(t: Trial) -> None:
    """Three cuts within a few seconds, in both roles of SERVER, cost no full sync."""
    for primary, replica in ((t.peer, t.server), (t.server, t.peer)):
        if not replica.follows(primary):
            continue
        one, two = t.node(primary, repl_backlog_size=BACKLOG), t.node(replica)
        link = t.also(Link(one.port))
        two.follow(link.port)
        t.in_step(one, two)
        full, before = one.syncs()
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        for n in range(3):
            time.sleep(0.4)
            link.cut()
            wait_for(f"{two} goes on", lambda n=n: one.syncs()[1] > before + n)
        load.stop()
        t.in_step(one, two)
        t.alike(one, two)
        now, partial = one.syncs()
        t.same((now - full, partial - before >= 3), (0, True), f"{one}: full syncs, and at least three partial ones ({partial - before})")


def chain(t: Trial, kinds: list, seconds: float, cut: bool) -> None:
    """A row of nodes, each the replica of the one before, by a link that may be cut."""
    for before, after in zip(kinds, kinds[1:]):
        t.needs(after, before)
    nodes = [t.node(what, repl_backlog_size=BACKLOG) for what in kinds]
    links = [t.also(Link(node.port)) for node in nodes[:-1]]
    fill(nodes[0], f"{t.options.seed}", 80, nodes[1:])
    for link, node in zip(links, nodes[1:]):
        node.follow(link.port)
        wait_for(f"{node} has its link up", node.linked)
    for one, two in zip(nodes, nodes[1:]):
        t.in_step(one, two)
    before = [node.syncs() for node in nodes[:-1]]
    load = t.also(Load(nodes[0], f"{t.options.seed}", nodes))
    deadline, at = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        time.sleep(0.7)
        if cut:
            links[at % len(links)].cut()
            at += 1
    load.stop()
    for one, two in zip(nodes, nodes[1:]):
        t.in_step(one, two)
        t.alike(one, two)
    infos = [node.info() for node in nodes]
    t.same(len({info["master_replid"] for info in infos}), 1, "ids in the chain")
    t.same(len({info["master_repl_offset"] for info in infos}), 1, "offsets in the chain")
    for node, (full, partial) in zip(nodes, before):
        now = node.syncs()
        t.same(now[0] - full, 0, f"full syncs from {node}")
        if cut:
            t.expect(now[1] > partial, f"no partial sync from {node}")
    for node in nodes[1:-1]:
        t.same((node.info()["role"], node.info()["connected_slaves"]), ("slave", "1"), f"role and replicas of {node}")
        t.same(node.call("WAIT", 1, 10)[0], "-", "WAIT in the middle")


@check(fast=True)
def chain_of_three(t: Trial) -> None:
    """real -> SERVER -> real: the bytes, the id and the offset are the same at all."""
    chain(t, [t.peer, t.server, t.peer], 1.5, cut=False)


@check()
def chain_cut(t: Trial) -> None:
    """real -> SERVER -> real with both links cut in turn under load: always partial."""
    chain(t, [t.peer, t.server, t.peer], 9, cut=True)


@check()
def chain_from_ours(t: Trial) -> None:
    """SERVER -> real -> SERVER with both links cut in turn under load: always partial."""
    chain(t, [t.server, t.peer, t.server], 9, cut=True)


@check()
def chain_of_ours(t: Trial) -> None:
    """SERVER -> SERVER -> SERVER with both links cut in turn under load: always partial."""
    chain(t, [t.server] * 3, 9, cut=True)


@check()
def chain_passes_bytes(t: Trial) -> None:
    """A node in the middle hands on its primary's bytes as they are, and its own replicas learn of a new full sync."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server)
    two.follow(one)
    t.in_step(one, two)
    direct, through = t.also(Replica(one.port)), t.also(Replica(two.port))
    t.same(direct.attach()[0], through.attach()[0], "the id")
    load = t.also(Load(one, f"{t.options.seed}", [one, two]))
    streams = [[], []]
    for _ in range(12):
        for stream, replica in zip(streams, (direct, through)):
            stream += replica.commands(0.05)
    load.stop()
    # What expires goes on for a while.
    for _ in range(12):
        for stream, replica in zip(streams, (direct, through)):
            stream += replica.commands(0.3)
        if direct.offset == through.offset == int(one.info()["master_repl_offset"]):
            break
    t.same(direct.offset, through.offset, "offsets behind the same bytes")
    # They may have begun at other places; the end is common.
    least = min(map(len, streams))
    t.expect(least > 300, f"only {least} commands")
    t.expect(streams[0][-least + 5:] == streams[1][-least + 5:], "other commands through the middle")
    # A SELECT or PING of its own would show here: the middle adds nothing.
    other = t.node(t.peer)
    two.follow(other)
    t.in_step(other, two)
    t.expect(through.closed(10), "a replica of a node that turns to another primary keeps its link")


@check()
def chain_middle_lost(t: Trial) -> None:
    """The middle of a chain loses its primary: its replica keeps its data; both go on afterwards by partial sync."""
    t.needs(t.server, t.peer)
    t.needs(t.peer, t.server)
    one, two, three = t.node(t.peer, repl_backlog_size=BACKLOG), t.node(t.server, repl_ping_replica_period=1), t.node(t.peer, repl_timeout=5)
    link = t.also(Link(one.port))
    two.follow(link.port)
    t.in_step(one, two)
    three.follow(two)
    t.in_step(two, three)
    link.hold(True)
    link.cut()
    one.done("SET", "k", "while the link is down")
    time.sleep(8)
    # The last one's link may end too: what Redis sends down a chain without a primary is nothing, for which it is given up.
    t.expect(not two.linked(), "the middle has a link")
    t.same(three.info()["slave_repl_offset"], two.info()["master_repl_offset"], "the last one's offset")
    link.hold(False)
    t.in_step(one, two)
    t.in_step(two, three)
    t.alike(one, three)
    t.same((one.syncs()[0], two.syncs()[0]), (1, 1), "full syncs")


@check()
def too_late(t: Trial) -> None:
    """A link that was down for longer than the backlog holds costs one full sync, and ends in equal data."""
    for primary, replica in ((t.peer, t.server), (t.server, t.peer)):
        if not replica.follows(primary):
            continue
        one, two = t.node(primary, repl_backlog_size="16kb"), t.node(replica)
        link = t.also(Link(one.port))
        two.follow(link.port)
        t.in_step(one, two)
        link.hold(True)
        link.cut()
        one.many([["SET", f"k{n}", "x" * 1000] for n in range(3000)])
        link.hold(False)
        t.in_step(one, two)
        t.alike(one, two)
        t.same((one.syncs()[0], one.info("stats")["sync_partial_err"]), (2, "2"), f"{one}: full syncs and refused partial ones")


@check()
def half_open(t: Trial) -> None:
    """A primary that says nothing for repl-timeout is given up; the link is made again and goes on."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server, repl_timeout=3)
    two.follow(one)
    t.in_step(one, two)
    one.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("the link is given up", lambda: not two.linked(), 10)
        wait_for("its time is told", lambda: int(two.info().get("master_link_down_since_seconds", -1)) >= 1, 10)
    finally:
        one.process.send_signal(signal.SIGCONT)
    one.done("SET", "k", 1)
    t.in_step(one, two)
    t.same(one.syncs()[0], 1, "full syncs")


@check()
def backlog_ends(t: Trial) -> None:
    """Without replicas for repl-backlog-ttl the history may end, and then an old place is refused; data is never wrong."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, repl_backlog_ttl=1), t.node(t.peer)
    link = t.also(Link(one.port))
    two.follow(link.port)
    t.in_step(one, two)
    link.hold(True)
    link.cut()
    one.done("SET", "k", 1)
    time.sleep(3)
    one.done("SET", "k", 2)
    link.hold(False)
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def replica_of_a_replica_by_hand(t: Trial) -> None:
    """A replica without a link answers PSYNC with -NOMASTERLINK."""
    node = t.node(t.server)
    node.done("REPLICAOF", "127.0.0.1", 1)
    replica = t.also(Replica(node.port))
    said = replica.psync()
    t.expect(said.startswith(b"-NOMASTERLINK Can't SYNC while not connected with my master"), f"{said!r}")
    client = Connection(node.port)
    t.expect(client.call("SYNC")[1].startswith(b"NOMASTERLINK"), "SYNC")
    client.close()
