"""A replica by hand: the handshake, the snapshot as bytes, the stream as commands. Also one that misbehaves."""

import socket
import time

from harness.resp import Connection, encode
from kit import Failure

MARK_BYTES = 40
ACK_S = 0.1
FULL = b"+FULLRESYNC "


class Replica:
    """Speaks to a primary as a replica does. `words` are sent first, each a command that may fail."""

    def __init__(self, port: int, words: tuple = ("REPLCONF listening-port 1", "REPLCONF capa eof capa psync2"), password: str | None = None):
        self.connection = Connection(port)
        self.socket = self.connection.socket
        self.buffer = b""
        self.answers = []
        if password:
            self.connection.call("AUTH", password)
        for line in ("PING", *words):
            self.answers.append(self.connection.call(*line.split()))

    def psync(self, replid: str = "?", offset: int = -1, *more: str) -> bytes:
        """The answer's line."""
        self.socket.sendall(encode([b"PSYNC", replid.encode(), b"%d" % offset, *[word.encode() for word in more]]))
        return self.line()

    def sync(self) -> None:
        self.socket.sendall(b"SYNC\r\n")

    def line(self, wait_s: float = 15) -> bytes:
        """The next line that is not a keepalive."""
        while True:
            while b"\n" not in self.buffer:
                self.fill(wait_s)
            line, self.buffer = self.buffer.split(b"\n", 1)
            if line.strip():
                return line.strip()

    def fill(self, wait_s: float = 15) -> None:
        self.socket.settimeout(wait_s)
        try:
            more = self.socket.recv(1 << 16)
        except TimeoutError:
            raise Failure(f"the primary sends nothing for {wait_s:g} s; so far {self.buffer[:80]!r}") from None
        if not more:
            raise Failure(f"the primary closes the link; so far {self.buffer[:80]!r}")
        self.buffer += more

    def snapshot(self) -> tuple[str, bytes]:
        """How it was framed, length or mark, and its bytes."""
        head = self.line()
        if head.startswith(b"$EOF:"):
            mark = head[5:]
            if len(mark) != MARK_BYTES:
                raise Failure(f"a mark of {len(mark)} bytes")
            while mark not in self.buffer:
                self.fill()
            data, self.buffer = self.buffer.split(mark, 1)
            return "mark", data
        if not head.startswith(b"$"):
            raise Failure(f"not the head of a snapshot: {head!r}")
        size = int(head[1:])
        while len(self.buffer) < size:
            self.fill()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return "length", data

    def acknowledge(self, offset: int) -> None:
        self.socket.sendall(encode([b"REPLCONF", b"ACK", b"%d" % offset]))

    def attach(self) -> tuple[str, int]:
        """A full sync; the id and the offset behind it."""
        said = self.psync()
        if not said.startswith(FULL):
            raise Failure(f"PSYNC ? -1 says {said!r}")
        _, replid, offset = said.decode().split()
        self.offset = int(offset)
        self.framing, self.data = self.snapshot()
        self.acknowledge(self.offset)
        return replid, self.offset

    def commands(self, seconds: float) -> list[list[bytes]]:
        """The stream of so much time, acknowledged at the end and now and then.

        Redis ignores an ACK that comes before it has counted the replica as online, so one is never enough.
        """
        out, deadline = [], time.monotonic() + seconds
        self.acknowledge(self.offset)
        while True:
            while (one := self.one()) is not None:
                out.append(one)
            left = deadline - time.monotonic()
            if left <= 0:
                self.acknowledge(self.offset)
                return out
            self.socket.settimeout(min(left, ACK_S))
            try:
                more = self.socket.recv(1 << 16)
            except TimeoutError:
                self.acknowledge(self.offset)
                continue
            if not more:
                raise Failure(f"the primary closes the link after {out[-3:]}")
            self.buffer += more.lstrip(b"\n") if not self.buffer else more

    def one(self) -> list[bytes] | None:
        """The next whole command in the buffer; counts its bytes."""
        at, words = self.buffer.find(b"\r\n"), []
        if at < 0:
            return None
        if self.buffer[:1] != b"*":
            raise Failure(f"not a command in the stream: {self.buffer[:60]!r}")
        count, at = int(self.buffer[1:at]), at + 2
        for _ in range(count):
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                return None
            size = int(self.buffer[at + 1:end])
            at = end + 2 + size + 2
            if len(self.buffer) < at:
                return None
            words.append(self.buffer[at - 2 - size:at - 2])
        self.offset += at
        self.buffer = self.buffer[at:]
        return words

    def closed(self, seconds: float) -> bool:
        """Whether the primary ends the link in this time; what it sends is thrown away."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.socket.recv(1 << 20):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def stop(self) -> None:
        self.connection.close()


def small_window(port: int) -> Connection:
    """A connection whose receiver takes little, so that what is not read stays with the sender."""
    connection = Connection(port)
    connection.socket.close()
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", port))
    connection.socket = one
    return connection
