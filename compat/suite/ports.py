"""Ports for the suite's servers: free ones, in a window that no other run of the suite uses.

The suite looks for free ports itself, by a socket on all addresses of both families, and is content when one of the
families is free: a listener on 127.0.0.1 alone ends a runner before its first test. So each runner gets a range of ports
that were free when its file began. A window is claimed by listening on its first port for as long as the run lives.
"""

import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.server import is_free  # noqa: E402

FIRST = int(os.environ.get("SUITE_BASEPORT", "22000"))
COUNT = int(os.environ.get("SUITE_PORTCOUNT", "8000"))
WINDOW = 250
JOBS_MAX = COUNT // WINDOW // 2  # two runs side by side find ports
RUNNER_PORTS = 32  # the suite's own listener is on one of those below --baseport
SERVER_PORTS_MIN = 60  # more than the servers of any file at one time


class Window:
    """The part of the range that belongs to one slot of this run."""

    def __init__(self, first: int, claim: socket.socket):
        self.first, self.claim = first, claim

    def stretch(self) -> tuple[int, int] | None:
        """The --baseport and --portcount of its longest free stretch; None where none is long enough."""
        best, begin = (0, 0), self.first + 1
        for port in range(self.first + 1, self.first + WINDOW + 1):
            if port == self.first + WINDOW or not is_free(port):
                best = max(best, (port - begin, begin))
                begin = port + 1
        length, begin = best
        count = length - RUNNER_PORTS
        return (begin + RUNNER_PORTS, count) if count >= SERVER_PORTS_MIN else None


def windows(wanted: int) -> list[Window]:
    """As many as are wanted, of the range; a window that another run has claimed, or that is full, is passed over."""
    found = []
    for start in range(FIRST, FIRST + COUNT - WINDOW + 1, WINDOW):
        if len(found) == wanted:
            return found
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", start))
            claim.listen(1)
        except OSError:
            claim.close()
            continue
        window = Window(start, claim)
        if window.stretch():
            found.append(window)
        else:
            claim.close()
    if len(found) < wanted:
        raise SystemExit(f"{len(found)} of {wanted} slots have free ports in {FIRST}-{FIRST + COUNT - 1}: "
                         "try fewer --jobs, or another SUITE_BASEPORT and SUITE_PORTCOUNT")
    return found


def held(ports: list[int]) -> list[int]:
    """Those of them that are in use."""
    return [port for port in ports if not is_free(port)]
