"""A server under test: started on a free loopback port in a directory of its own, stopped by its pid.

Works for every server that takes redis-server's command line. Invariant: no `Server` outlives the process that
made it (an exit hook kills what is left). Not here: speaking to it (resp.py).
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPAT = Path(__file__).resolve().parent.parent
WORK = COMPAT / "work"
READY_WAIT_S = 30.0
STOP_WAIT_S = 10.0
PORT_TRIES = 3
# Below the ephemeral range, above what people run by hand; COMPAT_PORTS moves it ("21200-21299").
FIRST_PORT, LAST_PORT = (int(p) for p in os.environ.get("COMPAT_PORTS", "21200-21299").split("-"))

# Names for servers everyone compares with; anything else is a path.
PEERS = {
    "7.0": shutil.which("redis-server") or "redis-server",
    "8.2": str(WORK / "bin" / "redis-8.2"),
    "valkey": str(WORK / "bin" / "valkey-9.1"),
}
_alive: set["Server"] = set()
_next_port = FIRST_PORT + os.getpid() % (LAST_PORT - FIRST_PORT + 1)


def is_free(port: int) -> bool:
    """Whether the port is free, on the loopback and on all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def next_in_range(port: int, steps: int = 1) -> int:
    return FIRST_PORT + (port + steps - FIRST_PORT) % (LAST_PORT - FIRST_PORT + 1)


def free_port() -> int:
    """A port nobody listens on, walking the range so that two servers of one run never meet."""
    global _next_port
    for _ in range(LAST_PORT - FIRST_PORT + 1):
        port = _next_port
        _next_port = next_in_range(port)
        if is_free(port):
            return port
    raise RuntimeError(f"no free port in {FIRST_PORT}-{LAST_PORT}")


class PortTaken(RuntimeError):
    """The port was taken between finding it free and listening on it."""


class Server:
    """One process. `directives` are redis.conf words: {"appendonly": "yes"}; `user` is a number, for root to give."""

    host = "127.0.0.1"

    def __init__(self, binary: str, directives: dict[str, str] | None = None, directory: Path | None = None, user: int | None = None):
        # Absolute, because the server runs in its own directory; not resolved, because its name may decide its role.
        self.binary = PEERS.get(str(binary)) or str(Path(binary).absolute())
        self.own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="memkv-compat-"))
        self.directives = {"save": "", "appendonly": "no", **(directives or {})}
        self.user = user
        self.port = 0
        self.process = None
        self.log = self.directory / "server.log"

    def start(self, ready: bool = True) -> "Server":
        """Starts and waits until it answers PING, or, with `ready=False`, until it accepts connections."""
        for _ in range(PORT_TRIES - 1):
            try:
                return self._start(ready)
            except PortTaken:
                continue
        return self._start(ready)

    def _start(self, ready: bool) -> "Server":
        self.port = free_port()
        begin = self.log.stat().st_size if self.log.exists() else 0
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        for name, value in self.directives.items():
            command += [f"--{name}", value]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            cwd=self.directory, user=self.user)
        _alive.add(self)
        self._wait_ready(b"+PONG" if ready else b"", begin)
        return self

    def _wait_ready(self, greeting: bytes, begin: int = 0) -> None:
        deadline = time.monotonic() + READY_WAIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                taken = b"already in use" in self.log.read_bytes()[begin:]
                raise (PortTaken if taken else RuntimeError)(f"{self.binary} ended at start: {self.tail()}")
            try:
                with socket.create_connection((self.host, self.port), timeout=1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith(greeting):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError(f"{self.binary} not ready after {READY_WAIT_S:.0f} s: {self.tail()}")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log, for a report."""
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
        _alive.discard(self)

    def terminate(self) -> int:
        """SIGTERM and its exit code; SIGKILL for one that does not end."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        _alive.discard(self)
        return code

    def stop(self) -> None:
        """Ends it and removes its directory if it was ours."""
        self.kill()
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Server":
        return self if self.alive() else self.start()

    def __exit__(self, *_) -> None:
        self.stop()


@atexit.register
def _stop_all() -> None:
    for server in list(_alive):
        server.stop()


# A plain SIGTERM would skip the exit hooks and leave servers behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
