#!/usr/bin/env python3
"""What TLS and users cost: server CPU per command and per handshake, beside Debian's redis-server, which is built with TLS.

  secure.py --server PATH [--peer PATH] [--rounds N] [--scale F]

One core for the server, another for the client; both servers run at once and are asked in turn, round after round. Figures
are medians of user plus system time of the whole server process, in microseconds, and their ratio. The rows of a restricted
user compare memkv with itself: the same GETs by the default user and by one with a few rules.
"""

import argparse
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "compat" / part) for part in ("", "clients")]
from harness.server import Server, free_port
from tls import Papers

SERVER_CORE, CLIENT_CORE = 0, 1
HANDSHAKES = 1000
RUN_MAX_S = 120


class Side:
    """A server on its core."""

    def __init__(self, binary: str, papers: Papers, more: dict[str, str]):
        self.papers, self.tls_port = papers, free_port()
        self.server = Server(binary, {
            "tls-port": str(self.tls_port), "tls-cert-file": papers.server_crt, "tls-key-file": papers.server_key,
            "tls-ca-cert-file": papers.ca_crt, "save": "", "appendonly": "no", **more,
        }).start()
        self.pid = self.server.process.pid
        subprocess.run(["taskset", "-acp", str(SERVER_CORE), str(self.pid)], check=True, capture_output=True)

    def cpu_us(self) -> float:
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000

    def words(self, is_tls: bool) -> list[str]:
        papers = self.papers
        if not is_tls:
            return ["-p", str(self.server.port)]
        return ["-p", str(self.tls_port), "--tls", "--cacert", papers.ca_crt, "--cert", papers.client_crt, "--key", papers.client_key]

    def ask(self, count: int, pipeline: int, command: list[str], *words: str, is_tls: bool = True) -> float:
        """CPU per command of redis-benchmark's run."""
        program = ["taskset", "-c", str(CLIENT_CORE), "redis-benchmark", *self.words(is_tls), *words, "-q", "-c", "50", "-r", "10000",
                   "-n", str(count), "-P", str(pipeline), *command]
        before = self.cpu_us()
        subprocess.run(program, check=True, capture_output=True, timeout=RUN_MAX_S)
        return (self.cpu_us() - before) / count

    def shake_hands(self, count: int) -> float:
        """CPU per full handshake, with a PING behind it."""
        context = ssl.create_default_context(cafile=self.papers.ca_crt)
        context.load_cert_chain(self.papers.client_crt, self.papers.client_key)
        before = self.cpu_us()
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", self.tls_port), timeout=20) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as wire:
                    wire.sendall(b"PING\r\n")
                    if wire.recv(7) != b"+PONG\r\n":
                        raise SystemExit("a handshake gave no PONG")
        return (self.cpu_us() - before) / count

    def command(self, *words: str) -> None:
        subprocess.run(["redis-cli", "-p", str(self.server.port), *words], check=True, capture_output=True)


def tls_rows(scale: float):
    """Name, and what to ask of a side."""
    for bytes_, count in ((64, 200_000), (65536, 10_000)):
        for pipeline in (1, 16):
            asked = max(int(count * scale), 1000) * (2 if pipeline > 1 and bytes_ == 64 else 1)
            yield f"GET {bytes_} bytes P{pipeline}", lambda side, n=asked, p=pipeline, b=bytes_: side.ask(n, p, ["GET", f"value:{b}"])
    yield "handshake", lambda side: side.shake_hands(int(HANDSHAKES * scale) or 1)


def compare(name: str, rounds: int, first, second, labels: tuple[str, str], at_most: float) -> bool:
    seen = [(first(), second()) for _ in range(rounds + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*seen))
    spread = max(a for a, _ in seen) / min(a for a, _ in seen)
    reached = ours <= at_most * theirs
    print(f"{name:24} {labels[0]} {ours:9.2f} us  {labels[1]} {theirs:9.2f} us  {ours / theirs:5.2f} (at most {at_most})"
          f"{'' if reached else '  NOT reached'}   spread {spread:.2f}", flush=True)
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--peer", default="/usr/bin/redis-server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory() as home:
        papers = Papers(Path(home))
        ours, peer = Side(options.server, papers, {"threads": "1"}), Side(options.peer, papers, {})
        try:
            for side in (ours, peer):
                for bytes_ in (64, 65536):
                    side.command("SET", f"value:{bytes_}", "x" * bytes_)
            good = [compare(name, options.rounds, lambda: ask(ours), lambda: ask(peer), ("memkv", "peer"), 1.0) for name, ask in tls_rows(options.scale)]
            ours.command("ACL", "SETUSER", "app", "on", ">secret", "~value:*", "~cache:*", "+@read", "+@write", "-@dangerous", "&news:*")
            plain = lambda *words: ours.ask(int(800_000 * options.scale), 16, ["GET", "value:64"], *words, is_tls=False)
            good.append(compare("GET P16, its rules", options.rounds, lambda: plain("--user", "app", "-a", "secret"), plain, ("app", "default"), 1.15))
        finally:
            ours.server.stop()
            peer.server.stop()
    print(f"{sum(good)} of {len(good)} targets reached")
    return 0


if __name__ == "__main__":
    sys.exit(main())
