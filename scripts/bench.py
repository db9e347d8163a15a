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
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "compat"))
from harness.server import PEERS, Server  # noqa: E402

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
WORK = [("get", 1, 100_000), ("set", 1, 100_000), ("get", 16, 1_600_000), ("set", 16, 1_600_000),
        ("get", 64, 3_200_000), ("set", 64, 3_200_000)]


def cpu_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def measure(server: Server, test: str, pipeline: int, requests: int) -> tuple[float, float]:
    """CPU in microseconds per command, and commands per second."""
    before = cpu_us(server.process.pid)
    command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-t", test, "-P", str(pipeline),
               "-n", str(requests), "-c", "50", "-d", "64", "-r", "100000", "--csv"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    rate = float(out.strip().splitlines()[-1].split(",")[1].strip('"'))
    return (cpu_us(server.process.pid) - before) / requests, rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=str(ROOT / "target/release/memkv-server"))
    parser.add_argument("--rounds", type=int, default=5)
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
        for round_number in range(options.rounds + 1):
            for test, pipeline, requests in WORK:
                for name, server in servers.items():
                    reading = measure(server, test, pipeline, int(requests * options.scale))
                    if round_number:  # the first round warms up
                        raw.setdefault(f"{test} P{pipeline}", {}).setdefault(name, []).append(reading)
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
        print(f"{work:8} " + " | ".join(cells) + ratio)
    if options.out:
        Path(options.out).write_text(json.dumps({"machine": platform.platform(), "aof": options.aof, "raw": raw}))


if __name__ == "__main__":
    sys.exit(main())
