#!/usr/bin/env python3
"""memkv beside real servers: redis-benchmark in interleaved rounds, server CPU per command first.

Every server runs with one serving thread on one core, the generator on another. Rounds go through all servers in turn,
so that a noisy neighbour hits them alike; medians are printed with their spread, and ratios to the better peer. CPU is
user plus system time of the whole server process, from /proc, divided by the commands sent.
"""
import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "compat"))
from harness.server import PEERS, Server  # noqa: E402

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Work:
    """What redis-benchmark is asked to do: one of its own tests (`-t`), or a command line."""
    name: str
    pipeline: int
    requests: int
    command: tuple[str, ...]
    keys: int = 100_000


def own(test: str, pipeline: int, requests: int) -> Work:
    return Work(f"{test} P{pipeline}", pipeline, requests, ("-t", test))


STRINGS = [own(test, pipeline, requests) for pipeline, requests in [(1, 100_000), (16, 1_600_000), (64, 3_200_000)]
           for test in ["get", "set"]]
FIELDS = [f"field{i}" for i in range(20)]
TYPES = [
    *(own(test, 16, 800_000) for test in ["lpush", "rpush", "lpop", "rpop", "sadd", "hset", "spop", "zadd", "zpopmin"]),
    *(own(test, 16, requests) for test, requests in
      [("lrange_100", 80_000), ("lrange_300", 32_000), ("lrange_500", 24_000), ("lrange_600", 16_000)]),
    own("mset", 16, 160_000),
    Work("hmget of 20 P16", 16, 400_000, ("HMGET", "wide:__rand_int__", *FIELDS), 10_000),
    Work("hgetall of 10 P16", 16, 400_000, ("HGETALL", "vector:__rand_int__"), 10_000),
    Work("zadd in 1M P16", 16, 800_000, ("ZADD", "million", "__rand_int__", "member:__rand_int__"), 1_000_000),
    Work("zrange by rank in 1M P16", 16, 400_000, ("ZRANGE", "million", "500000", "500009")),
    Work("zrank in 1M P16", 16, 400_000, ("ZRANK", "million", "member:__rand_int__"), 1_000_000),
    Work("bitcount of 1 MB", 1, 4_000, ("BITCOUNT", "bits")),
    Work("sinter of 2 x 100k", 1, 20, ("SINTER", "evens", "thirds")),
    Work("zunionstore of 2 x 100k", 1, 10, ("ZUNIONSTORE", "union", "2", "ranks1", "ranks2")),
]
SUITES = {"strings": STRINGS, "types": TYPES}


def fill(server: Server) -> None:
    """The data that the work on types reads."""
    member = "member:{:012d}".format
    for i in range(10_000):
        for key, count in [("wide", 20), ("vector", 10)]:
            pairs = [text for f in FIELDS[:count] for text in (f, f"{(i * 7919) % 10007 / 10007:.6f}")]
            send(server, "HSET", f"{key}:{i:012d}", *pairs)
    for i in range(0, 1_000_000, 100):
        scored = [text for n in range(i, i + 100) for text in (str((n * 7919) % 1_000_003), member(n))]
        send(server, "ZADD", "million", *scored)
    for i in range(0, 100_000, 100):
        send(server, "SADD", "evens", *(member(2 * n) for n in range(i, i + 100)))
        send(server, "SADD", "thirds", *(member(3 * n) for n in range(i, i + 100)))
        for key, step in [("ranks1", 2), ("ranks2", 3)]:
            send(server, "ZADD", key, *(t for n in range(i, i + 100) for t in (str(n), member(step * n))))
    send(server, "SETRANGE", "bits", "0", "\x55" * (1 << 20))
    finish(server)


REQUESTS = bytearray()
WAITING = 0


def send(server: Server, *args: str) -> None:
    global WAITING
    REQUESTS.extend(b"*%d\r\n" % len(args))
    for arg in args:
        data = arg.encode()
        REQUESTS.extend(b"$%d\r\n%s\r\n" % (len(data), data))
    WAITING += 1
    if len(REQUESTS) > 1 << 20:
        finish(server)


def finish(server: Server) -> None:
    """Sends what was collected and reads as many replies, each of one line."""
    global WAITING
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(REQUESTS)
        replies = peer.makefile("rb")
        for _ in range(WAITING):
            reply = replies.readline()
            assert reply[:1] in b":+", reply
    REQUESTS.clear()
    WAITING = 0


def cpu_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def measure(server: Server, work: Work, scale: float) -> tuple[float, float]:
    """CPU in microseconds per command, and commands per second."""
    requests = max(int(work.requests * scale), 1)
    before = cpu_us(server.process.pid)
    command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-P", str(work.pipeline),
               "-n", str(requests), "-c", "50", "-d", "64", "-r", str(work.keys), "--csv", *work.command]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    rate = float(out.strip().splitlines()[-1].rsplit('","', 7)[1].strip('"'))
    return (cpu_us(server.process.pid) - before) / requests, rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=str(ROOT / "target/release/memkv-server"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", default="strings", choices=list(SUITES))
    parser.add_argument("--only", default="", help="only work whose name contains this")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--peers", default="7.0,8.2,valkey")
    parser.add_argument("--aof", default="no", choices=["no", "always", "everysec"])
    parser.add_argument("--out", default="", help="raw rounds as JSON")
    options = parser.parse_args()
    binaries = {"memkv": options.server} | {name: name for name in options.peers.split(",") if name}
    raw: dict[str, dict[str, list]] = {}
    servers = {}
    for name, binary in binaries.items():
        directives = {"save": "", "appendonly": "no" if options.aof == "no" else "yes"}
        if options.aof != "no":
            directives["appendfsync"] = options.aof
        if name == "memkv":
            directives["threads"] = "1"
        servers[name] = Server(binary, directives).start()
        subprocess.run(["taskset", "-a", "-cp", "0", str(servers[name].process.pid)], capture_output=True, check=True)
    try:
        if options.work == "types":
            for server in servers.values():
                fill(server)
        for round_number in range(options.rounds + 1):
            for work in SUITES[options.work]:
                if options.only not in work.name:
                    continue
                for name, server in servers.items():
                    reading = measure(server, work, options.scale)
                    if round_number:  # the first round warms up
                        raw.setdefault(work.name, {}).setdefault(name, []).append(reading)
    finally:
        for server in servers.values():
            server.stop()
    report(raw, options)
    return 0


def report(raw: dict, options) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cpus seen, AOF {options.aof}, {options.rounds} rounds; "
          "server CPU in us per command: median (min-max), then thousand commands per second")
    for work, by_server in raw.items():
        medians = {name: statistics.median(cpu for cpu, _ in rounds) for name, rounds in by_server.items()}
        cells = []
        for name, rounds in by_server.items():
            cpus = [cpu for cpu, _ in rounds]
            rate = statistics.median(rate for _, rate in rounds) / 1000
            cells.append(f"{name} {medians[name]:.2f} ({min(cpus):.2f}-{max(cpus):.2f}) {rate:.0f}k")
        peers = [median for name, median in medians.items() if name != "memkv"]
        ratio = f"  ratio to the better {medians['memkv'] / min(peers):.2f}" if peers else ""
        print(f"{work:24} " + " | ".join(cells) + ratio)
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": platform.platform(), "aof": options.aof, "raw": raw}))


if __name__ == "__main__":
    sys.exit(main())
