"""Sequences of steps: drawn from a seed over several connections, some pipelined, some malformed on purpose.

A step is one command on one connection, or raw bytes on a connection of its own. A sequence means the same on
every server: a step that makes a key due in two milliseconds, and an EXEC that runs such a command, waits until it
is gone. Invariant: the same seed and the same command lists give the same sequence. Not here: sending anything.
"""

import random
from dataclasses import dataclass, replace

import grammar
from harness import resp
from pattern import Pattern, Words

CONNECTIONS = 4
STEPS_MIN, STEPS_MAX = 5, 60
# Longer than SOON_MS plus what an idle server may take to notice.
SOON_PAUSE_MS = 15
MUTATED = 0.05  # share of commands with a word too many, too few or wrong
RAW = 0.01  # share of steps that are malformed requests
JOINED = 0.3  # share of steps sent together with the one before
RESP3 = 0.3  # share of connections that speak RESP3


@dataclass(frozen=True)
class Step:
    connection: int
    argv: tuple[bytes, ...] = ()
    raw: bytes = b""
    joined: bool = False  # sent in one write with the step before it, if that is on the same connection
    pause_ms: int = 0

    def name(self) -> str:
        return self.argv[0].decode("latin-1").upper() if self.argv else ""


class Generator:
    """Draws sequences over the commands both servers have."""

    def __init__(self, commands: set[str], families: list[str] | None = None):
        self.tables = []  # (weight, command -> pattern)
        for family, (table, weight) in grammar.FAMILIES.items():
            names = [name for name in table if name in commands or name == "NOSUCHCOMMAND"]
            # A family without weight is used where it is named.
            if not names or (family not in families if families else not weight):
                continue
            self.tables.append((weight or 1, {name: Pattern.parse(table[name]) for name in names}))
        self.has_hello = "HELLO" in commands

    def sequence(self, seed: str) -> list[Step]:
        source = random.Random(seed)
        words = Words(source)
        steps = [Step(number, (b"HELLO", b"3")) for number in range(CONNECTIONS)
                 if source.random() < RESP3 and self.has_hello]
        state = [{"multi": False, "soon": False} for _ in range(CONNECTIONS)]
        current = 0
        for _ in range(source.randint(STEPS_MIN, STEPS_MAX)):
            if source.random() < RAW:
                steps.append(Step(0, raw=malformed(source)))
                continue
            if source.random() < 0.4:
                current = source.randrange(CONNECTIONS)
            joined = bool(steps) and source.random() < JOINED and not steps[-1].pause_ms
            argv = tuple(self.command(words, state[current]))
            if current == CONNECTIONS - 1 and may_wait(argv):
                current = source.randrange(CONNECTIONS - 1)
            if authenticates(argv):
                joined = False
                argv = (b"PING",) if state[current]["multi"] else argv
            step = Step(current, argv, joined=joined)
            steps.append(paused(step, words, state[current]))
        return steps

    def command(self, words: Words, state: dict) -> list[bytes]:
        source = words.random
        if state["multi"] and source.random() < 0.25:
            argv = [b"EXEC" if source.random() < 0.8 else b"DISCARD"]
        else:
            table = source.choices(self.tables, [weight for weight, _ in self.tables])[0][1]
            name = source.choice(list(table))
            argv = [words.cased(name.encode()), *table[name].expand(words)]
        return mutated(argv, words) if source.random() < MUTATED else argv


def may_wait(argv: tuple[bytes, ...]) -> bool:
    """A command that may keep its connection waiting for data."""
    return bool(argv) and argv[0].decode("latin-1").upper() in grammar.BLOCKING


def authenticates(argv: tuple[bytes, ...]) -> bool:
    """8.2.3 loses the reply of a failing AUTH that is not the first command of its write, or is in a transaction."""
    return argv[0].upper() == b"AUTH" or argv[0].upper() == b"HELLO" and b"AUTH" in map(bytes.upper, argv)


def paused(step: Step, words: Words, state: dict) -> Step:
    """Keeps track of MULTI, and lets a key that is due in a moment become due before the next step."""
    name, soon = step.name(), words.soon
    words.soon = False
    if name == "MULTI":
        state["multi"] = True
    elif state["multi"] and name in ("EXEC", "DISCARD", "RESET", "QUIT"):
        soon, state["multi"], state["soon"] = state["soon"], False, False
    elif state["multi"]:
        state["soon"], soon = state["soon"] or soon, False
    return replace(step, pause_ms=SOON_PAUSE_MS) if soon else step


def mutated(argv: list[bytes], words: Words) -> list[bytes]:
    """A word dropped, doubled, replaced or added."""
    source, out = words.random, list(argv)
    at = source.randrange(len(out))
    kind = source.randrange(4)
    if kind == 0 and len(out) > 1:
        del out[max(at, 1)]
    elif kind == 1:
        out.insert(at + 1, out[at])
    elif kind == 2 and at > 0:
        out[at] = words.draw("text")
    else:
        out.append(words.draw("text"))
    return out


TEMPLATES = [
    b"PING\r\n", b"PING\n", b"\r\n", b"\n", b"  PING  \r\n", b"SET s1 'a b'\r\nGET s1\r\n", b'SET s1 "a\\x00b\\n"\r\nGET s1\r\n',
    b'SET s1 "unbalanced\r\n', b"SET s1 'x'y\r\n", b"ECHO \"a\"b\r\n", b"*0\r\nPING\r\n", b"*-1\r\nPING\r\n", b"*-5\r\nPING\r\n",
    b"*1\r\n$4\r\nPING\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-4\r\nPING\r\n", b"*1\r\n$4\r\nPINGxxPING\r\n", b"*1\r\n:4\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*abc\r\n", b"*1048577\r\n", b"*2147483648\r\n", b"*9223372036854775808\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$abc\r\n", b"*1\r\n$ 4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n", b"*1\r\n$0\r\n\r\n", b"*1\r\n$4\r\nPI", b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n", b"*", b"$", b"*1", b"*1\r",
    b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"host: PING\r\nPING\r\n", b"+OK\r\n", b"-ERR\r\n", b":1\r\n",
    b"\x00\x00\x00\x00\r\n", b"\xff\xfe\r\nPING\r\n", b"QUIT\r\nPING\r\n", b"a" * 70000, b"*1\r\n$" + b"1" * 70000, b"*" + b"1" * 70000,
    b"PING\r\nPING\r\nQUIT\r\nPING\r\n", b"*3\r\n$3\r\nSET\r\n$2\r\ns1\r\n$1\r\nabc\r\n", b"*1\r\n\r\n$4\r\nPING\r\n", b"*1\n$4\nPING\n",
]


def malformed(source: random.Random) -> bytes:
    """A request that is wrong, odd, or a right one with a byte changed, cut out or cut off."""
    if source.random() < 0.6:
        return source.choice(TEMPLATES)
    data = bytearray(resp.encode([b"SET", b"s1", b"v"]) + resp.encode([b"GET", b"s1"]) + resp.encode([b"PING"]))
    for _ in range(source.randint(1, 2)):
        at = source.randrange(len(data))
        kind = source.randrange(3)
        if kind == 0:
            data[at] = source.choice(b"*$:+-0123456789\r\nA\x00\xff")
        elif kind == 1:
            del data[at]
        else:
            del data[at:]
        if not data:
            return b"\r\n"
    return bytes(data)
