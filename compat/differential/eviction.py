#!/usr/bin/env python3
"""Whom `maxmemory` evicts, beside real servers: `eviction.py --server PATH [--peers 7.0,8.2] [--fast]`.

Keys that expire one after the other are evicted down to half of them, by `volatile-ttl`: those that expire late should
stay. And a cache that is read through, with some keys asked for often, is held at half of its keys by `allkeys-lfu`: the
share of requests that find theirs. Up to some thousands of keys no victim is one that should stay, whatever the peers do;
in all sizes both figures are as good as the worse peer's, within what chance moves. Prints `ok - PROMISE: figures`.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.resp import Connection, encode  # noqa: E402
from harness.server import Server  # noqa: E402

SIZES = (40, 400, 4_000, 40_000)
FAST_SIZES = (40, 400)
EXACT_MAX = 4_000  # up to here no victim may be one that should stay
OTHERS = 30_000  # keys without an expiry beside them
BYTES = 8 << 20  # of all values together
REQUESTS_PER_KEY, REQUESTS_MIN = 20, 20_000
SKEW = 1.1
BATCH = 100
CHANCE = 0.02
LIFE_S = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=["7.0", "8.2"])
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    failed = 0
    for keys in FAST_SIZES if options.fast else SIZES:
        for others in (0, OTHERS) if keys <= EXACT_MAX and not options.fast else (0,):
            mine, *peers = [late_victims(server, keys, others) for server in (options.server, *options.peers)]
            good = mine <= max(peers) + CHANCE and (mine == 0 or keys > EXACT_MAX)
            failed += told(good, f"{keys} keys that expire among {others}, victims that should stay", mine, peers)
        mine, *peers = [hit_ratio(server, keys) for server in (options.server, *options.peers)]
        failed += told(mine >= min(peers) - CHANCE, f"{keys} keys of a cache, requests that hit", mine, peers)
    return 1 if failed else 0


def told(good: bool, promise: str, mine: float, peers: list[float]) -> int:
    figures = ", ".join(f"{share:.1%}" for share in peers)
    print(f"{'ok' if good else 'not ok'} - {promise}: {mine:.1%} (peers: {figures})", flush=True)
    return 0 if good else 1


def used(connection: Connection) -> int:
    info = connection.call("INFO", "memory")[1].decode()
    return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).split(":")[1])


def many(connection: Connection, commands: list[list[bytes]]) -> list[tuple]:
    connection.send_raw(b"".join(map(encode, commands)))
    return [connection.read()[1] for _ in commands]


def late_victims(binary: str, keys: int, others: int) -> float:
    """The share of victims that expire later than half of the keys do."""
    with Server(binary, {"maxmemory-policy": "volatile-ttl"}) as server:
        connection, source = Connection(server.port), random.Random(keys)
        for first in range(0, others, BATCH):
            many(connection, [[b"SET", b"other:%d" % n, b"v"] for n in range(first, first + BATCH)])
        order, size = list(range(keys)), BYTES // keys
        source.shuffle(order)
        before = used(connection)
        for first in range(0, keys, BATCH):
            some = order[first:first + BATCH]
            many(connection, [[b"SET", b"%d" % n, b"v" * size, b"EX", b"%d" % (LIFE_S + n * 10)] for n in some])
        limit = (before + used(connection)) // 2
        connection.call("CONFIG", "SET", "maxmemory", limit)
        # One command makes room as far as its patience goes.
        while used(connection) > limit:
            many(connection, [[b"SET", b"new", b"v"]] * BATCH)
        there = many(connection, [[b"EXISTS", b"%d" % n] for n in range(keys)])
        victims = [n for n, reply in enumerate(there) if reply == (":", b"0")]
        middle = len(victims)  # as many should have gone, the earliest
        return sum(n >= middle for n in victims) / max(len(victims), 1)


def hit_ratio(binary: str, keys: int) -> float:
    """Of a cache with room for half of the keys; the second half of the requests counts."""
    with Server(binary, {"maxmemory-policy": "allkeys-lfu"}) as server:
        connection, source = Connection(server.port), random.Random(keys)
        size, requests = BYTES // keys, max(REQUESTS_MIN, keys * REQUESTS_PER_KEY)
        connection.call("CONFIG", "SET", "maxmemory", used(connection) + BYTES // 2)
        weights = [1 / (n + 1) ** SKEW for n in range(keys)]
        asked = source.choices(range(keys), weights, k=requests)
        hits = counted = 0
        for first in range(0, requests, BATCH):
            some = asked[first:first + BATCH]
            replies = many(connection, [[b"GET", b"%d" % n] for n in some])
            missed = [n for n, reply in zip(some, replies) if reply[1] is None]
            if missed:
                many(connection, [[b"SET", b"%d" % n, b"v" * size] for n in missed])
            if first >= requests // 2:
                hits, counted = hits + len(some) - len(missed), counted + len(some)
        return hits / counted


if __name__ == "__main__":
    sys.exit(main())
