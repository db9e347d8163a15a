#!/usr/bin/env python3
"""Ports that are in use make no test fail: `held_ports.py --server PATH`.

Ports of the tests' default ranges are listened on, on 127.0.0.1 alone, as another server or a second run would. The servers of
the black-box tests start beside them, also when a port is taken between finding and using it, and Redis's suite passes.
Prints `ok - NAME` or `not ok - NAME: why`.
"""

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

COMPAT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(COMPAT), str(COMPAT / "suite")]

import ports  # noqa: E402
from harness import server as harness  # noqa: E402
from harness.promises import kept, name_of  # noqa: E402
from harness.resp import Connection  # noqa: E402

SUITE_MAX_S = 120


@contextlib.contextmanager
def listening(chosen):
    """Holds those of the ports that are free; yields them."""
    with contextlib.ExitStack() as stack:
        held = []
        for port in chosen:
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                one.listen(1)
                held.append(port)
        yield held


def servers_start_beside_held_ports(binary: str) -> None:
    following = [harness.next_in_range(harness._next_port, step) for step in range(5)]
    with listening(following) as held, harness.Server(binary) as server:
        assert held and server.port not in held, (held, server.port)
        assert Connection(server.port).call("PING") == ("+", b"PONG")


def a_server_takes_another_port_when_somebody_was_faster(binary: str) -> None:
    find = harness.free_port
    with listening([find()]) as held:
        found = iter(held)
        harness.free_port = lambda: next(found, None) or find()
        try:
            with harness.Server(binary) as server:
                assert next(found, None) is None, "the held port was tried"
                assert server.port not in held, server.port
                assert Connection(server.port).call("PING") == ("+", b"PONG")
        finally:
            harness.free_port = find


def the_suite_runs_beside_held_ports(binary: str) -> None:
    """The first window is another run's; in the second the runner's own port and some of the servers' are held."""
    first, second = ports.FIRST, ports.FIRST + ports.WINDOW
    middle = second + ports.WINDOW // 2
    with listening([first, second + 1, middle, middle + 1]) as held, tempfile.TemporaryDirectory(prefix="memkv-suite-") as home:
        assert held
        command = [sys.executable, COMPAT / "suite" / "run.py", "--server", binary, "--jobs", "1", "--retries", "0", "--home", home, "unit/quit"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SUITE_MAX_S, stdin=subprocess.DEVNULL)
        assert done.returncode == 0 and "3 passed, 0 failed" in done.stdout, done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the binary to test")
    binary = parser.parse_args().server
    promises = [servers_start_beside_held_ports, a_server_takes_another_port_when_somebody_was_faster, the_suite_runs_beside_held_ports]
    return 0 if all([kept(name_of(promise), promise, binary) for promise in promises]) else 1


if __name__ == "__main__":
    sys.exit(main())
