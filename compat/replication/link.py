"""A TCP link between two nodes that can be cut: a proxy on a port of its own, in threads.

`cut` ends what passes now; the next connection is taken again. `hold` keeps the port open and lets nothing through.
"""

import socket
import threading
import time

from harness.server import free_port

CHUNK = 1 << 16


class Link:
    """A port that leads to `target`."""

    def __init__(self, target: int):
        self.target, self.port = target, free_port()
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.lock = threading.Lock()
        self.held = self.stopped = self.wild = False
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.listener.settimeout(0.2)
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def cut(self) -> None:
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            _end(pair)
        self.cuts += bool(pairs)

    def every(self, seconds: float) -> "Link":
        """Cuts again and again until it is calm."""
        self.wild = True

        def go():
            while self.wild:
                time.sleep(seconds)
                if self.wild:
                    self.cut()
        self.threads.append(threading.Thread(target=go, daemon=True))
        self.threads[-1].start()
        return self

    def calm(self) -> None:
        self.wild = False

    def hold(self, held: bool) -> None:
        self.held = held

    def stop(self) -> None:
        self.stopped, self.wild = True, False
        self.listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self.stopped:
            try:
                near, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            if self.held:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=2)
            except OSError:
                near.close()
                continue
            for one in (near, far):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, (near, far)), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple) -> None:
        try:
            while data := source.recv(CHUNK):
                sink.sendall(data)
        except OSError:
            pass
        with self.lock:
            if pair in self.pairs:
                self.pairs.remove(pair)
        _end(pair)


def _end(pair: tuple) -> None:
    for one in pair:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()
