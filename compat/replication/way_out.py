"""The way out: SERVER is the primary, a real server its replica; and replicas by hand that look at every byte."""

import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from harness.resp import Connection
from kit import PEERS, Node, Skip, Trial, check, functions, kind, wait_for
from raw import Replica
from way_in import under_load
from work import Load, fill

TOOLS_S = 20
INFO_OF_A_PRIMARY = ["role", "connected_slaves", "master_failover_state", "master_replid", "master_replid2", "master_repl_offset", "second_repl_offset",
                     "repl_backlog_active", "repl_backlog_size", "repl_backlog_first_byte_offset", "repl_backlog_histlen"]
HEX = re.compile(r"[0-9a-f]{40}$")


def pair(t: Trial, replica: dict | None = None, **directives) -> tuple[Node, Node]:
    """SERVER, and a real server as its replica, in step."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, **directives), t.node(t.peer, **(replica or {}))
    two.follow(one)
    t.in_step(one, two)
    return one, two


def synced(t: Trial, diskless: str, load: str) -> None:
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, repl_diskless_sync=diskless), t.node(t.peer, repl_diskless_load=load)
    fill(one, f"{t.options.seed}", 160, [two])
    under_load(t, one, two, lambda: two.follow(one), 1.5)


@check(fast=True)
def live_mark(t: Trial) -> None:
    """A real replica of SERVER under write load, sent without a file and loaded without one, is equal."""
    synced(t, "yes", "swapdb")


@check()
def live_length(t: Trial) -> None:
    """The same by way of files on both sides."""
    synced(t, "no", "disabled")


@check()
def live_mixed(t: Trial) -> None:
    """The same with a file on one side only."""
    synced(t, "no", "on-empty-db")
    synced(t, "yes", "disabled")


@check()
def several(t: Trial) -> None:
    """Three replicas that come at about the same time are all equal, and one more that comes later."""
    t.needs(t.peer, t.server)
    one = t.node(t.server, repl_diskless_sync_delay=1)
    replicas = [t.node(t.peer) for _ in range(4)]
    fill(one, f"{t.options.seed}", 160, replicas)
    load = t.also(Load(one, f"{t.options.seed}", [one, *replicas]))
    for node in replicas[:3]:
        node.follow(one)
    time.sleep(2.5)
    replicas[3].follow(one)
    for node in replicas:
        wait_for(f"{node} has its link up", node.linked)
    time.sleep(1)
    load.stop()
    for node in replicas:
        t.in_step(one, node)
        t.alike(one, node)
    t.same(one.info()["connected_slaves"], "4", "connected_slaves")
    t.same(len(one.call("ROLE")[1][2][1]), 4, "replicas in ROLE")


@check(fast=True)
def lines(t: Trial) -> None:
    """ROLE and INFO replication of a primary have every field in Redis's form."""
    one, two = pair(t)
    # The primary learns a little later than the replica that it is online.
    wait_for("the replica is online", lambda: "state=online" in one.info().get("slave0", ""), 5)
    info = one.info()
    absent = [name for name in INFO_OF_A_PRIMARY if name not in info]
    t.expect(not absent, f"INFO has no {absent}")
    t.expect(re.match(rf"ip=127\.0\.0\.1,port={two.port},state=online,offset=\d+,lag=[012](,|$)", info.get("slave0", "")), f"slave0:{info.get('slave0')}")
    t.same((info["role"], info["connected_slaves"], info["repl_backlog_active"], info["second_repl_offset"]), ("master", "1", "1", "-1"), "INFO")
    t.expect(HEX.match(info["master_replid"]), f"master_replid {info['master_replid']}")
    t.same(info["master_replid2"], "0" * 40, "master_replid2")
    t.same(info["master_failover_state"], "no-failover", "master_failover_state")
    one.done("SET", "k", "v" * 1000)
    t.in_step(one, two)
    time.sleep(1.1)
    later = one.info()
    grown = int(later["master_repl_offset"]) - int(info["master_repl_offset"])
    t.expect(1000 < grown < 1200, f"a SET of 1000 bytes moves the offset by {grown}")
    first, length, offset = (int(later[name]) for name in ("repl_backlog_first_byte_offset", "repl_backlog_histlen", "master_repl_offset"))
    t.same(first + length - 1, offset, "first byte and length of the backlog, against the offset")
    role = one.call("ROLE")
    t.same(role[1][0][1], b"master", "ROLE")
    t.same(int(role[1][1][1]), offset, "ROLE's offset")
    t.same([item[1] for item in role[1][2][1][0][1]], [b"127.0.0.1", b"%d" % two.port, b"%d" % offset], "ROLE's replica")
    order = list(info)
    t.expect(order.index("role") < order.index("connected_slaves") < order.index("slave0") < order.index("master_replid"), f"order of INFO: {order}")
    stats = one.info("stats")
    t.same((stats["sync_full"], stats["sync_partial_ok"], stats["sync_partial_err"]), ("1", "0", "1"), "sync_full, sync_partial_ok, sync_partial_err")
    two.set("replica-announce-ip", "10.1.2.3")
    two.set("replica-announce-port", "1234")
    two.done("REPLICAOF", "NO", "ONE")
    wait_for("the replica is gone", lambda: one.info()["connected_slaves"] == "0")
    two.follow(one)
    t.in_step(one, two)
    wait_for("the replica is online", lambda: "state=online" in one.info().get("slave0", ""), 5)
    t.expect(one.info()["slave0"].startswith("ip=10.1.2.3,port=1234,state=online"), f"announced: {one.info()['slave0']}")


@check(fast=True)
def wait(t: Trial) -> None:
    """WAIT counts the replicas that have it, waits no longer than it is told, and says no more than is true."""
    one, two = pair(t)
    one.done("SET", "k", 1)
    t.same(one.call("WAIT", 1, 5000), (":", b"1"), "WAIT 1")
    t.same(two.call("GET", "k"), ("$", b"1"), "what WAIT told")
    started = time.monotonic()
    one.done("SET", "k", 2)
    t.same(one.call("WAIT", 2, 300), (":", b"1"), "WAIT 2")
    t.expect(0.25 < time.monotonic() - started < 3, f"WAIT 2 300 took {time.monotonic() - started:.2f} s")
    two.process.send_signal(signal.SIGSTOP)
    try:
        one.done("SET", "k", 3)
        t.same(one.call("WAIT", 1, 300), (":", b"0"), "WAIT with a replica that does not answer")
        waiter = one.open()
        waiter.call("SET", "k", 4)
        waiter.send([b"WAIT", b"1", b"0"])
        time.sleep(0.2)
        t.expect(not waiter.ready(), "WAIT 1 0 ends before the replica has it")
    finally:
        two.process.send_signal(signal.SIGCONT)
    t.same(waiter.read(5)[1], (":", b"1"), "WAIT 1 0 after it answers")
    for words, want in {"WAIT a 1": "-ERR value is not an integer or out of range", "WAIT 1 a": "-ERR timeout is not an integer or out of range",
                        "WAIT 1 -1": "-ERR timeout is negative", "WAIT": "-ERR wrong number of arguments for 'wait' command"}.items():
        said = one.call(*words.split())
        t.same(said[0] + said[1].decode(), want, words)
    t.same([one.call(*words.split())[0] for words in ("WAIT -1 1", "WAIT 0 0")], [":", ":"], "WAIT for none")
    one.many([["SET", "k", n] for n in range(500)])
    t.same(one.many([["MULTI"], ["SET", "m", 1], ["WAIT", 5, 0], ["EXEC"]])[3][1][0], ("+", b"OK"), "WAIT in a transaction does not wait")
    clients = [one.open() for _ in range(20)]
    for n, client in enumerate(clients):
        client.send([b"SET", b"c%d" % n, b"x"])
        client.send([b"WAIT", b"1", b"5000"])
    t.expect(all(client.read()[1] == ("+", b"OK") and client.read()[1] == (":", b"1") for client in clients), "many WAITs at once")


@check(fast=True)
def wait_file(t: Trial) -> None:
    """WAITAOF tells of the own file and of the replicas' files."""
    one = t.node(t.server)
    if not one.knows("WAITAOF"):
        raise Skip("SERVER has no WAITAOF")
    one.kill()
    if not t.peer.version >= (7, 2):
        raise Skip("the peer tells nothing of its file")
    one, two = pair(t, {"appendonly": "yes"}, appendonly="yes")
    one.done("SET", "k", 1)
    t.same(one.call("WAITAOF", 1, 1, 8000), ("*", [(":", b"1"), (":", b"1")]), "WAITAOF 1 1")
    one.done("SET", "k", 2)
    said = one.call("WAITAOF", 0, 2, 300)
    t.expect(said[0] == "*" and said[1][1][1] in b"01", f"WAITAOF 0 2 ends by its time: {said}")
    one.set("appendonly", "no")
    t.expect(one.call("WAITAOF", 1, 0, 100)[1].startswith(b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled"), "without a file")
    t.expect(two.call("WAITAOF", 0, 1, 100)[1].startswith(b"ERR WAITAOF cannot be used with replica instances"), "at a replica")


@check()
def enough_replicas(t: Trial) -> None:
    """min-replicas-to-write refuses writes in Redis's words when too few replicas answer."""
    one, two = pair(t)
    one.set("min-replicas-to-write", 1)
    one.set("min-replicas-max-lag", 2)
    text = ("-", b"NOREPLICAS Not enough good replicas to write.")
    wait_for("the replica has answered", lambda: one.call("SET", "k", 1) == ("+", b"OK"), 5)
    t.same(one.info()["min_slaves_good_slaves"], "1", "min_slaves_good_slaves")
    two.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("writes are refused", lambda: one.call("SET", "k", 2) == text, 8)
        t.same(one.info()["min_slaves_good_slaves"], "0", "min_slaves_good_slaves")
        t.same(one.call("GET", "k")[0], "$", "GET")
        t.same(one.call("MULTI"), ("+", b"OK"), "MULTI")
        t.same(one.call("SET", "k", 3), text, "SET in a transaction")
        t.same(one.call("EXEC")[1][:9], b"EXECABORT", "EXEC")
        said = one.call("EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "k")
        t.expect(said[0] == "-" and b"NOREPLICAS" in said[1], f"a script that writes: {said}")
        t.expect(one.call("EVAL", "return redis.call('GET', KEYS[1])", 1, "k")[0] != "+" , "a script that reads")
        t.same(one.call("PUBLISH", "news", "x")[0], ":", "PUBLISH")
    finally:
        two.process.send_signal(signal.SIGCONT)
    wait_for("writes are taken again", lambda: one.call("SET", "k", 4) == ("+", b"OK"), 5)
    one.set("min-replicas-to-write", 2)
    t.same(one.call("SET", "k", 5), text, "with two asked for")


@check(fast=True)
def by_hand(t: Trial) -> None:
    """PSYNC by hand: the handshake's answers, the snapshot's two framings, silence before the first ACK, GETACK, offsets."""
    one = t.node(t.server, repl_diskless_sync="yes", repl_ping_replica_period=1)
    one.done("SET", "k", "v")
    replica = t.also(Replica(one.port, ("REPLCONF listening-port 1234", "REPLCONF ip-address 10.0.0.1", "REPLCONF capa eof capa psync2 capa nosuch", "REPLCONF nosuch 1", "REPLCONF rdb-only 0")))
    t.same(replica.answers[:4], [("+", b"PONG"), *[("+", b"OK")] * 3], "answers")
    t.same(replica.answers[4][0], "-", "an option nobody knows")
    said = replica.psync()
    t.need(re.match(rb"\+FULLRESYNC [0-9a-f]{40} \d+$", said), f"PSYNC ? -1 says {said!r}")
    t.same(said.decode().split()[1], one.info()["master_replid"], "the id")
    replica.offset = int(said.split()[2])
    framing, data = replica.snapshot()
    t.same((framing, data[:5]), ("mark", b"REDIS"), "framing and magic")
    t.expect(b"repl-stream-db" in data and b"repl-id" in data and b"repl-offset" in data, "the snapshot tells no place in the stream")
    one.done("SET", "k", "w")
    time.sleep(1.3)
    replica.socket.settimeout(0.1)
    try:
        replica.buffer += replica.socket.recv(1000)
    except TimeoutError:
        pass
    t.same(replica.buffer.strip(b"\n"), b"", "sent before the first ACK")
    replica.acknowledge(replica.offset)
    came = replica.commands(1.6)
    t.expect([b"SELECT", b"0"] in came and [b"SET", b"k", b"w"] in came[came.index([b"SELECT", b"0"]):] and [b"PING"] in upper(came), f"stream: {came}")
    t.expect(f"ip=10.0.0.1,port=1234,state=online,offset={replica.offset}" in one.info()["slave0"], f"slave0:{one.info()['slave0']}, offset {replica.offset}")
    client = one.open()
    client.call("SET", "k", "x")
    client.send([b"WAIT", b"1", b"3000"])
    came = replica.commands(1)
    t.expect([b"REPLCONF", b"GETACK", b"*"] in came, f"WAIT asks for no ACK: {came}")
    t.same(client.read()[1], (":", b"1"), "WAIT")
    # A link lost, and the rest of the stream from where it ended.
    replid, offset = one.info()["master_replid"], replica.offset
    replica.stop()
    one.done("SET", "lost", "found")
    again = t.also(Replica(one.port))
    t.expect(again.psync(replid, offset + 1) in (b"+CONTINUE", b"+CONTINUE " + replid.encode()), "PSYNC goes on")
    again.offset = offset
    came = again.commands(1)
    t.expect([b"SET", b"lost", b"found"] in came, f"the rest: {came}")
    for bad in ((replid, offset + 1_000_000), ("0" * 40, 1), (replid[::-1], offset), (replid, -5), ("x", 1)):
        other = t.also(Replica(one.port))
        t.expect(other.psync(*bad).startswith(b"+FULLRESYNC"), f"PSYNC {bad}")
        other.stop()
    for words in ("PSYNC", "PSYNC a", "PSYNC ? abc"):
        said = one.call(*words.split())
        t.expect(said[0] == "-", f"{words}: {said}")


@check(fast=True)
def plain_sync(t: Trial) -> None:
    """SYNC by hand: a length, a snapshot that a real server loads, then the stream."""
    one = t.node(t.server)
    fill(one, f"{t.options.seed}", 40, [], timed=False)
    replica = t.also(Replica(one.port, ()))
    replica.sync()
    framing, data = replica.snapshot()
    t.expect((framing, data[:5]) in (("length", b"REDIS"), ("length", b"VALKE")), f"framing and magic: {framing}, {data[:9]}")
    one.done("SET", "k", "w")
    replica.offset = 0
    came = replica.commands(1)
    t.expect([b"SET", b"k", b"w"] in came, f"stream: {came}")
    no_mark = t.also(Replica(one.port, ("REPLCONF capa psync2",)))
    t.expect(no_mark.psync().startswith(b"+FULLRESYNC"), "PSYNC")
    t.same(no_mark.snapshot()[0], "length", "framing for a replica without capa eof")
    t.same(one.info()["connected_slaves"], "2", "connected_slaves")


def upper(commands: list[list[bytes]]) -> list[list[bytes]]:
    """Names as one would write them; 7.0 sends "ping"."""
    return [[words[0].upper(), *words[1:]] for words in commands]


STREAM = """SET k v EX 100|SETEX k 100 v|PSETEX k 100000 v|EXPIRE k 50|PEXPIRE k 60000|GETEX k EX 100|GETEX k PERSIST|EXPIREAT k 99999999999|PERSIST k|SET k v KEEPTTL
SADD s a|SPOP s|SADD s a|SPOP s 5|SADD s b|SPOP s 0|INCRBYFLOAT f 1.5|HINCRBYFLOAT h f 0.5|INCR n|SET n 1 GET|GETSET n 2|GETDEL n|DEL nosuch k|UNLINK f|EXPIRE nosuch 5|SET k v NX|SET k v NX
RPUSH l a b c|LPOP l|BLPOP l 1|BLMOVE l m LEFT RIGHT 1|LMPOP 1 m LEFT|BLMPOP 1 1 m LEFT|LPUSH l a|RPOPLPUSH l l|BRPOPLPUSH l l 1|LREM l 0 zzz|ZADD z 1 a 2 b|ZPOPMIN z|BZPOPMIN z 1|ZADD z 1 a|ZMPOP 1 z MIN
XADD x 5-1 a b|XADD x 5-2 a b|XGROUP CREATE x g 0|XREADGROUP GROUP g c STREAMS x >|XACK x g 5-1|XTRIM x MAXLEN 0|XDEL x 9-9|XGROUP CREATE y g $ MKSTREAM|XSETID x 9-9
SELECT 3|SET in3 1|SELECT 0|GET k|MULTI|EXEC|MULTI|SET a 1|EXEC|MULTI|SET a 1|INCR b|EXEC|MULTI|GET a|EXEC|MULTI|SELECT 2|SET c 1|SELECT 0|SET d 1|EXEC|MULTI|SADD t a|SPOP t|DISCARD|PUBLISH ch msg
EVAL return(redis.call('SET','e',1)) 0|EVAL redis.call('SET','e',1)redis.call('INCR','e') 0|EVAL return(1) 0|EVAL return(redis.call('SPOP','e2')) 0|SORT l ALPHA STORE sorted|COPY k k2|RENAME k2 k3|MOVE k3 4|SWAPDB 4 5
SETRANGE r 2 x|APPEND r y|SETBIT r 3 1|BITOP NOT r2 r|PFADD p a|PFADD p a|PFCOUNT p|GEOADD g 1 2 m|GEOSEARCHSTORE g2 g FROMMEMBER m BYRADIUS 1 km|SINTERSTORE i s t|SUNIONSTORE i nosuch|FLUSHDB|FUNCTION FLUSH
HSET h a 1|HSET h a 1|HDEL h a b|LSET l 0 x|SMOVE s s2 b|MSET a 1 b 2|MSETNX a 1 c 2|RESTORE re 0 x|SET px v PX 100000|SET px v PXAT 99999999999999|DEBUG JMAP|FLUSHALL"""


@check(fast=True)
def stream(t: Trial) -> None:
    """The stream holds the same commands, in the same transactions, as that of a real server that did the same."""
    reference = kind(PEERS["redis-7.0"]) if t.server.version < (7, 2) else t.server
    told = []
    for what in (t.server, reference):
        node = t.node(what, repl_ping_replica_period=3600)
        replica = t.also(Replica(node.port))
        replica.attach()
        out = []
        for line in STREAM.splitlines():
            for words in line.split("|"):
                node.call(*words.split())
            out.append([_clock(words) for words in replica.commands(0.2) if not _own(words)])
        told.append(out)
    for line, mine, theirs in zip(STREAM.splitlines(), *told):
        if mine != theirs:
            at = next((n for n, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs)))
            t.expect(False, f"in {line[:40]}…: {t.server.name} sends {mine[at:at + 4]}, {reference.name} {theirs[at:at + 4]}")


def _clock(words: list[bytes]) -> list[bytes]:
    """Without the digits that only one moment gives: numbers of 13 digits are times of about now."""
    return [words[0].upper(), *[b"<time>" if re.match(rb"1[78]\d{11}$", word) else word for word in words[1:]]]


def _own(words: list[bytes]) -> bool:
    """What differs by choice: when a PING is due, a SORT told by what it stored, how much of a group was read."""
    return words[0].upper() in (b"PING", b"SORT") or words[:2] in ([b"RPUSH", b"sorted"], [b"XGROUP", b"SETID"])


@check(fast=True)
def newer_words(t: Trial) -> None:
    """What SERVER has beyond the replica's version reaches it in words that it knows."""
    t.needs(t.peer, t.server)
    one, two = pair(t)
    if not t.server.ours:
        raise Skip("a real server sends what it was sent")
    for words in ("MSET a foobar b abcdef c zzz", "BITOP ANDOR x a b c", "BITOP DIFF y a b", "BITOP DIFF1 z a b", "BITOP ONE w a b", "XADD s 1-1 a b", "XADD s 1-2 a b", "XADD s 1-3 a b",
                  "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >", "XADD s DELREF MAXLEN 2 1-4 a b", "XTRIM s MAXLEN 2 KEEPREF", "XDELEX s DELREF IDS 1 1-3", "XACKDEL s g ACKED IDS 1 1-4",
                  "HSET h a 1 b 2 c 3", "HGETDEL h FIELDS 1 a", "HSETEX h FIELDS 1 d 4", "HGETEX h PERSIST FIELDS 1 b", "SET k 1 EX 100", "SET n 1 NX GET", "ZADD zz 1 a", "FUNCTION FLUSH"):
        one.call(*words.split())
    t.in_step(one, two)
    t.alike(one, two)


GROUPED = ("XADD s 1-1 a b", "XADD s 2-1 a b", "XADD s 3-1 a b", "XADD s 4-1 a b", "XGROUP CREATE s g 0 ENTRIESREAD 0", "XGROUP CREATE new h $ ENTRIESREAD -1 MKSTREAM",
           "XREADGROUP GROUP g c COUNT 1 STREAMS s >", "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS s >", "XREADGROUP GROUP g d COUNT 1 NOACK STREAMS s >", "XCLAIM s g c 0 9-9 LASTID 3-5",
           "XGROUP CREATE s i 1-1 ENTRIESREAD 1", "XGROUP SETID s i 2-1 ENTRIESREAD 2", "XGROUP SETID s i 3-1 ENTRIESREAD -1", "XGROUP CREATE s j 2-1 ENTRIESREAD 2",
           "MULTI", "XGROUP CREATE s k 0 ENTRIESREAD 3", "XREADGROUP GROUP k c COUNT 2 NOACK STREAMS s >", "EXEC")


@check(fast=True)
def old_groups(t: Trial) -> None:
    """Groups of streams stand where they stand at a replica of 6.2 too, which refuses ENTRIESREAD; and with their counts at one that knows it."""
    one, two, three = t.node(t.server), t.node(kind(PEERS["redis-6.2"])), t.node(kind(PEERS["redis-7.0"]))
    if not t.server.ours:
        raise Skip("a real server sends what it was sent")
    for node in (two, three):
        node.follow(one)
        t.in_step(one, node)
    one.many([words.split() for words in GROUPED])
    for node in (two, three):
        t.in_step(one, node)
    for key in ("s", "new"):
        for node, fields in ((two, OF_A_GROUP[:4]), (three, OF_A_GROUP)):
            t.same(standing(node, key, fields), standing(one, key, fields), f"groups of {key} at {node}")


OF_A_GROUP = (b"name", b"consumers", b"pending", b"last-delivered-id", b"entries-read", b"lag")


def standing(node: Node, key: str, fields: tuple) -> list[list]:
    """What XINFO tells of a stream's groups."""
    said = node.done("XINFO", "GROUPS", key)[1]
    tables = [dict(zip([word for _, word in item[1][::2]], [word for _, word in item[1][1::2]])) for item in said]
    return [[table[field] for field in fields] for table in tables]


NEWER_THAN_6_2 = ("SET a 1|XSETID s 9-9 ENTRIESADDED 100 MAXDELETEDID 5-5|INCR a|XADD s 10-1 a b|XGROUP CREATE s late 3-1 ENTRIESREAD 3|XREADGROUP GROUP late c COUNT 1 STREAMS s >",
                  "SET b 1|FUNCTION LOAD #!lua\xa0name=l\nredis.register_function('f',function(k)redis.call('INCR',k[1])end)|FCALL f 1 b|SELECT 3|SET b 1|FUNCTION FLUSH", "XSETID s 20-1 ENTRIESADDED 200",
                  "SET c 1|XADD t 1-1 a b|XADD t 1-2 a b|XADD t 1-3 a b|XGROUP CREATE t g 0|XREADGROUP GROUP g c COUNT 1 STREAMS t >|XADD t ACKED MAXLEN 2 1-4 a b|XACK t g 1-1|XADD t ACKED MAXLEN 2 1-5 a b|XADD t 1-6 a b",
                  "XADD t ACKED MAXLEN 3 1-7 a b", "XTRIM t ACKED MAXLEN 1", "SELECT 2|XADD u 1-1 a b|XSETID u 5-1 ENTRIESADDED 7|DEL u|SET u 1", "XADD n 1-1 a b|XDEL n 1-1|XSETID n 8-8 ENTRIESADDED 9 MAXDELETEDID 1-1")


@check(fast=True)
def old_transactions(t: Trial) -> None:
    """A transaction reaches a replica of 6.2 also where it sets a stream's counters or holds FUNCTION; one that knows these gets them too."""
    if not t.server.ours:
        raise Skip("a real server sends what it was sent")
    one, two, three = t.node(t.server), t.node(kind(PEERS["redis-6.2"])), t.node(kind(PEERS["redis-7.0"]))
    one.many([words.split() for words in ("XADD s 1-1 a b", "XADD s 2-1 a b", "XADD s 3-1 a b", "XADD s 6-6 a b", "XDEL s 3-1", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS s >")])
    for node in (two, three):
        node.follow(one)
        t.in_step(one, node)
    for line in NEWER_THAN_6_2:
        words = [[word.replace("\xa0", " ") for word in words.split(" ")] for words in line.split("|")]
        said = one.many([["MULTI"], *words, ["EXEC"]] if len(words) > 1 else words)
        t.expect(said[-1][0] != "-" and not any(one[0] == "-" for one in said[-1][1] if isinstance(one, tuple)), f"{line}: {said[-1]}")
        for node in (two, three):
            t.in_step(one, node)
            t.alike(one, node)
    for key in ("s", "t", "n"):
        t.same(counters(two, key), counters(one, key)[:2], f"{key} at 6.2")
        t.same(counters(three, key), counters(one, key), f"counters of {key} at 7.0")
        t.same(standing(two, key, OF_A_GROUP[:4]), standing(one, key, OF_A_GROUP[:4]), f"groups of {key} at 6.2")
        t.same(standing(three, key, OF_A_GROUP), standing(one, key, OF_A_GROUP), f"groups of {key} at 7.0")


def counters(node: Node, key: str) -> list:
    """What XINFO tells of a stream itself; of 6.2 the first two."""
    said = node.done("XINFO", "STREAM", key)[1]
    told = dict(zip([word for _, word in said[::2]], said[1::2]))
    return [told[field] for field in COUNTERS if field in told]


COUNTERS = (b"length", b"last-generated-id", b"max-deleted-entry-id", b"entries-added", b"recorded-first-entry-id")


@check(fast=True)
def restored_values(t: Trial) -> None:
    """What RESTORE makes of a payload that a replica does not read reaches it: of 8.2 and of SERVER, at replicas of 6.2 and 7.0."""
    if not t.server.ours:
        raise Skip("a real server sends what it was sent")
    one, newest = t.node(t.server), t.node(kind(PEERS["redis-8.2"]))
    old = [t.node(kind(PEERS[name])) for name in ("redis-6.2", "redis-7.0")]
    for node in old:
        node.follow(one)
        t.in_step(one, node)
    makes = {"s": "SET s text", "n": "SET n 12", "l": "RPUSH l a b 3", "h": "HSET h a 1 b 2", "z": "ZADD z 1 a 2.5 b", "i": "SADD i 1 2 3", "m": "SADD m a 1"}
    source = t.node(t.server)
    for node in (newest, source):
        node.many([words.split() for words in makes.values()])
        for at, key in enumerate(makes):
            payload = node.done("DUMP", key)[1]
            one.done("RESTORE", f"{key}:{node.port}", (0, 10**7, 10**7)[at % 3], payload, *(("FREQ", 9) if at % 2 else ("IDLETIME", 3)))
            one.done("RESTORE", key, 0, payload, "REPLACE")
    newest.many([words.split() for words in ("XADD x 1-1 a b", "XADD x 1-2 a b", "XADD x 1-3 a b", "XDEL x 1-2", "XGROUP CREATE x g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS x >", "XGROUP CREATE x h 1-3",
                                             "XGROUP CREATE none g 0 MKSTREAM", "XSETID x 7-7 ENTRIESADDED 20")])
    for key in ("x", "none"):
        one.done("RESTORE", key, 0, newest.done("DUMP", key)[1])
    one.many([["MULTI"], ["RESTORE", "y", 0, newest.done("DUMP", "x")[1]], ["XADD", "y", "8-1", "a", "b"], ["EXEC"]])
    for node in old:
        t.in_step(one, node)
    for node in old:
        t.alike(one, node)
        fields = OF_A_GROUP[:4] if node is old[0] else OF_A_GROUP
        t.same([standing(node, key, fields) for key in ("x", "none")], [standing(one, key, fields) for key in ("x", "none")], f"groups at {node}")
    t.same(counters(old[1], "x"), counters(one, "x"), "counters at 7.0")


@check(fast=True)
def stored_places(t: Trial) -> None:
    """What the searches for places store reaches replicas that know other units and shapes, and so does that they find nothing."""
    one, two = t.node(t.server), t.node(kind(PEERS["redis-6.2"]))
    if not t.server.ours:
        raise Skip("a real server sends what it was sent")
    two.follow(one)
    t.in_step(one, two)
    one.many([words.split() for words in ("GEOADD g 13.361389 38.115556 a 15.087269 37.502669 b", "GEORADIUS g 15 37 300 KM STORE far", "GEORADIUS g 15 37 300 km STOREDIST apart",
                                          "RPUSH gone 1", "GEORADIUS none 15 37 300 km STORE gone", "RPUSH gone2 1", "GEORADIUSBYMEMBER g a 1 M STORE one", "GEOSEARCHSTORE gone2 none FROMLONLAT 15 37 BYRADIUS 1 km",
                                          "GEOSEARCHSTORE box g FROMMEMBER a BYBOX 400 400 KM STOREDIST", "GEOSEARCHSTORE corners g BYPOLYGON 3 10 30 20 30 15 45")])
    t.in_step(one, two)
    t.same(sorted(item[1] for item in one.call("KEYS", "*")[1]), sorted(item[1] for item in two.call("KEYS", "*")[1]), "the keys of both")
    t.alike(one, two)


@check(fast=True)
def unknown_words(t: Trial) -> None:
    """A command that no replica of today knows costs it nothing else of the transaction that it was in."""
    t.needs(t.peer, t.server)
    one, two = pair(t)
    if not one.knows("XIDMPRECORD"):
        raise Skip("SERVER has none")
    one.many([words.split() for words in ("XADD s IDMP p one * a b", "XADD s IDMPAUTO p * a b", "MULTI", "SET k 1", "SELECT 3", "XADD s IDMP p one * a b", "SELECT 0", "XCFGSET s IDMP-DURATION 10",
                                          "INCR k", "EXEC", "XCFGSET s IDMP-MAXSIZE 10", "SET k2 1")])
    t.in_step(one, two)
    t.same([node.many([["GET", "k"], ["XLEN", "s"], ["SELECT", 3], ["XLEN", "s"]]) for node in (one, two)], [[("$", b"2"), (":", b"2"), ("+", b"OK"), (":", b"1")]] * 2, "what both have")
    t.alike(one, two)


@check()
def cannot_carry(t: Trial) -> None:
    """Hashes whose fields expire are refused to a replica that cannot hold them: in words, once, without a loop of full syncs."""
    if not t.server.ours or t.peer.family == "redis" and t.peer.version >= (7, 4):
        raise Skip("both can hold them")
    one, two = t.node(t.server), t.node(t.peer, replica_serve_stale_data="yes")
    if not one.knows("HEXPIRE"):
        raise Skip("SERVER has none")
    one.done("HSET", "h", "f", 1)
    one.done("HEXPIRE", "h", 1000, "FIELDS", 1, "f")
    two.done("SET", "old", 1)
    two.follow(one)
    time.sleep(5)
    t.expect(two.alive() and not two.linked(), f"{two}: alive {two.alive()}")
    t.same(two.call("GET", "old"), ("$", b"1"), f"old data of {two}")
    t.expect(one.syncs()[0] <= 1, f"{one.syncs()[0]} full syncs in five seconds")
    said = one.log.read_text(errors="replace").lower()
    t.expect("field" in said or "version" in said, f"the log says no reason: {one.tail(4)}")
    one.done("DEL", "h")
    one.done("SET", "k", 1)
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def old_replica(t: Trial) -> None:
    """A replica of 6.2 gets a snapshot that it reads, of every type; where functions cannot be carried it is refused in words, without a loop."""
    old = kind(PEERS["redis-6.2"])
    if not t.server.ours:
        raise Skip("asked of memkv alone")
    one, two = t.node(t.server), t.node(old)
    fill(one, f"{t.options.seed}", 160, [two])
    two.follow(one)
    t.in_step(one, two)
    t.alike(one, two)
    fill(one, f"{t.options.seed}+", 40, [two])
    t.in_step(one, two)
    t.alike(one, two)
    two.done("REPLICAOF", "NO", "ONE")
    one.done("FUNCTION", "LOAD", "#!lua name=a\nredis.register_function('f', function() return 1 end)")
    before = one.syncs()[0]
    two.follow(one)
    time.sleep(4)
    t.expect(two.alive() and not two.linked(), f"{two}: alive {two.alive()}, linked {two.linked()}")
    t.expect(one.syncs()[0] - before <= 1, f"{one.syncs()[0] - before} full syncs in four seconds")
    t.expect("functions are loaded here" in one.log.read_text(errors="replace"), f"the log says no reason: {one.tail(4)}")
    one.done("FUNCTION", "FLUSH")
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def talkative_replica(t: Trial) -> None:
    """A command that has a reply ends a replica's link, with the reason in the log; nothing comes before the answer to PSYNC."""
    one = t.node(t.server)
    for words, reasons in (([b"PING"], ["generated a reply to command 'ping'"]),
                           ([b"GET", b"k"], ["generated a reply to command 'get'", "Replica can't interact with the keyspace"])):
        connection = Connection(one.port)
        connection.send([b"PSYNC", b"?", b"-1"])
        t.same(connection.read()[1][1][:10], b"FULLRESYNC", "the first line")
        connection.send(words)
        wait_for("the replica is gone", lambda: one.info()["connected_slaves"] == "0", 10)
        log = one.log.read_text(errors="replace")
        for reason in reasons:
            t.expect(reason in log, f"the log does not say {reason!r}: {one.tail(4)}")
    t.same(one.call("PSYNC", "?", "x"), ("-", b"ERR value is not an integer or out of range"), "PSYNC with a wrong offset")
    t.expect("asks for synchronization but with a wrong offset" in one.log.read_text(errors="replace"), one.tail(4))


@check(fast=True)
def useless_file(t: Trial) -> None:
    """A full sync to a file ends when nobody waits for it any more, and every key of it is delayed that is to be, overwritten or not."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, repl_diskless_sync="no", rdb_key_save_delay=100_000), t.node(t.peer)
    one.many([["SET", f"k{n}", n] for n in range(600)])
    two.follow(one)
    wait_for("a snapshot is made", lambda: one.info("persistence")["rdb_bgsave_in_progress"] == "1", 10)
    one.many([["SET", f"k{n}", "x"] for n in range(600)])
    time.sleep(1.5)
    t.same(one.info("persistence")["rdb_bgsave_in_progress"], "1", "600 keys, a tenth of a second each, after less than two")
    two.done("REPLICAOF", "NO", "ONE")
    wait_for("the snapshot is given up", lambda: one.info("persistence")["rdb_bgsave_in_progress"] == "0", 15)


@check(fast=True)
def shutdown_waits(t: Trial) -> None:
    """SHUTDOWN waits for a replica that still waits for its full sync, and says so in INFO."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server, repl_diskless_sync_delay=2, shutdown_timeout=60), t.node(t.peer)
    two.follow(one)
    wait_for("the replica waits", lambda: "state=wait_bgsave" in one.info().get("slave0", ""), 10)
    one.done("SET", "k", 1)
    asked = Connection(one.port)
    asked.send([b"SHUTDOWN", b"NOSAVE"])
    wait_for("INFO tells until when", lambda: 0 < int(one.info("server").get("shutdown_in_milliseconds", 0)) <= 60_000, 10)
    t.same(one.process.wait(70), 0, "how it ends")
    t.same(two.call("GET", "k"), ("$", b"1"), "what the replica got at last")


@check(fast=True)
def due_keys(t: Trial) -> None:
    """A primary sends a DEL for what expires and for what it evicts; the replica follows in memory and in counts."""
    one, two = pair(t)
    one.many([["SET", f"k{n}", n, "PX", 50 + n] for n in range(300)])
    wait_for("all have expired", lambda: one.call("DBSIZE")[1] == b"0", 20)
    t.in_step(one, two)
    t.same(two.call("DBSIZE"), (":", b"0"), "DBSIZE of the replica")
    one.many([["SET", f"k{n}", "x" * 1000] for n in range(3000)])
    one.set("maxmemory-policy", "allkeys-random")
    used = int(one.info("memory")["used_memory"])
    one.set("maxmemory", used - 1_500_000)
    one.many([["SET", f"m{n}", "x" * 1000] for n in range(300)])
    wait_for("something is evicted", lambda: one.info("stats")["evicted_keys"] != "0")
    one.set("maxmemory", 0)
    t.in_step(one, two)
    t.alike(one, two)


@check()
def silent_replica(t: Trial) -> None:
    """A replica that answers nothing for repl-timeout is dropped, and comes back by itself."""
    one, two = pair(t, repl_timeout=3, repl_ping_replica_period=1)
    two.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("it is dropped", lambda: one.info()["connected_slaves"] == "0", 10)
    finally:
        two.process.send_signal(signal.SIGCONT)
    one.done("SET", "k", 1)
    wait_for("it is back", two.linked)
    t.in_step(one, two)
    t.same(one.syncs()[0], 1, "full syncs")


@check()
def slow_snapshot(t: Trial) -> None:
    """Writes go on while a snapshot is sent, keepalives come meanwhile, and INFO tells the replica's state."""
    t.needs(t.peer, t.server)
    # Valkey sends no keepalive in time and begins again.
    limit = 60 if t.server.family == "valkey" else 4
    one, two = t.node(t.server, repl_timeout=limit), t.node(t.peer, repl_timeout=limit)
    fill(one, f"{t.options.seed}", 160, [two])
    one.many([["SET", f"k{n}", n] for n in range(6000)])
    if one.call("CONFIG", "SET", "rdb-key-save-delay", 1000)[0] == "-":
        raise Skip("SERVER cannot save slowly")
    load = t.also(Load(one, f"{t.options.seed}", [one, two]))
    two.follow(one)
    seen, deadline = set(), time.monotonic() + 60
    while not two.linked() and time.monotonic() < deadline:
        seen |= set(re.findall(r"state=(\w+)", one.info().get("slave0", "")))
        time.sleep(0.05)
    # 8.2 has a state more, for its two channels.
    t.expect(seen - {"online"} and seen <= {"wait_bgsave", "send_bulk", "send_bulk_and_stream", "online"}, f"states seen: {seen}")
    t.same(one.syncs()[0], 1, "full syncs")
    commands = load.stop()
    t.expect(commands > 500, f"the load answered only {commands}")
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def redis_cli(t: Trial) -> None:
    """redis-cli --rdb fetches a snapshot that a real server loads; --functions-rdb and --replica work."""
    if t.server.family == "valkey":
        raise Skip("Debian's redis-cli does not understand what Valkey sends")
    one = t.node(t.server)
    fill(one, f"{t.options.seed}", 80, [], timed=False)
    # 6.2 loads no functions.
    two = t.node(t.peer if t.peer.follows(t.server) and t.peer.modern else t.server, start=False)
    file = two.directory / "dump.rdb"
    cli = ["redis-cli", "-p", str(one.port)]
    done = subprocess.run([*cli, "--rdb", str(file)], capture_output=True, text=True, timeout=TOOLS_S, stdin=subprocess.DEVNULL)
    t.need(done.returncode == 0 and file.exists(), f"--rdb: {done.stdout[-200:]}{done.stderr[-200:]}")
    two.start()
    t.alike(one, two)
    if t.server.modern:
        only = Path(t.home) / "functions.rdb"
        done = subprocess.run([*cli, "--functions-rdb", str(only)], capture_output=True, text=True, timeout=TOOLS_S, stdin=subprocess.DEVNULL)
        three = t.node(two.kind, start=False)
        if t.expect(done.returncode == 0 and only.exists(), f"--functions-rdb: {done.stderr[-200:]}"):
            shutil.copy(only, three.directory / "dump.rdb")
            three.start()
            t.same((functions(three), three.call("DBSIZE")), (functions(one), (":", b"0")), "--functions-rdb, loaded")
    watcher = subprocess.Popen([*cli, "--replica"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_for("--replica is attached", lambda: "slave0" in one.info())
        time.sleep(1)
        one.done("SET", "seen by the tool", 1)
        time.sleep(0.7)
    finally:
        watcher.terminate()
    said = watcher.communicate(timeout=10)[0].decode(errors="replace")
    t.expect('"seen by the tool"' in said, f"--replica: {said[-300:]}")
    t.expect(wait_for("the tool's link is gone", lambda: "slave0" not in one.info(), 10), "")


@check()
def backlog(t: Trial) -> None:
    """repl-backlog-size can be set while replicas are attached, and the fields of INFO tell what is kept."""
    one, two = pair(t, repl_backlog_size="32kb")
    one.many([["SET", f"k{n % 50}", "x" * 100] for n in range(3000)])
    t.in_step(one, two)
    info = one.info()
    t.same(info["repl_backlog_size"], "32768", "repl_backlog_size")
    t.expect(32768 <= int(info["repl_backlog_histlen"]) < 200_000, f"repl_backlog_histlen {info['repl_backlog_histlen']}")
    one.set("repl-backlog-size", 200_000)
    t.same(one.info()["repl_backlog_size"], "200000", "repl_backlog_size")
    one.many([["SET", f"k{n % 50}", "x" * 100] for n in range(500)])
    t.in_step(one, two)
    t.alike(one, two)


@check()
def many_keys(t: Trial) -> None:
    """A big snapshot under full load is sent once: no replica that is dropped and asks again."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server), t.node(t.peer)
    one.many([["MSET", *[word for n in range(at, at + 500) for word in (f"key:{n}", f"value:{n}")]] for at in range(0, 200_000, 500)])
    one.many([["ZADD", "zset", *[word for m in range(at, at + 1000) for word in (m, f"f{m}")]] for at in range(0, 50_000, 1000)])
    ending, counts = threading.Event(), []

    def press():
        connection, n = Connection(one.port), 0
        while not ending.is_set():
            n += 64
            connection.send_raw(b"".join(b"*3\r\n$3\r\nSET\r\n$10\r\nkey:%06d\r\n$100\r\n%s\r\n" % (m % 200_000, b"y" * 100) for m in range(n, n + 64)))
            for _ in range(64):
                connection.read()
        counts.append(n)
        connection.close()
    threads = [threading.Thread(target=press, daemon=True) for _ in range(2)]
    [thread.start() for thread in threads]
    two.follow(one)
    try:
        wait_for("the link is up", two.linked, 60)
        time.sleep(2)
    finally:
        ending.set()
        [thread.join(10) for thread in threads]
    t.in_step(one, two, 60)
    t.alike(one, two)
    t.same(one.syncs()[0], 1, "full syncs")
    t.notes.append(f"{sum(counts)} writes meanwhile")
