"""RESP over a plain socket: commands out, replies in, both as the raw bytes and as a tree.

A tree is `(kind, payload)`: kind is RESP's type byte as a str; payload is bytes for `+ - : , ( ! = $ #`, None for a
null, a list for `* ~ >`, a list of pairs for `%`. A closed connection reads as `("eof", None)`, silence until the
deadline as `("silent", None)`. Not here: turning replies into language values; the comparison wants the bytes.
"""

import select
import socket
import time

READ_WAIT_S = 10.0
EOF = ("eof", None)
SILENT = ("silent", None)


def encode(argv: list[bytes]) -> bytes:
    """A command as a client sends it."""
    parts = [b"*%d\r\n" % len(argv)]
    for word in argv:
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Connection:
    """One client connection. Lost and found again by `reopen`."""

    def __init__(self, port: int, host: str = "127.0.0.1", connect_s: float = READ_WAIT_S):
        self.address, self.connect_s = (host, port), connect_s
        self.socket = None
        self.reopen()

    def reopen(self) -> None:
        self.close()
        self.socket = socket.create_connection(self.address, timeout=self.connect_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.at = 0

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, argv: list[bytes]) -> None:
        self.send_raw(encode(argv))

    def send_raw(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the read that follows says so

    def read(self, wait_s: float = READ_WAIT_S) -> tuple[bytes, tuple]:
        """One reply: its bytes and its tree."""
        self.socket.settimeout(wait_s)
        start = self.at
        try:
            tree = self._value()
        except TimeoutError:
            return b"", SILENT
        except (ConnectionError, OSError):
            return b"", EOF
        raw = self.buffer[start:self.at]
        self.buffer, self.at = self.buffer[self.at:], 0
        return raw, tree

    def ready(self, wait_s: float = 0.0) -> bool:
        """Whether something to read is there: a reply or the end."""
        return self.at < len(self.buffer) or bool(select.select([self.socket], [], [], wait_s)[0])

    def call(self, *argv) -> tuple:
        """Sends a command of str, bytes and int words and returns the reply's tree."""
        self.send([word if isinstance(word, bytes) else str(word).encode() for word in argv])
        return self.read()[1]

    def drain(self, quiet_s: float) -> tuple[bytes, bool]:
        """Everything that comes until the peer is quiet; and whether it closed. For malformed input."""
        data, self.buffer, self.at = self.buffer[self.at:], b"", 0
        deadline = time.monotonic() + READ_WAIT_S
        while time.monotonic() < deadline:
            if not select.select([self.socket], [], [], quiet_s)[0]:
                return data, False
            try:
                more = self.socket.recv(1 << 16)
            except OSError:
                return data, True
            if not more:
                return data, True
            data += more
        return data, False

    def _fill(self) -> None:
        more = self.socket.recv(1 << 16)
        if not more:
            raise ConnectionError("closed")
        self.buffer += more

    def _line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self._fill()
        line, self.at = self.buffer[self.at:end], end + 2
        return line

    def _blob(self, size: int) -> bytes:
        while len(self.buffer) < self.at + size + 2:
            self._fill()
        blob, self.at = self.buffer[self.at:self.at + size], self.at + size + 2
        return blob

    def _value(self) -> tuple:
        line = self._line()
        kind, rest = line[:1].decode("latin-1"), line[1:]
        if kind in "+-:,(#":
            return kind, rest
        if kind == "_":
            return kind, None
        if kind in "$=!":
            return kind, None if rest == b"-1" else self._blob(int(rest))
        if kind in "*~>":
            return kind, None if rest == b"-1" else [self._value() for _ in range(int(rest))]
        if kind == "%":
            return kind, [(self._value(), self._value()) for _ in range(int(rest))]
        raise ValueError(f"not RESP: {line!r}")
