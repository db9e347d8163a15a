"""Write work: data of every type to begin with, and random commands of every type without end, in bounded space.

The commands are those of the differential's grammar that all nodes of a chain know, and some whose effect, not their
words, must travel: random choices, clocks, floats, scripts, transactions, pops that waited. One seed gives one sequence
of commands; what they lead to also depends on time.
"""

import random
import threading

import values
from grammar import FAMILIES
from harness.resp import EOF, SILENT, Connection, encode
from kit import Node
from pattern import Pattern, Words

# Left out: what changes no data, and what would wait on the only connection.
FAMILIES_USED = [name for name in FAMILIES if name not in ("connection", "blocking", "waking", "transactions")]
NEVER = {"FLUSHALL", "FLUSHDB", "SWAPDB", "FUNCTION", "FCALL", "SCRIPT", "EVALSHA", "PFDEBUG", "KEYS"}
# Words that 8.2 added to commands of old.
NEWER = {b"BITOP": (b"DIFF", b"DIFF1", b"ANDOR", b"ONE"), b"XADD": (b"KEEPREF", b"DELREF", b"ACKED"), b"XTRIM": (b"KEEPREF", b"DELREF", b"ACKED")}
BATCH = 25
TRIM_EVERY = 40  # batches
LENGTH_MAX = 120
LIBRARY = "#!lua name=lib%d\nredis.register_function('f%d', function(k, a) redis.call('SET', k[1], a[1]) return redis.call('RPUSH', k[2], a[1]) end)\n" \
          "redis.register_function{function_name='r%d', callback=function(k, a) return redis.call('GET', k[1]) end, flags={'no-writes'}}"
SCRIPT = "redis.call('INCR', KEYS[1]) redis.call('SPOP', KEYS[2]) redis.call('SET', KEYS[3], redis.call('TIME')[1]) return redis.call('RPUSH', KEYS[4], ARGV[1], 'x')"


def fill(node: Node, seed: str, count: int, others: list[Node], timed: bool = True) -> None:
    """Every type in every encoding, in databases 0 and 3, with deadlines; hash fields' only where all know them, and if `timed`."""
    every = [node, *others]
    # Valkey's hashes with deadlines are of a form of its own.
    timed = timed and all(one.knows("HPEXPIRE") for one in every) and len({one.kind.family == "valkey" for one in every}) == 1
    connection = node.open()
    connection.call("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "5000b")
    values.fill(connection, seed, count, timed)
    source = random.Random(seed)
    words = [["SET", "big", "0123456789abcdef" * 40_000], ["SETBIT", "bits", 20_000, 1], ["SET", "number", 12345], ["SET", "late", "x", "PX", 10**9],
             ["SET", "early", "x", "PX", 150], ["GEOADD", "geo", 13.36, 38.11, "a", 15.08, 37.5, "b"], ["PFADD", "hll", *range(5)],
             ["SADD", "numbers", *range(700)], ["PFADD", "hlldense", *range(20_000)]]
    words += [["RPUSH", f"list:{n}", *range(n)] for n in (1, 2, 129, 2000)]
    if all(one.kind.modern for one in every):
        words += [["FUNCTION", "LOAD", LIBRARY % (n, n, n)] for n in range(3)]
    for database in (9, 15, 0):
        words += [["SELECT", database], ["SET", f"in:{database}", source.random()], ["PEXPIRE", f"in:{database}", 10**8]]
    for one in words:
        values.done(connection, *one)
    connection.close()


class Work:
    """Draws commands, each a list of words; a transaction is several. `floods`: whole databases are flushed and swapped, and the node stays primary."""

    def __init__(self, seed: str, nodes: list[Node], floods: bool):
        self.floods = floods
        self.random = random.Random(seed)
        self.words = Words(self.random)
        self.modern = all(node.kind.modern for node in nodes)
        names = {name for family in FAMILIES_USED for name in FAMILIES[family][0] if name not in NEVER}
        known = {name for name in names if all(node.knows(name) for node in nodes)}
        if not self.modern:
            # What ends 6.2 itself: the lowest number of random members, an offset at the end of all numbers.
            known -= {"HRANDFIELD", "ZRANDMEMBER", "SRANDMEMBER", "SETRANGE"}
        if not floods:
            # A node that became a replica is asked too, and with Redis's PFCOUNT it would write what it counted.
            known -= {"PFCOUNT"}
        if len({node.kind.family == "valkey" for node in nodes}) > 1:
            known -= {name for name in known if name.startswith("HEXPIRE") or name.startswith("HPEXPIRE") or name in ("HGETEX", "HSETEX", "HPERSIST")}
        self.timed = "HPEXPIRE" in known
        # COMMAND tells no options, but XDELEX came with them.
        self.newest = all(node.knows("XDELEX") for node in nodes)
        self.grammars, self.weights = [], []
        for family in FAMILIES_USED:
            table, weight = FAMILIES[family]
            self.grammars += [[name.encode(), Pattern.parse(text)] for name, text in table.items() if name in known]
            self.weights += [weight / len(table) for name in table if name in known]

    def draw(self) -> list[list[bytes]]:
        roll = self.random.random()
        if roll < 0.55:
            return [self.plain()]
        if roll < 0.9:
            return [[word if isinstance(word, bytes) else str(word).encode() for word in self.effect()]]
        if roll < 0.97:
            inner = [self.plain() if self.random.random() < 0.6 else self.words_of(self.effect()) for _ in range(self.random.randint(0, 5))]
            return [[b"MULTI"], *inner, [b"DISCARD" if self.random.random() < 0.1 else b"EXEC"]]
        return [[b"SELECT", self.random.choice((b"0", b"1", b"9"))]]

    def words_of(self, words: list) -> list[bytes]:
        return [word if isinstance(word, bytes) else str(word).encode() for word in words]

    def plain(self) -> list[bytes]:
        while True:
            name, pattern = self.random.choices(self.grammars, self.weights)[0]
            words = [name, *pattern.expand(self.words)]
            if self.newest or not any(word.upper() in NEWER.get(name, ()) for word in words):
                return words

    def effect(self) -> list:
        """What is not replicated as it was sent."""
        r, n = self.random, self.random.randint(1, 3)
        soon, value = r.choice((1, 20, 100, 700)), r.randrange(10**6)
        choices = [
            ["SPOP", f"e{n}"], ["SPOP", f"e{n}", r.randint(0, 4)], ["SADD", f"e{n}", *[r.randrange(40) for _ in range(6)]],
            ["INCRBYFLOAT", "float", r.choice((0.1, 3, -2.5, 1e10))], ["HINCRBYFLOAT", f"h{n}", "float", 0.1], ["INCR", f"count{n}"],
            ["SET", f"t{n}", value, "PX", soon], ["SET", f"s{n}", value, "EX", 10000], ["PEXPIRE", f"{r.choice('slhezx')}{n}", soon], ["PSETEX", f"t{n}", soon, value],
            ["GETEX", f"s{n}", "PX", r.choice((soon, 10**7))], ["GETDEL", f"t{n}"], ["EXPIRE", f"h{n}", r.choice((-1, 0, 1, 10**6))], ["PERSIST", f"h{n}"],
            ["XADD", f"x{n}", "*", "f", value], ["XADD", f"x{n}", "MAXLEN", "~", 100, "*", "f", value], ["XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", f"x{n}", ">"],
            ["XGROUP", "CREATE", f"x{n}", "g", "$", "MKSTREAM"], ["XAUTOCLAIM", f"x{n}", "g", "d", 0, 0, "COUNT", 3],
            ["EVAL", SCRIPT, 4, f"count{n}", f"e{n}", f"t{n}", f"l{n}", value], ["BLPOP", f"l{n}", f"l{n % 3 + 1}", 0.01], ["BLMOVE", f"l{n}", f"l{n % 3 + 1}", "LEFT", "RIGHT", 0.01],
            ["BZPOPMIN", f"z{n}", 0.01], ["RPUSH", f"l{n}", value], ["ZADD", f"z{n}", r.random(), value % 50], ["ZPOPMAX", f"z{n}"], ["SORT", f"e{n}", "ALPHA", "STORE", f"l{n}"],
            ["COPY", f"s{n}", f"t{n}", "REPLACE"], ["MOVE", f"t{n}", r.choice((0, 1, 9))], ["RENAME", f"t{n}", f"u{n}"], ["PUBLISH", "news", value],
            ["SETEX", f"u{n}", 2, value], ["PFADD", f"p{n}", value], ["PFCOUNT", f"p{n}"], ["APPEND", f"s{n}", "y"], ["BITFIELD", f"s{n}", "SET", "u8", "#1", value % 256],
        ]
        if r.random() < 0.01 and self.floods:
            choices = [["FLUSHDB"], ["SWAPDB", 0, 1], ["FLUSHALL"] if r.random() < 0.2 else ["SWAPDB", 1, 9]]
        elif self.modern and r.random() < 0.05:
            choices = [["FUNCTION", "LOAD", "REPLACE", LIBRARY % (n, n, n)], ["FCALL", f"f{n}", 2, f"s{n}", f"l{n}", value], ["LMPOP", 2, f"l{n}", "l1", "LEFT", "COUNT", 2],
                       ["ZMPOP", 1, f"z{n}", "MIN"], ["BLMPOP", 0.01, 1, f"l{n}", "LEFT"], ["FUNCTION", "DELETE", f"lib{n}"], ["FCALL_RO", f"r{n}", 1, f"s{n}"]]
        elif self.timed and r.random() < 0.15:
            choices = [["HPEXPIRE", f"h{n}", soon, "FIELDS", 1, f"f{n}"], ["HEXPIRE", f"h{n}", 10**6, "FIELDS", 2, "f1", "f2"], ["HPERSIST", f"h{n}", "FIELDS", 1, "f1"],
                       ["HSET", f"h{n}", f"f{n}", value]]
        words = r.choice(choices)
        return words if self.floods or words[0] != "PFCOUNT" else ["PING"]

    def trims(self) -> list[list[bytes]]:
        """Bounds what only grows."""
        out = []
        for n in (1, 2, 3):
            out += [["LTRIM", f"l{n}", 0, LENGTH_MAX], ["XTRIM", f"x{n}", "MAXLEN", LENGTH_MAX], ["ZREMRANGEBYRANK", f"z{n}", LENGTH_MAX, -1], ["SETRANGE", f"u{n}", 0, "u"]]
        return [self.words_of(words) for words in out]


class Load(threading.Thread):
    """Random work on a node until it is stopped; finds the node again when it was lost. `floods`: whole databases are flushed and swapped too."""

    def __init__(self, node: Node, seed: str, nodes: list[Node], pause_s: float = 0.015, floods: bool = True):
        super().__init__(daemon=True)
        self.node, self.pause_s = node, pause_s
        self.work = Work(seed, nodes, floods)
        self.ending = threading.Event()
        self.commands = 0
        self.errors = 0
        self.fault = ""
        self.start()

    def run(self) -> None:
        batches, connection = 0, None
        while not self.ending.is_set():
            try:
                connection = connection or self.node.open()
                batches += 1
                units = self.work.trims() if batches % TRIM_EVERY == 0 else [words for _ in range(BATCH) for words in self.work.draw()]
                connection.send_raw(b"".join(map(encode, units)))
                for _ in units:
                    said = connection.read()[1]
                    if said in (EOF, SILENT):
                        raise ConnectionError(said[0])
                    self.errors += said[0] == "-"
                self.commands += len(units)
            except OSError as error:
                self.fault = str(error)
                connection = connection and connection.close()
                self.ending.wait(0.1)
            self.ending.wait(self.pause_s)
        if connection:
            connection.close()

    def stop(self) -> int:
        """Commands that were answered."""
        self.ending.set()
        self.join(15)
        return self.commands


class Counters(threading.Thread):
    """INCRs with a book: what was acknowledged must be there, and nothing more than what was sent."""

    def __init__(self, where, count: int = 4):
        super().__init__(daemon=True)
        self.where, self.names = where, [f"counter:{n}" for n in range(count)]
        self.acknowledged = dict.fromkeys(self.names, 0)
        self.unknown = dict.fromkeys(self.names, 0)  # sent, but the answer was lost
        self.refused = 0
        self.ending = threading.Event()
        self.start()

    def run(self) -> None:
        connection, at = None, 0
        while not self.ending.is_set():
            name = self.names[at % len(self.names)]
            at += 1
            try:
                connection = connection or Connection(self.where())
            except OSError:
                self.ending.wait(0.05)
                continue
            said = connection.call("INCR", name)
            if said[0] == ":":
                self.acknowledged[name] += 1
            elif said[0] == "-":
                self.refused += 1
                connection = connection.close()
                self.ending.wait(0.02)
            else:
                self.unknown[name] += 1
                connection = connection.close()
            self.ending.wait(0.001)
        if connection:
            connection.close()

    def stop(self) -> None:
        self.ending.set()
        self.join(15)

    def judge(self, node: Node) -> list[str]:
        """What is lost or doubled at a node."""
        out = []
        for name in self.names:
            have, least = int(node.done("GET", name)[1] or 0), self.acknowledged[name]
            if not least <= have <= least + self.unknown[name]:
                out.append(f"{name}: {have} at {node}, acknowledged {least}, unanswered {self.unknown[name]}")
        return out

