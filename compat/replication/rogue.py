"""Peers that lie: a primary that sends anything but a stream, and replicas that take nothing or talk nonsense.

SERVER must live, keep its old data where it had not begun to load, keep its memory in bounds, and try the link again.
"""

import os
import random
import socket
import threading
import time

from harness.resp import Connection, encode
from harness.server import free_port
from kit import Trial, check, wait_for
from raw import Replica, small_window
from work import fill

ID = b"0123456789abcdef0123456789abcdef01234567"
MARK = b"f" * 40
MEMORY_MAX = 96 << 20  # more than before
HEAD = b"REDIS0010\xfa\x09redis-ver\x057.0.0\xfe\x00"
FEED_S = 4


class Primary:
    """Answers the handshake as a primary, and PSYNC as `script(socket, words)` likes; counts the links."""

    def __init__(self, script, answers: dict[bytes, bytes] | None = None):
        self.script, self.answers, self.port = script, answers or {}, free_port()
        self.links = 0
        self.seen: list[list[bytes]] = []
        self.stopped = False
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.listener.settimeout(0.2)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.stopped:
            try:
                one, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.links += 1
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        connection = Connection.__new__(Connection)
        connection.socket, connection.buffer, connection.at = one, b"", 0
        one.settimeout(30)
        try:
            while not self.stopped:
                tree = connection._value()
                words = [item[1] for item in tree[1]]
                self.seen.append(words)
                name = words[0].upper()
                if name in (b"PSYNC", b"SYNC"):
                    if self.script(one, words) is not None:
                        continue
                    return
                one.sendall(self.answers.get(name, b"+PONG\r\n" if name == b"PING" else b"+OK\r\n"))
        except (OSError, ValueError, ConnectionError):
            pass
        finally:
            one.close()

    def stop(self) -> None:
        self.stopped = True
        self.listener.close()


def full(replid: bytes = ID, offset: bytes = b"0") -> bytes:
    return b"+FULLRESYNC " + replid + b" " + offset + b"\r\n"


def says(*parts: bytes, linger_s: float = 0):
    """A script that sends this and closes."""
    def go(one: socket.socket, _words) -> None:
        for part in parts:
            one.sendall(part)
        time.sleep(linger_s)
    return go


def endless(head: bytes, chunk: bytes, seconds: float = FEED_S, most: int = 400 << 20):
    """A script that sends more and more."""
    def go(one: socket.socket, _words) -> None:
        one.sendall(head)
        deadline, sent = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and sent < most:
            one.sendall(chunk)
            sent += len(chunk)
    return go


def trickle(data: bytes, pause_s: float = 0.002):
    """A script that sends byte by byte."""
    def go(one: socket.socket, _words) -> None:
        for n in range(len(data)):
            one.sendall(data[n:n + 1])
            time.sleep(pause_s)
        time.sleep(1)
    return go


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


# Before any data of the new set is there, old data must be whole in every mode; afterwards only where the directive says so.
BEFORE_DATA = {
    "garbage for an answer": says(noise(500, 1) + b"\r\n" + noise(500, 2)), "no answer, closed": says(), "an empty line and closed": says(b"\r\n"),
    "an error": says(b"-ERR no\r\n"), "no id": says(b"+FULLRESYNC\r\n"), "a short id": says(full(b"abc")), "a long id": says(full(b"a" * 400)),
    "no offset": says(b"+FULLRESYNC " + ID + b"\r\n"), "a bad offset": says(full(ID, b"x") + b"$-1\r\n"), "a negative offset": says(full(ID, b"-5") + b"$10\r\nREDIS"),
    "a huge offset": says(full(ID, b"9" * 40) + b"$10\r\nREDIS"), "CONTINUE without a place": says(b"+CONTINUE\r\n"), "CONTINUE with an id": says(b"+CONTINUE " + ID + b"\r\n"),
    "CONTINUE with a bad id": says(b"+CONTINUE xyz\r\n*1\r\n$4\r\nPING\r\n"),
    "an endless line": endless(b"+FULLRESYNC ", b"a" * 65536, most=200 << 20), "endless keepalives": endless(b"", b"\n" * 4096, 3, most=40 << 20),
    "a null": says(full(), b"$-1\r\n"), "a length of nothing": says(full(), b"$\r\n"), "a length that is no number": says(full(), b"$12x\r\nREDIS"),
    "a huge length": says(full(), b"$9223372036854775807\r\n" + HEAD, linger_s=0.3), "a length beyond numbers": says(full(), b"$99999999999999999999999\r\n" + HEAD),
    "a negative length": says(full(), b"$-12345\r\n" + HEAD), "another reply": says(full(), b"*3\r\n$3\r\nSET\r\n"), "an endless head": endless(full() + b"$", b"1" * 65536, most=200 << 20),
    "a short mark": says(full(), b"$EOF:abc\r\n" + HEAD), "an error for a snapshot": says(full(), b"-ERR cannot\r\n"),
    "garbage by length": says(full(), b"$1000\r\n" + noise(1000, 3)), "garbage by mark": says(full(), b"$EOF:" + MARK + b"\r\n" + noise(5000, 4) + MARK),
    "a cut by length": says(full(), b"$1000\r\n" + HEAD), "a cut by mark": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD),
    "a future version": says(full(), b"$EOF:" + MARK + b"\r\nREDIS9999" + HEAD[9:] + b"\xff" + b"\0" * 8 + MARK),
}
WITH_DATA = {
    "an unknown opcode": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x01v\xee\x01k\x01v\xff" + b"\0" * 8 + MARK),
    "an unknown type": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x01v\x63\x01k\x01v\xff" + b"\0" * 8 + MARK),
    "a bad sum": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x01v\xff" + b"12345678" + MARK),
    "a string of 4 GB": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x80\xff\xff\xff\xff" + b"x" * 1000, linger_s=0.3),
    "a string beyond memory": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x81\x7f" + b"\xff" * 7 + b"x" * 1000, linger_s=0.3),
    "a list of 2^60": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x01\x01k\x81\x10" + b"\0" * 7 + b"\x01x" * 1000, linger_s=0.3),
    "a table of 2^60": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\xfb\x81\x10" + b"\0" * 7 + b"\x81\x10" + b"\0" * 7 + b"\x00\x01k\x01v", linger_s=0.3),
    "LZF that grows": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\xc3\x05\x80\xff\xff\xff\xff" + b"\xff" * 20, linger_s=0.3),
    "a database of 2^31": says(full(), b"$EOF:" + MARK + b"\r\nREDIS0010\xfe\x80\x7f\xff\xff\xff\x00\x01k\x01v\xff" + b"\0" * 8 + MARK),
    "another mark": says(full(), b"$EOF:" + MARK + b"\r\n" + HEAD + b"\x00\x01k\x01v\xff" + b"\0" * 8 + b"g" * 40, linger_s=0.3),
}
WHOLE = HEAD + b"\x00\x01k\x01v\xff" + b"\0" * 8
BAD_STREAMS = {
    "garbage": noise(3000, 5), "a huge bulk": b"*1\r\n$999999999999\r\n", "a huge array": b"*2147483647\r\n$1\r\na\r\n", "no number": b"*x\r\n", "a null": b"*1\r\n$-1\r\n",
    "an unknown command": b"*2\r\n$6\r\nNOSUCH\r\n$1\r\na\r\n" * 50, "a wrong type": b"*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$1\r\na\r\n" * 50, "EXEC alone": b"*1\r\n$4\r\nEXEC\r\n",
    "MULTI twice": b"*1\r\n$5\r\nMULTI\r\n" * 3, "blocked": b"*3\r\n$5\r\nBLPOP\r\n$6\r\nnosuch\r\n$1\r\n0\r\n", "subscribes": b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n", "PSYNC": b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n",
    "SHUTDOWN words": b"*2\r\n$8\r\nSHUTDOWN\r\n$6\r\nNOSUCH\r\n", "GETACK storm": b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n" * 5000, "MONITOR": b"*1\r\n$7\r\nMONITOR\r\n", "QUIT": b"*1\r\n$4\r\nQUIT\r\n",
    "WAIT": b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n", "SELECT 99": b"*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n", "REPLICAOF": b"*3\r\n$9\r\nREPLICAOF\r\n$2\r\nNO\r\n$3\r\nONE\r\n", "HELLO 3": b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
    "CLIENT PAUSE": b"*3\r\n$6\r\nCLIENT\r\n$5\r\nPAUSE\r\n$1\r\n5\r\n", "an empty command": b"*0\r\n" * 100, "inline": b"SET a b\r\nPING\r\n", "RESET": b"*1\r\n$5\r\nRESET\r\n", "CLIENT REPLY": b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n",
}


def survives(t: Trial, name: str, script, directives: dict, keeps: bool, answers: dict | None = None, again: bool = True) -> None:
    """One rogue: the server lives, has its data or none, bounded memory, and asks for the link again."""
    node = t.node(t.server, repl_timeout=5, **directives)
    node.many([["SET", f"old{n}", n] for n in range(500)])
    before = node.resident()
    rogue = t.also(Primary(script, answers))
    node.follow(rogue.port)
    peak, deadline, known = 0, time.monotonic() + 14, False
    while time.monotonic() < deadline:
        time.sleep(0.03)
        if not node.alive():
            t.expect(False, f"{name}: the server died: {node.tail(5)}")
            return
        peak = max(peak, node.resident())
        said = node.call("PING")
        t.need(said == ("+", b"PONG") or b"LOADING" in said[1] or b"MASTERDOWN" in said[1], f"{name}: PING says {said}")
        known = rogue.links >= (2 if again else 1)
        if known:
            break
    t.expect(known, f"{name}: the link is not tried again ({rogue.links} links)")
    # Who loads has no other role meanwhile.
    wait_for(f"{name}: NO ONE is taken", lambda: node.call("REPLICAOF", "NO", "ONE") == ("+", b"OK"), 10)
    wait_for(f"{name}: answers after NO ONE", lambda: node.call("PING") == ("+", b"PONG"), 5)
    t.expect(peak - before < MEMORY_MAX, f"{name}: memory grew by {(peak - before) >> 20} MiB")
    have = int(node.call("DBSIZE")[1])
    if keeps:
        t.expect(have == 500 and node.call("GET", "old7") == ("$", b"7"), f"{name}: {have} of 500 old keys")
    t.same(node.call("SET", "new", 1), ("+", b"OK"), f"{name}: SET afterwards")
    rogue.stop()
    node.kill()


@check()
def before_data(t: Trial) -> None:
    """No answer to PSYNC and no head of a snapshot, however wrong, costs old data, memory or the server."""
    for name in BEFORE_DATA:
        # Redis takes a bad CONTINUE for good when it has a place to go on from; here it has none. It empties before it loads.
        keeps = not any(word in name for word in ("garbage by", "a cut by", "a future version"))
        survives(t, name, BEFORE_DATA[name], {"repl-diskless-load": "disabled"}, keeps or t.server.ours)


@check()
def with_data(t: Trial) -> None:
    """A snapshot that is wrong inside costs nothing where `repl-diskless-load swapdb` keeps the old data beside it."""
    # Redis ends itself when a snapshot is wrong inside, for fear of its own state; so a real server is only asked what it survives.
    for name, script in WITH_DATA.items():
        if not t.server.ours and name not in ("a string of 4 GB",):
            continue
        for load in ("swapdb", "disabled", "on-empty-db"):
            survives(t, f"{name}, {load}", script, {"repl-diskless-load": load}, load == "swapdb")


@check()
def never_an_end(t: Trial) -> None:
    """A snapshot that never ends, in small keys or in one value or in keepalives, is bounded by repl-timeout, disk or maxmemory."""
    head = full() + b"$EOF:" + MARK + b"\r\n" + HEAD
    # Nothing comes any more: repl-timeout ends it.
    survives(t, "silence inside", says(head + b"\x00\x01k\x01v", linger_s=20), {"repl-diskless-load": "swapdb"}, True)
    survives(t, "silence before", says(full(), linger_s=20), {}, True)
    survives(t, "silence for an answer", says(linger_s=20), {}, True)
    if t.server.ours:
        # The same key again and again: real data as far as anybody can tell, so the answer may come late, but the server lives and answers.
        survives(t, "one key for ever", endless(head, b"\x00\x01k\x01v" * 2000, 3, 30 << 20), {"repl-diskless-load": "swapdb"}, True)
        survives(t, "empty operations for ever", endless(head, b"\xfe\x00" * 20000, 3, 30 << 20), {"repl-diskless-load": "swapdb"}, True)


@check()
def bytes_one_by_one(t: Trial) -> None:
    """Everything may come in single bytes: answers, snapshot and stream."""
    stream = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$4\r\nPING\r\n"
    for framed in (b"$%d\r\n" % len(WHOLE) + WHOLE, b"\n\n$EOF:" + MARK + b"\r\n" + WHOLE + MARK):
        ending = threading.Event()

        def go(one: socket.socket, _words) -> None:
            for n in range(len(data)):
                one.sendall(data[n:n + 1])
                time.sleep(0.002)
                # Behind a mark a primary says nothing before it was acknowledged.
                if n == split:
                    time.sleep(1.5)
            ending.wait(20)
        data = b"\n\n" + full(ID, b"100") + framed + stream
        split = len(data) - len(stream) - 1
        node = t.node(t.server, repl_diskless_load="on-empty-db")
        rogue = t.also(Primary(go))
        node.follow(rogue.port)
        wait_for("the stream is applied", lambda: node.call("GET", "a") == ("$", b"b"), 15)
        wait_for("the offset counts every byte", lambda: node.info()["slave_repl_offset"] == str(100 + len(stream)), 3)
        info = node.info()
        t.same((info["master_link_status"], info["master_replid"]), ("up", ID.decode()), "INFO")
        t.same(node.call("GET", "k"), ("$", b"v"), "the snapshot's key")
        acks = [int(words[2]) for words in rogue.seen if words[:2] == [b"REPLCONF", b"ACK"]]
        ending.set()
        node.done("REPLICAOF", "NO", "ONE")
        rogue.stop()
        t.expect(not acks or max(acks) <= 100 + len(stream), f"ACKs {acks}")


@check()
def bad_streams(t: Trial) -> None:
    """Nonsense in the stream neither ends nor stalls the server; its memory stays in bounds."""
    for name, data in BAD_STREAMS.items():
        if name in ("blocked", "REPLICAOF") and not t.server.ours:
            continue  # these end Redis itself
        ending = threading.Event()

        def go(one: socket.socket, _words) -> None:
            one.sendall(full() + b"$%d\r\n" % len(WHOLE) + WHOLE)
            time.sleep(0.4)
            one.sendall(data + b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n")
            ending.wait(3)
        node = t.node(t.server, repl_timeout=5)
        before = node.resident()
        rogue = t.also(Primary(go))
        node.follow(rogue.port)
        deadline = time.monotonic() + 2.2
        peak = 0
        while time.monotonic() < deadline:
            if not node.alive():
                break
            peak = max(peak, node.resident())
            time.sleep(0.1)
        if t.expect(node.alive(), f"{name}: the server died: {node.tail(4)}"):
            said = node.call("PING")
            t.expect(said == ("+", b"PONG"), f"{name}: PING says {said}")
            t.expect(peak - before < MEMORY_MAX, f"{name}: memory grew by {(peak - before) >> 20} MiB")
            t.same(node.call("REPLICAOF", "NO", "ONE"), ("+", b"OK"), f"{name}: NO ONE")
            wait_for(f"{name}: writes afterwards", lambda: node.call("SET", "new", 1) == ("+", b"OK"), 5)
        ending.set()
        rogue.stop()
        node.kill()


@check()
def handshakes(t: Trial) -> None:
    """Odd answers to PING, AUTH and REPLCONF end in a sync where Redis goes on, and in another try where it does not."""
    framed = full() + b"$%d\r\n" % len(WHOLE) + WHOLE
    for name, answers, goes_on in (("PING is refused for want of a password", {b"PING": b"-NOAUTH Authentication required.\r\n"}, True),
                                   ("PING is not permitted", {b"PING": b"-NOPERM this user has no permissions to run the 'ping' command\r\n"}, True),
                                   ("REPLCONF is unknown", {b"REPLCONF": b"-ERR unknown command\r\n"}, True),
                                   ("PING answers nonsense", {b"PING": b"-DENIED no\r\n"}, False), ("PING answers garbage", {b"PING": noise(100, 7) + b"\r\n"}, None),
                                   ("AUTH is refused", {b"AUTH": b"-WRONGPASS no\r\n"}, False), ("PING never ends", {b"PING": b"+" + b"x" * 100_000}, False)):
        node = t.node(t.server, repl_timeout=3, **({"masterauth": "secret"} if name.startswith("AUTH") else {}))
        rogue = t.also(Primary(says(framed, linger_s=30), answers))
        node.follow(rogue.port)
        if goes_on:
            wait_for(f"{name}: the snapshot is loaded", lambda: node.call("GET", "k") == ("$", b"v"), 10)
        else:
            wait_for(f"{name}: the link is tried again", lambda: rogue.links >= 2, 12)
            t.expect(goes_on is None or node.call("EXISTS", "k") == (":", b"0"), f"{name}: went on")
        t.expect(node.call("PING") == ("+", b"PONG"), f"{name}: PING")
        rogue.stop()
        node.kill()


@check()
def refuses_psync(t: Trial) -> None:
    """An old primary that knows no PSYNC is asked with SYNC."""
    node = t.node(t.server)

    def go(one: socket.socket, words) -> bool | None:
        if words[0].upper() == b"PSYNC":
            one.sendall(b"-ERR unknown command 'PSYNC'\r\n")
            return True
        one.sendall(b"\n$%d\r\n" % len(WHOLE) + WHOLE + b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n")
        time.sleep(30)
    # Redis sends SYNC as a line, which is not a command with a count.
    rogue = t.also(Primary(go))
    serve = Connection._value

    def lenient(self):
        while self.at >= len(self.buffer):
            self._fill()
        if self.buffer[self.at:self.at + 4].upper() == b"SYNC":
            self._line()
            return "*", [("$", b"SYNC")]
        return serve(self)
    Connection._value = lenient
    try:
        node.follow(rogue.port)
        wait_for("the stream is applied", lambda: node.call("GET", "a")[1] == b"b", 15)
        t.same(node.call("GET", "k"), ("$", b"v"), "the snapshot's key")
    finally:
        Connection._value = serve


@check(fast=True)
def replica_that_never_reads(t: Trial) -> None:
    """A replica that reads nothing is dropped, by its output limit or by repl-timeout; memory stays in bounds and others are served."""
    one = t.node(t.server, client_output_buffer_limit="replica 8mb 0 0", repl_backlog_size="1mb", repl_timeout=5)
    rogue = Replica(one.port)
    rogue.attach()
    rogue.commands(0.3)
    wait_for("it is counted", lambda: "state=online" in one.info().get("slave0", ""))
    before, value, peak = one.resident(), "x" * 100_000, 0
    for n in range(60):
        one.many([["SET", f"k{m % 5}", value] for m in range(20)])
        peak = max(peak, one.resident())
        if one.info()["connected_slaves"] == "0":
            break
    wait_for("it is dropped after 120 MB that it did not read", lambda: one.info()["connected_slaves"] == "0", 10)
    t.expect(peak - before < MEMORY_MAX, f"memory grew by {(peak - before) >> 20} MiB")
    t.same(one.call("SET", "k", 1), ("+", b"OK"), "SET")
    rogue.stop()


@check()
def replica_that_never_reads_a_snapshot(t: Trial) -> None:
    """A replica that takes no byte of its snapshot holds nobody up, and ends by repl-timeout."""
    t.needs(t.peer, t.server)
    # Redis drops nobody who takes a file too slowly.
    for capable in (b"eof", b"psync2") if t.server.ours else (b"eof",):
        one, two = t.node(t.server, repl_timeout=5), t.node(t.peer)
        one.many([["SET", f"k{n}", random.Random(n).randbytes(100_000)] for n in range(300)])
        before = one.resident()
        rogue = small_window(one.port)
        rogue.send([b"REPLCONF", b"capa", capable])
        rogue.send([b"PSYNC", b"?", b"-1"])
        time.sleep(0.5)
        started, peak, slow = time.monotonic(), 0, 0.0
        while time.monotonic() - started < 15 and (one.info()["connected_slaves"] != "0" or time.monotonic() - started < 2):
            at = time.monotonic()
            one.done("SET", "k", 1)
            slow = max(slow, time.monotonic() - at)
            peak = max(peak, one.resident())
            time.sleep(0.05)
        t.same(one.info()["connected_slaves"], "0", f"connected_slaves, capa {capable}")
        t.expect(slow < 1, f"a SET took {slow:.2f} s meanwhile")
        t.expect(peak - before < MEMORY_MAX, f"memory grew by {(peak - before) >> 20} MiB")
        two.follow(one)
        t.in_step(one, two)
        t.alike(one, two)


@check(fast=True)
def replica_that_talks_nonsense(t: Trial) -> None:
    """Garbage from a replica, ACKs of places that never were, and PSYNC again and again harm nobody else."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server), t.node(t.peer)
    two.follow(one)
    t.in_step(one, two)
    before = one.resident()
    for ack in (b"9223372036854775807", b"-1", b"-9223372036854775808", b"99999999999999999999", b"abc", b""):
        rogue = Replica(one.port)
        rogue.attach()
        rogue.commands(0.15)
        try:
            for words in ([b"REPLCONF", b"ACK", ack], [b"REPLCONF", b"ACK"], [b"REPLCONF", b"ACK", b"1", b"FACK", ack], [b"REPLCONF", b"GETACK", b"*"], [b"REPLCONF", b"capa", noise(1000, 3)]):
                rogue.socket.sendall(encode(words))
        except OSError:
            pass
        t.same(one.call("PING"), ("+", b"PONG"), f"PING after ACK {ack!r}")
        one.done("SET", "k", ack)
        said = one.call("WAIT", 3, 150)
        t.expect(said[0] == ":" and int(said[1]) <= 2, f"WAIT after ACK {ack!r}: {said}")
        rogue.stop()
    for n in range(30):
        rogue = Replica(one.port, ())
        rogue.socket.sendall(b"PSYNC ? -1\r\n" * (1 + n % 3) + noise(200, n) if n % 2 else b"SYNC\r\nSYNC\r\nGET k\r\n")
        if n % 3:
            rogue.stop()
        else:
            t.also(rogue)
    connection = Connection(one.port)
    for words in (["REPLCONF"], ["REPLCONF", "listening-port"], ["REPLCONF", "listening-port", "99999999"], ["REPLCONF", "ip-address", "x" * 100_000], ["REPLCONF", "rdb-only", "x"],
                  ["REPLCONF", "rdb-filter-only", "nosuch"], ["REPLCONF", "capa", "x" * 100_000], ["REPLCONF", "version", "x.y"], ["REPLCONF", "x" * 1000, "1"], ["REPLCONF", "main-ch-client-id", "1"]):
        said = connection.call(*words)
        t.expect(said[0] in "+-" or said[0] == "eof", f"{words[:2]}: {said}")
        if said[0] == "eof":
            connection = Connection(one.port)
    # A client that is a replica reads and writes no data by the way.
    rogue = Replica(one.port)
    rogue.attach()
    rogue.commands(0.2)
    rogue.socket.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nrogue\r\n$1\r\n1\r\n")
    time.sleep(0.3)
    rogue.stop()
    connection.close()
    one.done("SET", "k", "end")
    t.in_step(one, two)
    t.alike(one, two)
    t.expect(one.resident() - before < MEMORY_MAX, "memory")


@check()
def many_links(t: Trial) -> None:
    """Two hundred links that ask for a full sync and leave in the middle harm nothing."""
    t.needs(t.peer, t.server)
    one, two = t.node(t.server), t.node(t.peer)
    fill(one, f"{t.options.seed}", 160, [two])
    before, threads = one.resident(), len(os.listdir(f"/proc/{one.process.pid}/fd"))
    for n in range(200):
        rogue = Connection(one.port)
        rogue.send_raw(b"REPLCONF capa eof\r\nPSYNC ? -1\r\n" if n % 2 else b"SYNC\r\n")
        if n % 5 == 0:
            rogue.ready(0.2)
        rogue.close()
    two.follow(one)
    t.in_step(one, two)
    t.alike(one, two)
    wait_for("all links are gone", lambda: one.info()["connected_slaves"] == "1", 20)
    wait_for("all files are closed", lambda: len(os.listdir(f"/proc/{one.process.pid}/fd")) < threads + 15, 20)
    t.expect(one.resident() - before < MEMORY_MAX, "memory")
