"""Plays a sequence on several servers at once and says where the first one disagrees.

The first server is the one under test, the others are peers of different versions. A step is fine when the first
server agrees with every peer. Agreeing with some is a version difference: no failure, but the states may now differ,
so the sequence ends there unless a rule (rules.py) says that the difference changes no data. Agreeing with none is a
failure unless a rule covers it. After the last step the data of all databases in use is compared the same way.

A command that waits for data is a reply too, `WAITS`. Its connection plays no further steps until it is answered; after
each write the connections that wait are looked at, and who was served with what must agree.
"""

import time
from dataclasses import dataclass, field

import grammar
import rules
from harness.resp import EOF, SILENT, Connection
from harness.server import Server
from same import same
from steps import CONNECTIONS, Step, may_wait

DATABASES = (0, 1, 9, 15)  # those the generator's SELECT, MOVE, COPY and SWAPDB reach
QUIET_S = 0.03  # malformed requests: silence this long means the server has said all
FIRST_READ_WAIT_S = 5.0
LEAVE_WAIT_S = 10
WAITS = ("waits", None)
AGREE_WAIT_S = 0.3  # servers that tell different numbers of waiting clients are asked again this long
TOO_MANY = 20  # arguments with which a command that exists does nothing but complain
NO_ANSWER = "no server answered in time (a reply too large to make)"
CONTENT = {b"string": [b"GET"], b"list": [b"LRANGE", 0, -1], b"hash": [b"HGETALL"], b"set": [b"SMEMBERS"], b"zset": [b"ZRANGE", 0, -1, b"WITHSCORES"],
           b"stream": [b"XRANGE", b"-", b"+"]}


@dataclass
class Difference:
    """Where and how the servers disagree: the index of the step, or one past the last for the data at the end."""

    at: int
    argv: tuple[bytes, ...]
    replies: list  # one (raw, tree) per server
    as_peer: str = ""  # the peer the first server agrees with: a difference between versions
    rule: str = ""


@dataclass
class Result:
    difference: Difference | None = None
    steps: int = 0  # replies compared
    at: int = 0  # the step that is being played, or one past the last
    covered: dict[str, int] = field(default_factory=dict)  # rule's reason -> how often
    replies: list = field(default_factory=list)  # per step, one (raw, tree) per server; none for a step left out
    served: dict[int, list] = field(default_factory=dict)  # after which step: (connection, replies) of those that waited


class Player:
    """One server with its connections and the transaction each has queued."""

    def __init__(self, label: str, binary: str):
        self.label, self.server = label, Server(binary, {"databases": "16", "maxclients": "1000"})
        self.server.start()
        self.control = Connection(self.server.port)
        self.connections = [Connection(self.server.port) for _ in range(CONNECTIONS)]
        self.queued: list[list] = [[] for _ in range(CONNECTIONS)]
        self.waiting: dict[int, Step] = {}

    def commands(self) -> set[str]:
        """The names of what this server's COMMAND lists; a server too young for COMMAND is asked name by name."""
        kind, rows = self.control.call("COMMAND")
        if kind == "*":
            return {row[1][0][1].decode().upper() for row in rows}
        return {name for table, _ in grammar.FAMILIES.values() for name in table if self.knows(name)}

    def knows(self, name: str) -> bool:
        connection = Connection(self.server.port)
        tree = connection.call(name, *["nosuchargument"] * TOO_MANY)
        connection.close()
        return not (tree[0] == "-" and tree[1].startswith(b"ERR unknown command"))

    def reset(self) -> None:
        """No data, fresh connections; a server that died is started again."""
        if not self.server.alive() or self.control.call("FLUSHALL") in (EOF, SILENT):
            self.server.kill()
            self.server.start()
            self.control = Connection(self.server.port)
            self.connections = [Connection(self.server.port) for _ in range(CONNECTIONS)]
            self.waiting = {}
            return
        for connection in self.connections:
            connection.close()
        self.waiting = {}
        # One that still counts as a client could be served by the next round.
        deadline = time.monotonic() + LEAVE_WAIT_S
        while self.blocked():
            if time.monotonic() > deadline:
                raise RuntimeError(f"port {self.server.port}: a client that left still counts as waiting")
            time.sleep(0.001)
        for number, connection in enumerate(self.connections):
            connection.reopen()
            self.queued[number] = []

    def send(self, step: Step) -> None:
        connection = self.connections[step.connection]
        if connection.socket is None:
            connection.reopen()
            self.queued[step.connection] = []
        connection.send([self.id_of(word) if word.startswith(b"$ID") else word for word in step.argv])

    def id_of(self, word: bytes) -> bytes:
        """The id of the connection that the word names, as the server tells it by its address."""
        connection = self.connections[int(word[3:])]
        if connection.socket is None:
            return b"999999999"
        address = b" addr=127.0.0.1:%d " % connection.socket.getsockname()[1]
        for line in self.control.call("CLIENT", "LIST")[1].splitlines():
            if address in line:
                return line.split()[0].removeprefix(b"id=")
        return b"999999999"

    def blocked(self) -> int:
        """How many clients wait. A real server notices a timeout only after the first command behind it."""
        self.control.call("PING")
        text = self.control.call("INFO", "clients")[1]
        return int(text.split(b"blocked_clients:")[1].split(b"\r\n")[0])

    def await_replies(self, expected: int, deadline: float) -> None:
        """Until so many of the waiting connections have something to read: a reply may be on its way."""
        while sum(self.connections[number].ready() for number in self.waiting) < expected and time.monotonic() < deadline:
            time.sleep(0.0005)

    def receive_or_wait(self, step: Step) -> tuple[bytes, tuple]:
        """The reply of a command that may wait."""
        connection = self.connections[step.connection]
        deadline = time.monotonic() + FIRST_READ_WAIT_S
        while connection.socket is not None and not connection.ready() and time.monotonic() < deadline:
            if self.blocked() > len(self.waiting) and not connection.ready():
                self.waiting[step.connection] = step
                return b"", WAITS
        return self.receive(step)

    def receive(self, step: Step) -> tuple[bytes, tuple]:
        connection = self.connections[step.connection]
        if connection.socket is None:  # closed by a step before it in the same write
            return b"", EOF
        raw, tree = connection.read(FIRST_READ_WAIT_S)
        if tree in (EOF, SILENT):
            connection.close()
        return raw, tree

    def ended(self, step: Step, tree: tuple) -> list:
        """Follows MULTI; returns the commands an EXEC has just run."""
        queue, name = self.queued[step.connection], step.name()
        if tree == ("+", b"QUEUED"):
            queue.append(step.argv)
            return []
        if name in ("EXEC", "DISCARD", "RESET", "MULTI", "QUIT") and tree[0] != "-" or tree in (EOF, SILENT):
            self.queued[step.connection] = []
        elif name == "EXEC" and tree[1] and tree[1].startswith(b"EXECABORT"):
            self.queued[step.connection] = []
        return queue

    def raw(self, data: bytes) -> tuple[bytes, tuple]:
        """What malformed bytes bring, and whether the connection survives them."""
        connection = Connection(self.server.port)
        connection.send_raw(data)
        answer, closed = connection.drain(QUIET_S)
        connection.close()
        return answer, ("raw", answer + (b"(closed)" if closed else b"(open)"))


# memkv closes a connection whose bulk does not end in CRLF, where Redis skips two bytes unseen: a deliberate difference.
STRICT_CRLF = b"bulk string is not terminated by CRLF"
STRICT_REASON = "memkv refuses a bulk that does not end in CRLF: a smuggled request must not pass"
EXACT_EXPIRY = "memkv removes a due key at once, a real server when its cycle comes to it: DBSIZE may be smaller"
STORE_WAKES = "memkv serves a client when a STORE form replaces its key, of another type before (redis#15452)"
# Where memkv takes more arguments than any peer: EXEC with conditions, SISMEMBER key member XX.
LONGER = {b"EXEC": 1, b"SISMEMBER": 3}
LONGER_REASON = "memkv has the conditions of EXEC and the XX of SISMEMBER of Valkey 9.2"
SORTED = "a real server makes a sorted set a skiplist when it sorts it, memkv only reads it"


class Stage:
    """The servers that play together."""

    def __init__(self, under_test: str, peers: list[str]):
        self.players = [Player("under test", under_test)] + [Player(peer, peer) for peer in peers]

    def commands(self) -> set[str]:
        return set.intersection(*(player.commands() for player in self.players))

    def close(self) -> None:
        for player in self.players:
            player.server.stop()

    def play(self, steps: list[Step]) -> Result:
        """Plays from a clean state up to the first failure or version difference that may change data."""
        for player in self.players:
            player.reset()
        result = Result()
        self.sorts = any(b"SORT" in word.upper() for step in steps for word in step.argv[:1])
        for chunk in chunks(steps):
            if chunk[0].connection in self.players[0].waiting and chunk[0].argv:
                result.replies += [[] for _ in chunk]
                continue
            for player in self.players:
                for step in chunk:
                    if step.argv:
                        player.send(step)
            for step in chunk:
                if self.step(step, result):
                    return result
            if chunk[-1].pause_ms:
                time.sleep(chunk[-1].pause_ms / 1000)
            if self.players[0].waiting and self.serve(result):
                return result
        self.state(result)
        return result

    def serve(self, result: Result) -> bool:
        """Reads the replies of those that waited and judges them; True ends the sequence."""
        deadline = time.monotonic() + AGREE_WAIT_S
        while len(counts := {player.blocked() for player in self.players}) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        if counts == {len(self.players[0].waiting)}:
            return False
        for player in self.players:
            player.await_replies(len(player.waiting) - player.blocked(), deadline)
        for number, step in list(self.players[0].waiting.items()):
            replies = []
            for player in self.players:
                here = player.connections[number].ready()
                replies.append(player.receive(step) if here else (b"", WAITS))
                if here:
                    del player.waiting[number]
            if all(tree == WAITS for _, tree in replies):
                continue
            result.steps += 1
            result.served.setdefault(len(result.replies) - 1, []).append((number, replies))
            if self.judge(step.argv, replies, result):
                return True
        return False

    def step(self, step: Step, result: Result) -> bool:
        """Reads and judges one step; True ends the sequence."""
        if step.raw:
            replies = [player.raw(step.raw) for player in self.players]
            queued = None
        else:
            if may_wait(step.argv) and step.pause_ms:
                time.sleep(step.pause_ms / 1000)  # a short wait is over before anybody is asked whether it is
            replies = [player.receive_or_wait(step) if may_wait(step.argv) else player.receive(step) for player in self.players]
            queued = [player.ended(step, tree) for player, (_, tree) in zip(self.players, replies)][0]
        result.at = len(result.replies)
        result.replies.append(replies)
        result.steps += 1
        return self.judge(step.argv, replies, result, queued)

    def judge(self, argv: tuple, replies: list, result: Result, queued: list | None = None) -> bool:
        first, others = replies[0], replies[1:]
        agree = [first[0] == other[0] and first[1] == other[1] or same(argv, first[1], other[1], queued) for other in others]
        if all(tree == SILENT for _, tree in replies):
            result.covered[NO_ANSWER] = result.covered.get(NO_ANSWER, 0) + 1
            return True
        if all(agree):
            return False
        if first[1][0] == "-" and first[1][1].startswith(b"ERR unknown subcommand"):
            missing = "not there yet: " + b" ".join(argv[:2]).decode("latin-1").upper()
            result.covered[missing] = result.covered.get(missing, 0) + 1
            return True
        if first[1][0] == "raw" and STRICT_CRLF in first[1][1]:
            result.covered[STRICT_REASON] = result.covered.get(STRICT_REASON, 0) + 1
            return True
        if argv and len(argv) > LONGER.get(argv[0].upper(), len(argv)) and all(b"wrong number of arguments" in other[0] for other in others):
            result.covered[LONGER_REASON] = result.covered.get(LONGER_REASON, 0) + 1
            return True
        if argv[:1] == (b"DBSIZE",) and all(int(first[1][1]) <= int(other[1][1]) for other in others):
            result.covered[EXACT_EXPIRY] = result.covered.get(EXACT_EXPIRY, 0) + 1
            return False
        if argv[:2] == (b"OBJECT", b"ENCODING") and self.sorts and first[1] == ("$", b"listpack") and others[0][1] == ("$", b"skiplist"):
            result.covered[SORTED] = result.covered.get(SORTED, 0) + 1
            return False
        if argv and argv[0].upper().startswith((b"BL", b"BR", b"BZ")) and first[1][0] == "*" and all(tree == WAITS for _, tree in others):
            result.covered[STORE_WAKES] = result.covered.get(STORE_WAKES, 0) + 1
            return True
        rule = rules.covering(argv, [tree for _, tree in replies], queued)
        if rule and (any(agree) or len(others) == 1):
            result.covered[rule.reason] = result.covered.get(rule.reason, 0) + 1
            return rule.ends
        as_peer = self.players[1 + agree.index(True)].label if any(agree) else ""
        result.difference = Difference(result.at, argv, replies, as_peer)
        return True

    def state(self, result: Result) -> None:
        """Compares the data: for each database its keys, and of each key type, encoding, life and content."""
        result.steps, result.at = result.steps + 1, len(result.replies)
        for database in DATABASES:
            if self.ask(result, b"SELECT", b"%d" % database):
                return
            keys = self.ask_all(b"KEYS", b"*")
            if self.judge((b"KEYS", b"*"), keys, result):
                return
            for key in sorted(item[1] for item in keys[0][1][1]):
                if self.key_state(result, key):
                    return
        self.ask_all(b"SELECT", b"0")

    def key_state(self, result: Result, key: bytes) -> bool:
        kinds = self.ask_all(b"TYPE", key)
        if self.judge((b"TYPE", key), kinds, result) or self.ask(result, b"PTTL", key) or self.ask(result, b"OBJECT", b"ENCODING", key):
            return True
        content = CONTENT.get(kinds[0][1][1])
        if content is None:
            return False
        words = [word if isinstance(word, bytes) else b"%d" % word for word in content]
        return self.ask(result, words[0], key, *words[1:])

    def ask(self, result: Result, *argv: bytes) -> bool:
        return self.judge(argv, self.ask_all(*argv), result)

    def ask_all(self, *argv: bytes) -> list:
        for player in self.players:
            player.control.send(list(argv))
        return [player.control.read() for player in self.players]


def chunks(steps: list[Step]) -> list[list[Step]]:
    """Steps that are sent together: joined ones on the same connection."""
    out: list[list[Step]] = []
    for step in steps:
        last = out[-1][-1] if out else None
        if last and step.joined and step.argv and last.argv and step.connection == last.connection and not last.pause_ms and not may_wait(last.argv):
            out[-1].append(step)
        else:
            out.append([step])
    return out
