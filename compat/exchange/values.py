"""Keys of every type and every encoding, drawn from a seed, made on any server by ordinary commands.

The sizes lie on both sides of the limits where an encoding gives way to the next. Not here: reading them back.
"""

import random

from harness.resp import Connection

SIZES = (1, 3, 20, 130, 600)
KINDS = ("string", "list", "hash", "ints", "set", "zset", "stream", "timed")
SCORES = (b"inf", b"-inf", b"1e300", b"0.1", b"-0", b"3", b"1e-5", b"17.000000000000004")
LIFE_MS = 10_000_000_000  # far enough not to come during a run
TIMED_SHARE = 0.5  # of a hash's fields
LIVING_SHARE = 0.3  # of the keys
DATABASES = (0, 3)
LAST_ID = 7  # its place in XINFO STREAM
TRIMMED_SHARE = 0.3  # of the streams
SHORT = 5000  # what an entry keeps of a giant
# Beyond 8 KiB newer servers give an element a node of its own.
GIANT = 20_000


def fill(connection: Connection, seed: str, count: int, timed: bool) -> None:
    """`count` keys in two databases; hashes whose fields expire only where the server has them."""
    source = random.Random(seed)
    kinds = KINDS if timed else KINDS[:-1]
    for database in DATABASES:
        done(connection, "SELECT", database)
        for number in range(count // len(DATABASES)):
            kind = kinds[number % len(kinds)]
            key = b"%s:%d" % (kind.encode(), number)
            make(connection, source, kind, key, source.choice(SIZES))
            if source.random() < LIVING_SHARE:
                done(connection, "PEXPIRE", key, LIFE_MS)
    done(connection, "SELECT", 0)


def make(connection: Connection, source: random.Random, kind: str, key: bytes, size: int) -> None:
    """One key of about `size` members."""
    if kind == "string":
        done(connection, "SET", key, value(source))
    elif kind == "list":
        done(connection, "RPUSH", key, *[value(source) for _ in range(size)])
    elif kind in ("hash", "timed"):
        done(connection, "HSET", key, *[word for n in range(size) for word in (b"f%d" % n, value(source))])
    elif kind == "ints":
        bits = source.choice((6, 15, 31, 63))
        done(connection, "SADD", key, *[source.randint(-(1 << bits), (1 << bits) - 1) for _ in range(size)])
    elif kind == "set":
        done(connection, "SADD", key, *[value(source) for _ in range(size)])
    elif kind == "stream":
        stream(connection, source, key, size)
    else:
        pairs = [(source.choice((*SCORES, b"%d" % n, b"%r" % source.random())), b"m%d" % n if n else value(source)) for n in range(size)]
        done(connection, "ZADD", key, *[word for pair in pairs for word in pair])
    if kind == "timed":
        for n in range(size):
            if source.random() < TIMED_SHARE:
                done(connection, "HPEXPIRE", key, LIFE_MS + source.randrange(1 << 20), "FIELDS", 1, b"f%d" % n)


def stream(connection: Connection, source: random.Random, key: bytes, size: int) -> None:
    """Entries with the same fields and others, some deleted; groups, consumers, what they have pending, some of it gone."""
    about = connection.call("XINFO", "STREAM", key)
    # Behind what is there already.
    base = int(about[1][LAST_ID][1].split(b"-")[0]) if about[0] == "*" else 0
    for n in range(size):
        fields = source.choice((("a",), ("a", "b"), ("a", "b"), ("c", "d", "e")))
        done(connection, "XADD", key, b"%d-%d" % (base + n // 3 + 1, n % 3), *[word for field in fields for word in (field, value(source)[:SHORT])])
    for name in source.sample(("g", "h", "group", b"\x00\xff"), source.randint(0, 3)):
        connection.call("XGROUP", "CREATE", key, name, source.choice(("0", "$", "2-1")))
        for consumer in source.sample(("alice", "bob", "carol"), source.randint(0, 3)):
            done(connection, "XGROUP", "CREATECONSUMER", key, name, consumer)
            done(connection, "XREADGROUP", "GROUP", name, consumer, "COUNT", source.choice((1, 10, 200)), "STREAMS", key, ">")
        done(connection, "XACK", key, name, "1-1", "2-0", "30-1")
    done(connection, "XDEL", key, *[b"%d-%d" % (source.randint(1, size // 3 + 1), source.randrange(3)) for _ in range(source.randint(1, 8))])
    if source.random() < TRIMMED_SHARE:
        done(connection, "XTRIM", key, "MAXLEN", source.choice(("=", "~")), source.choice((0, size // 2)))


def value(source: random.Random) -> bytes:
    roll = source.random()
    if roll < 0.4:
        return b"%d" % source.randint(-(1 << source.randint(1, 63)), 1 << source.randint(1, 62))
    if roll < 0.41:
        return source.randbytes(GIANT)
    return source.choice((b"v%d" % source.randrange(10**6), b"x" * source.choice((1, 63, 64, 65, 300, 5000)), b"1.5", b"", b"007",
                          source.randbytes(source.choice((5, 50, 130)))))


def done(connection: Connection, *words) -> tuple:
    """A command that must not fail."""
    tree = connection.call(*words)
    if tree[0] in "-!" or tree[0] in ("eof", "silent"):
        raise RuntimeError(f"{words[:3]}: {tree}")
    return tree
