"""The way in: a real server is the primary, SERVER its replica."""

import random
import re
import threading
import time

from kit import PEERS, Node, Skip, Trial, check, kind, wait_for
from work import LIBRARY, Load, fill

INFO_OF_A_REPLICA = ["role", "master_host", "master_port", "master_link_status", "master_last_io_seconds_ago", "master_sync_in_progress", "slave_read_repl_offset",
                     "slave_repl_offset", "slave_priority", "slave_read_only", "replica_announced", "connected_slaves", "master_failover_state", "master_replid",
                     "master_replid2", "master_repl_offset", "second_repl_offset", "repl_backlog_active", "repl_backlog_size", "repl_backlog_first_byte_offset",
                     "repl_backlog_histlen"]
SINCE_7 = {"slave_read_repl_offset"}
NEWS = 200


def pair(t: Trial, keys: int = 160, primary: dict | None = None, **directives) -> tuple[Node, Node]:
    """A primary with data of every type, and SERVER beside it."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer, **(primary or {})), t.node(t.server, **directives)
    fill(one, f"{t.options.seed}", keys, [two])
    return one, two


def linked(t: Trial, **directives) -> tuple[Node, Node]:
    """A primary without data, and SERVER as its replica, in step."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server, **directives)
    two.follow(one)
    t.in_step(one, two)
    return one, two


def under_load(t: Trial, one: Node, two: Node, begin, seconds: float) -> None:
    """Works on the primary before, during and after the replica's sync; then both must be equal."""
    load = t.also(Load(one, f"{t.options.seed}", [one, two]))
    time.sleep(0.4)
    begin()
    wait_for(f"{two} has its link up", two.linked)
    time.sleep(seconds)
    commands = load.stop()
    t.need(commands > 100, f"the load answered only {commands}: {load.fault}")
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def live(t: Trial) -> None:
    """REPLICAOF on a running server under write load ends in equal data, offsets and ids."""
    one, two = pair(t)
    two.done("SET", "of its own", "which a full sync replaces")
    t.same(two.call("ROLE")[1][0], ("$", b"master"), "ROLE before")
    under_load(t, one, two, lambda: two.follow(one), 3)
    mine, theirs = two.info(), one.info()
    t.same((mine["role"], mine["master_host"], mine["master_port"], mine["master_link_status"]), ("slave", "127.0.0.1", str(one.port), "up"), "INFO")
    t.same(mine["master_replid"], theirs["master_replid"], "master_replid")
    absent = [name for name in INFO_OF_A_REPLICA if name not in mine and (t.server.modern or name not in SINCE_7)]
    t.expect(not absent, f"INFO replication has no {absent}")
    t.same(mine["slave_repl_offset"], mine["master_repl_offset"], "a replica's two offsets")
    role = two.call("ROLE")
    t.same([what for what, _ in role[1]], ["$", "$", ":", "$", ":"], "kinds in ROLE")
    t.same([word for _, word in role[1]][:4], [b"slave", b"127.0.0.1", b"%d" % one.port, b"connected"], "ROLE")
    t.same(two.call("EXISTS", "of its own"), (":", b"0"), "a key that the primary does not have")
    slave = theirs.get("slave0", "")
    t.expect(re.match(rf"ip=127.0.0.1,port={two.port},state=online,offset=\d+,lag=[012]\b", slave), f"the primary sees {slave!r}")
    t.same(two.call("REPLICAOF", "127.0.0.1", one.port), ("+", b"OK Already connected to specified master"), "REPLICAOF the same again")


@check()
def config(t: Trial) -> None:
    """`replicaof` in the configuration file, and each way of sending and loading, end in equal data under load."""
    t.needs(t.server, t.peer)
    for diskless in ("no", "yes"):
        for load in ("disabled", "on-empty-db", "swapdb"):
            one = t.node(t.peer, repl_diskless_sync=diskless)
            two = t.node(t.server, start=False, replicaof=f"127.0.0.1 {one.port}", repl_diskless_load=load)
            fill(one, f"{t.options.seed}", 80, [one])
            before = len(t.faults)
            two.start()
            under_load(t, one, two, lambda: None, 0.7)
            t.same(two.info()["role"], "slave", "role")
            if len(t.faults) > before:
                t.faults.append(f"with repl-diskless-sync {diskless}, repl-diskless-load {load}")
            one.kill()
            two.kill()


LOADING = ("-", b"LOADING Redis is loading the dataset in memory")
LOADING_TEXTS = (LOADING, ("-", b"LOADING Valkey is loading the dataset in memory"))
ENTRIES, SLOWLY_US = 1500, 2000


def slow_sync(t: Trial, load: str, old: int) -> tuple[Node, Node]:
    """A primary that takes three seconds for its snapshot, and the server that is to follow it, which holds `old` keys of its own."""
    one = t.node(t.peer, repl_diskless_sync_delay=0, repl_backlog_size=16384, rdbcompression="no")
    # A real server answers in the middle of a load now and then only.
    two = t.node(t.server, repl_diskless_load=load, loading_process_events_interval_bytes=1024, replica_read_only="no")
    one.many([["SET", f"k{n}", "x" * 500] for n in range(ENTRIES)])
    one.set("rdb-key-save-delay", SLOWLY_US)
    two.many([["SET", f"old{n}", n] for n in range(old)])
    return one, two


def loads(node: Node) -> tuple[str, str, str]:
    """What INFO tells of a load: `loading`, `async_loading`, `master_sync_in_progress`."""
    lasts, role = node.info("persistence"), node.info()
    return lasts["loading"], lasts["async_loading"], role.get("master_sync_in_progress", "0")


def breaks(one: Node, two: Node) -> None:
    """The primary drops the link in the middle, and does not begin again at once."""
    one.set("repl-diskless-sync-delay", 3)
    one.done("CLIENT", "KILL", "TYPE", "replica")
    wait_for("the load is over", lambda: loads(two)[:2] == ("0", "0"), 10)


def ends_well(t: Trial, one: Node, two: Node) -> None:
    one.set("rdb-key-save-delay", 0)
    t.in_step(one, two)
    t.alike(one, two)
    t.same(loads(two), ("0", "0", "0"), "loading, async_loading, master_sync_in_progress at the end")


@check()
def without_a_file(t: Trial) -> None:
    """`on-empty-db` and `flush-before-load` load what comes without a file, into an empty keyspace, which a transfer that breaks leaves empty."""
    t.needs(t.server, t.peer)
    if not t.peer.modern:
        raise Skip("6.2 cannot save slowly")
    ways = [("on-empty-db", 0, True), ("on-empty-db", 100, False), ("flush-before-load", 100, True), ("disabled", 0, False)]
    for load, old, direct in ways:
        if load == "flush-before-load" and not (t.server.ours or t.server.family == "valkey"):
            continue
        one, two = slow_sync(t, load, old)
        two.follow(one)
        case = f"{load} over {old} keys"
        wait_for(f"{case}: the transfer goes on", lambda: max(int(two.info().get("master_sync_read_bytes", 0)), int(two.info("persistence").get("loading_loaded_bytes", 0))) > 50_000, 10)
        t.same(loads(two), ("1" if direct else "0", "0", "1"), f"{case}: loading, async_loading, master_sync_in_progress")
        info = two.info()
        t.same(info["master_sync_total_bytes"], "0", f"{case}: bytes of a snapshot of unknown length")
        t.same(int(info["master_sync_left_bytes"]), -int(info["master_sync_read_bytes"]), f"{case}: master_sync_left_bytes")
        t.expect(two.call("GET", "old7") in LOADING_TEXTS if direct else two.call("GET", "old7") in (("$", b"7"), ("$", None)), f"{case}: GET says {two.call('GET', 'old7')}")
        files = [path.name for path in two.directory.glob("*.rdb")]
        t.expect(bool(files) != direct, f"{case}: files {files}")
        if direct:
            t.expect(two.call("REPLICAOF", "NO", "ONE") in LOADING_TEXTS, f"{case}: REPLICAOF meanwhile")
            t.expect(int(two.info("persistence")["loading_loaded_bytes"]) > 0, f"{case}: loading_loaded_bytes")
        breaks(one, two)
        t.same(int(two.call("DBSIZE")[1]), 0 if direct else old, f"{case}: keys when the transfer broke")
        ends_well(t, one, two)
        one.kill()
        two.kill()


@check()
def log_of_a_broken_load(t: Trial) -> None:
    """A replica that is promoted after a broken load has its log: what is written from then on survives kill -9."""
    t.needs(t.server, t.peer)
    if not t.peer.modern:
        raise Skip("6.2 cannot save slowly")
    one = t.node(t.peer, repl_diskless_sync_delay=0, rdbcompression="no")
    two = t.node(t.server, repl_diskless_load="on-empty-db", loading_process_events_interval_bytes=1024, appendonly="yes", appendfsync="always")
    one.many([["SET", f"k{n}", "x" * 500] for n in range(ENTRIES)])
    one.set("rdb-key-save-delay", SLOWLY_US)
    two.follow(one)
    wait_for("the load goes on", lambda: loads(two) == ("1", "0", "1"), 10)
    breaks(one, two)
    two.done("REPLICAOF", "NO", "ONE")
    two.done("SET", "survivor", 1)

    def is_begun() -> bool:
        info = two.info("persistence")
        return (info["aof_enabled"], info["aof_rewrite_in_progress"], info["aof_rewrite_scheduled"]) == ("1", "0", "0")
    wait_for("the log is begun", is_begun, 10)
    two.done("SET", "survivor", 2)
    two.kill()
    two.start()
    t.same((two.call("GET", "survivor"), two.call("DBSIZE")), (("$", b"2"), (":", b"1")), "what the log has")


@check()
def beside_the_data(t: Trial) -> None:
    """`swapdb` loads beside the data: it is served meanwhile if it is of the same history, stays if the transfer breaks, and goes in one moment."""
    t.needs(t.server, t.peer)
    if not t.peer.modern:
        raise Skip("6.2 cannot save slowly")
    one, two = slow_sync(t, "swapdb", 100)
    two.many([["SELECT", 3], ["SET", "elsewhere", 1]])
    two.follow(one)
    wait_for("the load goes on", lambda: loads(two) == ("1", "0", "1"), 10)
    t.expect(two.call("GET", "old7") in LOADING_TEXTS, f"GET of another history says {two.call('GET', 'old7')}")
    breaks(one, two)
    t.same((two.call("DBSIZE"), two.call("GET", "old7"), two.many([["SELECT", 3], ["GET", "elsewhere"]])[1]), ((":", b"100"), ("$", b"7"), ("$", b"1")), "the old data when the transfer broke")
    ends_well(t, one, two)
    # Again in the same history: what the backlog no longer holds. The link is cut under a transaction, so that it comes back to that.
    two.many([["SET", "mine", 1], ["SET", "counted", 0], ["SADD", "set", *range(200)], ["SELECT", 3], ["SET", "elsewhere", 1]])
    one.set("rdb-key-save-delay", SLOWLY_US)
    for n, ends in enumerate((False, True)):
        one.many([["MULTI"], ["CLIENT", "KILL", "TYPE", "replica"], *[["SET", f"big{m}", f"{n}" * 16384] for m in range(40)], ["SET", "version", n], ["EXEC"]])
        wait_for("the load goes on beside the data", lambda: loads(two) == ("0", "1", "1"), 10)
        t.same((two.call("GET", "mine"), two.call("EXISTS", "version"), two.call("SCARD", "set")), (("$", b"1"), (":", b"0"), (":", b"200")), "the old data meanwhile")
        t.same(two.many([["SELECT", 3], ["KEYS", "*"], ["SELECT", 0], ["INCR", "counted"]])[1:], [("*", [("$", b"elsewhere")]), ("+", b"OK"), (":", b"%d" % (n + 1))], "other databases, and writes")
        for words in ("REPLICAOF NO ONE", "CONFIG SET appendonly yes", "BGSAVE", "SAVE", "BGREWRITEAOF"):
            t.expect(two.call(*words.split()) in LOADING_TEXTS or two.call(*words.split())[1].endswith(LOADING[1][8:]), f"{words} meanwhile says {two.call(*words.split())}")
        t.same(int(two.call("DBSIZE")[1]), ENTRIES + 3 , "DBSIZE meanwhile") if n == 0 else None
        t.same(loads(two), ("0", "1", "1"), "still")
        if not ends:
            breaks(one, two)
            t.same((two.call("GET", "mine"), two.call("EXISTS", "version"), two.call("GET", "counted")), (("$", b"1"), (":", b"0"), ("$", b"1")), "the old data when the transfer broke")
            one.set("repl-diskless-sync-delay", 0)
    watcher = two.open()
    seen = set()
    deadline = time.monotonic() + 30
    while not two.linked() and time.monotonic() < deadline:
        # Either data set, never a mixture or nothing.
        said = [watcher.call("MULTI"), watcher.call("EXISTS", "mine"), watcher.call("EXISTS", "version"), watcher.call("EXISTS", "k7"), watcher.call("EXEC")][-1]
        seen.add(tuple(item[1] for item in said[1]) if said[0] == "*" else said[1])
    t.expect(seen <= {(b"1", b"0", b"1"), (b"0", b"1", b"1")}, f"seen in the middle: {seen}")
    ends_well(t, one, two)
    t.same(two.many([["SELECT", 3], ["DBSIZE"]])[1], (":", b"0"), "the other database at the end")


@check(fast=True)
def texts(t: Trial) -> None:
    """A replica refuses and answers in the words that a real replica uses."""
    one, two = pair(t, 30)
    reference = kind(PEERS["redis-7.0"])
    three = t.node(reference if reference.follows(t.peer) else t.peer)
    for node in (two, three):
        node.follow(one)
        t.in_step(one, node)
    for words in ("SET k v", "GET number", "FLUSHALL", "SPOP numbers", "BLPOP list:1 0", "XADD stream * a b", "PFADD hll 9", "PUBLISH news x",
                  "WAIT 0 10", "WAIT 1 10", "EVAL return(redis.call('SET','k','v')) 0", "EVAL return(redis.call('GET','number')) 0", "EVAL return(redis.pcall('DEL','number')) 0",
                  "EVAL_RO return(redis.call('GET','number')) 0", "FCALL r1 1 number", "FCALL f1 2 number l x", "FCALL_RO r1 1 number", "FUNCTION FLUSH", "FUNCTION DELETE lib1",
                  "SORT numbers LIMIT 0 3", "SORT numbers STORE x", "GETEX number", "GETEX number PX 100", "EXPIRE number 100", "MOVE number 1", "SWAPDB 0 1", "RESTORE x 0 abc",
                  "GETDEL number", "GETSET number 2", "LMPOP 1 list:1 LEFT", "MULTI", "SET k v", "GET number", "EXEC", "MULTI", "GET number", "TYPE number", "EXEC",
                  "REPLICAOF", "REPLICAOF NO", "REPLICAOF a b c", "REPLICAOF 127.0.0.1 abc", "REPLICAOF 127.0.0.1 70000", "REPLICAOF 127.0.0.1 -1", "SLAVEOF 127.0.0.1 abc", "ROLE x",
                  "FAILOVER", "FAILOVER ABORT", "FAILOVER TO 127.0.0.1", "FAILOVER TIMEOUT x", "FAILOVER NOSUCH", "FAILOVER TO 127.0.0.1 1 FORCE", "FAILOVER TO 127.0.0.1 x", "FAILOVER FORCE",
                  "FAILOVER TIMEOUT -1", "FAILOVER TIMEOUT 0", "REPLCONF", "REPLCONF a", "REPLCONF listening-port x", "REPLCONF nosuch 1", "REPLCONF ACK x"):
        # As many arguments as words: scripts are written without spaces.
        argv = words.split()
        ours, theirs = two.call(*argv) if argv[:2] != ["REPLCONF", "ACK"] else None, three.call(*argv) if argv[:2] != ["REPLCONF", "ACK"] else None
        if argv[0] in ("FLUSHALL", "FUNCTION", "SORT") or not (t.server.modern and three.kind.modern):
            ours, theirs = str(ours)[:60], str(theirs)[:60]
        if reference != three.kind or t.server.version >= (7, 2):
            # Newer servers' words are longer; what remains is whether it is refused.
            ours, theirs = ours and ours[0], theirs and theirs[0]
        t.expect(_shortened(ours) == _shortened(theirs), f"{words}: {three} says {theirs}, {two} {ours}")
    t.in_step(one, two)
    t.alike(one, two)


def _shortened(said) -> str:
    """A reply without a script's name and line, which are digests of its text."""
    return re.sub(r"script: \w+|:\d+:|seen-time.*", "", str(said))


@check(fast=True)
def expiry(t: Trial) -> None:
    """A replica shows no key whose time has come, and keeps it until the primary's DEL."""
    one, two = linked(t)
    one.done("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    for n in range(20):
        one.done("SET", f"k{n}", n, "PX", 300)
        one.done("SET", f"stay{n}", n)
    one.done("HSET", "hash", "f", 1)
    one.done("PEXPIRE", "hash", 300)
    t.in_step(one, two)
    t.same(two.call("GET", "k1"), ("$", b"1"), "before the time")
    time.sleep(0.5)
    for words, want in {"GET k1": ("$", None), "EXISTS k1": (":", b"0"), "TTL k1": (":", b"-2"), "PTTL k1": (":", b"-2"), "TYPE k1": ("+", b"none"), "STRLEN k1": (":", b"0"),
                        "HGET hash f": ("$", None), "HLEN hash": (":", b"0"), "OBJECT ENCODING k1": ("$", None), "TOUCH k1": (":", b"0"), "MGET k1 k2": ("*", [("$", None)] * 2),
                        "DUMP k1": ("$", None), "GETRANGE k1 0 -1": ("$", b"")}.items():
        t.same(two.call(*words.split()), want, f"{words} after the time")
    t.same(len(two.call("KEYS", "k*")[1]), 0, "KEYS after the time")
    t.same(two.call("EVAL", "return redis.call('EXISTS', KEYS[1])", 1, "k3"), (":", b"0"), "EXISTS in a script")
    t.expect(all(two.call("RANDOMKEY")[1].startswith(b"stay") for _ in range(30)), "RANDOMKEY shows a key whose time has come")
    t.same(int(two.call("DBSIZE")[1]), 41, "DBSIZE, which counts what is still held")
    t.same(two.info("stats")["expired_keys"], "0", "expired_keys of a replica")
    for n in range(20):
        one.call("GET", f"k{n}")
    one.call("HGET", "hash", "f")
    t.in_step(one, two)
    t.same(int(two.call("DBSIZE")[1]), 20, "DBSIZE after the primary's DELs")
    # What the primary does to a key that the replica thinks expired is done.
    one.done("SET", "n", 1, "PX", 5_000)
    one.done("PEXPIRE", "n", 200)
    time.sleep(0.4)
    one.done("INCR", "n")
    one.done("INCR", "n")
    t.in_step(one, two)
    t.same((two.call("GET", "n"), two.call("TTL", "n")), (("$", b"2"), (":", b"-1")), "a counter that began again")
    t.alike(one, two)


@check()
def expired_in_snapshot(t: Trial) -> None:
    """A key that is past its time in the primary's snapshot is kept by the replica until the primary's DEL."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server)
    one.done("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    for n in range(10):
        one.done("SET", f"k{n}", n, "PX", 1)
    time.sleep(0.05)
    two.follow(one)
    t.in_step(one, two)
    t.same((two.call("DBSIZE"), two.call("EXISTS", "k1"), one.call("DBSIZE")), ((":", b"10"), (":", b"0"), (":", b"10")), "DBSIZE and EXISTS")
    one.done("DEBUG", "SET-ACTIVE-EXPIRE", 1)
    wait_for("the DELs have come", lambda: two.call("DBSIZE")[1] == b"0")
    t.in_step(one, two)


@check(fast=True)
def effects(t: Trial) -> None:
    """What was random, relative or waited for at the primary is the same at the replica, in every database."""
    one, two = linked(t)
    for words in ("SADD s 1 2 3 4 5 6 7 8 9 a b c", "SPOP s", "SPOP s 3", "SPOP s 100", "SADD s x", "INCRBYFLOAT f 0.1", "INCRBYFLOAT f 0.2", "HINCRBYFLOAT h f 1e-5", "SET e x EX 1000",
                  "SETEX g 100 y", "EXPIRE e 50", "GETEX e PX 900000", "PEXPIREAT g 99999999999999", "XADD x * a b", "XADD x * c d", "XGROUP CREATE x g 0", "XREADGROUP GROUP g c STREAMS x >",
                  "XADD x NOMKSTREAM MAXLEN ~ 1 * e f", "SELECT 5", "SET in5 x", "MULTI", "SET m 1", "SELECT 7", "SPOP nosuch", "INCR m", "EXEC", "SET in7 x", "SWAPDB 5 7", "SELECT 0", "MOVE f 9",
                  "ZADD z 1 a 2 b", "ZPOPMIN z", "ZADD z INCR 1.5 b", "PFADD p a b c", "PFCOUNT p", "PFMERGE q p", "SORT x2 STORE y2", "SETRANGE str 5 abc", "GEOADD geo 1 2 a",
                  "GEOSEARCHSTORE geo2 geo FROMMEMBER a BYRADIUS 10 km", "RPUSH l 1 2 3", "LMOVE l l2 LEFT RIGHT", "COPY l l3", "RENAME l3 l4", "SET lazy 1", "UNLINK lazy"):
        one.call(*words.split())
    one.done("EVAL", "redis.call('SELECT', 3) redis.call('SET', 'a', math.random()) redis.call('SPOP', KEYS[1]) return redis.call('SET', 'time', redis.call('TIME')[2])", 1, "s")
    one.done("SET", "after", "a script that selected another database")
    # A pop that waits is served by a push, and a chain of them by one.
    waiters = []
    for words in (("BLPOP", "w1", 5), ("BRPOPLPUSH", "w2", "w3", 5), ("BLMOVE", "w3", "w4", "LEFT", "RIGHT", 5), ("BZPOPMIN", "w5", 5), ("BLPOP", "w4", 5)):
        connection = one.open()
        connection.send([str(word).encode() for word in words])
        waiters.append(connection)
    time.sleep(0.2)
    for words in (("RPUSH", "w1", "a", "b"), ("RPUSH", "w2", "c", "d"), ("ZADD", "w5", 1, "m", 2, "n"), ("MULTI",), ("RPUSH", "w4", "e"), ("LPUSH", "w2", "f"), ("EXEC",)):
        one.call(*words)
    for connection in waiters:
        t.expect(connection.read(3)[1][0] != "silent", "a waiter was not served")
        connection.close()
    t.in_step(one, two)
    t.alike(one, two)


@check(fast=True)
def atomic(t: Trial) -> None:
    """A reader of the replica never sees half of a transaction or of a script."""
    one, two = linked(t)
    broken, ending = [], threading.Event()

    def look():
        reader = two.open()
        while not ending.is_set():
            said = reader.call("MGET", "a", "b", "c")[1]
            if len({item[1] for item in said}) != 1:
                broken.append(said)
        reader.close()
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    for n in range(800):
        if n % 2:
            one.many([["MULTI"], ["SET", "a", n], ["SET", "b", n], ["SET", "c", n], ["EXEC"]])
        else:
            one.done("EVAL", "for _, k in ipairs(KEYS) do redis.call('SET', k, ARGV[1]) end", 3, "a", "b", "c", n)
    t.in_step(one, two)
    ending.set()
    thread.join()
    t.expect(not broken, f"{len(broken)} reads saw halves: {broken[:2]}")
    t.alike(one, two)


@check(fast=True)
def messages(t: Trial) -> None:
    """What is published at the primary reaches the replica's subscribers, and so do events of keys."""
    one, two = linked(t)
    listener, patterns, events = two.open(), two.open(), two.open()
    two.set("notify-keyspace-events", "KEA")
    listener.call("SUBSCRIBE", "news")
    patterns.call("PSUBSCRIBE", "n*")
    events.call("PSUBSCRIBE", "__key*__:*")
    for n in range(NEWS):
        one.done("PUBLISH", "news", f"m{n}")
    t.same([listener.read()[1][1][2][1] for _ in range(NEWS)], [b"m%d" % n for n in range(NEWS)], "messages")
    t.same([patterns.read()[1][1][3][1] for _ in range(NEWS)], [b"m%d" % n for n in range(NEWS)], "messages by pattern")
    if t.server.modern and t.peer.modern:
        sharded = two.open()
        sharded.call("SSUBSCRIBE", "shard")
        one.done("SPUBLISH", "shard", "hello")
        said = sharded.read(3)[1]
        t.expect(said[0] == "*" and said[1][-1] == ("$", b"hello"), f"a sharded message: {said}")
    one.done("MULTI")
    one.done("PUBLISH", "news", "in a transaction")
    one.done("EXEC")
    t.same(listener.read(3)[1][1][-1], ("$", b"in a transaction"), "a message in a transaction")
    one.done("RPUSH", "k", 1)
    t.same([[item[1] for item in events.read(3)[1][1]][3] for _ in range(2)], [b"rpush", b"k"], "events at the replica")
    t.same(two.call("PUBLISH", "news", "local"), (":", b"2"), "PUBLISH at the replica counts its own subscribers")
    t.in_step(one, two)


@check(fast=True)
def waiters(t: Trial) -> None:
    """A client that waits at the replica for a stream is woken by the primary's entry; WATCH and tracking see the link's writes."""
    one, two = linked(t)
    waiter, watcher, tracker = two.open(), two.open(), two.open()
    waiter.send([b"XREAD", b"BLOCK", b"5000", b"STREAMS", b"x", b"$"])
    one.done("SET", "k", 1)
    t.in_step(one, two)
    watcher.call("WATCH", "k")
    tracker.call("HELLO", 3)
    tracker.call("CLIENT", "TRACKING", "ON")
    tracker.call("GET", "k")
    time.sleep(0.2)
    one.done("XADD", "x", "1-1", "a", "b")
    t.expect("1-1" in str(waiter.read(3)[1]), "XREAD BLOCK is not woken")
    one.done("SET", "k", 2)
    t.in_step(one, two)
    t.same(tracker.read(3)[1], (">", [("$", b"invalidate"), ("*", [("$", b"k")])]), "tracking")
    watcher.call("MULTI")
    watcher.call("GET", "k")
    t.same(watcher.call("EXEC"), ("*", None), "EXEC after the link changed a watched key")


@check(fast=True)
def functions(t: Trial) -> None:
    """Libraries come with the snapshot and with the stream, and go as well."""
    if not (t.server.modern and t.peer.modern):
        raise Skip("6.2 has no functions")
    one, two = pair(t, 20)
    two.done("FUNCTION", "LOAD", "#!lua name=own\nredis.register_function('own', function() return 1 end)")
    two.follow(one)
    t.in_step(one, two)
    t.same(two.call("FCALL_RO", "r1", 1, "number"), ("$", b"12345"), "a function of the snapshot")
    t.expect(two.call("FCALL", "own", 0)[0] == "-", "a library of the replica's own outlives the sync")
    dump = one.call("FUNCTION", "DUMP")[1]
    # Valkey 9 gives its dumps a version of its own, which a replica of Redis does not read in the stream either.
    again = ["LOAD", "REPLACE", LIBRARY % (0, 0, 0)] if t.peer.family == "valkey" and t.server.family == "redis" else ["RESTORE", dump, "REPLACE"]
    for words in (["DELETE", "lib1"], ["FLUSH"], again, *[["LOAD", "REPLACE", LIBRARY % (n, n, n)] for n in (1, 2)], ["DELETE", "lib0"]):
        one.done("FUNCTION", *words)
    one.done("FCALL", "f2", 2, "k", "l", "v")
    t.in_step(one, two)
    t.alike(one, two)
    t.same(len(two.call("FUNCTION", "LIST")[1]), 2, "libraries")


@check(fast=True)
def turns(t: Trial) -> None:
    """REPLICAOF another primary, NO ONE and back: the data is always the primary's; CLIENT LIST shows the link."""
    one, two = linked(t)
    other = t.node(t.peer)
    one.done("SET", "where", "one")
    other.done("SET", "where", "other")
    t.in_step(one, two)
    t.same(two.call("GET", "where")[1], b"one", "with the first")
    said = two.call("CLIENT", "LIST", "TYPE", "master")[1].decode()
    t.expect("flags=M" in said and f":{one.port}" in said, f"CLIENT LIST TYPE master: {said!r}")
    said = one.call("CLIENT", "LIST", "TYPE", "replica")[1].decode()
    t.expect("flags=S" in said, f"CLIENT LIST TYPE replica: {said!r}")
    for at in (other, one):
        two.follow(at)
        t.in_step(at, two)
        t.alike(at, two)
    t.same(two.call("SLAVEOF", "NO", "ONE"), ("+", b"OK"), "SLAVEOF NO ONE")
    t.same(two.role(), "master", "ROLE")
    t.same(two.call("GET", "where")[1], b"one", "data after NO ONE")
    two.done("SET", "mine", 1)
    t.same(two.call("REPLICAOF", "NO", "ONE"), ("+", b"OK"), "NO ONE again")
    two.done("MULTI")
    two.done("REPLICAOF", "127.0.0.1", other.port)
    two.done("EXEC")
    t.in_step(other, two)
    t.alike(other, two)
    # Nobody listens there: the link is down, the data stays, the old link does not.
    two.done("REPLICAOF", "127.0.0.1", 1)
    time.sleep(1.2)
    t.same((two.info()["master_link_status"], two.call("GET", "where")[1]), ("down", b"other"), "with a primary that is not there")
    t.expect(int(two.info()["master_link_down_since_seconds"]) >= -1, "master_link_down_since_seconds")
    t.same(two.call("CLIENT", "LIST", "TYPE", "MASTER")[1], b"", "primaries in CLIENT LIST, after four that were left")
    t.expect(two.call("ROLE")[1][3][1] in (b"connect", b"connecting"), f"ROLE: {two.call('ROLE')}")


@check()
def many_keys(t: Trial) -> None:
    """A snapshot of many keys and big values, under load, while the replica's old data is read."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer), t.node(t.server, repl_diskless_load="swapdb")
    one.many([["MSET", *[word for n in range(at, at + 500) for word in (f"key:{n}", f"value:{n}")]] for at in range(0, 150_000, 500)])
    for n in range(4):
        one.many([["HSET", f"hash:{n}", *[word for m in range(at, at + 1000) for word in (f"f{m}", m)]] for at in range(0, 40_000, 1000)])
        one.many([["ZADD", f"zset:{n}", *[word for m in range(at, at + 1000) for word in (m, f"f{m}")]] for at in range(0, 40_000, 1000)])
        one.done("SET", f"blob:{n}", random.Random(n).randbytes(8 << 20))
    two.done("SET", "key:1", "old")
    under_load(t, one, two, lambda: two.follow(one), 1)


@check()
def interrupted_by_no_one(t: Trial) -> None:
    """REPLICAOF NO ONE in the middle of a full sync leaves a primary that works."""
    t.needs(t.server, t.peer)
    one, two = t.node(t.peer, rdb_key_save_delay=300) if t.peer.modern else t.node(t.peer), t.node(t.server)
    fill(one, f"{t.options.seed}", 300, [two])

    def not_while_loading(said: tuple):
        return None if said[1].startswith(b"LOADING") else said
    for pause in (0.02, 0.1, 0.3):
        two.follow(one)
        time.sleep(pause)
        # A replica that has come so far that it loads the file refuses a change of role meanwhile, as Redis does.
        said = wait_for("NO ONE is taken", lambda: not_while_loading(two.call("REPLICAOF", "NO", "ONE")))
        t.same(said, ("+", b"OK"), "NO ONE")
        t.same(two.call("SET", "k", "v"), ("+", b"OK"), "SET after it")
        t.same(two.role(), "master", "ROLE after it")
    two.follow(one)
    t.in_step(one, two)
    t.alike(one, two)
