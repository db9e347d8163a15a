"""Passwords, primaries that load or die, and what a replica shows meanwhile."""

import re
import time

from kit import PEERS, Node, Skip, Trial, check, kind, wait_for
from link import Link
from raw import Replica
from work import fill


def linked(t: Trial, primary: dict | None = None, **directives) -> tuple[Node, Node]:
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer, **(primary or {})), t.node(t.server, **directives)
    two.follow(one)
    t.in_step(one, two)
    return one, two


@check()
def password(t: Trial) -> None:
    """masterauth opens the primary's door; without it or with a wrong one the link stays down, and comes when it is mended."""
    for primary, replica in ((t.peer, t.server), (t.server, t.peer)):
        if not replica.follows(primary):
            continue
        one, two = t.node(primary, requirepass="secret", masterauth="secret"), t.node(replica)
        one.done("SET", "k", 1)
        two.done("SET", "old", 1)
        two.follow(one)
        time.sleep(1.5)
        t.same((two.linked(), two.call("GET", "old")), (False, ("$", b"1")), f"{two}: without a password")
        two.set("masterauth", "wrong")
        time.sleep(1.5)
        t.same((two.linked(), two.call("GET", "old")), (False, ("$", b"1")), f"{two}: with a wrong password")
        t.expect(re.search(r"(?i)auth|password|WRONGPASS", two.log.read_text(errors="replace")), f"{two}: the log says nothing of it")
        two.set("masterauth", "secret")
        t.in_step(one, two)
        t.alike(one, two)
        t.expect(re.match(r"ip=", one.info().get("slave0", "")), "slave0")


@check()
def user(t: Trial) -> None:
    """masteruser with the three commands that a replica needs is enough; a user without them is refused."""
    for primary, replica in ((t.peer, t.server), (t.server, t.peer)):
        if not replica.follows(primary):
            continue
        one = t.node(primary)
        one.done("ACL", "SETUSER", "link", "on", ">word", "+psync", "+replconf", "+ping")
        one.done("ACL", "SETUSER", "weak", "on", ">word", "+ping", "+replconf")
        one.done("ACL", "SETUSER", "default", "off")
        two = t.node(replica, masteruser="weak", masterauth="word")
        admin = one.connection
        admin.call("SET", "k", 1)
        two.done("REPLICAOF", "127.0.0.1", one.port)
        time.sleep(1.5)
        t.same(two.linked(), False, f"{two}: as a user without psync")
        two.set("masteruser", "link")
        wait_for(f"{two} has its link up", two.linked)
        t.same(two.call("GET", "k"), ("$", b"1"), "data")
        admin.call("SET", "k", 2)
        wait_for("the stream comes", lambda: two.call("GET", "k") == ("$", b"2"), 5)


@check(fast=True)
def door(t: Trial) -> None:
    """PSYNC, SYNC and REPLCONF are closed without a password, and so is a user without them."""
    one = t.node(t.server, requirepass="secret")
    for words in ("PSYNC ? -1", "SYNC", "REPLCONF listening-port 1"):
        connection = one.open()
        connection.reopen()
        said = connection.call(*words.split())
        t.expect(said[0] == "-" and said[1].startswith(b"NOAUTH"), f"{words}: {said}")
        connection.close()
    one.done("ACL", "SETUSER", "weak", "on", ">word", "~*", "+@read")
    connection = one.open()
    connection.call("AUTH", "weak", "word")
    for words in ("PSYNC ? -1", "SYNC", "REPLCONF listening-port 1", "REPLICAOF NO ONE", "FAILOVER", "ROLE", "WAIT 0 0"):
        said = connection.call(*words.split())
        t.expect(said[0] == "-" and said[1].startswith(b"NOPERM"), f"{words}: {said}")
    replica = t.also(Replica(one.port, (), "secret"))
    replica.attach()


@check()
def loading(t: Trial) -> None:
    """A primary that still loads is asked again until it has loaded."""
    for primary, replica in ((t.peer, t.server), (t.server, t.peer)):
        if not replica.follows(primary) or not primary.modern:
            continue
        one, two = t.node(primary), t.node(replica)
        one.many([["SET", f"k{n}", n] for n in range(3000)])
        one.done("SAVE")
        one.kill()
        one.config.write_text(one.config.read_text() + "key-load-delay 1000\nloading-process-events-interval-bytes 1024\n")
        one.start(ready=False)
        if one.call("PING") == ("+", b"PONG"):
            t.notes.append(f"{one} does not load slowly")
        two.follow(one)
        time.sleep(0.5)
        t.expect(two.call("PING") == ("+", b"PONG"), f"{two}: PING meanwhile")
        t.in_step(one, two)
        t.alike(one, two)
        t.expect(one.syncs()[0] == 1, f"{one}: {one.syncs()} syncs")


@check()
def primary_dies_in_sync(t: Trial) -> None:
    """A primary that dies in the middle of a full sync: the old data is there where the directive keeps it, and the server serves."""
    t.needs(t.server, t.peer)
    if not t.peer.modern:
        raise Skip("6.2 cannot save slowly")
    for diskless, load, keeps in (("yes", "swapdb", True), ("no", "disabled", True), ("yes", "disabled", True), ("yes", "on-empty-db", True)):
        one = t.node(t.peer, rdb_key_save_delay=2000, repl_diskless_sync=diskless, rdbcompression="no")
        two = t.node(t.server, repl_diskless_load=load)
        one.many([["SET", f"k{n}", "x" * 500] for n in range(3000)])
        two.many([["SET", f"old{n}", n] for n in range(100)])
        two.done("FUNCTION", "LOAD", "#!lua name=own\nredis.register_function{function_name='own', callback=function() return 7 end, flags={'no-writes'}}") if t.server.modern else None
        two.follow(one)
        time.sleep(1.5)
        t.same(two.info()["master_link_status"], "down", "the link in the middle of the sync")
        # What loads beside the data of another history does not let that be read.
        said = two.call("GET", "old7")
        t.expect(said[1].startswith(b"LOADING") if load == "swapdb" else said == ("$", b"7"), f"old data in the middle of the sync, {diskless} {load}: {said}")
        one.kill()
        time.sleep(1.5)
        have = int(two.call("DBSIZE")[1])
        t.expect(not keeps or have == 100, f"{have} of 100 old keys after the primary died, repl-diskless-sync {diskless}, repl-diskless-load {load}")
        if t.server.modern:
            t.same(two.call("FCALL_RO", "own", 0), (":", b"7"), f"the old library, {diskless} {load}")
        one.config.write_text(one.config.read_text().replace("rdb-key-save-delay 2000", "rdb-key-save-delay 0"))
        one.start()
        one.done("SET", "k", 1)
        t.in_step(one, two)
        t.alike(one, two)
        one.kill()
        two.kill()


@check(fast=True)
def stale(t: Trial) -> None:
    """`replica-serve-stale-data no` without a link answers MASTERDOWN to what needs data, in a real server's words, and serves again with it."""
    one, two = linked(t, replica_serve_stale_data="no")
    reference = kind(PEERS["redis-7.0"]) if t.server.ours else t.server
    three = t.node(reference, replica_serve_stale_data="no")
    if reference.follows(t.peer):
        three.follow(one)
        t.in_step(one, three)
    one.done("SET", "k", 1)
    t.in_step(one, two)
    t.same(two.call("GET", "k"), ("$", b"1"), "with a link")
    for node in (two, three):
        node.done("REPLICAOF", "127.0.0.1", 1)
    t.same(two.call("GET", "k"), ("-", b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), "GET")
    for words in ("GET k", "SET k v", "PING", "ECHO x", "EVAL return(1) 0", "DBSIZE", "KEYS *", "SUBSCRIBE c", "PUBLISH c x", "MULTI", "GET k", "EXEC", "MULTI", "PING", "EXEC", "SELECT 1", "CONFIG GET port",
                  "ACL WHOAMI", "TIME", "OBJECT HELP", "FUNCTION LIST", "SCRIPT EXISTS a", "WATCH k", "UNWATCH", "FLUSHALL", "RANDOMKEY", "MEMORY USAGE k", "LASTSAVE", "DISCARD"):
        if words == "SUBSCRIBE c":
            continue  # it would change the connection for what follows
        ours, theirs = two.call(*words.split()), three.call(*words.split())
        t.expect(ours == theirs or words in ("TIME", "LASTSAVE", "CONFIG GET port"), f"{words}: {three} says {theirs}, {two} {ours}")
    t.expect("role:slave" in two.call("INFO")[1].decode() and two.call("ROLE")[0] == "*", "INFO and ROLE")
    two.call("SELECT", 0)
    two.follow(one)
    t.in_step(one, two)
    t.same(two.call("GET", "k"), ("$", b"1"), "with a link again")
    two.set("replica-serve-stale-data", "yes")
    two.done("REPLICAOF", "127.0.0.1", 1)
    t.same(two.call("GET", "k"), ("$", b"1"), "stale data where it is allowed")


@check(fast=True)
def writable(t: Trial) -> None:
    """`replica-read-only no`: own writes work and expire, reach no other server, and end with the next full sync."""
    one, two = linked(t, replica_read_only="no")
    three = t.node(t.server if t.server.ours else t.peer if t.peer.follows(t.server) else t.server)
    three.follow(two)
    t.in_step(two, three)
    t.same(two.info()["slave_read_only"], "0", "slave_read_only")
    t.same(two.call("SET", "own", 1), ("+", b"OK"), "SET")
    t.same(two.call("SET", "soon", 1, "PX", 200), ("+", b"OK"), "SET with a time")
    t.same(two.call("EVAL", "return redis.call('INCR', KEYS[1])", 1, "own"), (":", b"2"), "a script")
    offset = two.info()["master_repl_offset"]
    one.done("SET", "k", 1)
    t.in_step(one, two)
    t.in_step(two, three)
    t.same(three.call("EXISTS", "own"), (":", b"0"), "an own write at the sub-replica")
    t.expect(int(two.info()["master_repl_offset"]) - int(offset) < 150, "an own write moves the offset")
    wait_for("a key with a time, written here, goes", lambda: two.call("DBSIZE") == (":", b"2"), 5)
    two.set("replica-read-only", "yes")
    t.same(two.call("SET", "own", 2)[1][:8], b"READONLY", "SET when it is read-only again")
    other = t.node(t.peer)
    two.follow(other)
    t.in_step(other, two)
    t.same(two.call("DBSIZE"), (":", b"0"), "after a full sync")


@check(fast=True)
def directives(t: Trial) -> None:
    """replica-priority, replica-announced and replica-ignore-maxmemory do what they say."""
    one, two = linked(t, replica_priority=7, replica_announced="no", maxmemory="4mb", maxmemory_policy="allkeys-random") if t.server.modern else linked(t, replica_priority=7)
    t.same(two.info()["slave_priority"], "7", "slave_priority")
    if t.server.modern:
        t.same(two.info()["replica_announced"], "0", "replica_announced")
        one.many([["SET", f"k{n}", "x" * 1000] for n in range(8000)])
        t.in_step(one, two)
        t.same((two.call("DBSIZE"), two.info("stats")["evicted_keys"]), ((":", b"8000"), "0"), "a replica beyond maxmemory")
        two.set("replica-ignore-maxmemory", "yes")


@check()
def old_data_refused_sync(t: Trial) -> None:
    """A link that comes and goes while a full sync is asked for leaves the old data, and ends equal."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server, repl_diskless_load="swapdb")
    link = t.also(Link(one.port))
    fill(one, f"{t.options.seed}", 160, [two])
    two.many([["SET", f"old{n}", n] for n in range(100)])
    two.follow(link.port)
    for _ in range(15):
        time.sleep(0.05)
        link.cut()
        have = two.call("DBSIZE")
        t.expect(have[0] == ":" and int(have[1]) > 0 or b"LOADING" in have[1], f"DBSIZE meanwhile: {have}")
    t.in_step(one, two)
    t.alike(one, two)
