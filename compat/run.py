#!/usr/bin/env python3
"""Real clients and tools, and the differential, against a server: `run.py --server PATH [--fast] [--only TEXT]`.

Each client is a program of its own below clients/ that gets a port and prints `ok - NAME` or `not ok - NAME: why` per
promise; here each runs on a fresh server. A client that crashes, hangs or leaves a dead server behind has failed.
`--fast` keeps what takes a second or two. Prints every promise that fails and at the end `N passed, N failed`.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.server import PEERS, Server

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
CLIENTS = HERE / "clients"
APPS = HERE / "apps"
VENV_PYTHON = str(WORK / "venv" / "bin" / "python")
APPS_PYTHON = str(WORK / "apps" / "venv" / "bin" / "python")
NODE_PATH = ":".join(str(WORK / place / "node_modules") for place in ("node", "apps"))
CLIENT_MAX_S = 180
RESULT = re.compile(r"^(ok|not ok) - (.*)$", re.M)
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed", re.M)


@dataclass
class Client:
    """`command` with {port} or {server} put in. `fast`: belongs to the quick subset."""

    name: str
    command: list[str]
    fast: bool = False
    own_server: bool = False  # starts the server itself


def clients(fast: bool) -> list[Client]:
    python = sys.executable
    seconds = "5" if fast else "30"
    return [
        Client("redis-cli commands", [python, str(CLIENTS / "redis_cli.py"), "{port}", "commands"], fast=True),
        Client("redis-cli terminal", [python, str(CLIENTS / "redis_cli.py"), "{port}", "terminal"], fast=True),
        Client("redis-cli tools", [python, str(CLIENTS / "redis_cli.py"), "{port}", "tools"]),
        Client("redis-benchmark", [python, str(CLIENTS / "redis_benchmark.py"), "{port}"]),
        Client("redis-py RESP2", [VENV_PYTHON, str(CLIENTS / "redis_py.py"), "{port}", "resp2"], fast=True),
        Client("redis-py RESP3", [VENV_PYTHON, str(CLIENTS / "redis_py.py"), "{port}", "resp3"], fast=True),
        Client("redis-py asyncio", [VENV_PYTHON, str(CLIENTS / "redis_py.py"), "{port}", "asyncio"], fast=True),
        Client("ioredis", ["node", str(CLIENTS / "ioredis.js"), "{port}"]),
        Client("node-redis RESP2", ["node", str(CLIENTS / "node_redis.js"), "{port}", "2"]),
        Client("node-redis RESP3", ["node", str(CLIENTS / "node_redis.js"), "{port}", "3"]),
        Client("hiredis", [str(WORK / "hiredis-client"), "{port}"], fast=True),
        Client("cluster", [VENV_PYTHON, str(CLIENTS / "cluster.py"), "--server", "{server}"], own_server=True),
        Client("TLS", [VENV_PYTHON, str(CLIENTS / "tls.py"), "--server", "{server}"], own_server=True),
        *applications(),
        Client("examples", [python, str(HERE / "differential" / "examples.py"), "--server", "{server}"], fast=True, own_server=True),
        Client("file checks", [python, str(HERE / "exchange" / "check.py"), "--server", "{server}", *(["--fast"] if fast else [])],
               fast=True, own_server=True),
        Client("failing disk", [python, str(HERE / "crash" / "faults.py"), "--server", "{server}", *(["--fast"] if fast else [])],
               fast=True, own_server=True),
        Client("metrics", [VENV_PYTHON, str(HERE / "operation" / "metrics.py"), "--server", "{server}"], own_server=True),
        Client("page", [VENV_PYTHON, str(HERE / "operation" / "page.py"), "--server", "{server}"], own_server=True),
        Client("rewritten files", [python, str(HERE / "operation" / "rewritten.py"), "--server", "{server}"], fast=True, own_server=True),
        Client("held ports", [python, str(HERE / "operation" / "held_ports.py"), "--server", "{server}"], fast=True, own_server=True),
        Client("installation", [python, str(HERE / "operation" / "install.py"), "--server", "{server}"], fast=True, own_server=True),
        Client("eviction", [python, str(HERE / "differential" / "eviction.py"), "--server", "{server}", *(["--fast"] if fast else [])],
               fast=True, own_server=True),
        Client("differential", [python, str(HERE / "differential" / "diff.py"), "--server", "{server}", "--seconds", seconds],
               fast=True, own_server=True),
    ]


def applications() -> list[Client]:
    """Programs that live by the server, each with a real workload; all of them are named so, for --only."""
    python = {"rq": "rq_jobs.py", "locks": "locks.py", "Celery": "celery_tasks.py", "Channels": "channels_layers.py"}
    node = {"BullMQ": "bullmq.js", "rate-limiter-flexible": "rate_limiter.js", "redlock": "redlock.js"}
    commands = {
        **{name: [APPS_PYTHON, str(APPS / file)] for name, file in python.items()},
        **{name: ["node", str(APPS / file)] for name, file in node.items()},
        "Sidekiq": ["ruby", str(APPS / "sidekiq_jobs.rb")],
    }
    return [Client(f"application {name}", [*command, "{port}"]) for name, command in commands.items()]


def main() -> int:
    options = arguments()
    chosen = [client for client in clients(options.fast) if (client.fast or not options.fast) and options.only in client.name]
    build_hiredis_client()
    if any(client in applications() for client in chosen):
        subprocess.run([str(HERE.parent / "scripts" / "oracles.sh"), "apps"], check=True)
    passed = failed = 0
    for client in chosen:
        if client.name == "examples" and not prints_examples(options.server):
            print("examples: skipped, the server has no --print-examples")
            continue
        started = time.monotonic()
        good, bad = run(client, options.server)
        passed, failed = passed + good, failed + len(bad)
        print(f"{client.name}: {good} passed, {len(bad)} failed ({time.monotonic() - started:.1f} s)", flush=True)
        for problem in bad:
            print(f"    {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test (or 7.0, 8.2, valkey)")
    parser.add_argument("--fast", action="store_true", help="only what takes a second or two")
    parser.add_argument("--only", default="", metavar="TEXT", help="clients with this in their name")
    options = parser.parse_args()
    options.server = PEERS.get(options.server, str(Path(options.server).absolute()))
    return options


def build_hiredis_client() -> None:
    source, binary = CLIENTS / "hiredis.c", WORK / "hiredis-client"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-o", binary, source, "-lhiredis"], check=True)


def prints_examples(server: str) -> bool:
    done = subprocess.run([server, "--print-examples"], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    return done.returncode == 0 and done.stdout.startswith("# ")


def run(client: Client, server_path: str) -> tuple[int, list[str]]:
    """Promises kept, and what was not kept."""
    if client.own_server:
        return verdict(client, [word.format(server=server_path) for word in client.command])
    with Server(server_path) as server:
        good, bad = verdict(client, [word.format(port=server.port) for word in client.command])
        if not server.alive():
            bad.append(f"the server died: {server.tail()}")
        return good, bad


def verdict(client: Client, command: list[str]) -> tuple[int, list[str]]:
    environment = {**os.environ, "NODE_PATH": NODE_PATH}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_MAX_S, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return 0, [f"no end after {CLIENT_MAX_S} s"]
    results = RESULT.findall(done.stdout)
    good, bad = sum(word == "ok" for word, _ in results), [text for word, text in results if word != "ok"]
    if closing := CLOSING.search(done.stdout):
        good += int(closing[1])
        bad += [done.stdout.strip()] if int(closing[2]) else []
    if done.returncode != 0 and not bad or not results and not closing:
        bad.append(f"exit code {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
    return good, bad


if __name__ == "__main__":
    sys.exit(main())
