"""Hosts of their own for nodes: network namespaces on one bridge, each with an address, so that one can be cut off.

A host that is cut off neither receives nor sends, and no side is told, as when a plug is pulled; what runs on it still
reaches itself. This process stands outside, at the bridge's own address. Needs root and iproute2.
"""

import contextlib
import ctypes
import os
import subprocess

from harness.resp import Connection

NETWORKS_MAX = 256
CLONE_NEWNET = 0x40000000


class Unavailable(Exception):
    """This machine gives no network namespaces."""


class Host:
    """A network namespace with an address."""

    def __init__(self, network: str, name: str, address: str):
        self.name, self.address = name, address
        self.within = ["ip", "netns", "exec", name]
        _ip("netns", "add", name)
        # The end within is named by the kernel's rule for a new namespace: it is alone there.
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", network, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")

    def cut(self, off: bool) -> None:
        _ip("link", "set", self.name, "down" if off else "up")

    def open(self, port: int) -> Connection:
        """A connection that a client on this host has to a server on it."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as here:
            _enter(here)
            try:
                return Connection(port, self.address, 1)
            finally:
                _enter(home)


class Hosts:
    """`count` hosts that reach each other."""

    def __init__(self, count: int):
        self.hosts: list[Host] = []
        self.name, place = _bridge()
        try:
            # From the range that is reserved for measurements, so that no real network has it.
            _ip("addr", "add", f"198.18.{place}.1/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
            for n in range(count):
                self.hosts.append(Host(self.name, f"{self.name}h{n}", f"198.18.{place}.{n + 2}"))
        except Unavailable:
            self.stop()
            raise

    def stop(self) -> None:
        for host in self.hosts:
            with contextlib.suppress(Unavailable):
                _ip("link", "del", host.name)
            with contextlib.suppress(Unavailable):
                _ip("netns", "del", host.name)
        _ip("link", "del", self.name)


def _bridge() -> tuple[str, int]:
    """A bridge with an unused name, which makes its number ours."""
    for place in range(NETWORKS_MAX):
        try:
            _ip("link", "add", f"mk{place}", "type", "bridge")
            return f"mk{place}", place
        except Unavailable as error:
            if "File exists" not in str(error):
                raise
    raise Unavailable("all names of bridges are taken")


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        raise Unavailable("no ip command") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"ip {' '.join(words)}: {error.stderr.strip()}") from None


def _enter(namespace) -> None:
    """Moves this thread; what it has open stays where it was opened."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
