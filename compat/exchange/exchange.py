#!/usr/bin/env python3
"""Values and files go to real servers and come back: everyone must hold the same data afterwards.

  exchange.py --server PATH [--peers 7.0,8.2,valkey] [--seed 1] [--keys 120] [--damaged 3000]
              [--only values,migrations,snapshots,uses,logs,assets,damage,files]

values     DUMP here, RESTORE there, both ways, for every type and encoding: equal DEBUG DIGEST-VALUE and deadlines
migrations MIGRATE here, there both ways, in batches, also over a database and a password: the same, and nothing left
snapshots  SAVE here, loaded there, both ways: equal contents; redis-check-rdb accepts ours
uses       idle times and frequencies in a snapshot, both ways, and what RESTORE says of them
logs       an appendonlydir, rewritten and then grown, both ways, with and without RDB preamble; redis-check-aof
assets     the old files of Redis's own suite load, or are refused, as 7.0.15 does
damage     payloads with bytes changed under a right checksum: an answer, never a crash; what is accepted is sound
files      whole RDB files of everyone with bytes changed, under a right checksum and not: loaded or refused, in bounded
           time and memory, and the server goes on
Hashes whose fields expire go only to those who have them; Valkey reads no other server's. Prints each failure and `N passed, N failed`.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import payload  # noqa: E402
from harness.resp import EOF, SILENT, Connection  # noqa: E402
from harness.server import PEERS, WORK, Server  # noqa: E402
from values import DATABASES, done, fill  # noqa: E402

ASSETS = WORK / "redis-src" / "redis-7.0.15" / "tests" / "assets"
ASSETS_WITH = "7.0"
# What the files of the suite hold beyond values: modules, functions; a server may not know them yet.
NOT_VALUES = (b"is not supported", b"cannot load")
REWRITE_MAX_S = 60
# Its hashes with deadlines are of a form of its own, the only one it reads.
FOREIGN = "valkey"
NOT_LOADED = ("-", b"ERR Error trying to load the RDB dump, check server logs")
# The damaged files have some ten thousand bytes.
RESIDENT_MAX = 256 << 20
STARTS = 30
BATCH = 7  # keys in one MIGRATE
TRANSIT_MAX_MS = 5000
# Of a stream, what not all servers' files have (7.0's no time of activity) or know as well (nor the lag).
UNEVEN = (b"active-time", b"lag")
# And what no log has: when a consumer asked last, and what is pending of entries that are gone; 7.0's not what was read.
UNLOGGED = (*UNEVEN, b"seen-time", b"pel-count", b"pending", b"entries-read")
REFUSED = b"ERR Bad data format"
FAILURES_TOLD = 40
# Debug commands are closed by default since 7.0.
OPEN = {"enable-debug-command": "yes"}
READS = {
    b"string": ["GET"], b"list": ["LRANGE 0 -1", "LINDEX -1", "LPOS x"], b"hash": ["HGETALL", "HLEN", "HGET f1", "HRANDFIELD 3", "HSCAN 0"],
    b"set": ["SMEMBERS", "SCARD", "SISMEMBER 1", "SRANDMEMBER 3", "SSCAN 0"],
    b"zset": ["ZRANGE 0 -1 WITHSCORES", "ZRANK m1", "ZCOUNT -inf +inf", "ZRANGEBYSCORE 1 5", "ZSCAN 0"],
    b"stream": ["XRANGE - +", "XREVRANGE + -", "XLEN", "XPENDING g", "XPENDING g - + 100"],
}
WRITES = {
    b"string": ["APPEND x", "SETRANGE 3 y"], b"list": ["RPUSH x", "LINSERT BEFORE x y", "LSET 0 z", "LREM 0 x", "LPOP", "RPOP"],
    b"hash": ["HSET f1 1", "HINCRBY new 5", "HDEL f1 f2 f3"], b"set": ["SADD x 1", "SREM x 1 2", "SPOP"],
    b"zset": ["ZADD 1 m1", "ZINCRBY 2 m2", "ZREM m1", "ZPOPMIN", "ZREMRANGEBYRANK 0 1"],
    b"stream": ["XADD * f v", "XDEL 1-1 2-0", "XAUTOCLAIM g c 0 0", "XACK g 1-2 2-2", "XTRIM MAXLEN 3", "XTRIM MINID 9"],
}


class Party:
    """A server that takes part."""

    def __init__(self, name: str, home: Path, directives: dict[str, str] | None = None):
        self.name = name
        self.directory = home / f"{Path(name).name}-{len(list(home.iterdir()))}"
        self.directory.mkdir()
        self.server = Server(name, {**OPEN, **(directives or {})}, self.directory)

    def start(self) -> "Party":
        self.server.start()
        self.connection = Connection(self.server.port)
        while (tree := self.connection.call("PING"))[0] == "-" and tree[1].startswith(b"LOADING"):
            time.sleep(0.01)
        self.timed = self.call("COMMAND", "INFO", "HPEXPIRE")[1][0][1] is not None  # its hashes' fields can expire
        return self

    def call(self, *words) -> tuple:
        return self.connection.call(*words)

    def value(self, key: bytes, logged: bool = False) -> tuple:
        """A key's value, its deadline and its fields' deadlines, in a form that is equal wherever they are."""
        kind = self.call("TYPE", key)[1]
        if kind == b"zset":
            # 8.2 prints other digits than 7.0 for one score, in a digest too.
            flat = [item[1] for item in self.call("ZRANGE", key, 0, -1, "WITHSCORES")[1]]
            what = tuple(zip(flat[::2], map(float, flat[1::2])))
        elif key.startswith(b"timed"):
            # Servers digest the times in ways of their own.
            flat = [item[1] for item in self.call("HGETALL", key)[1]]
            what = tuple(sorted(zip(flat[::2], flat[1::2])))
        else:
            what = self.call("DEBUG", "DIGEST-VALUE", key)[1][0][1]
        if kind == b"stream":
            what = (what, self.groups(key, UNLOGGED if logged else UNEVEN))
        fields = sorted(item[1] for item in self.call("HKEYS", key)[1]) if key.startswith(b"timed") else []
        times = self.call("HPEXPIRETIME", key, "FIELDS", len(fields), *fields) if fields else None
        return kind, what, self.call("PEXPIRETIME", key), times

    def groups(self, key: bytes, left_out: tuple[bytes, ...]) -> str:
        """What DEBUG DIGEST leaves out of a stream: its counters, its groups, who has what pending since when."""
        about = self.call("XINFO", "STREAM", key, "FULL", "COUNT", 0)[1]
        return repr(plain(("*", about), (b"entries", b"radix-tree-keys", b"radix-tree-nodes", *left_out)))

    def contents(self, logged: bool = False) -> dict[tuple, tuple]:
        """Everything: (database, key) -> value."""
        out = {}
        for database in DATABASES:
            self.call("SELECT", database)
            out |= {(database, item[1]): self.value(item[1], logged) for item in self.call("KEYS", "*")[1]}
        self.call("SELECT", 0)
        return out

    def stop(self) -> None:
        self.connection.close()
        self.server.stop()


def plain(tree: tuple, left_out: tuple[bytes, ...]):
    """A tree without kinds, and without some names and what stands behind them."""
    kind, payload = tree
    if not isinstance(payload, list):
        return payload
    items = [plain(item, left_out) for item in payload]
    for name in left_out:
        if name in items:
            at = items.index(name)
            del items[at:at + 2]
    return items


class Exchange:
    """The checks and their count."""

    def __init__(self, options: argparse.Namespace, home: Path):
        self.options, self.home = options, home
        self.passed = self.failed = 0

    def check(self, good: bool, story: str) -> bool:
        self.passed += good
        self.failed += not good
        if not good and self.failed <= FAILURES_TOLD:
            print(f"    {story}", flush=True)
        return good

    def same(self, one: dict, two: dict, where: str) -> None:
        other = [f"{database}/{key.decode()}" for database, key in sorted(one.keys() | two.keys()) if one.get((database, key)) != two.get((database, key))]
        self.check(not other, f"{where}: {len(other)} keys differ: {', '.join(other[:8])}")

    def pairs(self, directives: dict[str, str] | None = None):
        """(from, to), both ways with each peer; both fresh, the first with data that both can hold."""
        for peer in self.options.peers:
            for there in (True, False):
                mine, theirs = (Party(name, self.home, directives).start() for name in (self.options.server, peer))
                one, two = (mine, theirs) if there else (theirs, mine)
                self.both_timed = mine.timed and theirs.timed and not (there and peer == FOREIGN)
                # A low threshold makes lists of every form at once, where a server has that switch.
                one.call("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "5000b")
                fill(one.connection, f"{self.options.seed}:{peer}:{there}", self.options.keys, self.both_timed)
                yield one, two
                one.stop()
                two.stop()

    def values(self) -> None:
        for one, two in self.pairs():
            for compression in ("yes", "no"):
                done(one.connection, "CONFIG", "SET", "rdbcompression", compression)
                done(two.connection, "FLUSHALL")
                for key in sorted(item[1] for item in one.call("KEYS", "*")[1]):
                    self.value(one, two, key)

    def value(self, one: Party, two: Party, key: bytes) -> None:
        life = max(int(one.call("PEXPIRETIME", key)[1]), 0)
        said = two.call("RESTORE", key, life, one.call("DUMP", key)[1], "ABSTTL")
        where = f"{key.decode()} from {one.name} to {two.name}"
        if self.check(said == ("+", b"OK"), f"{where}: {said}"):
            self.check(one.value(key) == two.value(key), f"{where}: another value")

    def migrations(self) -> None:
        for one, two in self.pairs():
            done(two.connection, "ACL", "SETUSER", "mover", "on", ">secret", "+@all", "~*")
            before, port = one.contents(), two.server.port
            ways = (("AUTH2", "mover", "secret", "KEYS"), ("COPY", "KEYS"), ("REPLACE", "KEYS"))
            for database in DATABASES:
                done(one.connection, "SELECT", database)
                keys = sorted(item[1] for item in one.call("KEYS", "*")[1])
                for number, batch in enumerate(keys[at:at + BATCH] for at in range(0, len(keys), BATCH)):
                    for words in (ways[1:] if number % 2 else ways[:1]):
                        said = one.call("MIGRATE", "127.0.0.1", port, "", database, 5000, *words, *batch)
                        self.check(said == ("+", b"OK"), f"MIGRATE from {one.name} to {two.name}: {said}")
                self.check(int(one.call("DBSIZE")[1]) == 0, f"{one.name} keeps keys")
            after, where = two.contents(), f"MIGRATE from {one.name} to {two.name}"
            # What is sent is the time that is left; fields keep theirs.
            late = [key for key in before.keys() & after.keys() if not 0 <= deadline(after[key]) - deadline(before[key]) <= TRANSIT_MAX_MS]
            self.check(not late, f"{where}: deadlines differ: {late[:8]}")
            self.same(without_deadlines(before), without_deadlines(after), where)

    def snapshots(self) -> None:
        for one, two in self.pairs():
            for compression in ("yes", "no"):
                done(one.connection, "CONFIG", "SET", "rdbcompression", compression)
                done(one.connection, "SAVE")
                file = one.directory / "dump.rdb"
                if one.name == self.options.server:
                    code, said = tool("redis-check-rdb", two.name, self.home, file)
                    self.check(code == 0, f"redis-check-rdb of {two.name}: {said[-300:]}")
                shutil.copy(file, two.directory / "dump.rdb")
                said = two.call("DEBUG", "RELOAD", "NOSAVE")
                where = f"dump.rdb from {one.name} to {two.name}, compression {compression}"
                if self.check(said == ("+", b"OK"), f"{where}: {said}"):
                    self.same(one.contents(), two.contents(), where)

    def uses(self) -> None:
        for policy, words, subcommand, field in (("allkeys-lru", "IDLETIME", "IDLETIME", (0, 1, 63, 64, 16384, 1_000_000)),
                                                 ("volatile-lfu", "FREQ", "FREQ", (0, 1, 5, 100, 255))):
            directives = {"maxmemory-policy": policy, "lfu-decay-time": "0"}
            for peer in self.options.peers:
                for there in (True, False):
                    mine, theirs = (Party(name, self.home, directives).start() for name in (self.options.server, peer))
                    one, two = (mine, theirs) if there else (theirs, mine)
                    done(one.connection, "SET", "seed", "not an integer, which 7.0 shares")
                    value = one.call("DUMP", "seed")[1]
                    for n in field:
                        done(one.connection, "RESTORE", f"k{n}", 0, value, words, n)
                    done(one.connection, "SAVE")
                    shutil.copy(one.directory / "dump.rdb", two.directory / "dump.rdb")
                    for party in (one, two):
                        done(party.connection, "DEBUG", "RELOAD", "NOSAVE")
                        found = [int(party.call("OBJECT", subcommand, f"k{n}")[1]) for n in field]
                        # Seconds may pass meanwhile.
                        near = all(0 <= have - want <= (5 if words == "IDLETIME" else 0) for have, want in zip(found, field))
                        self.check(near, f"{words} from {one.name}, loaded by {party.name}: {found}, not {list(field)}")
                    one.stop()
                    two.stop()

    def logs(self) -> None:
        for preamble in ("yes", "no"):
            directives = {"appendonly": "yes", "aof-use-rdb-preamble": preamble}
            for one, two in self.pairs(directives):
                done(one.connection, "BGREWRITEAOF")
                rewritten(one)
                # The file that grows: what is relative, random or a deadline must have become what happened.
                fill(one.connection, f"{self.options.seed}:more", self.options.keys // 3, self.both_timed)
                for words in ("SPOP set:4 2", "HINCRBYFLOAT hash:2 new 0.1", "LMPOP 1 list:1 LEFT COUNT 2", "SETEX short 1000 x", "GETEX string:0 EX 5000",
                              "MULTI", "INCR count", "ZPOPMIN zset:5", "EXEC"):
                    one.call(*words.split())
                before = one.contents(logged=True)
                one.server.terminate()
                where = f"appendonlydir from {one.name} to {two.name}, preamble {preamble}"
                if one.name == self.options.server:
                    manifest = one.directory / "appendonlydir" / "appendonly.aof.manifest"
                    code, said = tool("redis-check-aof", two.name, self.home, manifest)
                    self.check(code == 0, f"redis-check-aof of {two.name}, preamble {preamble}: {said[-300:]}")
                two.server.kill()
                shutil.rmtree(two.directory / "appendonlydir")
                shutil.copytree(one.directory / "appendonlydir", two.directory / "appendonlydir")
                try:
                    two.start()
                except RuntimeError as error:
                    self.check(False, f"{where}: {error}")
                    continue
                self.same(before, two.contents(logged=True), where)

    def assets(self) -> None:
        """Also with the real server's full check of what it loads, which is the only check the server under test has."""
        for file in sorted(ASSETS.glob("*.rdb")):
            for sanitize in ("no", "yes"):
                outcomes = []
                for name in (ASSETS_WITH, self.options.server):
                    party = Party(name, self.home, {"dbfilename": file.name, "sanitize-dump-payload": sanitize})
                    shutil.copy(file, party.directory)
                    outcomes.append(loaded(party))
                theirs, mine = outcomes
                if mine[0] == "refused" and any(word in mine[1] for word in NOT_VALUES):
                    print(f"    not there yet: {file.name} needs {mine[1].decode(errors='replace').strip().splitlines()[-1][-120:]}")
                    continue
                same = theirs[0] == mine[0] and (theirs == mine or theirs[0] == "refused")
                self.check(same, f"{file.name}, sanitize {sanitize}: {mine}, {ASSETS_WITH} {theirs}")

    def damage(self) -> None:
        source = random.Random(self.options.seed)
        parties = [Party(name, self.home, {"sanitize-dump-payload": "yes"}).start() for name in (self.options.server, *self.options.peers)]
        seeds = [payload.old_payload(ASSETS / name) for name in payload.OLD]
        for party in parties:
            done(party.connection, "CONFIG", "SET", "rdbcompression", "no")
            party.call("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "5000b")
            fill(party.connection, f"{self.options.seed}:{party.name}", 70, party.timed)
            keys = sorted(item[1] for item in party.call("KEYS", "*")[1])
            for compression in ("no", "yes"):
                done(party.connection, "CONFIG", "SET", "rdbcompression", compression)
                seeds += [data for key in keys if len(data := party.call("DUMP", key)[1]) < 4000]
            done(party.connection, "FLUSHALL")
        mine, *peers = parties
        for whole in seeds:
            self.check(mine.call("RESTORE", "k", 0, whole, "REPLACE") == ("+", b"OK"), f"refused: {whole!r}")
        accepted = 0
        for _ in range(self.options.damaged):
            data = payload.damaged(source.choice(seeds), source)
            accepted += self.one_damaged(mine, peers, data)
        print(f"    {accepted} of {self.options.damaged} damaged payloads are values all the same")
        for party in parties:
            party.stop()

    def files(self) -> None:
        source = random.Random(self.options.seed)
        seeds = [file.read_bytes() for file in sorted(ASSETS.glob("*.rdb"))]
        for name in (self.options.server, *self.options.peers):
            for compression in ("yes", "no"):
                party = Party(name, self.home, {"rdbcompression": compression, "maxmemory-policy": source.choice(("allkeys-lru", "allkeys-lfu", "noeviction"))}).start()
                fill(party.connection, f"{self.options.seed}:{name}:{compression}", 30, party.timed)
                done(party.connection, "SAVE")
                seeds.append((party.directory / "dump.rdb").read_bytes())
                party.stop()
        mine = Party(self.options.server, self.home).start()
        counts = {True: 0, False: 0}
        for number in range(self.options.damaged // 2):
            seal, whole = number % 2 == 0, source.choice(seeds)
            data = payload.damaged_file(whole, source, seal)
            (mine.directory / "dump.rdb").write_bytes(data)
            said = mine.call("DEBUG", "RELOAD", "NOSAVE")
            good = said == ("+", b"OK") or said == NOT_LOADED
            alive = good and mine.call("PING") == ("+", b"PONG")
            if not self.check(alive and resident_peak(mine) < RESIDENT_MAX, f"{said}, {resident_peak(mine) if alive else 'dead'}: {self.keep(data)}"):
                mine.server.kill()
                mine.start()
            counts[seal] += said[0] == "+"
            # Some of them at a start, which must end in service or with a reason.
            if number < STARTS:
                one = Party(self.options.server, self.home)
                (one.directory / "dump.rdb").write_bytes(data)
                outcome = loaded(one)
                code = one.server.process.returncode
                told = outcome[0] == "loaded" and said[0] == "+" or outcome[0] == "refused" and said[0] == "-" and code == 1
                self.check(told, f"at start {outcome[0]}, exit code {code}, reloaded {said}: {self.keep(data)}")
        mine.stop()
        print(f"    {counts[True]} files under a right checksum and {counts[False]} others are loaded all the same")

    def keep(self, data: bytes) -> Path:
        """A file to look at, behind the run."""
        path = Path(tempfile.gettempdir()) / f"memkv-damaged-{self.failed}.rdb"
        path.write_bytes(data)
        return path

    def one_damaged(self, mine: Party, peers: list[Party], data: bytes) -> bool:
        said = mine.call("RESTORE", "k", 0, data, "REPLACE")
        if said in (EOF, SILENT):
            self.check(False, f"{said[0]} after {data!r}: {mine.server.tail(4)}")
            mine.server.kill()
            mine.start()
            return False
        if not self.check(said == ("+", b"OK") or said == ("-", REFUSED), f"{said} to {data!r}") or said[0] == "-":
            return False
        # What was taken must be whole: it can be used, and a real server takes it over and sees the same.
        out = mine.call("DUMP", "k")[1]
        if out is None:
            return True  # every field was due
        for peer in peers:
            if out[-10] > 10 and (not peer.timed or peer.name == FOREIGN):
                continue
            answer = peer.call("RESTORE", "k", 0, out, "REPLACE")
            same = answer == ("+", b"OK") and mine.value(b"k") == peer.value(b"k")
            self.check(same, f"{peer.name} says {answer} or sees another value in {out!r}, accepted as {data!r}")
        kind = mine.call("TYPE", "k")[1]
        for line in READS.get(kind, []) + WRITES.get(kind, []):
            name, *rest = line.split()
            tree = mine.call(name, "k", *rest)
            if tree in (EOF, SILENT):
                self.check(False, f"{line}: {tree[0]} after {data!r}: {mine.server.tail(4)}")
                mine.server.kill()
                mine.start()
                return True
        mine.call("DEL", "k")
        return True


def deadline(value: tuple) -> int:
    return int(value[2][1])


def without_deadlines(contents: dict[tuple, tuple]) -> dict[tuple, tuple]:
    return {key: (kind, what, times) for key, (kind, what, _, times) in contents.items()}


def resident_peak(party: Party) -> int:
    """The most memory that a server had, in bytes."""
    for line in Path(f"/proc/{party.server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def loaded(party: Party) -> tuple:
    """What a start on a file leads to: the data, or the refusal."""
    try:
        party.start()
        return "loaded", party.contents()
    except RuntimeError as error:
        return "refused", str(error).encode()
    finally:
        party.server.kill()


def rewritten(party: Party) -> None:
    deadline = time.monotonic() + REWRITE_MAX_S
    while b"aof_rewrite_in_progress:0" not in (text := party.call("INFO", "persistence")[1]) or b"aof_rewrite_scheduled:1" in text:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{party.name}: the rewrite does not end")
        time.sleep(0.02)


def tool(name: str, version: str, home: Path, file: Path) -> tuple[int, str]:
    """redis-server under a tool's name is that tool."""
    link = home / "tools" / version / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(PEERS.get(version, version))
    result = subprocess.run([str(link), str(file)], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


def main() -> int:
    parts = ["values", "migrations", "snapshots", "uses", "logs", "assets", "damage", "files"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0, 8.2, valkey)")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2", "valkey"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", type=int, default=120, help="per direction")
    parser.add_argument("--damaged", type=int, default=3000, help="payloads")
    parser.add_argument("--only", type=lambda text: text.split(","), default=parts)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="memkv-exchange-"))
    exchange = Exchange(options, home)
    try:
        for part in options.only:
            before, started = exchange.passed, time.monotonic()
            getattr(exchange, part)()
            print(f"{part}: {exchange.passed - before} passed ({time.monotonic() - started:.1f} s)", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{exchange.passed} passed, {exchange.failed} failed")
    return 1 if exchange.failed else 0


if __name__ == "__main__":
    sys.exit(main())
