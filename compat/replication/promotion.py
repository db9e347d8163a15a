"""The primary changes, by REPLICAOF NO ONE and by FAILOVER, in both directions, and nothing is lost or done twice."""

import signal
import time

from kit import PEERS, Kind, Node, Trial, check, kind, wait_for
from link import Link
from raw import Replica
from work import Counters, Load, fill

QUIET = {"repl_ping_replica_period": 3600}  # a PING would move an old primary beyond its successor
BACKLOG = "16mb"


def pair(t: Trial, primary: Kind, replica: Kind, **directives) -> tuple[Node, Node]:
    """Two nodes in step, with data."""
    t.needs(replica, primary)
    one, two = t.node(primary, repl_backlog_size=BACKLOG, **directives), t.node(replica, repl_backlog_size=BACKLOG, **directives)
    fill(one, f"{t.options.seed}", 60, [two])
    two.follow(one)
    t.in_step(one, two)
    return one, two


def both_ways(t: Trial):
    """SERVER as the one who hands over, then as the one who takes over, with a peer that can follow it afterwards."""
    ways = [(one, two) for one, two in ((t.server, t.peer), (t.peer, t.server)) if two.follows(one)]
    if not ways:
        t.needs(t.server, t.peer)
    # A partial sync needs no snapshot, so the way back works between all kinds.
    return ways


@check(fast=True)
def successor(t: Trial) -> None:
    """After REPLICAOF NO ONE the old primary becomes the new one's replica by a partial sync, and so back."""
    for primary, replica in both_ways(t):
        one, two = pair(t, primary, replica, **QUIET)
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        time.sleep(0.5)
        load.stop()
        t.in_step(one, two)
        old = one.info()
        two.done("REPLICAOF", "NO", "ONE")
        info = two.info()
        t.expect(info["master_replid"] != old["master_replid"], f"{two}: a promoted replica keeps its primary's id")
        t.same((info["master_replid2"], info["second_repl_offset"]), (old["master_replid"], str(int(old["master_repl_offset"]) + 1)), f"{two}: second id and offset")
        two.done("SET", "after", "the promotion")
        one.follow(two)
        t.in_step(two, one)
        t.alike(two, one)
        t.same(two.syncs(), (0, 1), f"{two}: full and partial syncs")
        t.same((one.info()["master_replid"], one.call("GET", "after")), (two.info()["master_replid"], ("$", b"the promotion")), f"{one}: id and data")
        # And back.
        before = one.syncs()
        one.done("REPLICAOF", "NO", "ONE")
        one.done("SET", "after", "the way back")
        two.follow(one)
        t.in_step(one, two)
        t.alike(one, two)
        t.same((one.syncs()[0] - before[0], one.syncs()[1] - before[1]), (0, 1), f"{one}: full and partial syncs")


@check(fast=True)
def diverged(t: Trial) -> None:
    """An old primary that went on alone is given a full sync: what only it had is gone, nothing is mixed."""
    for primary, replica in both_ways(t):
        if not primary.follows(replica):
            continue
        one, two = pair(t, primary, replica, **QUIET)
        two.done("REPLICAOF", "NO", "ONE")
        one.done("SET", "k", "only at the old one")
        # As many bytes, so that nothing but the second id's offset tells the two histories apart.
        two.done("SET", "k", "only at the new one")
        one.follow(two)
        t.in_step(two, one)
        t.alike(two, one)
        t.same(one.call("GET", "k"), ("$", b"only at the new one"), "the new one's value")
        t.same(two.syncs(), (1, 0), f"{two}: full and partial syncs")


@check()
def sub_replicas(t: Trial) -> None:
    """The replicas of a promoted replica, and its brothers, go on by partial syncs."""
    for primary, middle in both_ways(t):
        if not primary.follows(middle):
            continue
        one, two = pair(t, primary, middle, **QUIET)
        three, brother = t.node(primary), t.node(middle)
        three.follow(two)
        brother.follow(one)
        t.in_step(two, three)
        t.in_step(one, brother)
        full = two.syncs()[0]
        two.done("REPLICAOF", "NO", "ONE")
        two.done("SET", "k", "after")
        brother.follow(two)
        one.follow(two)
        for node in (three, brother, one):
            t.in_step(two, node)
            t.alike(two, node)
        t.same(two.syncs()[0] - full, 0, f"{two}: full syncs")


@check()
def late_brother(t: Trial) -> None:
    """A promoted replica keeps its history for those who come seconds later: still a partial sync."""
    for primary, replica in both_ways(t):
        if not primary.follows(replica):
            continue
        one, two = pair(t, primary, replica, **QUIET)
        brother = t.node(primary)
        brother.follow(one)
        t.in_step(one, brother)
        one.kill()
        two.done("REPLICAOF", "NO", "ONE")
        time.sleep(2.5)
        two.done("SET", "k", "after")
        brother.follow(two)
        t.in_step(two, brother)
        t.alike(two, brother)
        t.same(two.syncs(), (0, 1), f"{two}: full and partial syncs")


@check(fast=True)
def in_a_transaction(t: Trial) -> None:
    """What Sentinel sends, in one transaction: the new role is there for CONFIG REWRITE within it, and for EXEC's next client."""
    one, two = t.node(t.server), t.node(t.server)
    rows = lambda: [line.replace("slaveof", "replicaof") for line in one.config.read_text().splitlines() if line.startswith(("replicaof", "slaveof"))]  # noqa: E731
    for words, role, want in ((["SLAVEOF", "127.0.0.1", two.port], "slave", [f"replicaof 127.0.0.1 {two.port}"]), (["SLAVEOF", "NO", "ONE"], "master", []),
                              (["SLAVEOF", "127.0.0.1", 1], "slave", ["replicaof 127.0.0.1 1"]), (["SLAVEOF", "127.0.0.1", two.port], "slave", [f"replicaof 127.0.0.1 {two.port}"])):
        said = one.many([["MULTI"], words, ["CONFIG", "REWRITE"], ["ROLE"], ["CLIENT", "KILL", "TYPE", "normal"], ["CLIENT", "KILL", "TYPE", "pubsub"], ["EXEC"]])[-1]
        t.same([item[0] for item in said[1]], ["+", "+", "*", ":", ":"], f"EXEC with {words}")
        t.same(said[1][2][1][0][1], role.encode(), f"ROLE within, {words}")
        t.same((one.role(), rows()), (role, want), f"ROLE and file after {words}")


def handed_over(t: Trial, one: Node, two: Node, nodes: list[Node], *words) -> None:
    """FAILOVER at `one`, which must end as a replica of `two` by a partial sync."""
    before = two.syncs()
    one.done("FAILOVER", *words)
    wait_for(f"{two} is primary and {one} its replica", lambda: two.role() == "master" and one.role() == "slave" and one.linked(), 20)
    info = one.info()
    t.same((info["master_failover_state"], info["master_port"], info["master_link_status"]), ("no-failover", str(two.port), "up"), f"{one} after FAILOVER")
    now = two.syncs()
    t.same((now[0] - before[0], now[1] - before[1] >= 1), (0, True), f"{two}: full syncs, and a partial one")


@check(fast=True)
def failover(t: Trial) -> None:
    """FAILOVER and back under INCRs and other writes: nothing is lost, nothing done twice, no full sync."""
    for primary, replica in both_ways(t):
        one, two = pair(t, primary, replica)
        primaries = [one]
        counters = t.also(Counters(lambda: primaries[0].port))
        load = t.also(Load(one, f"{t.options.seed}", [one, two], floods=False))
        time.sleep(0.5)
        for old, new in ((one, two), (two, one), (one, two), (two, one)):
            load.node = new  # once its connection says READONLY it finds the new one only by being lost
            handed_over(t, old, new, [one, two])
            primaries[0] = new
            time.sleep(0.4)
        load.stop()
        counters.stop()
        t.in_step(one, two)
        t.alike(one, two)
        t.faults += [story for node in (one, two) for story in counters.judge(node)]
        t.expect(sum(counters.acknowledged.values()) > 100, f"only {counters.acknowledged} counted")
        t.notes.append(f"{one} and {two}: {sum(counters.acknowledged.values())} INCRs, {sum(counters.unknown.values())} unanswered, {counters.refused} refused")


@check()
def failover_to(t: Trial) -> None:
    """FAILOVER TO takes the replica it names; the others follow when they are told, by partial syncs."""
    for primary, replica in both_ways(t):
        if not primary.follows(replica):
            continue
        one, two = pair(t, primary, replica)
        three = t.node(primary)
        three.follow(one)
        t.in_step(one, three)
        t.same(one.call("FAILOVER", "TO", "127.0.0.1", 1), ("-", b"ERR FAILOVER target HOST and PORT is not a replica."), f"{one}: TO a stranger")
        handed_over(t, one, three, [one, two, three], "TO", "127.0.0.1", three.port, "TIMEOUT", 10000)
        full = three.syncs()[0]
        two.follow(three)
        t.in_step(three, two)
        three.done("SET", "k", 1)
        for node in (one, two):
            t.in_step(three, node)
            t.alike(three, node)
        t.same(three.syncs()[0] - full, 0, f"{three}: full syncs")


def stopped(node: Node, stop: bool) -> None:
    node.process.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)


@check(fast=True)
def failover_abort(t: Trial) -> None:
    """FAILOVER ABORT while the replica does not answer: writes wait meanwhile, and go on at the same primary."""
    t.needs(t.peer, t.server)
    one, two = pair(t, t.server, t.peer)
    t.same(one.call("FAILOVER", "ABORT"), ("-", b"ERR No failover in progress."), "ABORT of nothing")
    stopped(two, True)
    try:
        one.done("SET", "k", 1)
        t.same(one.call("FAILOVER", "TO", "127.0.0.1", two.port), ("+", b"OK"), "FAILOVER")
        t.same(one.info()["master_failover_state"], "waiting-for-sync", "master_failover_state")
        t.same(one.call("FAILOVER"), ("-", b"ERR FAILOVER already in progress."), "FAILOVER again")
        t.same(one.call("REPLICAOF", "127.0.0.1", 1), ("-", b"ERR REPLICAOF not allowed while failing over."), "REPLICAOF meanwhile")
        client = one.open()
        client.send([b"SET", b"k", b"2"])
        time.sleep(0.3)
        t.expect(not client.ready(), "a write is not held meanwhile")
        t.same(one.call("GET", "k"), ("$", b"1"), "a read meanwhile")
        t.same(one.call("FAILOVER", "ABORT"), ("+", b"OK"), "ABORT")
        t.same(client.read(3)[1], ("+", b"OK"), "the write that was held")
        t.same((one.role(), one.info()["master_failover_state"]), ("master", "no-failover"), "afterwards")
    finally:
        stopped(two, False)
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def failover_timeout(t: Trial) -> None:
    """A FAILOVER whose replica does not catch up in time is given up: still primary, writes go on."""
    t.needs(t.peer, t.server)
    one, two = pair(t, t.server, t.peer)
    stopped(two, True)
    try:
        one.done("SET", "k", 1)
        t.same(one.call("FAILOVER", "TIMEOUT", 700), ("+", b"OK"), "FAILOVER TIMEOUT")
        started = time.monotonic()
        client = one.open()
        client.send([b"SET", b"k", b"2"])
        t.same(client.read(5)[1], ("+", b"OK"), "the write that was held")
        t.expect(0.4 < time.monotonic() - started < 4, f"held for {time.monotonic() - started:.1f} s")
        t.same((one.role(), one.info()["master_failover_state"]), ("master", "no-failover"), "afterwards")
    finally:
        stopped(two, False)
    t.in_step(one, two)
    t.alike(one, two)


@check()
def failover_force(t: Trial) -> None:
    """FAILOVER TO … FORCE goes on when the time is over: the target becomes primary as soon as it answers."""
    for primary, replica in both_ways(t):
        if not primary.follows(replica):
            continue
        one, two = pair(t, primary, replica)
        stopped(two, True)
        try:
            one.done("SET", "k", "not at the replica")
            t.same(one.call("FAILOVER", "TO", "127.0.0.1", two.port, "FORCE", "TIMEOUT", 500), ("+", b"OK"), f"{one}: FAILOVER FORCE")
            wait_for(f"{one}: the time is over", lambda: one.info()["master_failover_state"] == "failover-in-progress", 5)
            t.same(one.role(), "slave", f"{one}: ROLE while it waits for the target")
        finally:
            stopped(two, False)
        wait_for("the roles are changed", lambda: two.role() == "master" and one.role() == "slave" and one.linked(), 20)
        two.done("SET", "after", 1)
        t.in_step(two, one)
        t.alike(two, one)


@check()
def failover_refused(t: Trial) -> None:
    """A target that cannot take over leaves the primary in its place."""
    t.needs(t.peer, t.server)
    one, two = pair(t, t.server, t.peer, repl_timeout=4)
    three = t.node(t.peer)
    stopped(two, True)
    one.done("SET", "k", 1)
    one.done("FAILOVER", "TO", "127.0.0.1", two.port, "FORCE", "TIMEOUT", 300)
    wait_for("it goes to the target", lambda: one.info()["master_failover_state"] == "failover-in-progress", 5)
    client = one.open()
    client.send([b"SET", b"k", b"2"])
    t.same(one.call("FAILOVER", "ABORT"), ("+", b"OK"), "ABORT")
    t.same(client.read(5)[1], ("+", b"OK"), "the write that was held")
    t.same(one.role(), "master", "ROLE after ABORT")
    two.kill()
    # The target dies while it is asked: Redis tries for ever, so a refusal is what ends it.
    two.start()
    three.follow(one)
    t.in_step(one, three)
    t.alike(one, three)


@check(fast=True)
def failover_by_hand(t: Trial) -> None:
    """PSYNC … FAILOVER promotes a replica of that id, is refused by others, in the words of a real server."""
    reference = kind(PEERS["redis-7.0"])
    told = []
    for what in (t.server, reference if t.server.ours else t.server):
        node, primary = t.node(what), t.node(t.server if t.server.ours else what)
        said = [Replica(node.port).psync(node.info()["master_replid"], 1, "FAILOVER")]
        said.append(Replica(node.port).psync("?", -1, "NOSUCH"))
        node.follow(primary)
        t.in_step(primary, node)
        said.append(Replica(node.port).psync("a" * 40, 1, "FAILOVER"))
        t.same(node.role(), "slave", f"{node} after refusals")
        place = int(node.info()["master_repl_offset"])
        replica = t.also(Replica(node.port))
        answer = replica.psync(node.info()["master_replid"], place + 1, "FAILOVER")
        t.same(node.role(), "master", f"{node} after PSYNC FAILOVER")
        t.same(answer, b"+CONTINUE " + node.info()["master_replid"].encode(), "the answer")
        told.append([one.split(b" ")[0] if one.startswith(b"+") else one for one in said])
        told[-1] = list(zip(("PSYNC … FAILOVER to a primary", "PSYNC ? -1 NOSUCH", "PSYNC … FAILOVER of another id"), told[-1]))
        told[-1] += [(words, node.call(*words.split())) for words in REFUSED]
    for (words, ours), (_, theirs) in zip(*told):
        t.same(ours, theirs, words)


# The first could hand over only to a replica that never answers, so all that follow meet a failover in progress.
REFUSED = ("FAILOVER", "FAILOVER TO 127.0.0.1 1", "FAILOVER TO 127.0.0.1 1 FORCE", "FAILOVER TO 127.0.0.1 1 TIMEOUT 0", "FAILOVER TIMEOUT 1 TIMEOUT 2", "FAILOVER ABORT TO 127.0.0.1 1",
           "FAILOVER FORCE", "FAILOVER FORCE TIMEOUT 5", "FAILOVER TO 127.0.0.1 99999", "FAILOVER TIMEOUT -5", "FAILOVER x", "FAILOVER TO localhost", "FAILOVER ABORT x", "FAILOVER ABORT")


@check()
def in_and_back(t: Trial) -> None:
    """The recipe: follow the old primary, FAILOVER to SERVER, work, FAILOVER back; every INCR once, links cut on the way."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer, repl_backlog_size=BACKLOG), t.node(t.server, repl_backlog_size=BACKLOG)
    fill(one, f"{t.options.seed}", 120, [two])
    primaries = [one]
    counters = t.also(Counters(lambda: primaries[0].port, 8))
    link = t.also(Link(one.port))
    two.follow(link.port)
    wait_for("the link is up", two.linked)
    for _ in range(3):
        time.sleep(0.5)
        link.cut()
        wait_for("the link is up again", two.linked)
    two.follow(one)
    wait_for("the direct link is up", two.linked)
    handed_over(t, one, two, [one, two], "TO", "127.0.0.1", two.port)
    primaries[0] = two
    load = t.also(Load(two, f"{t.options.seed}", [one, two], floods=False))
    time.sleep(2)
    load.stop()
    handed_over(t, two, one, [one, two], "TO", "127.0.0.1", one.port)
    primaries[0] = one
    time.sleep(0.5)
    counters.stop()
    t.in_step(one, two)
    t.alike(one, two)
    t.faults += [story for node in (one, two) for story in counters.judge(node)]
    t.same(one.syncs()[0], 1, "full syncs that the old primary gave")
