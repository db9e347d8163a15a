"""Servers that stop and come back: a clean stop goes on where it was, an unclean one never pretends to."""

import time

from kit import Node, Skip, Trial, check, wait_for
from link import Link
from raw import Replica
from work import Load, fill

QUIET = {"repl_ping_replica_period": 3600}
SAVED = {"save": "3600 1000000"}  # saved by an orderly end alone
BACKLOG = "16mb"


def stopped(t: Trial, node: Node) -> None:
    t.same(node.terminate(), 0, f"{node}: exit code")


def modes(t: Trial) -> list[dict]:
    """Where a place in the stream is kept: in a snapshot, and with us in the log too."""
    return [SAVED, {"save": '""', "appendonly": "yes"}, {**SAVED, "appendonly": "yes"}] if t.server.ours else [SAVED]


@check(fast=True)
def replica_clean(t: Trial) -> None:
    """A replica stopped in order and started again goes on by a partial sync with what it missed."""
    t.needs(t.server, t.peer)
    for mode in modes(t):
        one, two = t.node(t.peer, repl_backlog_size=BACKLOG), t.node(t.server, start=False, **mode)
        two.config.write_text(two.config.read_text() + f"replicaof 127.0.0.1 {one.port}\n")
        fill(one, f"{t.options.seed}", 60, [one])
        two.start()
        t.in_step(one, two)
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        time.sleep(0.6)
        stopped(t, two)
        time.sleep(0.6)
        two.start()
        wait_for(f"{two} has its link up", two.linked)
        load.stop()
        t.in_step(one, two)
        t.alike(one, two)
        t.same(one.syncs(), (1, 1), f"{one}: full and partial syncs, {mode}")
        one.kill()
        two.kill()


@check(fast=True)
def primary_clean(t: Trial) -> None:
    """A primary stopped in order and started again is followed further by a partial sync; its id is new, its old one the second."""
    t.needs(t.peer, t.server)
    for mode in modes(t):
        one, two = t.node(t.server, repl_backlog_size=BACKLOG, **QUIET, **mode), t.node(t.peer)
        fill(one, f"{t.options.seed}", 60, [two])
        two.follow(one)
        t.in_step(one, two)
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        time.sleep(0.6)
        load.stop()
        before = one.info()
        stopped(t, one)
        one.start()
        info = one.info()
        t.expect(before["master_replid"] in (info["master_replid"], info["master_replid2"]), f"{one}: the old id is forgotten, {mode}")
        one.done("SET", "after", "the start")
        wait_for(f"{two} has its link up", two.linked)
        t.in_step(one, two)
        t.alike(one, two)
        t.same(one.syncs(), (0, 1), f"{one}: full and partial syncs, {mode}")
        one.kill()
        two.kill()


@check()
def primary_clean_waits(t: Trial) -> None:
    """An orderly stop under load lets the replica have everything first (shutdown-timeout)."""
    t.needs(t.peer, t.server)
    if not t.server.modern:
        raise Skip("6.2 does not wait")
    one, two = t.node(t.server, **SAVED), t.node(t.peer)
    two.follow(one)
    t.in_step(one, two)
    load = t.also(Load(one, f"{t.options.seed}", [one, two], 0))
    time.sleep(0.7)
    stopped(t, one)
    load.stop()
    offset = int(two.info()["slave_repl_offset"])
    saved = place((one.directory / "dump.rdb").read_bytes())
    t.same(offset, saved, "where the replica stopped, against where the primary did")
    one.start()
    wait_for(f"{two} has its link up", two.linked)
    t.in_step(one, two)
    t.alike(one, two)


def place(snapshot: bytes) -> int:
    """The offset that a snapshot tells of itself: a short text or a number of 1, 2 or 4 bytes."""
    at = snapshot.index(b"repl-offset") + len(b"repl-offset")
    size = {0xC0: 1, 0xC1: 2, 0xC2: 4}.get(snapshot[at])
    if size:
        return int.from_bytes(snapshot[at + 1:at + 1 + size], "little", signed=True)
    return int(snapshot[at + 1:at + 1 + snapshot[at]])


@check()
def primary_killed(t: Trial) -> None:
    """A primary after kill -9 never goes on under its old id: a replica that was ahead is given what the primary has."""
    t.needs(t.peer, t.server)
    for mode in ({"appendonly": "yes", "appendfsync": "no"}, {**SAVED}, {"appendonly": "yes", "appendfsync": "always"}):
        one, two = t.node(t.server, repl_backlog_size=BACKLOG, **QUIET, **mode), t.node(t.peer)
        link = t.also(Link(one.port))
        two.follow(link.port)
        t.in_step(one, two)
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        time.sleep(0.5)
        if "save" in mode:
            one.done("SAVE")
            time.sleep(0.3)
        load.stop()
        one.done("SET", "lost", "with the kill, where nothing was saved")
        t.in_step(one, two)
        old = one.info()
        link.hold(True)
        one.kill()
        link.cut()
        one.start()
        info = one.info()
        t.expect(info["master_replid"] != old["master_replid"], f"{one}: the old id is its own after kill -9, {mode}")
        # The new history grows beyond the old one's length before the replica asks.
        for n in range(500):
            one.many([["SET", f"new{n}:{m}", "history" * 10] for m in range(20)])
            # A server that nobody ever followed may count nothing.
            if not int(info["master_repl_offset"]) < int(one.info()["master_repl_offset"]) <= int(old["master_repl_offset"]) + 2000:
                break
        link.hold(False)
        t.in_step(one, two)
        t.alike(one, two)
        one.kill()
        two.kill()


@check()
def primary_killed_by_hand(t: Trial) -> None:
    """After kill -9 a place that was never saved is refused, though the new stream has reached it."""
    one = t.node(t.server, **SAVED)
    replica = t.also(Replica(one.port))
    replid, _ = replica.attach()
    one.done("SET", "a", 1)
    replica.commands(0.3)
    one.done("SAVE")
    one.done("SET", "b", 1)
    replica.commands(0.3)
    place = replica.offset
    replica.stop()
    one.kill()
    one.start()
    again = t.also(Replica(one.port))
    again.attach()
    for n in range(50):
        one.done("SET", f"c{n}", 1)
    old = t.also(Replica(one.port))
    t.expect(old.psync(replid, place + 1).startswith(b"+FULLRESYNC"), f"{one}: continues an id whose end it lost")


@check()
def replica_killed(t: Trial) -> None:
    """A replica after kill -9 ends in equal data, whatever its files held."""
    t.needs(t.server, t.peer)
    for mode in ({"appendonly": "yes"}, {**SAVED}, {"save": '""'}):
        one, two = t.node(t.peer, repl_backlog_size=BACKLOG), t.node(t.server, start=False, **mode)
        two.config.write_text(two.config.read_text() + f"replicaof 127.0.0.1 {one.port}\n")
        two.start()
        load = t.also(Load(one, f"{t.options.seed}", [one, two]))
        wait_for(f"{two} has its link up", two.linked)
        time.sleep(0.4)
        if mode == SAVED:
            two.done("SAVE")
            time.sleep(0.4)
        two.kill()
        time.sleep(0.2)
        two.start()
        wait_for(f"{two} has its link up", two.linked)
        load.stop()
        t.in_step(one, two)
        t.alike(one, two)
        t.notes.append(f"{mode}: {one.syncs()} full and partial syncs")
        one.kill()
        two.kill()


@check()
def replica_killed_in_sync(t: Trial) -> None:
    """A replica killed in the middle of a full sync starts with old data or none, never a part, and ends equal; no file is left."""
    t.needs(t.server, t.peer)
    slow = {"rdb_key_save_delay": 500} if t.peer.modern else {}
    for load, pause in (("disabled", 0.3), ("swapdb", 0.3), ("disabled", 1.2)):
        one, two = t.node(t.peer, **slow), t.node(t.server, start=False, repl_diskless_load=load, **SAVED)
        one.many([["SET", f"k{n}", n] for n in range(3000)])
        two.start()
        two.many([["SET", f"old{n}", n] for n in range(100)])
        two.done("SAVE")
        two.follow(one)
        time.sleep(pause)
        two.kill()
        two.start()
        have = int(two.call("DBSIZE")[1])
        t.expect(have in (0, 100, 3000), f"{have} keys after a kill in a full sync")
        if slow:
            one.set("rdb-key-save-delay", 0)
        two.follow(one)
        t.in_step(one, two)
        t.alike(one, two)
        left = [file.name for file in two.directory.iterdir() if file.name.startswith("temp")]
        t.notes.append(f"left behind: {left}") if left and not t.server.ours else t.expect(not left, f"left behind: {left}")
        one.kill()
        two.kill()


@check()
def promoted_restarts(t: Trial) -> None:
    """A promoted replica that stops in order comes back as primary when CONFIG REWRITE said so, and is followed on."""
    t.needs(t.server, t.peer)
    t.needs(t.peer, t.server)
    one, two = t.node(t.peer, **QUIET), t.node(t.server, start=False, **QUIET, **SAVED)
    two.config.write_text(two.config.read_text() + f"replicaof 127.0.0.1 {one.port}\n")
    two.start()
    one.done("SET", "k", 1)
    t.in_step(one, two)
    two.done("REPLICAOF", "NO", "ONE")
    two.done("CONFIG", "REWRITE")
    t.expect("replicaof" not in two.config.read_text().replace("#", ""), "replicaof is still in the file")
    one.follow(two)
    t.in_step(two, one)
    stopped(t, two)
    two.start()
    t.same(two.role(), "master", "ROLE")
    two.done("SET", "k", 2)
    wait_for("the link is up", one.linked)
    t.in_step(two, one)
    t.alike(one, two)
    t.same(two.syncs(), (0, 1), f"{two}: full and partial syncs")
    two.follow(one)
    two.done("CONFIG", "REWRITE")
    t.expect(f"replicaof 127.0.0.1 {one.port}" in two.config.read_text(), "replicaof is not in the file")
